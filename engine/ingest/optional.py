"""Readers that come with the extra ``allscan[formats]``."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from allscan.errors import MissingDependencyError

if TYPE_CHECKING:
    from pathlib import Path


def optional_import(module: str, package: str, path: Path) -> Any:
    """Import a reader.

    Parameters
    ----------
    module, package
        Name to import, and name to install.
    path
        The file that needs it.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingDependencyError(
            f"reading {path.name} needs the package {package}, which is not installed",
            where=str(path),
            fix="pip install 'allscan[formats]'",
        ) from error

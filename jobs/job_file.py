"""A file that says what is to be done: where it stands, what its paths mean, and where in it a key is."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from allscan.documents.validation import locate
from allscan.documents.yaml_source import read_yaml
from allscan.storage import ObjectPlace, is_url, one_match, place_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from allscan.documents.yaml_source import YamlDocument
    from allscan.jobs.runtime_spec import RuntimeSection
    from allscan.storage import Place


class FileSpec(Protocol):
    """What such files have in common."""

    @property
    def output(self) -> str:
        """Folder that is made."""
        ...

    @property
    def runtime(self) -> RuntimeSection:
        """Where the work runs."""
        ...

    def model_dump(self, *, exclude_unset: bool = ...) -> dict[str, Any]:
        """The keys and values."""
        ...


Spec = TypeVar("Spec", bound=FileSpec)


class JobFile(Generic[Spec]):
    """Keys and values with a place that their paths are relative to."""

    def __init__(self, spec: Spec, base: Place, document: YamlDocument | None = None) -> None:
        self.spec = spec
        self.base = base
        self.document = document

    @classmethod
    def from_yaml(cls, path: str | Place) -> Self:
        """Read a file of keys and values. Its paths are relative to its folder.

        Raises
        ------
        JobError
            It is not what it should be; the message names line, key, and what to do.
        """
        place = place_of(path)
        document = read_yaml(place)
        return cls(cls._checked(document.data, document), place.parent, document)

    @classmethod
    def from_dict(cls, job: Mapping[str, Any], *, base: str | Place = ".") -> Self:
        """The same from a mapping with the keys of such a file.

        Parameters
        ----------
        job
            The keys and values.
        base
            Folder that the paths are relative to.

        Raises
        ------
        JobError
            A key is unknown, missing or has an impossible value.
        """
        return cls(cls._checked(copy.deepcopy(dict(job)), None), place_of(base))

    @classmethod
    def _checked(cls, keys: dict[str, Any], document: YamlDocument | None) -> Spec:
        """The keys as a model."""
        raise NotImplementedError

    @property
    def output(self) -> Place:
        """Folder that is made."""
        return self.resolve(self.spec.output)

    def resolve(self, path: str) -> Place:
        """A path or URL of the file; a path is relative to the file's folder.

        Raises
        ------
        InputError
            The name holds ``*`` and means more than one file.
        """
        return one_match(self._place(path))

    def _place(self, path: str) -> Place:
        options = self.spec.runtime.storage.options()
        if is_url(path):
            return place_of(path, options)
        local = Path(path).expanduser()
        if isinstance(self.base, ObjectPlace) and not local.is_absolute():
            return replace(self.base, options=options) / path
        return local if isinstance(self.base, ObjectPlace) else self.base / local

    def locate(self, *key_path: str | int) -> str:
        """Where a key stands, for messages: file, line, column and key."""
        return locate(key_path, self.document)

    def with_runtime(
        self,
        *,
        workers: int | None = None,
        memory: str | None = None,
        executor: str | None = None,
        address: str | None = None,
    ) -> Self:
        """The same with other run-time settings; None leaves one as it is.

        Raises
        ------
        JobError
            A setting is impossible.
        """
        settings: dict[str, Any] = {"workers": workers, "memory": memory, "executor": executor, "address": address}
        given = {key: value for key, value in settings.items() if value is not None}
        if not given:
            return self
        if executor == "embedded":
            given["address"] = None  # whatever the file names
        elif address is not None:
            given["executor"] = "ray"
        # Only what was given: some keys exclude each other, and their defaults would not be told from choices.
        keys = self.spec.model_dump(exclude_unset=True)
        keys["runtime"] = keys.get("runtime", {}) | given
        return type(self)(self._checked(keys, None), self.base, self.document)

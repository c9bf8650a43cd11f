"""A structure file: checked, with the place that its paths are relative to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from allscan.jobs.job_file import JobFile
from allscan.jobs.structure.spec import StructureFile, validate_structure

if TYPE_CHECKING:
    from allscan.documents.yaml_source import YamlDocument


class StructureJob(JobFile[StructureFile]):
    """One structure, from a structure file or from a mapping with the same keys."""

    @classmethod
    def _checked(cls, keys: dict[str, Any], document: YamlDocument | None) -> StructureFile:
        return validate_structure(keys, document)

    def __repr__(self) -> str:
        return f"StructureJob({self.spec.name!r}: genotypes {self.spec.genotypes!r}, output {self.spec.output!r})"

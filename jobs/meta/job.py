"""A meta file, checked against its data, and run into its folder."""

from __future__ import annotations

import json
import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.documents.validation import locate, validate
from allscan.documents.yaml_source import YamlDocument, read_yaml
from allscan.engine.meta.aligning import AlignOptions, StudyAccount, account_json, align
from allscan.engine.meta.cube import MetaCube
from allscan.engine.meta.reading import Study, asked_of
from allscan.engine.meta.rows import StudyFacts
from allscan.engine.meta.run import run_meta
from allscan.engine.meta.spec import MetaSpec, StudySet
from allscan.errors import JobChangedError, JobError, OutputError
from allscan.jobs.machine import available_cpus
from allscan.jobs.meta.spec import ALL, MetaFile, MetaSection, StudySection
from allscan.jobs.meta.state import STATE_FORMAT, read_state, write_state
from allscan.jobs.provenance import FORMAT as PROVENANCE_FORMAT
from allscan.jobs.provenance import FORMAT_VERSION, Session, command_words, software_versions
from allscan.jobs.report import PROVENANCE, REPORT
from allscan.jobs.run_folder import COMPLETE, RunFolder, open_complete_run, writing
from allscan.storage import is_url, local_path, one_match, place_of, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from allscan.storage import Place

SUBJECT = "the meta file"
FIX = "`allscan schema --of meta` describes every key"
WORK = "work"


@dataclass(frozen=True)
class MetaRun:
    """A meta-analysis that is done."""

    folder: Path
    accounts: tuple[StudyAccount, ...]
    n_variants: int
    n_tests: int
    n_hits: int
    already: bool = False  # it was there, and still holds

    @property
    def cube(self) -> MetaCube:
        """The results."""
        return MetaCube(self.folder)


@dataclass(frozen=True)
class MetaJob:
    """A meta file, read and checked."""

    spec: MetaFile
    base: Place
    document: YamlDocument | None = None

    @classmethod
    def from_yaml(cls, path: str | Place) -> MetaJob:
        """Read a meta file. Its paths are relative to its folder.

        Raises
        ------
        JobError
            It is none; the message names line, key, and what to do.
        """
        place = place_of(path)
        document = read_yaml(place)
        return cls(validate(MetaFile, document.data, document, subject=SUBJECT, fix=FIX), place.parent, document)

    @classmethod
    def from_dict(cls, keys: Mapping[str, Any], *, base: str | Place = ".") -> MetaJob:
        """The same from a mapping with the keys of a meta file."""
        return cls(validate(MetaFile, dict(keys), None, subject=SUBJECT, fix=FIX), place_of(base))

    def resolve(self, path: str) -> Place:
        """A path or URL of the file; a path is relative to its folder."""
        if is_url(path):
            return place_of(path)
        given = Path(path).expanduser()
        return one_match(given if given.is_absolute() or not isinstance(self.base, Path) else self.base / given)

    def locate(self, *keys: str | int) -> str:
        """Where a key stands, for messages."""
        return locate(keys, self.document)

    @property
    def output(self) -> Path:
        """Folder of the results."""
        return local_path(self.resolve(self.spec.output), "a meta-analysis is made on a disk; copy it from there")

    def studies(self) -> tuple[Study, ...]:
        """What to read.

        Raises
        ------
        JobError
            A file that is named is not there.
        """
        return tuple(self._study(number, section) for number, section in enumerate(self.spec.studies))

    def _study(self, number: int, section: StudySection) -> Study:
        key = "file" if section.run is None else "run"
        given = [section.run] if section.run is not None else section.file
        paths = given if isinstance(given, list) else [given]
        files = []
        for path in paths:
            assert path is not None
            place = self.resolve(path)
            if not place.exists():
                raise JobError(
                    f"there is no {'scan' if section.run else 'table'} {path!r}",
                    where=self.locate("studies", number, key),
                    fix="check the path; it is relative to the meta file",
                )
            if section.run is not None:
                open_complete_run(place)
            files.append(str(place))
        facts = StudyFacts(section.n, section.cases, section.controls, section.min_info, section.standard_errors)
        return Study(
            name=section.name,
            files=tuple(files),
            format=section.format,
            columns=section.columns,
            facts=facts,
            build=section.build,
            trait=section.trait,
            stratum=section.stratum,
            check_p=section.check_p,
        )

    def sets(self) -> tuple[StudySet, ...]:
        """All studies, and further sets."""
        names = [study.name for study in self.spec.studies]
        further = (StudySet(key, tuple(names.index(one) for one in some)) for key, some in self.spec.sets.items())
        return (StudySet(ALL, tuple(range(len(names)))), *further)

    def run(self, *, update: bool = False, on_progress: Callable[[str, int, int], None] | None = None) -> MetaRun:
        """Read, align and combine the studies; a meta-analysis that was stopped goes on where it was.

        Parameters
        ----------
        update
            Replace results of other studies or settings that stand in the output folder.
        on_progress
            Told of a stage, of tasks done, and of all.

        Raises
        ------
        InputError
            A study is refused, or they do not fit each other.
        JobChangedError
            The folder holds results of another meta-analysis, and ``update`` is not set.
        OutputError
            The output cannot be written.
        """
        session, output, studies = Session(), self.output, self.studies()
        before = read_state(output)
        science = self.spec.science()
        if before is not None and before["science"] != science and not update:
            changed = sorted(key for key in science if before["science"].get(key) != science[key])
            raise JobChangedError(
                f"{output} holds another meta-analysis; these keys differ: {', '.join(changed)}",
                where=self.locate(),
                fix="put them back, name a new folder under `output`, or give `--update` to replace the results",
            )
        with ExitStack() as closing:
            _make_folder(output, before)
            closing.enter_context(RunFolder(output).locked())
            state = {
                "format": STATE_FORMAT,
                "science": science,
                "files": [asked_of(study)["files"] for study in studies],
            }
            if before is not None and before.get("state") == COMPLETE and before | state == before:
                return self._finish_again(before)
            executor = EmbeddedExecutor(self.spec.runtime.workers or available_cpus(), "threads")
            scratch = self.spec.runtime.scratch
            work = output / WORK if scratch is None else local_path(self.resolve(scratch), "scratch is on a disk")
            with writing(work):
                work.mkdir(parents=True, exist_ok=True)
                options = AlignOptions(self.spec.palindromes, self.spec.palindrome_window, self.spec.check_overlap)
                aligned, accounts = align(studies, self.spec.trait, work, executor, options, on_progress)
            inflation = self._inflation(accounts)
            with writing(output):
                for stale in (PROVENANCE, REPORT):
                    (output / stale).unlink(missing_ok=True)
                write_state(output, {**state, "state": "running"})

            def tell(done: int, total: int) -> None:
                if on_progress is not None:
                    on_progress("combining", done, total)

            summary = run_meta(aligned, self.sets(), meta_spec(self.spec), executor, output, tell, inflation=inflation)
            document = {
                "format": PROVENANCE_FORMAT,
                "format_version": FORMAT_VERSION,
                "name": self.spec.name,
                "meta": self.spec.model_dump(mode="json"),
                "command": command_words(),
                "software": software_versions(),
                "inputs": [
                    {"role": f"study {account.name}", "path": path, "sha256": sha, "bytes": _size(path)}
                    for account in accounts
                    for path, sha in account.sha256.items()
                ],
                "studies": [account_json(account) for account in accounts],
                "reference_build": aligned.reference_build,
                "results": {
                    "variants": summary.n_variants,
                    "tests": summary.n_tests,
                    "hits": summary.n_hits,
                    "sets": {name: list(members) for name, members in summary.sets.items()},
                    "statuses": summary.statuses,
                    "axes": summary.axes,
                    "inflation": summary.inflation,
                },
                "warnings": warnings_of(accounts),
                "run": session.to_json(workers=executor.workers, tasks_resumed=summary.tasks_resumed),
            }
            with writing(output):
                write_atomically(output / PROVENANCE, json.dumps(document, indent=1, ensure_ascii=False).encode())
                results = {"variants": summary.n_variants, "tests": summary.n_tests, "hits": summary.n_hits}
                write_state(output, {**state, "state": COMPLETE, "results": results})
            self._write_report()
        return MetaRun(output, tuple(accounts), summary.n_variants, summary.n_tests, summary.n_hits)

    def _inflation(self, accounts: list[StudyAccount]) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """λ of each study: what the file gives, else its own where genomic control is asked for; None: all are 1."""
        given = [section.inflation for section in self.spec.studies]
        if not self.spec.genomic_control and not any(given):
            return None
        own = [account.inflation if self.spec.genomic_control else None for account in accounts]
        found = [mine if mine is not None else other or 1.0 for mine, other in zip(given, own, strict=True)]
        return np.array(found)[:, None]

    def _finish_again(self, state: dict[str, Any]) -> MetaRun:
        """The results are there; the report follows its settings, which may have changed."""
        self._write_report()
        results = state["results"]
        accounts = [StudyAccount(**told) for told in json.loads((self.output / PROVENANCE).read_bytes())["studies"]]
        return MetaRun(
            self.output, tuple(accounts), results["variants"], results["tests"], results["hits"], already=True
        )

    def _write_report(self) -> None:
        from allscan.jobs.meta.report import write_meta_report

        write_meta_report(self.output, self.spec.report)

    def remove_work(self) -> None:
        """Remove what was kept between stages: the next run reads the studies again."""
        shutil.rmtree(self.output / WORK, ignore_errors=True)


def meta_spec(section: MetaSection, *, genomic_control: bool = False) -> MetaSpec:
    """Methods and thresholds for the engine."""
    return MetaSpec(
        methods=tuple(section.methods),
        min_studies=section.min_studies,
        min_n=section.thresholds.min_n,
        min_mac=section.thresholds.min_mac,
        min_maf=section.thresholds.min_maf,
        genomic_control=genomic_control,
        axes=section.axes,
        hits_neg_log10_p=float(-np.log10(section.hits_p)),
    )


DISAGREES = 0.02
"""Share of p values that are not those of effect and error, above which it is said."""


def warnings_of(accounts: list[StudyAccount]) -> list[str]:
    """What a reader of the results should know of the studies."""
    found = []
    for account in accounts:
        if account.p_disagrees is not None and account.p_disagrees > DISAGREES:
            found.append(
                f"{account.name}: {100 * account.p_disagrees:.0f} % of its p values are not those of effect and error "
                "(as of Firth's or saddlepoint tests). Effects are weighed by the errors as given; "
                "`standard_errors: p` takes them from p."
            )
        if not account.same_strand:
            found.append(
                f"{account.name}: more than 1 % of its variants stand on the other strand of the other studies."
            )
        if account.most_n is None:
            found.append(f"{account.name}: its number of people is not told, so it does not count by sample size.")
        if account.frequency_correlation is None and account.variants > account.alone:
            found.append(f"{account.name}: its allele frequencies are not told, and could not be compared.")
    return found


def _make_folder(folder: Path, before: dict[str, Any] | None) -> None:
    """Make the folder; refuse one that holds other things."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        own = {RunFolder(folder).lock.name, WORK}
        strangers = sorted(one.name for one in folder.iterdir() if one.name not in own and not one.name.startswith("."))
    if before is None and strangers:
        raise OutputError(
            f"the output folder holds other files ({', '.join(strangers[:3])}) and no meta-analysis",
            where=str(folder),
            fix="name a new folder under `output`",
        )


def _size(path: str) -> int:
    place = place_of(path)
    return place.stat().st_size if isinstance(place, Path) and place.is_file() else 0

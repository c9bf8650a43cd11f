"""Predictions of REGENIE's step 1: lists of files (``_pred.list``) and their predictions (``.loco``), read and written.

A list has a line for each trait: its name and a file. A file has a header, ``FID_IID`` and the people, and 23 rows, of
chromosomes 1 to 22 and X: the number, and the prediction of each person without this chromosome. The unit is the
standard deviation of the trait after the covariates (of a binary trait: log odds). Where X has no markers, its row is
the prediction of all markers; it is taken for those, too, for chromosomes that REGENIE does not know.
"""

from __future__ import annotations

import gzip
import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

import numpy as np
import pyarrow as pa

from allscan.engine.null_model_files import FAMILIES_TOGETHER, TraitModel
from allscan.engine.offsets import ALL, OK
from allscan.errors import FileFormatError, InputError
from allscan.storage import ObjectPlace, open_stream, place_of, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.null_model_files import NullModelFiles
    from allscan.storage import Place

CHROMOSOMES = (*map(str, range(1, 23)), "X")
HEADER = "FID_IID"
LONGEST_LINE = 1 << 28
"""Bytes: twenty million people."""
LONGEST_LIST = 1 << 24


@dataclass(frozen=True)
class _LocoFile:
    """One file of predictions: where its rows begin, and whom they are of."""

    place: Place
    starts: tuple[int, ...]  # bytes before each row, of the text
    labels: tuple[str, ...]  # FID_IID of each person; the same object where files have the same people
    known: NDArray[np.bool_]  # (people,) none of the predictions is missing
    digest: str


class RegeniePredictions:
    """What a ``_pred.list`` names, every file checked (see :class:`allscan.engine.offsets.Predictions`).

    Parameters
    ----------
    place
        The list. Its files are looked for as they are written, relative to its folder, and beside it by name, each
        also with ``.gz`` added.

    Raises
    ------
    InputError
        If a file is absent, or not what REGENIE writes.
    """

    standardised = True
    chromosomes = CHROMOSOMES
    method = "REGENIE step 1"

    def __init__(self, place: Place) -> None:
        self.where = str(place)
        self._files: list[_LocoFile] = []
        traits: list[TraitModel] = []
        for number, (name, spelled) in enumerate(_list_lines(place), 1):
            if name in {model.name for model in traits}:
                raise FileFormatError(
                    f"the trait {name!r} is listed twice",
                    where=f"{place}, line {number}",
                    fix="remove one of the lines",
                )
            before = self._files[-1].labels if self._files else ()
            file = _scan_file(_find(place, spelled, number), before)
            self._files.append(file)
            traits.append(TraitModel(name, int(file.known.sum())))
        self.traits = tuple(traits)
        self.matched = ""  # how people were found; known once rows_of has been asked
        self._last: tuple[NDArray[np.object_], tuple[str, ...], NDArray[np.int64]] | None = None

    def __repr__(self) -> str:
        return f"RegeniePredictions({self.where!r}: {len(self.traits)} traits)"

    def rows_of(self, trait: int, ids: NDArray[np.object_]) -> NDArray[np.int64]:
        """Which people of a file these are, by FID_IID or by IID alone, -1 for none.

        Raises
        ------
        InputError
            If several people of the file have one IID, or a label can be read in two ways.
        """
        labels = self._files[trait].labels
        if self._last is None or self._last[0] is not ids or self._last[1] is not labels:
            rows, self.matched = _match(labels, ids, self._files[trait].place)
            self._last = ids, labels, rows
        return self._last[2]

    def has_prediction(self, trait: int) -> NDArray[np.bool_]:
        """Which people of the file have predictions."""
        return self._files[trait].known

    def read(self, trait: int, chromosome: str) -> NDArray[np.float64]:
        """Predictions of a trait without a chromosome, (people,); NaN where there is none.

        Raises
        ------
        FileFormatError
            If the file has changed since it was checked.
        """
        file = self._files[trait]
        number = CHROMOSOMES.index("X" if chromosome == ALL else chromosome)
        with _opened(file.place) as stream:
            stream.seek(file.starts[number])
            return _row(_line(stream, file.place), number, len(file.labels), file.place)

    def digest(self, trait: int) -> str:
        """Hash of the text of a trait's file, uncompressed."""
        return self._files[trait].digest

    def content_digest(self) -> str:
        """Hash (SHA-256) of the names of the traits and of the texts of their files."""
        lines = [f"{model.name} {file.digest}\n" for model, file in zip(self.traits, self._files, strict=True)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def _list_lines(place: Place) -> Iterator[tuple[str, str]]:
    with open_stream(place) as stream:
        content = stream.read(LONGEST_LIST)
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise FileFormatError("this is not a list of REGENIE's predictions", where=str(place)) from error
    found = False
    for number, line in enumerate(lines, 1):
        words = line.split()
        if len(words) != 2:
            raise FileFormatError(
                f"a line has {len(words)} words; those of REGENIE's lists have two, a trait and a file",
                where=f"{place}, line {number}",
                fix="name the _pred.list that `regenie --step 1` wrote",
            )
        found = True
        yield words[0], words[1]
    if not found:
        raise FileFormatError(
            "the list of predictions is empty", where=str(place), fix="name the _pred.list of `regenie --step 1`"
        )


def _find(place: Place, spelled: str, number: int) -> Place:
    """The file that a list names: REGENIE writes paths relative to the folder that it was started in."""
    named = place_of(spelled)
    as_written = named if isinstance(named, ObjectPlace) else place.parent / spelled
    for candidate in (as_written, place.parent / named.name):
        for file in (candidate, candidate.with_name(candidate.name + ".gz")):
            if file.is_file():
                return file
    raise InputError(
        f"there is no file {spelled!r}",
        where=f"{place}, line {number}",
        fix=f"put {named.name} (or {named.name}.gz) beside the list",
    )


@contextmanager
def _opened(place: Place) -> Iterator[IO[bytes]]:
    with open_stream(place) as stream:
        if place.name.endswith(".gz"):
            with gzip.GzipFile(fileobj=stream) as text:
                yield cast("IO[bytes]", text)
        else:
            yield stream


def _line(stream: IO[bytes], place: Place) -> bytes:
    try:
        line = stream.readline(LONGEST_LINE)
    except (OSError, EOFError) as error:
        raise _not_regenie(place, f"it cannot be read ({error})") from error
    if len(line) == LONGEST_LINE:
        raise _not_regenie(place, f"a line is longer than {LONGEST_LINE:,} bytes")
    return line


def _scan_file(place: Place, before: tuple[str, ...]) -> _LocoFile:
    """Read a file once, from start to end."""
    digest = hashlib.sha256()
    starts = []
    with _opened(place) as stream:
        line = _line(stream, place)
        digest.update(line)
        at = len(line)
        try:
            words = line.decode().split()
        except UnicodeDecodeError as error:
            raise _not_regenie(place, "its header is not text") from error
        if words[:1] != [HEADER]:
            raise _not_regenie(place, f"its first word is not {HEADER}")
        labels = tuple(words[1:])
        if len(set(labels)) < len(labels):
            raise _not_regenie(place, "its header names people twice")
        known = np.ones(len(labels), np.bool_)
        for number in range(len(CHROMOSOMES)):
            starts.append(at)
            line = _line(stream, place)
            digest.update(line)
            at += len(line)
            known &= np.isfinite(_row(line, number, len(labels), place))
        if _line(stream, place).strip():
            raise _not_regenie(place, f"it has more than {len(CHROMOSOMES)} rows")
    return _LocoFile(place, tuple(starts), before if labels == before else labels, known, digest.hexdigest())


def _row(line: bytes, number: int, n_people: int, place: Place) -> NDArray[np.float64]:
    """Predictions of one row; NaN for REGENIE's NA."""
    words = line.split()
    expected = str(number + 1)
    chromosome = words[0].decode(errors="replace") if words else "nothing"
    if chromosome.removeprefix("chr") not in (expected, CHROMOSOMES[number]):
        raise _not_regenie(place, f"row {expected} begins with {chromosome[:20]!r}, not with the chromosome {expected}")
    if len(words) != n_people + 1:
        raise _not_regenie(place, f"row {expected} has {len(words) - 1:,} predictions for {n_people:,} people")
    numbers = words[1:]
    if b"NA" in numbers:
        numbers = [b"nan" if word == b"NA" else word for word in numbers]
    try:
        values = np.array(numbers, "S").astype(np.float64)
    except ValueError:
        raise _not_regenie(place, f"row {expected} holds something that is no number") from None
    if np.isinf(values).any():
        raise _not_regenie(place, f"row {expected} holds an infinite prediction")
    return values


def _not_regenie(place: Place, why: str) -> FileFormatError:
    return FileFormatError(
        f"these are not predictions of REGENIE's step 1: {why}",
        where=str(place),
        fix="run `regenie --step 1` again, or name the list that it wrote",
    )


def _match(labels: tuple[str, ...], ids: NDArray[np.object_], place: Place) -> tuple[NDArray[np.int64], str]:
    """Rows of people in a file, and in words what was compared: whole labels, or what follows an underscore in them."""
    row_of = {person: k for k, person in enumerate(ids)}
    whole = np.full(len(ids), -1, np.int64)
    alone = np.full(len(ids), -1, np.int64)
    twice = ambiguous = 0
    for k, label in enumerate(labels):
        if label in row_of:
            whole[row_of[label]] = k
        suffixes = [label[cut + 1 :] for cut, letter in enumerate(label) if letter == "_"]
        found = [row_of[suffix] for suffix in suffixes if suffix in row_of]
        ambiguous += len(found) > 1
        for row in found[:1]:
            twice += alone[row] >= 0
            alone[row] = k
    if (whole >= 0).sum() >= (alone >= 0).sum():
        return whole, "FID_IID"
    if twice or ambiguous:
        problem = "belongs to several people of the file" if twice else "can be read in two ways in its FID_IID"
        raise InputError(
            f"people are found in REGENIE's predictions by IID, and the IID of {twice or ambiguous:,} {problem}",
            where=str(place),
            fix="ids of the genotype store must be FID_IID here, as in the file's header",
        )
    return alone, "IID"


FAMILY_IDS: dict[str, Callable[[str], str]] = {
    "iid": lambda person: f"{person}_{person}",
    "0": lambda person: f"0_{person}",
    "included": lambda person: person,
}
"""How labels FID_IID are made of ids: the family is called as the person, or 0, or is in the id already."""


def write_regenie_predictions(model: NullModelFiles, prefix: Path, family_ids: str = "iid") -> list[Path]:
    """Write ``PREFIX_pred.list`` and ``PREFIX_N.loco`` of the traits that have predictions; the list comes last.

    Parameters
    ----------
    model
        A null model of human chromosomes.
    prefix
        A path, to which the ends of the names are added.
    family_ids
        One of ``FAMILY_IDS``.

    Returns
    -------
    The files.

    Raises
    ------
    InputError
        If the model has chromosomes that REGENIE has no rows for, or names that would break its rows.
    OSError
        If a file cannot be written.
    """
    from allscan.engine.chromosomes import holding_chromosome

    if model.settings.get(FAMILIES_TOGETHER):
        raise InputError(
            "the null model was fitted with relatives in one fold, and REGENIE's step 2 would take them as independent",
            where=model.where,
            fix="fit one without `relatedness` for REGENIE",
        )
    strange = [name for name in model.chromosomes if holding_chromosome(name, CHROMOSOMES) is None]
    if strange:
        raise InputError(
            f"REGENIE has no rows for the chromosomes {', '.join(strange[:5])}",
            where=model.where,
            fix="its files are for human chromosomes 1 to 22 and X",
        )
    fitted = [of_trait for of_trait in model.traits if of_trait.status == OK]
    names = [of_trait.name for of_trait in fitted]
    if any(len(name.split()) != 1 for name in [*names, *model.sample_ids]):
        raise InputError(
            "the name of a trait or the id of a person has a space, which ends a name in REGENIE's files",
            where=model.where,
        )
    without_unit = [of_trait.name for of_trait in fitted if of_trait.kind != "binary" and not of_trait.residual_sd]
    if without_unit:
        raise InputError(
            "REGENIE's unit is the standard deviation after the covariates, and the null model does not say that of "
            f"{', '.join(without_unit[:5])}",
            where=model.where,
        )
    label = FAMILY_IDS[family_ids]
    files, lines = [], []
    for trait, of_trait in enumerate(model.traits):
        if of_trait.status != OK:
            continue
        unit = 1.0 if of_trait.kind == "binary" or of_trait.residual_sd is None else of_trait.residual_sd
        known = np.flatnonzero(model.has_prediction(trait))
        # A person who is not in the file is left out by REGENIE; one with NA stops it.
        rows = [" ".join([HEADER, *(label(model.sample_ids[k]) for k in known)])]
        for number, name in enumerate(CHROMOSOMES, 1):
            held = holding_chromosome(name, model.chromosomes)
            values = model.read(trait, ALL if held is None else model.chromosomes[held])[known] / np.float64(unit)
            texts = pa.array(values.astype(np.float32)).cast(pa.string()).to_pylist()
            rows.append(" ".join([str(number), *texts]))
        files.append(prefix.with_name(f"{prefix.name}_{trait + 1}.loco"))
        write_atomically(files[-1], ("\n".join(rows) + "\n").encode())
        lines.append(f"{of_trait.name} {files[-1].resolve()}\n")
    files.append(prefix.with_name(f"{prefix.name}_pred.list"))
    write_atomically(files[-1], "".join(lines).encode())
    return files

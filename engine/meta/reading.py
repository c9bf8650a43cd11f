"""Reading a study: its tables, a block at a time, into one file of rows for each region of the genome."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from allscan.engine.hashing import content_hash
from allscan.engine.meta.formats import ALLSCAN, TEXTS, Layout, lay_out
from allscan.engine.meta.rows import Fit, Parsed, RawRows, RowParser, StudyFacts, refuse_no_rows
from allscan.engine.meta.table_text import BLOCK_BYTES, delimiter_of, first_line, open_text
from allscan.errors import FileFormatError, InputError
from allscan.kernels.alleles import REGION_BITS
from allscan.storage import first_bytes, open_stream, place_of, remove_tree, size_of, write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from allscan.engine.results import ResultsCube
    from allscan.storage import Place

BLOCK_ROWS = 1 << 16
NULLS = ("", "NA", "NaN", "nan", "na", "-nan", ".", "#NA", "N/A", "NULL", "null", "None", "-")
DONE = "read.json"
VERSION = 1


@dataclass(frozen=True)
class Study:
    """A study, and where its results stand."""

    name: str
    files: tuple[str, ...]
    """Tables; several are one after another, such as one per chromosome. Of a scan, its folder."""
    format: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    facts: StudyFacts = field(default_factory=StudyFacts)
    build: str | None = None
    trait: str | None = None
    """Of a scan."""
    stratum: str = "all"
    """Of a scan."""
    check_p: bool = True
    """Whether a table whose p values are not those of its effects is refused."""


@dataclass
class StudyRead:
    """What became of a study's rows when they were read."""

    digest: str
    """Of the files' content and of how they were read."""
    sha256: dict[str, str]
    format: str
    columns: dict[str, str]
    total: int
    kept: int
    left_out: dict[str, int]
    noted: dict[str, int]
    regions: dict[str, int]
    """Region: rows."""
    contigs: list[str]
    build: str | None
    """As the tables tell it."""
    binary: bool
    fit: Fit

    def to_json(self) -> str:
        """As it is kept beside the rows."""
        return json.dumps(asdict(self))

    @classmethod
    def of_json(cls, text: bytes) -> StudyRead:
        """Of what :meth:`to_json` made."""
        document = json.loads(text)
        return cls(**{**document, "fit": Fit(**document["fit"])})


def read_study(study: Study, folder: Path, on_rows: Callable[[int], None] | None = None) -> StudyRead:
    """Read a study into a folder of its own, unless it is there and of the same files.

    Parameters
    ----------
    study
        What to read.
    folder
        For its rows.
    on_rows
        Told of rows as they are read.

    Raises
    ------
    InputError
        A table is not what it should be; the message names it and says what to do.
    """
    asked = asked_of(study)
    before = _before(folder, asked)
    if before is not None:
        return before
    remove_tree(folder)
    folder.mkdir(parents=True)
    left_out: Counter[str] = Counter()
    noted: Counter[str] = Counter()
    regions: Counter[str] = Counter()
    source = _Source(study, left_out, noted)
    kept = 0
    for parsed in source.blocks():
        _append(folder, parsed, source.contigs, regions)
        kept += len(parsed.rows)
        if on_rows is not None:
            on_rows(source.total)
    where = ", ".join(study.files)
    refuse_no_rows(source.total, kept, left_out, where)
    if study.check_p:
        source.fit.refuse(where)
    read = StudyRead(
        digest=content_hash(
            json.dumps({key: value for key, value in asked.items() if key != "files"}),
            *(source.sha256[file] for file in study.files),
        ),
        sha256=source.sha256,
        format=source.layout.format.name,
        columns=dict(source.layout.columns),
        total=source.total,
        kept=kept,
        left_out=dict(left_out),
        noted=dict(noted),
        regions=dict(sorted(regions.items())),
        contigs=source.contigs,
        build=source.build,
        binary=source.binary,
        fit=source.fit,
    )
    write_atomically(folder / DONE, json.dumps({"asked": asked, "read": json.loads(read.to_json())}).encode())
    return read


def asked_of(study: Study) -> dict[str, Any]:
    """What decides how a study is read: names, sizes and times of its files, and what is said of them."""
    document = asdict(study)
    document["files"] = [_stamp(file) for file in study.files]
    document["version"] = VERSION
    return {key: value for key, value in document.items() if key not in ("name", "build")}


def _stamp(file: str) -> list[Any]:
    place = place_of(file)
    if place.is_dir():
        return [file, json.loads((place / "results.zarr" / "zarr.json").read_bytes())["attributes"]["digest"]]
    when = place.stat().st_mtime_ns if isinstance(place, Path) else 0
    return [file, size_of(place), when]


def _before(folder: Path, asked: dict[str, Any]) -> StudyRead | None:
    try:
        document = json.loads((folder / DONE).read_bytes())
    except (OSError, ValueError):
        return None
    if document["asked"] != json.loads(json.dumps(asked)):
        return None
    return StudyRead.of_json(json.dumps(document["read"]).encode())


def _append(folder: Path, parsed: Parsed, contigs: list[str], regions: Counter[str]) -> None:
    """Append rows to the files of their regions, in their order."""
    region = parsed.contig.astype(np.int64) << 32 | parsed.position >> REGION_BITS
    size = parsed.rows["other_size"].astype(np.int64) + parsed.rows["effect_size"]
    ends = np.cumsum(size)
    for code in np.unique(region).tolist():
        here = region == code
        name = f"{contigs[code >> 32]}.{code & 0xFFFFFFFF}"
        place = folder / file_name(name)
        with place.with_suffix(".rows").open("ab") as file:
            file.write(parsed.rows[here].tobytes())
        letters = parsed.letters
        if not here.all():
            letters = letters[np.repeat(here, size)]
        if len(letters):
            with place.with_suffix(".letters").open("ab") as file:
                file.write(letters.tobytes())
        regions[name] += int(np.count_nonzero(here))
    assert len(parsed.letters) == (int(ends[-1]) if len(ends) else 0)


def file_name(region: str) -> str:
    """A region's file, whatever its contig is called; the suffix goes after it."""
    return re.sub(r"[^A-Za-z0-9]", lambda match: f"_{ord(match[0]):x}_", region) + ".part"


class RegionRows(NamedTuple):
    """Rows of a study in one region."""

    rows: NDArray[Any]  # of type ROW
    letters: NDArray[np.uint8]


def read_region(folder: Path, region: str) -> RegionRows:
    """Rows of a region, as :func:`read_study` wrote them; none where there is no file."""
    from allscan.engine.meta.rows import ROW

    place = folder / file_name(region)
    rows, letters = place.with_suffix(".rows"), place.with_suffix(".letters")
    return RegionRows(
        np.fromfile(rows, ROW) if rows.exists() else np.empty(0, ROW),
        np.fromfile(letters, np.uint8) if letters.exists() else np.empty(0, np.uint8),
    )


class _Source:
    """Blocks of a study, whatever its files are."""

    def __init__(self, study: Study, left_out: Counter[str], noted: Counter[str]) -> None:
        self.study = study
        self.sha256: dict[str, str] = {}
        self.build: str | None = None
        self.binary = study.facts.cases is not None
        self.layout = Layout(ALLSCAN, {})
        self._parser: RowParser | None = None
        self._left_out, self._noted = left_out, noted

    @property
    def total(self) -> int:
        return self._parser.total if self._parser else 0

    @property
    def contigs(self) -> list[str]:
        return self._parser.contigs if self._parser else []

    @property
    def fit(self) -> Fit:
        return self._parser.fit if self._parser else Fit()

    def blocks(self) -> Iterator[Parsed]:
        for file in self.study.files:
            place = place_of(file)
            for raw in self._of_run(file) if place.is_dir() else self._of_table(file, place):
                assert self._parser is not None
                yield self._parser.parse(raw)

    def _know(self, layout: Layout) -> None:
        """Go on with a file of this layout."""
        self.layout = layout
        self.binary |= bool({"cases", "controls", "odds_ratio"} & layout.columns.keys())
        if self._parser is None:
            self._parser = RowParser(layout, self.study.facts, self._left_out, self._noted)
        self._parser.layout = layout

    def _of_table(self, file: str, place: Place) -> Iterator[RawRows]:
        digest = hashlib.sha256()
        try:
            blocks = self._parquet(file, place) if _is_parquet(place) else self._text(file, place, digest)
            yield from blocks
        except FileNotFoundError:
            raise InputError("there is no such table", where=file, fix="check the path") from None
        except pa.ArrowInvalid as error:
            raise FileFormatError(
                f"the table cannot be read: {_without_newlines(str(error))}",
                where=file,
                fix="check this row; a file that ends in the middle must be copied again",
            ) from error
        if _is_parquet(place):
            with open_stream(place) as stream:
                digest = hashlib.file_digest(stream, "sha256")
        self.sha256[file] = digest.hexdigest()

    def _text(self, file: str, place: Place, digest: Any) -> Iterator[RawRows]:
        header_line = first_line(place)
        if not header_line.strip():
            raise FileFormatError("the table is empty", where=file, fix="give the file that holds the results")
        delimiter, squeezed = delimiter_of(header_line)
        header = header_line.split() if squeezed else [name.strip('"') for name in header_line.split(delimiter)]
        layout = lay_out(header, file, format_name=self.study.format, columns=self.study.columns)
        self._know(layout)
        self.build = self.build or _build_beside(place)
        with open_text(place, digest, squeezed=squeezed) as stream:
            wanted = sorted(set(layout.columns.values()))
            types = {name: pa.string() if role in TEXTS else pa.float64() for role, name in layout.columns.items()}
            reader = pa.csv.open_csv(
                stream,
                pa.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False, column_names=header, skip_rows=1),
                pa.csv.ParseOptions(delimiter="\t" if squeezed else delimiter, quote_char='"'),
                pa.csv.ConvertOptions(include_columns=wanted, column_types=types, null_values=NULLS),
            )
            for batch in reader:
                yield _raw(layout, batch)

    def _parquet(self, file: str, place: Place) -> Iterator[RawRows]:
        from allscan.storage.parquet import arrow_place

        path, system = arrow_place(place)
        with pq.ParquetFile(path, filesystem=system) as table:
            header = table.schema_arrow.names
            layout = lay_out(header, file, format_name=self.study.format, columns=self.study.columns)
            self._know(layout)
            about = json.loads((table.schema_arrow.metadata or {}).get(b"allscan", b"{}"))
            self.build = self.build or about.get("reference_build")
            for batch in table.iter_batches(BLOCK_ROWS, columns=sorted(set(layout.columns.values()))):
                yield _raw(layout, batch)

    def _of_run(self, file: str) -> Iterator[RawRows]:
        """Rows of one trait and stratum of a scan."""
        from allscan.engine.results import ResultsCube

        cube = ResultsCube(file)
        trait = self.study.trait if self.study.trait is not None or len(cube.traits) > 1 else cube.traits[0]
        for what, name, known in (("trait", trait, cube.traits), ("stratum", self.study.stratum, cube.strata)):
            if name not in known:
                raise InputError(
                    f"the results have no {what} {name!r}" if name else f"the results have {len(known)} {what}s",
                    where=file,
                    fix=f"write `{what}:` and one of {', '.join(known[:20])}",
                )
        assert trait is not None
        self.sha256[file] = str(cube.attrs["digest"])
        self.build = cube.attrs.get("reference_build")
        yield from self._rows_of_cube(cube, trait)

    def _rows_of_cube(self, cube: ResultsCube, trait: str) -> Iterator[RawRows]:
        from allscan.kernels.association import has_result

        kind = next(kind for kind in cube.kinds if trait in kind.traits)
        here, stratum = kind.traits.index(trait), cube.strata.index(self.study.stratum)
        columns = {"beta": "beta", "standard_error": "standard_error", "neg_log10_p": "neg_log10_p", "n": "n"}
        columns["frequency"] = "effect_allele_frequency"
        if any(column.name == "cases" for column in kind.columns):
            columns["cases"] = "cases"
        names = {"chromosome": "contig", "position": "position", "effect_allele": "alt", "other_allele": "ref"}
        self._know(Layout(ALLSCAN, {**names, **columns, "id": "variant_id"}))
        for start in range(0, kind.n_variants, BLOCK_ROWS):
            variants = slice(start, min(start + BLOCK_ROWS, kind.n_variants))
            table = cube.variant_names(variants.start, variants.stop)
            found = has_result(kind.block("status", stratum, slice(here, here + 1), variants)[0])
            numbers = {
                role: np.where(
                    found, kind.block(name, stratum, slice(here, here + 1), variants)[0].astype(np.float64), np.nan
                )
                for role, name in columns.items()
            }
            numbers |= {"position": table.position.astype(np.float64), "info": table.info.astype(np.float64)}
            texts = {"chromosome": table.contig_names, "effect_allele": table.alt, "other_allele": table.ref}
            yield RawRows({**texts, "id": table.variant_id}, numbers)


def _raw(layout: Layout, batch: pa.RecordBatch) -> RawRows:
    """Columns of a batch by their roles; no missing texts, NaN for missing numbers."""
    texts, numbers = {}, {}
    for role, name in layout.columns.items():
        column = batch.column(batch.schema.get_field_index(name))
        if role in TEXTS:
            texts[role] = column.cast(pa.string()).fill_null("")
        else:
            values = column.cast(pa.float64())
            numbers[role] = np.array(values.to_numpy(zero_copy_only=False), np.float64)
    return RawRows(texts, numbers)


def _is_parquet(place: Place) -> bool:
    return first_bytes(place, 4) == b"PAR1"


def _build_beside(place: Place) -> str | None:
    """Reference build in the metadata that stands beside a table of the GWAS Catalog's standard."""
    meta = place.with_name(place.name + "-meta.yaml")
    if not meta.exists():
        return None
    found = re.search(r"^genome_assembly:\s*['\"]?([\w.]+)", meta.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found and found[1] != "unknown" else None


def _without_newlines(text: str) -> str:
    return " ".join(text.split())[:300]

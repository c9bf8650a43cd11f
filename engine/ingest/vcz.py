"""VCF Zarr stores, as bio2zarr and sgkit write them: Zarr format 2 or 3, a folder or a .zip file."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.ingest import alleles
from allscan.engine.ingest.batch import Partition, SourceHeader
from allscan.engine.ingest.contigs import reference_build
from allscan.engine.ingest.records import BatchBuilder, file_size, index_partitions
from allscan.engine.ingest.sample_tables import unique_samples
from allscan.engine.ingest.sites import DECIMALS, SiteReader, choose_fields, fields_note, quiet
from allscan.engine.ingest.tables import OrderCheck, check_positions
from allscan.errors import AllscanError, FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import zarr
    from numpy.typing import NDArray

    from allscan.engine.ingest.batch import ReadCounts, VariantBatch
    from allscan.engine.ingest.sources import DosageField

_ARRAYS = {"GT": "call_genotype", "DS": "call_DS", "HDS": "call_HDS", "GP": "call_GP", "PL": "call_PL"}
_NEEDED = ("variant_contig", "variant_position", "variant_allele", "contig_id", "sample_id")
_WINDOW_BYTES = 128 << 20  # of one FORMAT field, held at once

"""Fill and missing values are those of the VCF Zarr specification 0.4 (github.com/sgkit-dev/vcf-zarr-spec)."""


class VczSource:
    """A VCF Zarr store.

    Parameters
    ----------
    path
        The folder or ``.zip`` file.
    field
        FORMAT field that allele counts come from; ``auto``: of each record the first of DS, HDS and GT
        that is not missing in everybody.
    pass_only
        Leave out sites whose filters are neither ``PASS`` nor none.

    Raises
    ------
    InputError, FileFormatError
        If the store cannot be opened, lacks an array, or holds no samples or variants.
    """

    def __init__(self, path: str | Path, *, field: DosageField = "auto", pass_only: bool = False) -> None:
        self._path = Path(path)
        self._pass_only = pass_only
        with self._open() as group, self._refusing():
            arrays = dict(group.arrays())
            self._check_arrays(arrays, group)
            ids = unique_samples(_strings(arrays["sample_id"][:]), str(self._path))
            self._contigs = tuple(_strings(arrays["contig_id"][:]))
            lengths = (
                tuple(int(length) for length in np.asarray(arrays["contig_length"][:]))
                if "contig_length" in arrays
                else (0,) * len(self._contigs)
            )
            present = [field_name for field_name, name in _ARRAYS.items() if name in arrays]
            self._fields = choose_fields(field, present, self._path)
            self._n_variants = int(arrays["variant_position"].shape[0])
            if self._n_variants == 0:
                raise InputError(
                    f"{self._path.name} holds no variants",
                    where=str(self._path),
                    fix="give a store with at least one variant",
                )
            main = arrays[_ARRAYS[self._fields[0]]]
            self._chunk = int(main.chunks[0])
            notes = fields_note(self._fields)
            # A .zip that was cut off does not open; a folder may lack files.
            absent = main.nchunks - main.nchunks_initialized if self._path.is_dir() else 0
            if absent:
                notes += (
                    f"{absent} of {main.nchunks} chunks of {main.basename} are not in the store and read as its "
                    f"fill value {main.fill_value or 0}: right where a chunk holds nothing else, as Zarr leaves "
                    "such chunks out; wrong if the store was not copied completely",
                )
            self._check_order(arrays)
        self._header = SourceHeader(
            path=str(self._path),
            kind="vcz",
            sample_ids=ids,
            family_ids=None,
            sample_sex=np.zeros(len(ids), dtype=np.int8),
            contigs=self._contigs,
            contig_lengths=lengths,
            n_records=self._n_variants,
            reference_build=reference_build(self._contigs, lengths),
            notes=notes,
        )

    @property
    def header(self) -> SourceHeader:
        """Samples, contigs and notes."""
        return self._header

    def partitions(self, target_variants: int) -> list[Partition]:
        """Ranges of about ``target_variants`` records that begin where chunks do, in file order."""
        return index_partitions(self._n_variants, -(-target_variants // self._chunk) * self._chunk)

    def read(self, partition: Partition, max_variants: int, counts: ReadCounts) -> Iterator[VariantBatch]:
        """Batches of at most ``max_variants`` split variants of one partition, in file order.

        Beside its batch it holds at most 128 MiB of decoded calls, or those of one record.

        Raises
        ------
        FileFormatError
            If a chunk cannot be read, or a contig number has no name.
        """
        builder = BatchBuilder(len(self._header.sample_ids), max_variants)
        info_keys = alleles.INFO_KEYS
        reader = SiteReader(str(self._path), self._fields, info_keys, self._pass_only, counts)
        with self._open() as group:
            arrays = dict(group.arrays())
            main = arrays[_ARRAYS[self._fields[0]]]
            per_record = max(1, int(np.prod(main.shape[1:])) * main.dtype.itemsize)
            window = min(self._chunk, max(1, _WINDOW_BYTES // per_record))
            for start in range(partition.start, partition.stop, window):
                stop = min(start + window, partition.stop)
                with self._refusing(start, stop):
                    records = _Window(arrays, start, stop, self._fields, self._contigs)
                for site in records.sites():
                    for row, values, is_dosage in reader.rows(site):
                        if is_dosage:
                            builder.add_dosages(row, values, DECIMALS)
                        else:
                            builder.add_calls(row, values)
                        if builder.full:
                            yield builder.take()
        if len(builder):
            yield builder.take()

    def _check_arrays(self, arrays: dict[str, zarr.Array[Any]], group: zarr.Group) -> None:
        for name, array in arrays.items():
            # To unpickle is to run what the store's author wrote; not every version of numcodecs refuses.
            if any(getattr(codec, "codec_id", "") == "pickle" for codec in (*array.filters, *array.compressors)):
                raise FileFormatError(
                    f"{name} holds pickled Python objects, which are not read",
                    where=str(self._path),
                    fix="write the store with bio2zarr (vcf2zarr) or sgkit, strings as vlen-utf8",
                )
        if "allscan.genotypes" in str(group.metadata.to_dict()) or "call_dosage" in arrays:
            raise InputError(
                f"{self._path.name} holds call_dosage: it is a genotype store already",
                where=str(self._path),
                fix="give it to a job as it is (genotypes: STORE.zarr)",
            )
        missing = [name for name in _NEEDED if name not in arrays]
        if missing:
            raise FileFormatError(
                f"{self._path.name} is not a VCF Zarr store: it has no array {', '.join(missing)}",
                where=str(self._path),
                fix="give a store that bio2zarr (vcf2zarr) or sgkit wrote",
            )
        n_variants = arrays["variant_position"].shape[0]
        n_samples = arrays["sample_id"].shape[0]
        for name in ("variant_contig", "variant_allele", *_ARRAYS.values()):
            if name not in arrays:
                continue
            expected = (n_variants, n_samples) if name.startswith("call_") else (n_variants,)
            if arrays[name].shape[: len(expected)] != expected:
                raise FileFormatError(
                    f"{name} has shape {arrays[name].shape}, but there are {n_variants} variants of "
                    f"{n_samples} samples",
                    where=str(self._path),
                    fix="the store is damaged or was not finished: create it again",
                )

    def _check_order(self, arrays: dict[str, zarr.Array[Any]]) -> None:
        order = OrderCheck(str(self._path), "create the store from a sorted file: bcftools sort -Oz FILE")
        names = np.array(self._contigs, dtype=object)
        step = 1 << 20
        for start in range(0, self._n_variants, step):
            position = np.asarray(arrays["variant_position"][start : start + step]).astype(np.int64)
            contig = np.asarray(arrays["variant_contig"][start : start + step]).astype(np.int64)
            where = _NumberFrom(start)
            check_positions(position, str(self._path), where)
            unknown = np.flatnonzero((contig < 0) | (contig >= len(names)))
            if unknown.size:
                raise FileFormatError(
                    f"variant_contig holds {int(contig[unknown[0]])}, but contig_id names {len(names)} contigs",
                    where=f"{self._path}, {where(int(unknown[0]))}",
                    fix="the store is damaged: create it again",
                )
            order.check(names[contig], position, where)

    @contextmanager
    def _open(self) -> Iterator[zarr.Group]:
        import zarr
        from zarr.storage import ZipStore

        if self._path.is_dir():
            with self._refusing():
                group = zarr.open_group(self._path, mode="r")
            yield group
            return
        file_size(self._path)
        if not zipfile.is_zipfile(self._path):
            raise FileFormatError(
                f"{self._path.name} is neither a folder nor a complete .zip file",
                where=str(self._path),
                fix="copy or create it again",
            )
        store = ZipStore(self._path, mode="r")
        try:
            with self._refusing():
                group = zarr.open_group(store, mode="r")
            yield group
        finally:
            store.close()

    @contextmanager
    def _refusing(self, start: int | None = None, stop: int | None = None) -> Iterator[None]:
        """Turn what zarr and its codecs raise, which is of many types, into a refusal."""
        try:
            yield
        except AllscanError:
            raise
        except Exception as error:
            place = "" if start is None else f", variants {start + 1} to {stop}"
            raise FileFormatError(
                f"{self._path.name} cannot be read as Zarr: {error or type(error).__name__}",
                where=f"{self._path}{place}",
                fix="the store is damaged or incomplete: copy or create it again",
            ) from error


@dataclass(frozen=True)
class _NumberFrom:
    """Names variants by their number in the file."""

    first: int

    def __call__(self, row: int) -> str:
        return f"variant {self.first + row + 1}"


class _Window:
    """The arrays of a run of records, decoded."""

    def __init__(
        self,
        arrays: dict[str, zarr.Array[Any]],
        start: int,
        stop: int,
        fields: tuple[str, ...],
        contigs: tuple[str, ...],
    ) -> None:
        def read(name: str) -> NDArray[Any] | None:
            return np.asarray(arrays[name][start:stop]) if name in arrays else None

        self.contigs = contigs
        self.n_records = stop - start
        self.contig = np.asarray(arrays["variant_contig"][start:stop]).astype(np.int64)
        self.position = np.asarray(arrays["variant_position"][start:stop]).astype(np.int64)
        self.allele = np.asarray(arrays["variant_allele"][start:stop]).astype(object)
        self.id = read("variant_id")
        self.filter = read("variant_filter")
        self.pass_column = -1
        if "filter_id" in arrays:
            names = _strings(arrays["filter_id"][:])
            self.pass_column = names.index("PASS") if "PASS" in names else -1
        # Beside dosages, calls tell who is haploid.
        wanted = {*fields, "GT"} if "DS" in fields else set(fields)
        self.values = {field: values for field in wanted if (values := read(_ARRAYS[field])) is not None}
        self.filter_text = read("call_FT")
        found = {key: read(f"variant_{key}") for key in alleles.INFO_KEYS}
        self.info = {
            key: quiet(values) for key, values in found.items() if values is not None and values.dtype.kind == "f"
        }

    def sites(self) -> Iterator[_Record]:
        """Its records, in order."""
        return (_Record(self, number) for number in range(self.n_records))


class _Record:
    """A record of a window as a :class:`~allscan.engine.ingest.sites.Site`."""

    def __init__(self, window: _Window, number: int) -> None:
        self._window = window
        self._number = number
        named = [str(allele) for allele in window.allele[number]]
        self.contig = window.contigs[int(window.contig[number])]
        self.position = int(window.position[number])
        self.variant_id = "." if window.id is None else (str(window.id[number]) or ".")
        self.ref = named[0]
        # The row is filled up with empty strings, or dots, to the width of the site with most alleles.
        self.alternates: Sequence[str] = [allele for allele in named[1:] if allele not in ("", ".")]
        self.passed = self._passed()
        self.fields: Collection[str] = self._present()

    def _passed(self) -> bool:
        flags = self._window.filter
        if flags is None:
            return True
        row = flags[self._number]
        return not row.any() or bool(self._window.pass_column >= 0 and row[self._window.pass_column])

    def _present(self) -> set[str]:
        # A VCF record says which fields it has; here, a field that it lacks is missing in everybody.
        values = self._window.values
        present = {
            field for field in values if field == "GT" or len(values) == 1 or not _all_missing(self._values_of(field))
        }
        if self._window.filter_text is not None:
            present.add("FT")
        return present

    def _values_of(self, field: str) -> NDArray[Any]:
        values: NDArray[Any] = self._window.values[field][self._number]
        return values

    def genotypes(self) -> NDArray[np.integer]:
        values = self._values_of("GT")
        return values if values.ndim == 2 else values[:, None]

    def values(self, field: str) -> NDArray[np.floating] | None:
        values = self._values_of(field)
        if values.dtype.kind not in "if":
            return None
        if values.dtype.kind == "i":
            values = np.where(values < 0, np.nan, values)  # -1 missing, -2 fill
        if values.ndim == 1:
            return values[:, None]
        n_alt = len(self.alternates)
        diploid = (n_alt + 1) * (n_alt + 2) // 2
        width = {"DS": n_alt, "HDS": 2}.get(field, diploid)
        return values[:, :width]

    def filters(self) -> NDArray[np.str_]:
        text = self._window.filter_text
        # The strings of Zarr do not become fixed-width ones by themselves.
        return np.asarray([] if text is None else text[self._number].tolist(), dtype=np.str_)

    def quality(self, key: str) -> float | Sequence[float] | None:
        values = self._window.info.get(key)
        if values is None:
            return None
        value = values[self._number]
        if value.ndim:
            return [float(one) for one in value[: len(self.alternates)]]
        return None if np.isnan(value) else float(value)


def _all_missing(values: NDArray[Any]) -> bool:
    return bool(np.all(np.isnan(values) if values.dtype.kind == "f" else values < 0))


def _strings(values: Any) -> list[str]:
    return [str(value) for value in np.asarray(values).tolist()]

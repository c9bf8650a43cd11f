"""One VCF record into biallelic rows: which field counts the alleles, which calls are set missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.engine.ingest import alleles
from allscan.engine.ingest.batch import ReadCounts
from allscan.engine.ingest.calls import SiteCalls, probability_dosage, scaled_dosage, site_calls
from allscan.engine.ingest.records import Row
from allscan.errors import FileFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_BCF_INT_MISSING = -(2**31) + 8  # at or below: missing, end of vector and codes that BCF reserves


@dataclass(frozen=True)
class RecordReader:
    """Reads records as cyvcf2 gives them.

    Parameters
    ----------
    path
        The file, for messages.
    fields
        FORMAT fields that may count the alleles; the first one that a record has does.
    use_filter
        Whether the file declares the genotype filter FT.
    info_keys
        INFO fields that hold an imputation quality; the first one that a record has counts.
    pass_only
        Whether sites that failed a filter are left out.
    counts
        Receives what is left out and set missing.
    """

    path: str
    fields: tuple[str, ...]
    use_filter: bool
    info_keys: tuple[str, ...]
    pass_only: bool
    counts: ReadCounts

    def rows(self, record: Any) -> Iterator[tuple[Row, NDArray[Any], bool]]:
        """Biallelic rows of one record: the variant, its calls or dosages (samples,), and whether dosages.

        Raises
        ------
        FileFormatError
            If a field has another number of values than the alleles of the site call for.
        """
        self.counts.add(alleles.RECORDS)
        if self.pass_only and record.FILTER is not None:
            self.counts.add(alleles.NOT_PASSED)
            return
        alternates = record.ALT
        usable = alleles.usable_alternates(alternates, self.counts)
        if not usable:
            return
        present = record.FORMAT
        field = next((name for name in self.fields if name in present), None)
        if field is None:
            self.counts.add(alleles.NO_FIELD)
            return
        failed = self._failed(record) if self.use_filter and "FT" in present else None
        qualities = self._qualities(record, len(alternates))
        if field == "HDS" and len(alternates) > 1:
            # No standard says in which order the haplotypes and alleles of such a field stand.
            self.counts.add(alleles.MULTIALLELIC_HDS)
            return
        if field == "GT":
            calls = self._calls(record, len(alternates), failed, self.counts)
            for allele in usable:
                row = _row(record, alternates, allele, qualities)._replace(n_haploid=calls.n_haploid)
                yield row, calls.copies(allele), False
            return
        values = self._values(record, field)
        haploid = None
        if field == "DS" and "GT" in present:
            # The calls only tell who is haploid: what is wrong with them does not matter, and is not counted.
            haploid = self._calls(record, len(alternates), None, ReadCounts()).haploid
        for allele in usable:
            dosage, single = self._dosage(record, field, values, len(alternates), allele)
            single = haploid if field == "DS" else single
            settled = scaled_dosage(dosage, single, failed if allele == usable[0] else None, self.counts)
            if failed is not None:
                settled[failed] = np.nan
            n_haploid = 0 if single is None else int((single & ~np.isnan(settled)).sum())
            yield _row(record, alternates, allele, qualities)._replace(n_haploid=n_haploid), settled, True

    def _calls(
        self, record: Any, n_alt: int, failed: NDArray[np.bool_] | None, counts: ReadCounts
    ) -> SiteCalls:
        return site_calls(record.genotype.array()[:, :-1], n_alt, counts, failed)

    def _failed(self, record: Any) -> NDArray[np.bool_]:
        text = np.asarray(record.format("FT"), dtype=str)
        failed: NDArray[np.bool_] = ~np.isin(text, ["PASS", ".", ""])
        return failed

    def _qualities(self, record: Any, n_alt: int) -> list[float]:
        for key in self.info_keys:
            value = record.INFO.get(key)
            if isinstance(value, (int, float)):
                return [float(value)] * n_alt
            if isinstance(value, tuple) and len(value) == n_alt:
                return [float("nan") if v is None else float(v) for v in value]
        return [float("nan")] * n_alt

    def _values(self, record: Any, field: str) -> NDArray[np.float32]:
        values: NDArray[Any] | None = record.format(field)
        if values is None or values.dtype.kind not in "if":
            raise FileFormatError(
                f"FORMAT field {field} holds no numbers",
                where=f"{self.path}, record {record.CHROM}:{record.POS}",
                fix=f"declare it in the header: ##FORMAT=<ID={field},Type=Float,...> (bcftools annotate -h)",
            )
        if values.dtype.kind == "i":
            missing = values <= _BCF_INT_MISSING
            values = values.astype(np.float32)
            values[missing] = np.nan
        if field == "PL":
            likelihoods = 10.0 ** (-values.astype(np.float64) / 10)
            with np.errstate(invalid="ignore"):
                # Equal likelihoods say nothing of the genotype: no reads.
                silent = np.nanmin(np.where(np.isnan(values), np.inf, values), axis=1) == np.nanmax(
                    np.where(np.isnan(values), -np.inf, values), axis=1
                )
            likelihoods[silent] = np.nan
            return likelihoods.astype(np.float32)
        return values.astype(np.float32, copy=False)

    def _dosage(
        self,
        record: Any,
        field: str,
        values: NDArray[np.float32],
        n_alt: int,
        allele: int,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Expected copies per ploidy of one allele, and who is haploid (None: nobody)."""
        width = values.shape[1]
        if field == "DS":
            if width == n_alt:
                return values[:, allele - 1], None
        elif field == "HDS":
            if width == 1:
                return values[:, 0], np.ones(len(values), dtype=bool)
            if width == 2:
                haploid = np.isnan(values[:, 1]) & ~np.isnan(values[:, 0])
                return np.where(haploid, values[:, 0], values[:, 0] + values[:, 1]), haploid
        elif width in ((n_alt + 1) * (n_alt + 2) // 2, n_alt + 1):
            if field == "GP":
                with np.errstate(invalid="ignore"):
                    wrong = np.any((values < 0) | (values > 1.001), axis=1)
                if wrong.any():
                    self.counts.add(alleles.BAD_DOSAGE, int(wrong.sum()))
                    values = np.where(wrong[:, None], np.float32(np.nan), values)
            return probability_dosage(values, n_alt + 1, allele)
        raise FileFormatError(
            f"FORMAT field {field} holds {width} values per sample at a site with {n_alt} alternate alleles",
            where=f"{self.path}, record {record.CHROM}:{record.POS}",
            fix=f"correct Number in the header's line of {field}, or use another field (GT)",
        )


def _row(record: Any, alternates: list[str], allele: int, qualities: list[float]) -> Row:
    return Row(
        record.CHROM,
        record.POS,
        record.ID or ".",
        record.REF,
        alternates[allele - 1],
        qualities[allele - 1],
        len(alternates),
    )

"""One site of a VCF file or VCF Zarr store into biallelic rows, and which field counts the alleles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from allscan.engine.ingest import alleles
from allscan.engine.ingest.batch import ReadCounts
from allscan.engine.ingest.calls import probability_dosage, scaled_dosage, site_calls
from allscan.engine.ingest.records import Row
from allscan.errors import FileFormatError, InputError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.ingest.sources import DosageField

DECIMALS = 1e-3
"""Resolution of the dosages that imputation programs write."""

_AUTO_ORDER = ("DS", "HDS", "GT")


class Site(Protocol):
    """A site as a format's reader presents it; what costs time is fetched on demand."""

    contig: str
    position: int
    variant_id: str
    ref: str
    alternates: Sequence[str]
    passed: bool  # FILTER is PASS or missing
    fields: Collection[str]  # FORMAT fields that this site has

    def genotypes(self) -> NDArray[np.integer]:
        """(samples, ploidy) allele numbers, -1 missing, -2 where a sample has fewer alleles."""
        ...

    def values(self, field: str) -> NDArray[np.floating] | None:
        """(samples, values) of a FORMAT field, NaN missing; None if it holds no numbers."""
        ...

    def filters(self) -> NDArray[np.str_]:
        """(samples,) of the FORMAT field FT."""
        ...

    def quality(self, key: str) -> float | Sequence[float] | None:
        """Value of an INFO field: one for the site, or one per alternate allele; None if absent."""
        ...


def quiet(values: NDArray[np.floating]) -> NDArray[np.floating]:
    """The same numbers with ordinary NaN: the NaN of VCF are signalling ones, which warn when computed with."""
    return np.where(np.isnan(values), values.dtype.type(np.nan), values)


def choose_fields(field: DosageField, declared: Collection[str], path: Path) -> tuple[str, ...]:
    """Fields that may count the alleles: of each site, the first one that it has does.

    Raises
    ------
    InputError
        If the file does not declare the field, or, for ``auto``, none of DS, HDS and GT.
    """
    if field == "auto":
        fields = tuple(name for name in _AUTO_ORDER if name in declared)
        if not fields:
            raise InputError(
                f"{path.name} declares none of the FORMAT fields DS, HDS and GT",
                where=str(path),
                fix="choose the field that holds the genotypes (GP or PL), or give a file with genotypes",
            )
        return fields
    if field not in declared:
        raise InputError(
            f"FORMAT field {field} is not declared in {path.name}",
            where=str(path),
            fix=f"choose one of {', '.join(sorted(declared)) or 'the fields of another file'}",
        )
    return (field,)


def fields_note(fields: tuple[str, ...]) -> tuple[str, ...]:
    """The header note on the fields that count the alleles."""
    if fields == ("GT",):
        return ()
    if len(fields) == 1:
        return (f"allele counts come from {fields[0]}",)
    return (f"allele counts come from the first of {', '.join(fields)} that a record has",)


@dataclass(frozen=True)
class SiteReader:
    """Reads sites into biallelic rows.

    Parameters
    ----------
    path
        The file, for messages.
    fields
        FORMAT fields that may count the alleles; the first one that a site has does.
    info_keys
        INFO fields that hold an imputation quality; the first one that a site has counts.
    pass_only
        Whether sites that failed a filter are left out.
    counts
        Receives what is left out and set missing.
    """

    path: str
    fields: tuple[str, ...]
    info_keys: tuple[str, ...]
    pass_only: bool
    counts: ReadCounts

    def rows(self, site: Site) -> Iterator[tuple[Row, NDArray[Any], bool]]:
        """Biallelic rows of one site: the variant, its calls or dosages (samples,), and whether dosages.

        Raises
        ------
        FileFormatError
            If a field has another number of values than the alleles of the site call for.
        """
        self.counts.add(alleles.RECORDS)
        if self.pass_only and not site.passed:
            self.counts.add(alleles.NOT_PASSED)
            return
        n_alt = len(site.alternates)
        field = next((name for name in self.fields if name in site.fields), None)
        if field == "HDS" and n_alt > 1:
            # No standard says in which order the haplotypes and alleles of such a field stand.
            self.counts.add(alleles.MULTIALLELIC_HDS)
            return
        usable = alleles.usable_alternates(site.alternates, self.counts)
        if not usable:
            return
        if field is None:
            self.counts.add(alleles.NO_FIELD)
            return
        failed = ~np.isin(site.filters(), ["PASS", ".", ""]) if "FT" in site.fields else None
        qualities = self._qualities(site)
        if field == "GT":
            calls = site_calls(site.genotypes(), n_alt, self.counts, failed)
            for allele in usable:
                yield self._row(site, allele, qualities, calls.n_haploid), calls.copies(allele), False
            return
        values = self._values(site, field)
        haploid = None
        if field == "DS" and "GT" in site.fields:
            # The calls only tell who is haploid: what is wrong with them is not counted.
            haploid = site_calls(site.genotypes(), n_alt, ReadCounts()).haploid
        for allele in usable:
            copies, single = self._copies(site, field, values, allele)
            single = haploid if field == "DS" else single
            dosage = scaled_dosage(copies, single, failed, self.counts)
            n_haploid = 0 if single is None else int((single & ~np.isnan(dosage)).sum())
            yield self._row(site, allele, qualities, n_haploid), dosage, True

    def _row(self, site: Site, allele: int, qualities: Sequence[float], n_haploid: int) -> Row:
        return Row(
            site.contig,
            site.position,
            site.variant_id,
            site.ref,
            site.alternates[allele - 1],
            qualities[allele - 1],
            len(site.alternates),
            n_haploid,
        )

    def _qualities(self, site: Site) -> Sequence[float]:
        n_alt = len(site.alternates)
        for key in self.info_keys:
            value = site.quality(key)
            if isinstance(value, float):
                return [value] * n_alt
            if value is not None and len(value) == n_alt:
                return value
        return [float("nan")] * n_alt

    def _values(self, site: Site, field: str) -> NDArray[np.floating]:
        values = site.values(field)
        if values is None:
            raise FileFormatError(
                f"FORMAT field {field} holds no numbers",
                where=f"{self.path}, record {site.contig}:{site.position}",
                fix=f"declare it in the header: ##FORMAT=<ID={field},Type=Float,...> (bcftools annotate -h)",
            )
        values = quiet(values)
        if field == "PL":
            likelihoods = 10.0 ** (-values.astype(np.float64) / 10)
            low = np.where(np.isnan(values), np.inf, values).min(axis=1)
            high = np.where(np.isnan(values), -np.inf, values).max(axis=1)
            # Equal likelihoods say nothing of the genotype: no reads.
            likelihoods[low == high] = np.nan
            return likelihoods
        if field == "GP":
            with np.errstate(invalid="ignore"):
                wrong = np.any((values < 0) | (values > 1.001), axis=1)
            self.counts.add(alleles.BAD_DOSAGE, int(wrong.sum()))
            return np.where(wrong[:, None], np.nan, values)
        return values

    def _copies(
        self, site: Site, field: str, values: NDArray[np.floating], allele: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """Expected copies per ploidy of one allele, and who is haploid (None: nobody)."""
        width = values.shape[1]
        n_alt = len(site.alternates)
        if field == "DS" and width == n_alt:
            return values[:, allele - 1].astype(np.float32), None
        if field == "HDS" and width == 1:
            return values[:, 0].astype(np.float32), np.ones(len(values), dtype=bool)
        if field == "HDS" and width == 2:
            haploid = np.isnan(values[:, 1]) & ~np.isnan(values[:, 0])
            total = np.where(haploid, values[:, 0], values[:, 0] + values[:, 1])
            return total.astype(np.float32), haploid
        if field in ("GP", "PL") and width in (n_alt + 1, (n_alt + 1) * (n_alt + 2) // 2):
            return probability_dosage(values, n_alt + 1, allele)
        raise FileFormatError(
            f"FORMAT field {field} holds {width} values per sample at a site with {n_alt} alternate alleles",
            where=f"{self.path}, record {site.contig}:{site.position}",
            fix=f"correct Number in the header's line of {field}, or use another field (GT)",
        )

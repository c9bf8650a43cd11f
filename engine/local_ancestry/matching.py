"""Files of local ancestry matched to a genotype store: people by id, variants by contig, position, REF and ALT."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from allscan.engine.chromosomes import PloidyClass, ploidy_classes, same_contig
from allscan.engine.local_ancestry.writing import ContigWriter, VariantPhase, phase_of_calls
from allscan.errors import InputError
from allscan.kernels.block import Encoding, hard_calls

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from allscan.engine.local_ancestry.sources import LocalSource, Runs
    from allscan.engine.local_ancestry.text import PhasedSite
    from allscan.engine.store import GenotypeStore

MATCHED_VARIANTS = 1 << 16
"""Variants whose alleles are looked up together."""
MOST_DIFFERENT = 0.01
"""Of the calls, share in which the phased genotypes may differ from the store's: beyond it they are other genotypes."""

PHASED = "variants with phase"
NOT_STORED = "sites that the genotypes do not have"
AS_DOSAGES = "variants held as dosages, which have no phase"
NOT_AUTOSOMAL = "sites outside autosomes"
HETEROZYGOUS = "heterozygous calls"
UNPHASED = "heterozygous calls of unknown phase"
DIFFERENT = "calls that differ from the genotypes"
CHANGES = "changes of ancestry"


class MatchingShared(NamedTuple):
    """What every task needs."""

    store: GenotypeStore
    sources: tuple[LocalSource, ...]
    folder: Path
    people: NDArray[np.int64]  # rows of the store


@dataclass(frozen=True)
class SourceSummary:
    """What a file held."""

    contigs: dict[str, str]  # number in the store: hash of the content
    counts: dict[str, int]
    compared: int


def _columns(store: GenotypeStore, people: NDArray[np.int64], samples: Sequence[str]) -> NDArray[np.int64]:
    """Where a file has the people."""
    place = {sample: column for column, sample in enumerate(samples)}
    return np.array([place[sample] for sample in store.sample_ids[people]], np.int64)


class _Contig:
    """A contig of the store while its variants are matched."""

    def __init__(self, shared: MatchingShared, number: int, folder: Path) -> None:
        store = shared.store
        rows = np.flatnonzero(store.variant_contig == number)
        self.number = number
        self.first, self.stop = int(rows[0]), int(rows[-1]) + 1
        self.position = store.variant_position[self.first : self.stop]
        self.writer = ContigWriter(folder / str(number), 2 * len(shared.people), self.first, self.stop - self.first)
        self.covered: list[tuple[int, int]] = []
        self.last_position = 0
        self._store = store
        self._known: dict[tuple[int, str, str], int] = {}
        self._until = 0  # position up to which variants are known
        self._next = 0

    def find(self, position: int, ref: str, alternate: str) -> int | None:
        """Row of a variant; positions do not fall."""
        while position > self._until and self._next < len(self.position):
            start = self._next
            stop = min(start + MATCHED_VARIANTS, len(self.position))
            stop = int(np.searchsorted(self.position, self.position[stop - 1], side="right"))
            names = self._store.strings("variant_allele", self.first + start, self.first + stop).to_pylist()
            places = self.position[start:stop].tolist()
            self._known = {
                (place, names[2 * k], names[2 * k + 1]): self.first + start + k for k, place in enumerate(places)
            }
            self._until, self._next = places[-1], stop
        return self._known.get((position, ref, alternate))

    def cover(self, start: int, stop: int) -> None:
        """Ancestries are known from ``start`` to ``stop``."""
        if self.covered and start <= self.covered[-1][1] + 1:
            self.covered[-1] = (self.covered[-1][0], max(stop, self.covered[-1][1]))
        else:
            self.covered.append((start, stop))


class SourceMatch:
    """Reads one file and its phased genotypes, and writes their contigs."""

    def __init__(self, shared: MatchingShared, source: LocalSource, folder: Path) -> None:
        self._shared, self._source, self._folder = shared, source, folder
        store, people = shared.store, shared.people
        self._columns = _columns(store, people, source.phased_samples)
        haplotypes = _columns(store, people, source.samples)
        self._gather = np.stack([2 * haplotypes, 2 * haplotypes + 1], axis=1).reshape(-1)
        self._local = np.full(2 * len(source.samples), -1, np.int32)
        self._local[self._gather] = np.arange(len(self._gather))
        self._contigs: dict[int, _Contig] = {}
        self._names: dict[str, int | None] = {}
        self._counts: Counter[str] = Counter()
        self._compared = 0
        self._calls = np.empty((1, store.n_samples), np.int8)
        self._first, self._silent = np.empty(len(people), np.bool_), np.empty(len(people), np.int64)
        self._block_number = -1

    def run(self) -> SourceSummary:
        """Read the files to their end.

        Raises
        ------
        InputError, FileFormatError
            If they are damaged, unsorted, of other genotypes, or do not belong together.
        """
        source = self._source
        if source.kind == "msp":
            for window in source.windows():
                if (contig := self._contig(window.contig)) is not None:
                    self._check_order(contig, window.start, str(source.path))
                    contig.writer.set_ancestry(window.start, window.ancestry[self._gather])
                    contig.cover(window.start, max(window.start, window.stop - 1))
            for contig in self._contigs.values():
                # The last window of a chromosome has its last position.
                start, stop = contig.covered[-1]
                contig.covered[-1] = (start, stop + 1)
                contig.last_position = 0
        runs = source.runs() if source.kind == "lanc" else None
        current, waiting = None, dict[int, VariantPhase]()
        done: set[int] = set()
        number = -1
        for number, site in enumerate(source.sites()):
            contig = self._contig(site.contig) if source.kind != "msp" else self._known_contig(site.contig)
            if contig is not current or (current is not None and site.position != current.last_position):
                self._flush(current, waiting)
            if contig is not current:
                if contig is not None and contig.number in done:
                    raise self._unsorted(site.contig, site.position)
                if current is not None:
                    done.add(current.number)
                current = contig
            if runs is not None:
                self._advance(runs, number, contig, site.position)
            if contig is None:
                continue
            self._check_order(contig, site.position, str(source.phased))
            if site.ancestry is not None:
                contig.writer.set_ancestry(site.position, site.ancestry[self._gather])
            if source.kind != "msp":
                contig.covered = [(contig.covered[0][0] if contig.covered else site.position, site.position)]
            for allele, alternate in enumerate(site.alternates, start=1):
                self._match(contig, site, allele, alternate, waiting)
        self._flush(current, waiting)
        if runs is not None and number + 1 != runs.n_variants:
            raise InputError(
                f"{source.path.name} is of {runs.n_variants:,} variants, and {source.phased.name} has {number + 1:,}",
                where=str(source.path),
                fix="give the genotypes that the .lanc file was made for",
            )
        if self._counts[DIFFERENT] > MOST_DIFFERENT * max(1, self._compared):
            raise InputError(
                f"{self._counts[DIFFERENT] / self._compared:.1%} of the calls of {source.phased.name} differ from the "
                "genotype store's: these are other genotypes, or other people under the same ids",
                where=str(source.phased),
                fix="make the genotype store of the phased genotypes, or check the sample ids",
            )
        names = self._shared.store.contigs
        contents = {
            str(contig.number): contig.writer.close(names[contig.number], contig.covered)
            for contig in self._contigs.values()
        }
        return SourceSummary(contents, dict(self._counts), self._compared)

    def _contig(self, name: str) -> _Contig | None:
        """The contig of the store with a name, begun if it was not; None: it has none, or not an autosome."""
        if name not in self._names:
            store = self._shared.store
            found = [k for k, known in enumerate(store.contigs) if same_contig(known, name)]
            here = found[0] if found else None
            if here is not None:
                kinds = ploidy_classes(store.contigs[here], np.array([1], np.int32), store.reference_build)
                if kinds[0] not in (PloidyClass.AUTOSOME, PloidyClass.PAR) or not (store.variant_contig == here).any():
                    here = None
            self._names[name] = here
            if here is not None and here not in self._contigs:
                self._contigs[here] = _Contig(self._shared, here, self._folder)
        here = self._names[name]
        if here is None:
            self._counts[NOT_AUTOSOMAL if self._is_there(name) else NOT_STORED] += 1
        return None if here is None else self._contigs[here]

    def _known_contig(self, name: str) -> _Contig | None:
        """The same, of a contig whose windows were read."""
        here = next(
            (c for c in self._contigs.values() if same_contig(self._shared.store.contigs[c.number], name)), None
        )
        if here is None:
            self._counts[NOT_STORED] += 1
        return here

    def _is_there(self, name: str) -> bool:
        return any(same_contig(known, name) for known in self._shared.store.contigs)

    def _check_order(self, contig: _Contig, position: int, where: str) -> None:
        if position < contig.last_position:
            raise self._unsorted(self._shared.store.contigs[contig.number], position, where)
        contig.last_position = position

    def _unsorted(self, contig: str, position: int, where: str | None = None) -> InputError:
        return InputError(
            f"the file is not sorted: {contig}:{position} comes after a later position or another contig",
            where=where or str(self._source.phased),
            fix="sort it: bcftools sort -Oz -o sorted.vcf.gz FILE",
        )

    def _advance(self, runs: Runs, number: int, contig: _Contig | None, position: int) -> None:
        """Follow the runs of a .lanc file to a variant."""
        if number == 0:
            self._state, self._at = runs.ancestry.copy(), 0
            self._begun: set[int] = set()
        end = int(np.searchsorted(runs.variant, number, side="right"))
        some = slice(self._at, end)
        self._state[runs.haplotype[some]] = runs.value[some]
        self._at = end
        if contig is None:
            return
        if contig.number not in self._begun:
            self._begun.add(contig.number)
            contig.writer.set_ancestry(position, self._state[self._gather])
            return
        local = self._local[runs.haplotype[some]]
        kept = local >= 0
        if kept.any():
            contig.writer.change(position, local[kept], runs.value[some][kept])

    def _match(
        self, contig: _Contig, site: PhasedSite, allele: int, alternate: str, waiting: dict[int, VariantPhase]
    ) -> None:
        """Phase of the variant of the store that a site's allele is."""
        row = contig.find(site.position, site.ref, alternate)
        if row is None:
            self._counts[NOT_STORED] += 1
            return
        store = self._shared.store
        number, local = divmod(row, store.block_variants)
        if number != self._block_number:
            self._block, self._block_number = store.read_block(number), number
        if self._block.encoding[local] > Encoding.CARRIERS:
            self._counts[AS_DOSAGES] += 1
            return
        hard_calls(self._block, local, local + 1, self._calls)
        n, n_silent, different = phase_of_calls(
            self._calls[0], self._shared.people, self._columns, site.alleles, site.phased, allele, self._first,
            self._silent,
        )  # fmt: skip
        self._counts.update({HETEROZYGOUS: n, UNPHASED: n_silent, DIFFERENT: different})
        self._compared += len(self._shared.people)
        waiting.setdefault(row, VariantPhase(self._first[:n].copy(), self._silent[:n_silent].copy()))

    def _flush(self, contig: _Contig | None, waiting: dict[int, VariantPhase]) -> None:
        """Write the phase of one position's variants, in the store's order."""
        if contig is not None:
            for row in sorted(waiting):
                contig.writer.set_phase(row, waiting[row])
            self._counts[PHASED] += len(waiting)
        waiting.clear()

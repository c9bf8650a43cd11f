"""What kind of change a variant is, and the table of what was computed of variants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from allscan.arrow import number_array
from allscan.engine.chromosomes import PloidyClass
from allscan.engine.quality.variants import Fate
from allscan.kernels.person_counts import NOT_COUNTED

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from allscan.engine.quality.people import People
    from allscan.engine.quality.variants import VariantStatistics
    from allscan.engine.store import GenotypeStore

CATEGORIES = ("transition", "transversion", "insertion", "deletion", "other", "x", "y")
"""Of variants, by which people are counted: the first five are autosomal."""
TRANSITION, TRANSVERSION, INSERTION, DELETION, OTHER, ON_X, ON_Y = range(len(CATEGORIES))
AUTOSOMAL = 5


def read_alleles(store: GenotypeStore, start: int, stop: int) -> tuple[pa.StringArray, pa.StringArray]:
    """REF and ALT of variants ``start:stop``."""
    both = store.strings("variant_allele", start, stop)
    return both.take(np.arange(0, len(both), 2)), both.take(np.arange(1, len(both), 2))


_BASES = "ACGT"
_TRANSITIONS = ("A>G", "G>A", "C>T", "T>C")


def categories(kinds: NDArray[np.uint8], ref: pa.StringArray, alt: pa.StringArray) -> NDArray[np.uint8]:
    """Category of each variant; mtDNA and pseudoautosomal regions have none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    def flags(values: Any) -> NDArray[np.bool_]:
        return np.asarray(values.to_numpy(zero_copy_only=False), np.bool_)

    change = pc.binary_join_element_wise(pc.utf8_upper(ref), pc.utf8_upper(alt), ">")
    substitutions = [f"{a}>{b}" for a in _BASES for b in _BASES if a != b]
    single = flags(pc.is_in(change, pa.array(substitutions)))
    transition = flags(pc.is_in(change, pa.array(_TRANSITIONS)))
    spelt = flags(pc.match_substring_regex(change, "^[ACGTN]+>[ACGTN]+$"))
    lengths = [pc.utf8_length(column).to_numpy(zero_copy_only=False) for column in (ref, alt)]
    autosomal = np.select(
        [transition, single, spelt & (lengths[1] > lengths[0]), spelt & (lengths[1] < lengths[0])],
        [TRANSITION, TRANSVERSION, INSERTION, DELETION],
        OTHER,
    )
    return np.select(
        [kinds == PloidyClass.AUTOSOME, kinds == PloidyClass.X, kinds == PloidyClass.Y],
        [autosomal, ON_X, ON_Y],
        NOT_COUNTED,
    ).astype(np.uint8)


def variant_table(
    store: GenotypeStore,
    people: People,
    start: int,
    stop: int,
    contig: NDArray[np.int16],
    ref: pa.StringArray,
    alt: pa.StringArray,
    found: VariantStatistics,
    fate: NDArray[np.uint8],
) -> pa.Table:
    """What is kept of the variants of a block."""
    import pyarrow as pa

    def names(index: NDArray[np.integer], texts: tuple[str, ...]) -> Any:
        return pa.DictionaryArray.from_arrays(number_array(index.astype(np.int16)), pa.array(texts, pa.string()))

    def single(values: NDArray[np.number]) -> Any:
        return number_array(values.astype(np.float32))

    def whole(values: NDArray[np.number]) -> Any:
        return number_array(values.astype(np.int32))

    columns: dict[str, Any] = {
        "contig": names(contig, store.contigs),
        "position": store.column("variant_position", start, stop),
        "id": store.strings("variant_id", start, stop),
        "ref": ref,
        "alt": alt,
        "fate": names(fate, tuple(one.text for one in Fate)),
        "n_people": whole(found.n_people),
        "call_rate": single(found.call_rate),
        "n_het": whole(found.n_het),
        "n_hom_alt": whole(found.n_hom_alt),
        "allele_count": number_array(found.allele_count),
        "allele_number": whole(found.allele_number),
        "allele_frequency": single(found.allele_frequency),
        "info": single(found.info),
        "hwe_neg_log10_p": single(found.hwe_neg_log10_p),
        "hwe_excess_neg_log10_p": single(found.hwe_excess_neg_log10_p),
        "haploid_het_rate": single(found.haploid_het_rate),
    }
    if len(people.groups) > 1:
        columns["call_rate_difference"] = single(found.call_rate_difference)
        columns["call_rate_difference_neg_log10_p"] = single(found.difference_neg_log10_p)
        with np.errstate(invalid="ignore", divide="ignore"):
            rate = found.group_n_called / found.group_n_people
            frequency = found.group_allele_count / found.group_allele_number
        for k, name in enumerate(people.groups):
            columns[f"call_rate_{name}"] = single(rate[:, k])
            columns[f"allele_number_{name}"] = whole(found.group_allele_number[:, k])
            columns[f"allele_frequency_{name}"] = single(frequency[:, k])
            columns[f"hwe_neg_log10_p_{name}"] = single(found.group_hwe_neg_log10_p[:, k])
    return pa.table(columns)

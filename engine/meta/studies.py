"""What is combined: effects of several studies, read by blocks. The groups of a scan are such studies."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from allscan.errors import InputError
from allscan.kernels.association import has_result

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from allscan.engine.results import ResultsCube
    from allscan.engine.variant_names import VariantNames
    from allscan.kernels.association import OutputColumn


class StudyBlock(NamedTuple):
    """(studies, variants) of one trait; NaN where a study does not have the variant or does not tell."""

    beta: NDArray[np.float64]
    standard_error: NDArray[np.float64]
    z: NDArray[np.float64]
    """Deviate of the study's own p with the sign of its effect."""
    n: NDArray[np.float64]
    effective_n: NDArray[np.float64]
    """``n``, or ``4 / (1 / cases + 1 / controls)`` of a binary trait."""
    frequency: NDArray[np.float64]
    """Of the effect allele."""
    cases: NDArray[np.float64] | None = None
    frequency_cases: NDArray[np.float64] | None = None
    frequency_controls: NDArray[np.float64] | None = None


class Studies(Protocol):
    """Studies of the same traits, aligned to one list of variants: the effect allele of all is ALT."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the studies."""
        ...

    @property
    def traits(self) -> tuple[str, ...]:
        """Names of the traits."""
        ...

    @property
    def binary(self) -> NDArray[np.bool_]:
        """(traits,) which are binary."""
        ...

    @property
    def n_variants(self) -> int:
        """Variants of the list."""
        ...

    @property
    def chunk_variants(self) -> int:
        """What is read at a multiple of it is read once."""
        ...

    @property
    def digest(self) -> str:
        """Of everything that is read here."""
        ...

    @property
    def reference_build(self) -> str | None:
        """Where the positions are."""
        ...

    def variant_names(self, start: int = 0, stop: int | None = None) -> VariantNames:
        """Names and places of variants ``start:stop``."""
        ...

    def read(self, members: Sequence[int], traits: slice, variants: slice) -> list[StudyBlock]:
        """For each of the traits, some studies at some variants."""
        ...


class CubeStudies:
    """The strata of a scan as studies.

    Parameters
    ----------
    cube
        The results of the scan.

    Raises
    ------
    InputError
        The scan has no single effect per variant.
    """

    def __init__(self, cube: ResultsCube) -> None:
        self._cube = cube
        refuse_other_effects(cube)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the strata."""
        return self._cube.strata

    @property
    def traits(self) -> tuple[str, ...]:
        """Names of the traits."""
        return self._cube.traits

    @property
    def binary(self) -> NDArray[np.bool_]:
        """(traits,) which are binary."""
        out = np.zeros(len(self.traits), np.bool_)
        for kind in self._cube.kinds:
            out[kind.of_cube] = any(column.name == "cases" for column in kind.columns)
        return out

    @property
    def n_variants(self) -> int:
        """Variants of the scan."""
        return self._cube.n_variants

    @property
    def chunk_variants(self) -> int:
        """Variants of a chunk of the cube."""
        return self._cube.chunk_variants

    @property
    def digest(self) -> str:
        """Of the scan."""
        return str(self._cube.attrs["digest"])

    @property
    def reference_build(self) -> str | None:
        """That of the scan."""
        return self._cube.attrs.get("reference_build")

    def variant_names(self, start: int = 0, stop: int | None = None) -> VariantNames:
        """Names and places of variants ``start:stop``."""
        return self._cube.variant_names(start, stop)

    def read(self, members: Sequence[int], traits: slice, variants: slice) -> list[StudyBlock]:
        """For each of the traits, some strata at some variants.

        Raises
        ------
        CorruptChunkError
            A chunk of the results is damaged.
        """
        binary = self.binary[traits]
        of_cases = ("cases", "effect_allele_frequency_cases", "effect_allele_frequency_controls")
        names = ["beta", "standard_error", "neg_log10_p", "n", "effect_allele_frequency", "status"]
        values = {
            name: np.stack([self._cube.block(name, stratum, traits, variants) for stratum in members])
            for name in (*names, *(of_cases if binary.any() else ()))
        }
        return [
            _of_trait({name: array[:, t] for name, array in values.items()}, bool(is_binary))
            for t, is_binary in enumerate(binary)
        ]


def refuse_other_effects(cube: ResultsCube) -> None:
    """Refuse results that have no single effect per variant.

    Raises
    ------
    InputError
        One of the scan's tests has none, or several.
    """
    for kind in cube.kinds:
        if not has_one_effect(kind.columns):
            raise InputError(
                f"a meta-analysis combines one effect per variant; the {cube.attrs.get('model')} model with the "
                f"test {kind.attrs.get('test')} has none or several",
                where=str(cube.path),
                fix="choose the additive, dominant or recessive model",
            )


def has_one_effect(columns: Iterable[OutputColumn]) -> bool:
    """Whether results with these columns have one effect per variant, so that they can be combined."""
    names = {column.name for column in columns}
    needed = {"beta", "standard_error", "neg_log10_p", "effect_allele_frequency", "n"}
    return needed <= names and "beta_domdev" not in names


def _of_trait(values: dict[str, NDArray[np.generic]], is_binary: bool) -> StudyBlock:
    """One trait's block of columns as a scan writes them, each (studies, variants)."""
    held = {name: array.astype(np.float64) for name, array in values.items() if name != "status"}
    absent = ~has_result(values["status"].astype(np.uint8))
    for name in ("beta", "standard_error", "neg_log10_p", "n"):
        held[name][absent] = np.nan
    return study_block(
        held["beta"],
        held["standard_error"],
        held["neg_log10_p"],
        held["n"],
        held["effect_allele_frequency"],
        held["cases"] if is_binary else None,
        held["effect_allele_frequency_cases"] if is_binary else None,
        held["effect_allele_frequency_controls"] if is_binary else None,
    )


def study_block(
    beta: NDArray[np.float64],
    standard_error: NDArray[np.float64],
    neg_log10_p: NDArray[np.float64],
    n: NDArray[np.float64],
    frequency: NDArray[np.float64],
    cases: NDArray[np.float64] | None = None,
    frequency_cases: NDArray[np.float64] | None = None,
    frequency_controls: NDArray[np.float64] | None = None,
) -> StudyBlock:
    """A block, with what follows of its columns; all (studies, variants).

    Parameters
    ----------
    beta, standard_error, neg_log10_p, n, frequency
        As in :class:`StudyBlock`.
    cases, frequency_cases, frequency_controls
        Of a binary trait.
    """
    from allscan.kernels.meta import signed_deviates

    return StudyBlock(
        beta,
        standard_error,
        signed_deviates(neg_log10_p, beta),
        n,
        n if cases is None else effective_size(n, cases),
        frequency,
        cases,
        frequency_cases,
        frequency_controls,
    )


def effective_size(n: NDArray[np.float64], cases: NDArray[np.float64]) -> NDArray[np.float64]:
    """``4 / (1 / cases + 1 / controls)``, any shape: people of a balanced study that tells as much.

    ``n`` where cases are not told (NaN).
    """
    controls = n - cases
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = 4.0 * cases * controls / n
    return np.where(np.isnan(cases), n, effective)

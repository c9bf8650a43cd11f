"""What a simulated cohort shall be like: the options, their defaults and their help texts."""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from allscan.engine.simulation.demography import GROUPS
from allscan.engine.simulation.genome import CHROMOSOMES
from allscan.engine.simulation.records.catalogue import N_GENETIC
from allscan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMATS = ("pgen", "bed")
SPECTRA = ("array", "wgs")

DEFAULT_GROUPS = {"EUR": 0.5, "AFR": 0.2, "AMR": 0.2, "EAS": 0.1}


def _option(default: Any, text: str) -> Any:
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class SimulationOptions:
    """Options of :func:`allscan.engine.simulation.cohort.simulate_cohort`.

    Every field carries its help text as ``metadata["help"]``; :data:`OPTION_HELP` lists them.

    Raises
    ------
    InputError
        If a value is out of its range or contradicts another.
    """

    samples: int = _option(2000, "people in the cohort")
    variants: int = _option(20_000, "variants over all chromosomes")
    groups: Mapping[str, float] = _option(
        DEFAULT_GROUPS,
        f"share of each group of people, such as EUR=0.5,AFR=0.3,AMR=0.2; known: {', '.join(GROUPS)}",
    )
    traits: int = _option(6, "quantitative traits")
    trait_names: tuple[str, ...] | None = _option(None, "names of the traits; without: trait_1, trait_2 and so on")
    binary_traits: int = _option(0, "binary traits beside them, disease_1 and so on: cases by liability threshold")
    prevalence: tuple[float, ...] = _option(
        (0.1,), "share of cases of each binary trait, such as 0.3,0.01; used again from the start after the last"
    )
    seed: int = _option(1, "the same seed and options give the same files on any number of cores")
    spectrum: Literal["array", "wgs"] = _option(
        "array",
        "which variants: array (minor allele frequency 1 % and more) or wgs (as in whole genomes, mostly rare)",
    )
    chromosomes: tuple[str, ...] = _option(CHROMOSOMES, "chromosomes, of 1 to 22 and X")
    par: bool = _option(False, "add a region of the pseudoautosomal part of chromosome X")
    relatedness: float = _option(0.1, "share of people with a parent, child, brother or sister in the cohort")
    heritability: float = _option(
        0.3, "share of a trait's variance within groups that is genetic, before covariates and group means"
    )
    causal_fraction: float = _option(0.005, "share of the variants that have a small effect on a trait")
    large_effects: int = _option(2, "variants with a large effect, per trait")
    large_effect_variance: float = _option(0.02, "share of the variance that each large effect explains")
    frequency_exponent: float = _option(
        -0.38,
        "variance of an effect is [2p(1-p)] to this power (Schoech 2019, doi:10.1038/s41467-019-08424-6)",
    )
    genetic_correlation: float = _option(0.3, "correlation of effects between traits of one family of three")
    residual_correlation: float = _option(0.3, "correlation of residuals between traits of one family of three")
    group_shift: float = _option(
        0.3,
        "standard deviation of the groups' mean differences that are not genetic (confounding by ancestry)",
    )
    covariate_variance: float = _option(0.1, "variance that age, age squared and sex add to a trait")
    missing_traits: float = _option(0.05, "mean share of missing values of a trait that has any")
    missing_calls: float = _option(0.002, "mean share of missing genotypes of a variant")
    components: int = _option(10, "principal components in the covariate table")
    formats: tuple[str, ...] = _option(("pgen",), "genotype files to write: pgen, bed, or both")
    records: bool = _option(
        False,
        "write health records too, as OMOP tables: binary traits become diseases, the first six quantitative ones "
        "measurements; people then have whole numbers as ids",
    )
    founder_haplotypes: int | None = _option(
        None,
        "most haplotypes that the coalescent makes per region; founders beyond it carry copies of them; "
        "without: 10,000 for array, 400,000 for wgs",
    )

    def __post_init__(self) -> None:
        _check_counts(self)
        _check_shares(self)
        _check_names(self)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the traits."""
        if self.trait_names is not None:
            return self.trait_names
        return tuple(f"trait_{number + 1}" for number in range(self.traits))

    @property
    def binary_names(self) -> tuple[str, ...]:
        """Names of the binary traits."""
        return tuple(f"disease_{number + 1}" for number in range(self.binary_traits))

    @property
    def n_drawn(self) -> int:
        """Traits that are drawn: quantitative ones, then the liabilities of binary ones."""
        return self.traits + self.binary_traits

    def prevalence_of(self, binary_trait: int) -> float:
        """Share of cases of one of the binary traits."""
        return self.prevalence[binary_trait % len(self.prevalence)]

    @property
    def haplotype_limit(self) -> int:
        """Most haplotypes that the coalescent makes per region."""
        if self.founder_haplotypes is not None:
            return self.founder_haplotypes
        return 10_000 if self.spectrum == "array" else 400_000


OPTION_HELP: tuple[tuple[str, str], ...] = tuple(
    (option.name, str(option.metadata["help"])) for option in fields(SimulationOptions)
)
"""(name, help text) of every option, in order."""


def parse_groups(text: str) -> dict[str, float]:
    """Read ``EUR=0.5,AFR=0.3`` (or ``EUR=5,AFR=3``: shares are scaled to sum to 1).

    Raises
    ------
    InputError
        If the text is not of that form or a label appears twice.
    """
    groups: dict[str, float] = {}
    for part in text.split(","):
        label, separator, number = part.strip().partition("=")
        label = label.strip()
        try:
            share = float(number)
        except ValueError:
            separator = ""
        if not separator or not label:
            raise InputError(
                f"{part.strip()!r} is not a group and its share",
                where="--groups",
                fix="write LABEL=SHARE, several with commas between them: EUR=0.5,AFR=0.3,AMR=0.2",
            )
        if label in groups:
            raise InputError(f"group {label} is given twice", where="--groups", fix="give each group once")
        groups[label] = share
    total = sum(groups.values())
    if not math.isfinite(total) or total <= 0 or min(groups.values()) < 0:
        raise InputError(
            f"the shares {text!r} do not add up to a positive number",
            where="--groups",
            fix="give every group a share above 0",
        )
    return {label: share / total for label, share in groups.items()}


def parse_shares(text: str) -> tuple[float, ...]:
    """Read ``0.3,0.01``.

    Raises
    ------
    InputError
        If the text is not numbers with commas between them.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise InputError(
            f"{text!r} is not a list of shares", where="--prevalence", fix="write numbers with commas: 0.3,0.01"
        ) from None


def _refuse(name: str, value: object, rule: str) -> InputError:
    return InputError(f"{name} is {value}", where="options of the simulation", fix=f"{name} must be {rule}")


def _check_counts(options: SimulationOptions) -> None:
    # The principal components need more people than components; 50 leaves every group someone.
    least = {"samples": 50, "variants": 1, "traits": 1, "seed": 0, "large_effects": 0, "components": 0}
    for name, minimum in least.items():
        value = getattr(options, name)
        if value < minimum:
            raise _refuse(name, value, f"at least {minimum}")
    if options.binary_traits < 0:
        raise _refuse("binary_traits", options.binary_traits, "at least 0")
    if options.records and options.binary_traits > N_GENETIC:
        raise _refuse("binary_traits", options.binary_traits, f"at most {N_GENETIC} with records")
    if options.components > 20:
        raise _refuse("components", options.components, "at most 20")
    if options.founder_haplotypes is not None and options.founder_haplotypes < 100:
        raise _refuse("founder_haplotypes", options.founder_haplotypes, "at least 100")
    regions = len(options.chromosomes) + options.par
    if options.variants < 2 * regions:
        raise _refuse(
            "variants", options.variants, f"at least {2 * regions} for {len(options.chromosomes)} chromosomes"
        )


def _check_shares(options: SimulationOptions) -> None:
    limits = {
        "relatedness": (0.0, 0.9),
        "heritability": (0.0, 0.95),
        "causal_fraction": (0.0, 1.0),
        "large_effect_variance": (0.0, 0.5),
        "frequency_exponent": (-1.5, 0.5),
        "genetic_correlation": (0.0, 1.0),
        "residual_correlation": (0.0, 1.0),
        "group_shift": (0.0, 100.0),
        "covariate_variance": (0.0, 100.0),
        "missing_traits": (0.0, 0.5),
        "missing_calls": (0.0, 0.2),
    }
    for name, (low, high) in limits.items():
        value = getattr(options, name)
        if not low <= value <= high:
            raise _refuse(name, value, f"between {low:g} and {high:g}")
    for share in options.prevalence or (0.0,):
        if not 1 <= round(share * options.samples) < options.samples:
            raise _refuse("prevalence", f"{share:g}", "such that there are cases and controls among the samples")
    large = options.large_effects * options.large_effect_variance
    if options.heritability > 0 and large >= options.heritability:
        raise InputError(
            f"{options.large_effects} effects of {options.large_effect_variance} each explain {large:g} "
            f"of the variance, but heritability is {options.heritability}",
            where="options of the simulation",
            fix="raise heritability, or lower large_effects or large_effect_variance",
        )


def _check_names(options: SimulationOptions) -> None:
    if not options.groups:
        raise _refuse("groups", "empty", "one group or more")
    for label, share in options.groups.items():
        if label not in GROUPS:
            near = difflib.get_close_matches(label.upper(), GROUPS, 1, 0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            raise InputError(
                f"group {label!r} is not known",
                where="groups",
                fix=f"{hint}known groups: {', '.join(GROUPS)}",
            )
        if not 0 < share <= 1:
            raise _refuse(f"groups.{label}", share, "above 0 and at most 1")
    if not math.isclose(sum(options.groups.values()), 1.0, abs_tol=1e-6):
        raise _refuse("the sum of groups", f"{sum(options.groups.values()):g}", "1")
    _check_members("formats", options.formats, FORMATS)
    _check_members("chromosomes", options.chromosomes, CHROMOSOMES)
    _check_members("spectrum", (options.spectrum,), SPECTRA)
    if options.par and "X" not in options.chromosomes:
        raise _refuse("par", "set without chromosome X", "left out, or chromosomes must have X")
    if options.trait_names is not None:
        names = options.trait_names
        if len(names) != options.traits or len(set(names)) != len(names):
            raise _refuse("trait_names", ", ".join(names), f"{options.traits} different names")
        for name in names:
            if not name or any(character.isspace() or character in ',"[]{}:#' for character in name):
                raise _refuse("trait_names", repr(name), "without blanks, commas, quotes, brackets, colons or #")


def _check_members(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    if not values or len(set(values)) != len(values):
        raise _refuse(name, ", ".join(values) or "empty", "one or more, each once")
    for value in values:
        if value not in known:
            raise _refuse(name, value, f"of {', '.join(known)}")

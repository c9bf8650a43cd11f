"""The ancestral populations: sizes, splits and migration, and how groups of people descend from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from allscan.errors import MissingDependencyError

if TYPE_CHECKING:
    from types import ModuleType

ANCESTRIES = ("AFR", "EUR", "EAS", "NAT", "SAS", "MID")
"""Ancestral populations: African, European, East Asian, Native American, South Asian, Middle Eastern."""

# Tennessen et al. 2012 (doi:10.1126/science.1219240), generations of 25 years.
_ACCELERATION = 204.6  # generations ago, when growth became fast
_AFRICAN_SIZE = 14474
_AFRICAN_GROWTH = 0.0166  # since the acceleration, per generation
_EUROPEAN_SIZE = 1032  # at the split of Europeans and East Asians
_EUROPEAN_GROWTH = 0.00307  # before the acceleration
_RECENT_GROWTH = 0.0195  # since the acceleration
_OUT_OF_AFRICA_SIZE = 1861
_ANCESTRAL_SIZE = 7310
_SPLIT_OUT_OF_AFRICA = 2040
_SPLIT_EURASIA = 920
_AFRICAN_EXPANSION = 5920
_MIGRATION_AFR_OOA = 15e-5
_MIGRATION_AFR_EUR = 2.5e-5
# Gravel et al. 2011 (doi:10.1073/pnas.1019276108), for East Asians.
_ASIAN_SIZE = 554
_ASIAN_GROWTH = 0.0048
_MIGRATION_AFR_EAS = 0.78e-5
_MIGRATION_EUR_EAS = 3.11e-5
# Not fitted to data: chosen so that F_ST to the other populations comes out near what is observed.
_SPLIT_NATIVE = 640  # 16,000 years ago, from East Asians
_NATIVE_SIZE = 800
_NATIVE_GROWTH = 0.004
_SPLIT_MIDDLE_EAST = 400  # 10,000 years ago, from Europeans
_MIDDLE_EAST_SIZE = 15000
_SOUTH_ASIAN_MIXTURE = 130  # Moorjani et al. 2013 (doi:10.1016/j.ajhg.2013.07.006): 1,900-4,200 years ago
_SOUTH_ASIAN_WEST = 0.5  # share of the western source
_SOUTH_ASIAN_SIZE = 20000
_SPLIT_ANCIENT_SOUTH = 880  # the southern source leaves the East Asian branch
_ANCIENT_SOUTH_SIZE = 3000

MUTATION_RATE = 2.36e-8
"""Per base and generation, as Tennessen et al. assumed: their sizes and times hang on it."""

RECOMBINATION_RATE = 1.2e-8
"""Per base and generation, averaged over the sexes and the genome."""

# Observed mutation rates are lower (Jonsson et al. 2017, doi:10.1038/nature24018), and the history is that
# much longer than the published generations. Recombination in the genealogies is scaled alike, so that
# mutations and recombinations keep the proportion they have in people, and LD its range.
HISTORICAL_RECOMBINATION_RATE = RECOMBINATION_RATE * MUTATION_RATE / 1.29e-8
"""Per base and generation of the published history."""

X_SIZE = 0.75
"""Chromosomes X in a population, relative to autosomes."""


@dataclass(frozen=True)
class Group:
    """How the people of one label descend from the ancestral populations.

    Attributes
    ----------
    shares
        Mean share of each ancestral population; a person's own shares are Dirichlet around it.
    concentration
        Of the Dirichlet distribution: the smaller, the more people of the group differ.
    generations
        Since the populations met: the older, the shorter the tracts of one ancestry.
    """

    title: str
    shares: dict[str, float]
    concentration: float = 1.0
    generations: float = 0.0


GROUPS = {
    "EUR": Group("European", {"EUR": 1.0}),
    "AFR": Group("African American", {"AFR": 0.80, "EUR": 0.185, "NAT": 0.015}, 10.0, 8.0),
    "AMR": Group("Latin American", {"NAT": 0.40, "EUR": 0.50, "AFR": 0.10}, 5.0, 12.0),
    "EAS": Group("East Asian", {"EAS": 1.0}),
    "SAS": Group("South Asian", {"SAS": 1.0}),
    "MID": Group("Middle Eastern", {"MID": 1.0}),
}
"""Labels as All of Us uses them. Admixture dates: Bryc et al. 2015 (doi:10.1016/j.ajhg.2014.11.010)."""


def load_msprime() -> ModuleType:
    """The coalescent simulator.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        import msprime
    except ImportError as error:
        raise MissingDependencyError(
            "a simulated cohort needs the package msprime, which is not installed",
            fix='pip install "allscan[simulate]"',
        ) from error
    return msprime  # type: ignore[no-any-return]


def demography(size_scale: float = 1.0) -> Any:
    """The history of all ancestral populations, as an ``msprime.Demography``.

    Africans and Europeans follow Tennessen et al. 2012, East Asians Gravel et al. 2011 with the
    recent growth of the former; the other three hang on these by splits that are not fitted to data.

    Parameters
    ----------
    size_scale
        Factor on every population size: 1 for autosomes, :data:`X_SIZE` for chromosome X.
    """
    model = load_msprime().Demography()

    def add(name: str, size_at_acceleration: float, growth: float, since: float = _ACCELERATION) -> None:
        model.add_population(
            name=name,
            initial_size=size_scale * size_at_acceleration * math.exp(growth * since),
            growth_rate=growth,
            # Populations that others descend from are sampled today all the same.
            initially_active=True,
            default_sampling_time=0,
        )

    def grown(size: float, growth: float, start: float) -> float:
        return size * math.exp(growth * (start - _ACCELERATION))

    add("AFR", _AFRICAN_SIZE, _AFRICAN_GROWTH)
    add("EUR", grown(_EUROPEAN_SIZE, _EUROPEAN_GROWTH, _SPLIT_EURASIA), _RECENT_GROWTH)
    add("EAS", grown(_ASIAN_SIZE, _ASIAN_GROWTH, _SPLIT_EURASIA), _RECENT_GROWTH)
    add("NAT", grown(_NATIVE_SIZE, _NATIVE_GROWTH, _SPLIT_NATIVE), _RECENT_GROWTH)
    add("SAS", _SOUTH_ASIAN_SIZE, _RECENT_GROWTH, _SOUTH_ASIAN_MIXTURE)
    add("MID", _MIDDLE_EAST_SIZE, _RECENT_GROWTH)
    model.add_population(name="ancient_south", initial_size=size_scale * _ANCIENT_SOUTH_SIZE)
    model.add_population(name="out_of_africa", initial_size=size_scale * _OUT_OF_AFRICA_SIZE)
    model.add_population(name="ancestral", initial_size=size_scale * _AFRICAN_SIZE)

    model.set_symmetric_migration_rate(["AFR", "EUR"], _MIGRATION_AFR_EUR)
    model.set_symmetric_migration_rate(["AFR", "EAS"], _MIGRATION_AFR_EAS)
    model.set_symmetric_migration_rate(["EUR", "EAS"], _MIGRATION_EUR_EAS)
    model.add_admixture(
        time=_SOUTH_ASIAN_MIXTURE,
        derived="SAS",
        ancestral=["EUR", "ancient_south"],
        proportions=[_SOUTH_ASIAN_WEST, 1 - _SOUTH_ASIAN_WEST],
    )
    earlier_growth = {
        "AFR": 0.0,
        "EUR": _EUROPEAN_GROWTH,
        "EAS": _ASIAN_GROWTH,
        "NAT": _NATIVE_GROWTH,
        "MID": 0.0,
    }
    for name, growth in earlier_growth.items():
        model.add_population_parameters_change(time=_ACCELERATION, population=name, growth_rate=growth)
    model.add_population_split(time=_SPLIT_MIDDLE_EAST, derived=["MID"], ancestral="EUR")
    model.add_population_split(time=_SPLIT_NATIVE, derived=["NAT"], ancestral="EAS")
    model.add_population_split(time=_SPLIT_ANCIENT_SOUTH, derived=["ancient_south"], ancestral="EAS")
    model.add_population_split(time=_SPLIT_EURASIA, derived=["EUR", "EAS"], ancestral="out_of_africa")
    model.add_symmetric_migration_rate_change(
        time=_SPLIT_EURASIA, populations=["AFR", "out_of_africa"], rate=_MIGRATION_AFR_OOA
    )
    model.add_population_split(time=_SPLIT_OUT_OF_AFRICA, derived=["AFR", "out_of_africa"], ancestral="ancestral")
    model.add_population_parameters_change(
        time=_AFRICAN_EXPANSION, population="ancestral", initial_size=size_scale * _ANCESTRAL_SIZE
    )
    model.sort_events()
    return model

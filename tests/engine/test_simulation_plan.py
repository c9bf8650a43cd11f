"""What a simulated cohort is planned to be: options, regions of the genome, people, inheritance."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allscan.engine.simulation.assembly import CopyPlan, assemble_calls, count_by_group, plan_copies
from allscan.engine.simulation.coalescent import allot_haplotypes, simulate_haplotypes
from allscan.engine.simulation.demography import ANCESTRIES, GROUPS, demography
from allscan.engine.simulation.genome import (
    CHROMOSOME_LENGTH,
    CHROMOSOMES,
    PAR1,
    plan_regions,
    recombination_map,
)
from allscan.engine.simulation.inheritance import NO_BREAK, RegionInheritance, inherit
from allscan.engine.simulation.options import OPTION_HELP, SimulationOptions, parse_groups
from allscan.engine.simulation.pedigree import draw_pedigree, largest_remainder
from allscan.engine.simulation.summary import AncestryShares
from allscan.errors import InputError, MissingDependencyError

# Where no GRCh38 assembly has sequence that a variant could be called in.
CENTROMERES = {"1": (122_000_000, 125_000_000), "9": (43_000_000, 45_500_000), "X": (58_200_000, 63_000_000)}


# --- options ---------------------------------------------------------------------------------------------


def test_every_option_has_a_help_text() -> None:
    assert [name for name, _ in OPTION_HELP] == [field.name for field in dataclasses.fields(SimulationOptions)]
    assert all(len(text) > 10 for _, text in OPTION_HELP)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"samples": 10}, "samples is 10"),
        ({"variants": 20}, "at least 46 for 23 chromosomes"),
        ({"traits": 0}, "traits is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"components": 21}, "at most 20"),
        ({"founder_haplotypes": 1}, "founder_haplotypes is 1"),
        ({"relatedness": 1.0}, "between 0 and 0.9"),
        ({"missing_calls": -0.1}, "missing_calls"),
        ({"heritability": float("nan")}, "heritability is nan"),
        ({"large_effects": 15}, "raise heritability"),
        ({"groups": {"EUR": 0.5}}, "the sum of groups is 0.5"),
        ({"groups": {}}, "groups is empty"),
        ({"groups": {"EUR": 1.5, "AFR": -0.5}}, "groups.EUR is 1.5"),
        ({"groups": {"eur": 1.0}}, "did you mean EUR"),
        ({"groups": {"Mars": 1.0}}, "known groups: EUR, AFR"),
        ({"formats": ("vcf",)}, "formats is vcf"),
        ({"formats": ()}, "formats is empty"),
        ({"chromosomes": ("1", "1")}, "each once"),
        ({"chromosomes": ("Y",)}, "chromosomes is Y"),
        ({"spectrum": "exome"}, "spectrum is exome"),
        ({"par": True, "chromosomes": ("1",)}, "chromosomes must have X"),
        ({"binary_traits": -1}, "binary_traits is -1"),
        ({"prevalence": (0.1, 1.0)}, "prevalence is 1"),
        ({"prevalence": (0.0001,)}, "prevalence is 0.0001"),
        ({"prevalence": ()}, "prevalence is 0"),
        ({"traits": 2, "trait_names": ("a",)}, "2 different names"),
        ({"traits": 1, "trait_names": ("a b",)}, "without blanks"),
    ],
)
def test_impossible_options_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        SimulationOptions(**change)  # type: ignore[arg-type]


def test_traits_are_named_by_number_or_by_the_user() -> None:
    assert SimulationOptions(traits=2).names == ("trait_1", "trait_2")
    assert SimulationOptions(traits=2, trait_names=("ldl", "hdl")).names == ("ldl", "hdl")


def test_groups_are_read_and_scaled() -> None:
    assert parse_groups("EUR=3, AFR=1") == {"EUR": 0.75, "AFR": 0.25}


@pytest.mark.parametrize("text", ["", "EUR", "EUR=x", "=0.5", "EUR=0.5,EUR=0.5", "EUR=0", "EUR=-1,AFR=2", "EUR=nan"])
def test_unreadable_groups_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_groups(text)


def test_missing_msprime_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msprime", None)
    with pytest.raises(MissingDependencyError, match=r"allscan\[simulate\]"):
        demography()


# --- genome ----------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    each=st.integers(2, 15_000),
    chromosomes=st.sets(st.sampled_from(CHROMOSOMES), min_size=1),
    spectrum=st.sampled_from(["array", "wgs"]),
    seed=st.integers(0, 1000),
)
def test_regions_fit_their_chromosomes(each: int, chromosomes: set[str], spectrum: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = sorted(chromosomes, key=CHROMOSOMES.index)
    par = "X" in chromosomes
    variants = each * len(names)
    regions = plan_regions(rng, names, variants, par=par, spectrum=spectrum, haplotypes=20_000)
    assert sum(region.variants for region in regions) == variants
    assert {region.chromosome for region in regions} == chromosomes
    assert [region.index for region in regions] == list(range(len(regions)))
    last: dict[str, int] = {}
    for region in regions:
        assert last.get(region.chromosome, 0) < region.start
        assert region.length <= region.room
        last[region.chromosome] = region.start + region.room - 1
        assert last[region.chromosome] <= CHROMOSOME_LENGTH[region.chromosome]
        for name, (start, stop) in CENTROMERES.items():
            if region.chromosome == name:
                assert region.start + region.room <= start or region.start > stop
        in_par = region.chromosome == "X" and region.start <= PAR1[1]
        assert region.sex_linked == (region.chromosome == "X" and not in_par)
    order = [CHROMOSOMES.index(region.chromosome) for region in regions]
    assert order == sorted(order)


def test_more_variants_than_the_chromosomes_can_hold_are_refused() -> None:
    with pytest.raises(InputError, match="fewer variants or more chromosomes"):
        plan_regions(np.random.default_rng(1), ["22"], 100_000, par=False, spectrum="array", haplotypes=2000)


def test_recombination_is_concentrated_in_hotspots() -> None:
    edges, rates = recombination_map(np.random.default_rng(1), 20_000_003)
    assert edges[0] == 0
    assert edges[-1] == 20_000_003
    width = np.diff(edges)
    assert (rates * width).sum() / 20e6 == pytest.approx(1.2e-8 * 2.36 / 1.29, rel=0.15)
    hottest = np.sort(rates)[::-1]
    assert hottest[: len(hottest) // 5].sum() > 0.8 * hottest.sum()
    assert rates.min() > 0


# --- people ----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    samples=st.integers(50, 400),
    weights=st.dictionaries(st.sampled_from(sorted(GROUPS)), st.floats(0.1, 1), min_size=1),
    relatedness=st.floats(0, 0.9),
    seed=st.integers(0, 1000),
)
def test_a_pedigree_has_the_people_asked_for(
    samples: int, weights: dict[str, float], relatedness: float, seed: int
) -> None:
    total = sum(weights.values())
    groups = {name: weight / total for name, weight in weights.items()}
    people = draw_pedigree(np.random.default_rng(seed), samples, groups, relatedness)
    assert people.n_samples == samples
    assert len(set(people.member.tolist())) == samples
    assert len(set(people.individual_id.tolist())) == people.n_individuals
    counts = np.bincount(people.group[people.member], minlength=len(groups))
    assert np.all(np.abs(counts - samples * np.array(list(groups.values()))) <= 1)
    np.testing.assert_allclose(people.shares.sum(axis=1), 1)

    children = np.arange(people.n_founders, people.n_individuals)
    assert np.all(people.sex[people.mother] == 2)
    assert np.all(people.sex[people.father] == 1)
    assert np.all(people.age[people.mother] >= people.age[children])
    assert np.all(people.group[people.mother] == people.group[children])
    assert np.all((people.age >= 18) & (people.age <= 100))

    family = people.family[people.member]
    related = family > 0
    # Everybody in a family has a relative in the cohort, and as many people as asked for are in families.
    assert all((family == number).sum() >= 2 for number in np.unique(family[related]))
    assert abs(related.sum() - relatedness * samples) <= 2 * len(groups)
    alone = people.unrelated_members()
    alone_families = family[alone][family[alone] > 0]
    assert len(set(alone_families.tolist())) == len(alone_families)
    assert len(alone) == (~related).sum() + len(np.unique(family[related]))


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8), st.integers(0, 1000))
def test_largest_remainder_shares_out_everything(shares: list[float], total: int) -> None:
    counts = largest_remainder(np.array(shares), total)
    assert counts.sum() == total
    assert np.all(np.abs(counts - np.array(shares) / sum(shares) * total) < 1)


# --- inheritance -----------------------------------------------------------------------------------------


def _walk(groups: dict[str, float], samples: int = 300, relatedness: float = 0.5, chromosomes=("1", "X")):
    rng = np.random.default_rng(3)
    people = draw_pedigree(rng, samples, groups, relatedness)
    regions = plan_regions(rng, chromosomes, 4000, par="X" in chromosomes, spectrum="array", haplotypes=1000)
    linkages = 1 + max(region.linkage for region in regions)
    walks = [np.random.default_rng([5, number]) for number in range(linkages)]
    return people, regions, list(inherit(walks, people, regions))


def test_ancestry_follows_each_persons_shares() -> None:
    people, regions, steps = _walk({"AMR": 1.0}, relatedness=0.0, chromosomes=("1", "2", "3", "4", "5"))
    n_haplotypes = 2 * people.n_individuals
    shares = [step.ancestry_shares(n_haplotypes, region.length) for step, region in zip(steps, regions, strict=True)]
    mean = np.mean(shares, axis=0)
    realised = (mean[0::2] + mean[1::2]) / 2
    np.testing.assert_allclose(realised.sum(axis=1), 1, atol=1e-5)
    of_members = AncestryShares(people)
    for step, region in zip(steps, regions, strict=True):
        of_members.add(step, region.length)
    np.testing.assert_allclose(of_members.of_members(), realised[people.member], atol=1e-4)
    # 20 regions on 5 chromosomes scatter around the share of a person, and not around that of the group.
    error = realised - people.shares
    assert np.abs(error.mean(axis=0)).max() < 0.02
    assert np.corrcoef(realised[:, 1], people.shares[:, 1])[0, 1] > 0.75


def test_people_of_one_ancestry_never_switch() -> None:
    _, _, steps = _walk({"EAS": 1.0})
    eas = ANCESTRIES.index("EAS")
    assert all(len(step.switch_haplotype) == 0 for step in steps)
    assert all(set(step.ancestry.tolist()) <= {eas, -1} for step in steps)


def test_ancestry_is_kept_along_a_chromosome_and_independent_between_them() -> None:
    _, regions, steps = _walk({"AMR": 1.0}, samples=1000, relatedness=0, chromosomes=("21", "22"))
    one = [step.ancestry for step, region in zip(steps, regions, strict=True) if region.chromosome == "21"]
    two = [step.ancestry for step, region in zip(steps, regions, strict=True) if region.chromosome == "22"]
    same_chromosome = (one[0] == one[1]).mean()
    assert same_chromosome > (one[0] == two[0]).mean() + 0.05


def test_gametes_recombine_at_the_rate_of_the_map() -> None:
    people, regions, steps = _walk({"EUR": 1.0}, samples=4000, relatedness=0.9, chromosomes=("1",))
    first, second = steps[0], steps[1]
    assert np.all(first.first_source // 2 == first.second_source // 2)  # one parent
    assert np.all(first.first_source != first.second_source)
    parents = np.concatenate([people.mother, people.father])
    assert set((first.first_source // 2).tolist()) == set(parents.tolist())
    end = np.where(first.copy_break < NO_BREAK, first.second_source, first.first_source)
    distance = (regions[1].start - regions[0].start - regions[0].length) * 1.2e-8
    expected = (1 - np.exp(-2 * distance)) / 2
    observed = (end != second.first_source).mean()
    assert observed == pytest.approx(expected, abs=4 * np.sqrt(0.25 / len(end)))
    inside = (first.copy_break < NO_BREAK).mean()
    assert inside == pytest.approx(regions[0].genetic_length, abs=4 * np.sqrt(0.02 / len(end)))


def test_chromosome_x_is_inherited_as_it_is() -> None:
    people, regions, steps = _walk({"AFR": 1.0})
    male = people.sex == 1
    linked = [step for step, region in zip(steps, regions, strict=True) if region.sex_linked]
    assert linked
    for step in linked:
        copied = dict(zip(step.copy_target.tolist(), step.first_source.tolist(), strict=True))
        whole = dict(zip(step.copy_target.tolist(), step.copy_break.tolist(), strict=True))
        for child in range(people.n_founders, people.n_individuals):
            paternal = 2 * child + 1
            father = people.father[child - people.n_founders]
            assert copied[paternal] == (2 * child if male[child] else 2 * father)
            assert whole[paternal] == NO_BREAK
            assert copied[2 * child] // 2 == people.mother[child - people.n_founders]
        for founder in np.flatnonzero(male[: people.n_founders]):
            assert copied[2 * founder + 1] == 2 * founder
            assert step.ancestry[2 * founder + 1] == -1
    # The pseudoautosomal region is inherited from both sides.
    both = zip(steps, regions, strict=True)
    (par,) = [step for step, region in both if region.chromosome == "X" and not region.sex_linked]
    assert par.ancestry.min() >= 0
    assert len(par.copy_target) == 2 * len(people.mother)


# --- coalescent ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spectrum", ["array", "wgs"])
def test_haplotypes_have_a_reference_and_the_spectrum_asked_for(spectrum: str) -> None:
    rng = np.random.default_rng(1)
    (region, *_) = plan_regions(rng, ["22"], 400, par=False, spectrum=spectrum, haplotypes=600)
    counts = np.array([200, 300, 100, 0, 0, 0])
    seed = np.random.SeedSequence(3)
    found = simulate_haplotypes(seed, region, region.length, counts, spectrum=spectrum, wanted=150)
    assert found.allele.shape == (150, 600)
    assert len(set(found.offset.tolist())) == 150
    assert found.offset.max() < region.length
    assert found.first_of.tolist() == [0, 200, 500, 600, 600, 600, 600]
    # One haplotype is the reference genome: it has no ALT anywhere. Any other has some.
    assert 1 <= (found.allele.sum(axis=0) == 0).sum() < 60
    share = found.allele.mean(axis=1)
    minor = np.minimum(share, 1 - share)
    assert minor.min() >= (0.01 if spectrum == "array" else 1 / 600)
    assert (minor < 0.005).mean() > 0.4 or spectrum == "array"
    # Any first part is a fair choice: variants do not come in genomic order.
    assert not np.all(np.diff(found.offset) > 0)


# --- assembly --------------------------------------------------------------------------------------------


def _naive_calls(allele: np.ndarray, offset: np.ndarray, plan: CopyPlan, member: np.ndarray) -> np.ndarray:
    out = np.empty((len(allele), len(member)), dtype=np.int8)
    for v in range(len(allele)):
        haplotype = {h: int(allele[v, leaf]) for h, leaf in enumerate(plan.leaf) if leaf >= 0}
        for h, where, leaf in zip(plan.switch_haplotype, plan.switch_break, plan.switch_leaf, strict=True):
            if offset[v] >= where:
                haplotype[int(h)] = int(allele[v, leaf])
        for target, first, second, where in zip(
            plan.copy_target, plan.first_source, plan.second_source, plan.copy_break, strict=True
        ):
            haplotype[int(target)] = haplotype[int(first if offset[v] < where else second)]
        out[v] = [haplotype[2 * int(m)] + haplotype[2 * int(m) + 1] for m in member]
    return out


@pytest.mark.parametrize("enough", [True, False])
def test_calls_are_copied_as_planned(enough: bool) -> None:
    people, regions, steps = _walk({"AMR": 0.5, "AFR": 0.5}, samples=60)
    rng = np.random.default_rng(2)
    for region, step in zip(regions, steps, strict=True):
        needed = np.bincount(step.ancestry[step.ancestry >= 0], minlength=6) + np.bincount(
            step.switch_ancestry, minlength=6
        )
        counts = needed if enough else allot_haplotypes(needed, 30)
        assert enough or counts.sum() <= 33
        first_of = np.concatenate([[0], np.cumsum(counts)])
        plan = plan_copies(rng, step, 2 * people.n_individuals, first_of)
        allele = rng.integers(0, 2, (25, first_of[-1])).astype(np.int8)
        offset = rng.integers(0, region.length, 25).astype(np.int32)
        calls = np.empty((25, people.n_samples), dtype=np.int8)
        assemble_calls(allele, offset, plan, people.member, calls)
        np.testing.assert_array_equal(calls, _naive_calls(allele, offset, plan, people.member))
        # Every founder stretch shows a haplotype of its own ancestry.
        own = step.ancestry >= 0
        leaf = plan.leaf[: len(own)][own]
        assert np.array_equal(np.searchsorted(first_of, leaf, side="right") - 1, step.ancestry[own])
        if enough:
            shown = np.concatenate([leaf, plan.switch_leaf])
            assert len(set(shown.tolist())) == len(shown)


def test_ancestry_switches_and_crossovers_take_effect_at_their_base() -> None:
    step = RegionInheritance(
        ancestry=np.array([0, 1], dtype=np.int8),
        switch_haplotype=np.array([0], dtype=np.int32),
        switch_break=np.array([50], dtype=np.int32),
        switch_ancestry=np.array([1], dtype=np.int8),
        copy_target=np.array([2, 3], dtype=np.int32),
        first_source=np.array([0, 1], dtype=np.int32),
        second_source=np.array([1, 1], dtype=np.int32),
        copy_break=np.array([80, NO_BREAK], dtype=np.int32),
    )
    plan = plan_copies(np.random.default_rng(1), step, 4, np.array([0, 1, 3]))
    plan = plan._replace(leaf=np.array([0, 1, -1, -1], dtype=np.int32), switch_leaf=np.array([2], dtype=np.int32))
    allele = np.array([[1, 1, 0]] * 4, dtype=np.int8)
    out = np.empty((4, 2), dtype=np.int8)
    assemble_calls(allele, np.array([0, 49, 50, 90], dtype=np.int32), plan, np.array([0, 1], dtype=np.int32), out)
    assert out[:, 0].tolist() == [2, 2, 1, 1]
    assert out[:, 1].tolist() == [2, 2, 1, 2]
    np.testing.assert_allclose(step.ancestry_shares(4, 100)[:, :2], [[0.5, 0.5], [0, 1], [0.4, 0.6], [0, 1]])


def test_haploid_samples_count_once() -> None:
    calls = np.array([[0, 2, 1, 2], [2, 0, 2, 0]], dtype=np.int8)
    out = np.empty((2, 2), dtype=np.int64)
    count_by_group(calls, np.array([0, 0, 1, 1], dtype=np.int8), np.array([True, True, False, True]), out)
    assert out.tolist() == [[1, 2], [1, 2]]


def test_haplotypes_are_allotted_to_every_ancestry_that_is_needed() -> None:
    assert allot_haplotypes(np.array([5, 0, 7]), 100).tolist() == [5, 0, 7]
    few = allot_haplotypes(np.array([100_000, 1, 30, 0]), 1000)
    assert few[1] == 1
    assert few[2] == 2
    assert few[3] == 0
    assert few[0] == pytest.approx(1000, abs=2)

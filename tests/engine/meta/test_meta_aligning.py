"""Studies of tables: however they are written, the same comes out; what cannot be right is refused or counted."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from allscan.cluster.embedded import EmbeddedExecutor
from allscan.engine.meta.aligned import AlignedStudies
from allscan.engine.meta.aligning import AlignOptions, StudyAccount, align, common_strand
from allscan.engine.meta.reading import Study
from allscan.engine.meta.rows import StudyFacts
from allscan.errors import FileFormatError, InputError
from tests.engine.meta import tables

EXECUTOR = EmbeddedExecutor(1)
SITES = tables.variants(3000)


def aligned(
    folder: Path, studies: list[Study], options: AlignOptions | None = None, workers: int = 1
) -> tuple[AlignedStudies, list[StudyAccount]]:
    return align(studies, "t", folder / "work", EmbeddedExecutor(workers), options or AlignOptions())


def shown(studies: AlignedStudies) -> pd.DataFrame:
    """Everything that is read, a row for each variant."""
    n = studies.n_variants
    names = studies.variant_names(0, n)
    frame = pd.DataFrame(
        {
            "contig": names.contig_names.to_pylist(),
            "position": names.position,
            "ref": names.ref.to_pylist(),
            "alt": names.alt.to_pylist(),
            "id": names.variant_id.to_pylist(),
        }
    )
    (block,) = studies.read(range(len(studies.names)), slice(0, 1), slice(0, n))
    for name in ("beta", "standard_error", "z", "n", "frequency"):
        for study, values in zip(studies.names, getattr(block, name), strict=True):
            frame[f"{name} {study}"] = values
    return frame


def turned_like(found: pd.DataFrame, base: pd.DataFrame) -> pd.DataFrame:
    """The same with REF and ALT as in another frame, where one has the other's order: two studies may tell one each."""
    out = found.copy()
    rows = (found.ref == base.alt) & (found.alt == base.ref)
    out.loc[rows, ["ref", "alt"]] = found.loc[rows, ["alt", "ref"]].to_numpy()
    for name in found.columns[5:]:
        if name.startswith(("beta", "z")):
            out.loc[rows, name] = -found.loc[rows, name]
        elif name.startswith("frequency"):
            out.loc[rows, name] = (np.float32(1) - found.loc[rows, name].astype("f4")).astype(float)
    return out


@pytest.fixture(scope="module")
def three() -> list[pd.DataFrame]:
    return [tables.study(SITES, seed=k + 1, n=3000 + 1000 * k) for k in range(3)]


@pytest.fixture(scope="module")
def base(three: list[pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("base")
    studies = [Study(f"s{k}", (tables.write(one, folder / f"{k}.tsv"),)) for k, one in enumerate(three)]
    return shown(aligned(folder, studies)[0])


def of_changed(folder: Path, three: list[pd.DataFrame], change: pd.DataFrame, name: str = "b.tsv") -> pd.DataFrame:
    """The three with another second one."""
    all_of = [three[0], change, three[2]]
    studies = [Study(f"s{k}", (tables.write(one, folder / f"{k}{name}"),)) for k, one in enumerate(all_of)]
    return shown(aligned(folder, studies)[0])


def test_values_and_names_are_those_of_the_tables(base: pd.DataFrame, three: list[pd.DataFrame]) -> None:
    expected = SITES.merge(
        three[1], left_on=["contig", "position"], right_on=["chromosome", "base_pair_location"], how="left"
    )
    held = pd.concat(three).drop_duplicates(["chromosome", "base_pair_location"])
    assert len(base) == len(held)
    found = base.merge(expected, on=["contig", "position"], how="left", suffixes=("", " table"))
    told = found["beta"].notna()
    np.testing.assert_array_equal(found["beta s1"].isna(), ~told)
    # Alleles stand as most studies tell them: ALT is the effect allele.
    # (C/T is written as such, not as A/G, though both are one key.)
    assert (found["ref table"] == found["ref"]).all() or found["ref"].str.len().max() > 1
    singles = found["ref table"].str.len().eq(1) & found["alt table"].str.len().eq(1)
    assert (found["ref table"] == found["ref"])[singles].all()
    assert (found["alt table"] == found["alt"])[singles].all()
    np.testing.assert_array_equal(found["beta s1"][told], found["beta"][told])
    np.testing.assert_array_equal(found["id"], found["rs"])
    assert found.position.groupby(found.contig).apply(lambda one: one.is_monotonic_increasing).all()


@pytest.mark.parametrize(
    "change",
    [
        tables.swapped,
        lambda table: tables.swapped(table, np.arange(len(table)) % 2 == 0),
        tables.padded,
        lambda table: table.sample(frac=1.0, random_state=1),
        lambda table: table.assign(chromosome="chr" + table.chromosome),
        lambda table: table.assign(chromosome=table.chromosome.replace("X", "23")),
        lambda table: table.assign(effect_allele=table.effect_allele.str.lower()),
        lambda table: table.rename(columns={"rsid": "variant_id"}),
        lambda table: pd.concat([table, table.iloc[:50]]),
        lambda table: table[table.columns[::-1]],
    ],
    ids=["swapped", "half swapped", "padded", "shuffled", "chr", "23", "lower case", "id", "rows twice", "columns"],
)
def test_how_a_table_is_written_changes_nothing(tmp_path, three, base, change) -> None:  # type: ignore[no-untyped-def]
    found = of_changed(tmp_path, three, change(three[1]))
    everywhere = base[[f"beta s{k}" for k in range(3)]].notna().all(axis=1)
    pd.testing.assert_frame_equal(found[everywhere], base[everywhere])
    pd.testing.assert_frame_equal(turned_like(found, base), base)


def test_strands_are_told_apart_where_alleles_tell_them(tmp_path: Path) -> None:
    sites = tables.variants(2000, palindromes=False)
    three = [tables.study(sites, seed=k) for k in range(3)]
    plain, other = tmp_path / "plain", tmp_path / "other"
    for folder in (plain, other):
        folder.mkdir()
    expected = of_changed(plain, three, three[1])
    studies = [
        Study(f"s{k}", (tables.write(tables.flipped(one) if k == 1 else one, other / f"{k}.tsv"),))
        for k, one in enumerate(three)
    ]
    found, accounts = aligned(other, studies)
    frame = shown(found)
    everywhere = expected[[f"beta s{k}" for k in range(3)]].notna().all(axis=1)
    pd.testing.assert_frame_equal(frame[everywhere], expected[everywhere])
    # Where two studies tell one strand each, or one alone is on the other, alleles may be named on either.
    for name in frame.columns[5:]:
        np.testing.assert_allclose(frame[name].abs(), expected[name].abs(), rtol=1e-6)
    assert found.same_strand == (True, False, True)
    single = three[1].effect_allele.str.len().eq(1) & three[1].other_allele.str.len().eq(1)
    assert 0.8 * single.sum() < accounts[1].flipped <= single.sum()


def test_palindromes_of_a_study_on_the_other_strand_follow_their_frequency(tmp_path: Path) -> None:
    sites = tables.variants(2000)
    three = [tables.study(sites, seed=k, share=1.0) for k in range(3)]
    plain = shown(
        aligned(tmp_path, [Study(f"s{k}", (tables.write(t, tmp_path / f"{k}.tsv"),)) for k, t in enumerate(three)])[0]
    )
    turned = [three[0], tables.flipped(three[1]), three[2]]
    studies = [Study(f"s{k}", (tables.write(t, tmp_path / f"f{k}.tsv"),)) for k, t in enumerate(turned)]
    found, accounts = aligned(tmp_path, studies)
    frame = shown(found)
    pair = frame.ref + frame.alt
    palindrome = pair.isin(["AT", "TA", "CG", "GC"])
    clear = (plain["frequency s1"] - 0.5).abs() > 0.1
    clear &= (plain[["frequency s0", "frequency s2"]].mean(axis=1) - 0.5).abs() > 0.1
    dropped = frame["beta s1"].isna()
    np.testing.assert_array_equal(dropped, palindrome & ~clear)
    assert (
        accounts[1].palindromes_dropped
        == dropped.sum()
        == accounts[1].left_out["palindrome (A/T or C/G) whose strand cannot be told"]
    )
    kept = ~dropped
    np.testing.assert_allclose(frame["beta s1"][kept], plain["beta s1"][kept])
    np.testing.assert_allclose(frame["frequency s1"][kept], plain["frequency s1"][kept], rtol=1e-6)
    believed, _ = aligned(tmp_path, studies, AlignOptions(palindromes="keep"))
    np.testing.assert_allclose(shown(believed)["beta s1"][palindrome], -plain["beta s1"][palindrome])
    none, _ = aligned(tmp_path, studies, AlignOptions(palindromes="drop"))
    assert shown(none)[palindrome][[f"beta s{k}" for k in range(3)]].isna().all(axis=None)


def test_order_of_studies_and_workers_change_nothing(tmp_path, three, base) -> None:  # type: ignore[no-untyped-def]
    studies = [Study(f"s{k}", (tables.write(one, tmp_path / f"{k}.tsv"),)) for k, one in enumerate(three)]
    other, _ = align([studies[2], studies[0], studies[1]], "t", tmp_path / "work", EmbeddedExecutor(2), AlignOptions())
    pd.testing.assert_frame_equal(shown(other)[list(base.columns)], base)


def test_a_study_in_several_compressed_files(tmp_path, three, base) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path
    parts = [three[1].iloc[:700], three[1].iloc[700:]]
    files = tuple(tables.write(part, folder / f"part{k}.tsv.gz") for k, part in enumerate(parts))
    # As BGZF is: compressed pieces one after another.
    text = three[0].to_csv(sep="\t", index=False).encode()
    (folder / "pieces.gz").write_bytes(b"".join(gzip.compress(text[k : k + 5000]) for k in range(0, len(text), 5000)))
    studies = [Study("s0", (str(folder / "pieces.gz"),)), Study("s1", files)]
    studies.append(Study("s2", (tables.write(three[2], folder / "c.csv", ","),)))
    pd.testing.assert_frame_equal(shown(aligned(folder, studies)[0]), base)


def test_spaces_of_any_number_separate_columns(tmp_path, three, base) -> None:  # type: ignore[no-untyped-def]
    text = three[1].to_csv(sep=" ", index=False).replace(" ", "   ").replace("\n", " \n ")
    (tmp_path / "spaces.txt").write_text(" " + text.rstrip(" "))
    studies = [Study(f"s{k}", (tables.write(three[k], tmp_path / f"{k}.tsv"),)) for k in (0, 2)]
    studies.insert(1, Study("s1", (str(tmp_path / "spaces.txt"),)))
    pd.testing.assert_frame_equal(shown(aligned(tmp_path, studies)[0]), base)


def test_odds_ratios_are_logarithms_of_effects(tmp_path, three, base) -> None:  # type: ignore[no-untyped-def]
    table = three[1].assign(odds_ratio=np.exp(three[1].beta.astype(float))).drop(columns="beta")
    found = of_changed(tmp_path, three, table)
    np.testing.assert_allclose(found["beta s1"], base["beta s1"], rtol=1e-6, atol=1e-9)
    low, high = (np.exp(three[1].beta.astype(float) + z * three[1].standard_error) for z in (-1.959964, 1.959964))
    interval = table.drop(columns="standard_error").assign(ci_lower=low, ci_upper=high)
    again = of_changed(tmp_path, three, interval, "i.tsv")
    np.testing.assert_allclose(again["standard_error s1"], base["standard_error s1"], rtol=1e-5)


def test_without_errors_they_follow_from_p(tmp_path, three, base) -> None:  # type: ignore[no-untyped-def]
    found = of_changed(tmp_path, three, three[1].drop(columns="standard_error"))
    clear = base["z s1"].abs() > 0.5
    np.testing.assert_allclose(found["standard_error s1"][clear], base["standard_error s1"][clear], rtol=1e-4)


def test_errors_from_p_where_p_is_of_a_better_test(tmp_path, three) -> None:  # type: ignore[no-untyped-def]
    table = three[1].copy()
    strong = table.neg_log_10_p_value > 2
    table.loc[strong, "neg_log_10_p_value"] *= 0.5
    file = tables.write(table, tmp_path / "t.tsv")
    given, _ = aligned(tmp_path, [Study("a", (file,))])
    of_p, accounts = aligned(tmp_path, [Study("a", (file,), facts=StudyFacts(errors_from="p"))])
    before, after = shown(given), shown(of_p)
    # z of p, and effect over error, now say the same.
    significant = after["z a"].abs() > 1.96
    np.testing.assert_allclose(
        (after["beta a"] / after["standard_error a"])[significant], after["z a"][significant], rtol=1e-5
    )
    np.testing.assert_array_equal(after["standard_error a"][~significant], before["standard_error a"][~significant])
    assert accounts[0].noted["standard error taken from effect and p value"] == significant.sum()
    assert accounts[0].p_disagrees == pytest.approx(strong.sum() / (before["z a"].abs() > 0.5).sum(), abs=0.2)


def test_every_row_that_is_left_out_has_a_reason(tmp_path: Path, three: list[pd.DataFrame]) -> None:
    table = three[0].iloc[:40].copy().reset_index(drop=True)
    table["p_value"] = 10.0 ** -table.pop("neg_log_10_p_value").astype(float)
    table = table.astype({"chromosome": object, "effect_allele": object})
    table.loc[0, "chromosome"] = None
    table.loc[1, "base_pair_location"] = 0
    table.loc[2, "effect_allele"] = "<DEL>"
    table.loc[3, "effect_allele"] = table.loc[3, "other_allele"]
    table.loc[4, "standard_error"] = 0.0
    table.loc[5, "p_value"] = 1.5
    table.loc[6, "effect_allele_frequency"] = 1.2
    table.loc[7, "beta"] = np.nan
    table.loc[8, "p_value"] = 0.0
    table.loc[9, "beta"] = 1e35
    again = table.iloc[[10, 11]].copy()
    again["beta"] += 0.5
    table = pd.concat([table, again, table.iloc[[12]]])
    file = tables.write(table, tmp_path / "t.tsv")
    _, (account,) = aligned(tmp_path, [Study("a", (file,), check_p=False)])
    assert account.left_out == {
        "no chromosome or position": 2,
        "an allele is no sequence of A, C, G, T, or both are the same": 2,
        "standard error of zero or less": 1,
        "p value outside 0 to 1": 1,
        "allele frequency outside 0 to 1": 1,
        "no effect, or none with a standard error or p value": 1,
        "an effect or standard error beyond all reason (over 1e30)": 1,
        "several rows of one variant that differ": 4,
        "further rows of one variant, all the same": 1,
    }
    assert account.noted == {"p of zero: taken from effect and standard error": 1}
    assert account.rows == len(table) == account.variants + sum(account.left_out.values())


def test_alleles_of_one_site_stay_apart(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "chromosome": "7",
            "base_pair_location": 1000,
            "effect_allele": ["C", "G", "T", "AT", "ATT", "C"],
            "other_allele": ["A", "A", "A", "A", "A", "AC"],
            "beta": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
            "standard_error": 0.1,
        }
    )
    swapped = table.assign(effect_allele=table.other_allele, other_allele=table.effect_allele, beta=-table.beta)
    files = [tables.write(one, tmp_path / f"{k}.tsv") for k, one in enumerate((table, swapped, table))]
    found, _ = aligned(tmp_path, [Study(f"s{k}", (file,)) for k, file in enumerate(files)])
    frame = shown(found)
    np.testing.assert_allclose(frame["beta s0"], frame["beta s1"])
    held = dict(zip(frame.ref + ">" + frame.alt, frame["beta s0"].round(6), strict=True))
    # AC>C has no base at the right in common, and one at the left of none: it stays.
    assert held == {"A>C": 0.1, "A>G": 0.2, "A>T": 0.3, "A>AT": 0.4, "A>ATT": 0.5, "AC>C": 0.6}


def test_formats_of_other_programs(tmp_path: Path, three: list[pd.DataFrame], base: pd.DataFrame) -> None:
    t = three[1]
    y = t.neg_log_10_p_value
    single = {"N": t.n}
    regenie = pd.DataFrame(
        {"CHROM": t.chromosome.replace("X", "23"), "GENPOS": t.base_pair_location, "ID": t.rsid}
        | {"ALLELE0": t.other_allele, "ALLELE1": t.effect_allele, "A1FREQ": t.effect_allele_frequency, **single}
        | {"TEST": "ADD", "BETA": t.beta, "SE": t.standard_error, "CHISQ": 1.0, "LOG10P": y, "EXTRA": "NA"}
    )
    other_test = regenie.assign(TEST="ADD-INT_SNP", BETA=9.0)
    saige = pd.DataFrame(
        {"CHR": "chr" + t.chromosome, "POS": t.base_pair_location, "MarkerID": t.rsid, "Allele1": t.other_allele}
        | {"Allele2": t.effect_allele, "AC_Allele2": 1, "AF_Allele2": t.effect_allele_frequency, "BETA": t.beta}
        | {"SE": t.standard_error, "p.value": 10.0 ** -y.astype(float), **single}
    )
    turned = tables.swapped(t, np.arange(len(t)) % 3 == 0)
    plink = pd.DataFrame(
        {"#CHROM": t.chromosome, "POS": t.base_pair_location, "ID": t.rsid, "REF": t.other_allele}
        | {"ALT": t.effect_allele, "A1": turned.effect_allele, "A1_FREQ": turned.effect_allele_frequency}
        | {"TEST": "ADD", "OBS_CT": t.n, "BETA": turned.beta, "SE": t.standard_error, "T_STAT": 0.0}
        | {"P": 10.0 ** -y.astype(float), "ERRCODE": "."}
    )
    gcta = pd.DataFrame(
        {"CHR": t.chromosome, "SNP": t.rsid, "POS": t.base_pair_location, "A1": t.effect_allele, "A2": t.other_allele}
        | {**single, "AF1": t.effect_allele_frequency, "BETA": t.beta, "SE": t.standard_error}
        | {"P": 10.0 ** -y.astype(float)}
    )
    generic = pd.DataFrame(
        {"Chr": t.chromosome, "BP": t.base_pair_location, "SNP": t.rsid, "EA": t.effect_allele, "NEA": t.other_allele}
        | {"EAF": t.effect_allele_frequency, "B": t.beta, "StdErr": t.standard_error, "MLOGP": y, "N_total": t.n}
    )
    for name, table, separator in (
        ("regenie", pd.concat([regenie, other_test]), " "),
        ("saige", saige, "\t"),
        ("plink2", plink, "\t"),
        ("gcta", gcta, "\t"),
        ("generic", generic, "\t"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        studies = [Study(f"s{k}", (tables.write(three[k], folder / f"{k}.tsv"),)) for k in (0, 2)]
        studies.insert(1, Study("s1", (tables.write(table, folder / "t.txt", separator),)))
        found, accounts = aligned(folder, studies)
        assert accounts[1].format == name
        frame = shown(found)
        exact = [column for column in base if column not in ("z s1", "frequency s1")]
        pd.testing.assert_frame_equal(frame[exact], base[exact])
        np.testing.assert_allclose(frame["z s1"], base["z s1"], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(frame["frequency s1"], base["frequency s1"], rtol=1e-5)
        if name == "regenie":
            assert accounts[1].left_out == {"row of another test than the additive one": len(t)}


def test_columns_are_named_where_the_header_does_not_tell(tmp_path: Path, three: list[pd.DataFrame]) -> None:
    table = three[0].rename(columns={"effect_allele": "allele_of_effect", "standard_error": "sd_beta"})
    file = tables.write(table, tmp_path / "t.tsv")
    with pytest.raises(FileFormatError, match="no column for effect_allele") as refused:
        aligned(tmp_path, [Study("a", (file,))])
    assert "allele_of_effect" in str(refused.value)
    columns = {"effect_allele": "allele_of_effect", "standard_error": "sd_beta"}
    _, (account,) = aligned(tmp_path, [Study("a", (file,), columns=columns)])
    assert account.variants == len(table)
    with pytest.raises(InputError, match="no column 'sd'"):
        aligned(tmp_path, [Study("a", (file,), columns=columns | {"standard_error": "sd"})])


def test_columns_that_are_not_what_they_are_called_are_refused(tmp_path: Path, three: list[pd.DataFrame]) -> None:
    t = three[0]
    cases = {
        "look like odds ratios": t.assign(beta=np.exp(t.beta.astype(float))),
        "look exchanged": t.assign(neg_log_10_p_value=10.0 ** -t.neg_log_10_p_value.astype(float)),
        "have a p value that is not that": t.assign(standard_error=t.standard_error * 3),
    }
    for words, table in cases.items():
        file = tables.write(table, tmp_path / "t.tsv")
        with pytest.raises(FileFormatError, match=words):
            aligned(tmp_path, [Study("a", (file,))])
    assert aligned(tmp_path, [Study("a", (file,), check_p=False)])[1][0].variants == len(t)


def test_tables_that_are_damaged_are_refused(tmp_path: Path, three: list[pd.DataFrame]) -> None:
    text = three[0].to_csv(sep="\t", index=False)
    cases = {
        "cannot be read": text[: text.index("\t", len(text) // 2)],
        "invalid value 'many'": text.replace(f"\t{three[0].n[0]}\n", "\tmany\n", 1),
        "is empty": "",
        "has no rows": text.split("\n", 1)[0] + "\n",
    }
    for words, content in cases.items():
        (tmp_path / "t.tsv").write_text(content)
        with pytest.raises(InputError, match=words):
            aligned(tmp_path, [Study("a", (str(tmp_path / "t.tsv"),))])
    (tmp_path / "t.tsv").write_text("CHR SNP BP A1 TEST NMISS BETA STAT P\n1 rs1 5 A ADD 5 0.1 1 0.5\n")
    with pytest.raises(FileFormatError, match="other_allele") as refused:
        aligned(tmp_path, [Study("a", (str(tmp_path / "t.tsv"),))])
    assert "plink2" in str(refused.value)


def test_another_reference_build_is_noticed(tmp_path: Path, three: list[pd.DataFrame]) -> None:
    rng = np.random.default_rng(1)
    moved = three[1].assign(base_pair_location=three[1].base_pair_location + rng.integers(20_000, 900_000))
    files = [tables.write(one, tmp_path / f"{k}.tsv") for k, one in enumerate([three[0], moved, three[2]])]
    studies = [Study(f"s{k}", (file,)) for k, file in enumerate(files)]
    with pytest.raises(InputError, match="'s1' does not fit the other studies") as refused:
        aligned(tmp_path, studies)
    assert "lift it over" in str(refused.value)
    assert aligned(tmp_path, studies, AlignOptions(check_overlap=False))[0].n_variants > len(SITES)
    declared = [replace(study, build=build) for study, build in zip(studies, ("hg19", "GRCh38", "b37"), strict=True)]
    with pytest.raises(InputError, match="different reference builds: s0 on GRCh37, s1 on GRCh38"):
        aligned(tmp_path, declared)


def test_other_alleles_at_the_same_places_are_noticed(tmp_path: Path, three: list[pd.DataFrame]) -> None:
    rng = np.random.default_rng(1)
    order = rng.permutation(len(three[1]))
    pairs = three[1][["effect_allele", "other_allele"]].to_numpy()[order]
    other = three[1].assign(effect_allele=pairs[:, 0], other_allele=pairs[:, 1])
    files = [tables.write(one, tmp_path / f"{k}.tsv") for k, one in enumerate([three[0], other, three[2]])]
    with pytest.raises(InputError, match=r"at only .* % of the places"):
        aligned(tmp_path, [Study(f"s{k}", (file,)) for k, file in enumerate(files)])


def test_effects_of_the_other_allele_show_in_its_frequency(tmp_path: Path, three: list[pd.DataFrame]) -> None:
    wrong = three[1].rename(columns={"effect_allele": "other_allele", "other_allele": "effect_allele"})
    files = [tables.write(one, tmp_path / f"{k}.tsv") for k, one in enumerate([three[0], wrong, three[2]])]
    with pytest.raises(InputError, match="frequencies of 's1' are those of the other allele"):
        aligned(tmp_path, [Study(f"s{k}", (file,)) for k, file in enumerate(files)])


def test_what_is_done_is_not_done_again(tmp_path: Path, three: list[pd.DataFrame]) -> None:
    studies = [Study(f"s{k}", (tables.write(one, tmp_path / f"{k}.tsv"),)) for k, one in enumerate(three)]
    aligned(tmp_path, studies)
    rows = sorted((tmp_path / "work").rglob("*.rows"))
    marks = {path: path.stat().st_mtime_ns for path in rows}
    tables.write(three[1].iloc[:-5], tmp_path / "1.tsv")
    found, accounts = aligned(tmp_path, studies)
    again = [path for path in rows if path.stat().st_mtime_ns != marks[path]]
    assert {path.parent.name for path in again} == {"study1"}
    assert accounts[1].rows == len(three[1]) - 5
    # One that was interrupted is read anew.
    (tmp_path / "work" / "study0" / "read.json").unlink()
    pd.testing.assert_frame_equal(shown(aligned(tmp_path, studies)[0]), shown(found))


def test_chromosome_names(tmp_path: Path) -> None:
    names = ["1", "chr2", "01", "23", "chrX", "XY", "PAR1", "25", "26", "chrM", "MT", "24", "GL000009.2"]
    table = pd.DataFrame(
        {
            "chrom": names,
            "pos": np.arange(1, len(names) + 1) * 10,
            "ea": "A",
            "nea": "G",
            "beta": 0.1,
            "se": 0.1,
        }
    )
    found, _ = aligned(tmp_path, [Study("a", (tables.write(table, tmp_path / "t.tsv"),))])
    contigs = shown(found).set_index("position").contig
    expected = ["1", "2", "1", "X", "X", "X", "X", "X", "MT", "MT", "MT", "Y", "GL000009.2"]
    assert [contigs[p] for p in table.pos] == expected
    # In the GWAS Catalog's standard 25 is mtDNA.
    standard = table.rename(columns={"chrom": "chromosome", "pos": "base_pair_location", "ea": "effect_allele"})
    standard = standard.rename(columns={"nea": "other_allele", "se": "standard_error"})
    found, _ = aligned(tmp_path, [Study("a", (tables.write(standard, tmp_path / "s.tsv"),))])
    assert shown(found).set_index("position").contig[80] == "MT"


def test_the_common_strand_is_that_of_most_studies() -> None:
    def decide(pairs: dict[tuple[int, int], tuple[int, int]], n: int) -> tuple[bool, ...]:
        told, opposite = np.zeros((2, n, n), np.int64)
        for (a, b), (of, against) in pairs.items():
            told[a, b] = told[b, a] = of
            opposite[a, b] = opposite[b, a] = against
        return common_strand(told, opposite)

    assert decide({(0, 1): (1000, 5), (0, 2): (1000, 990), (1, 2): (1000, 995)}, 3) == (True, True, False)
    # One with both strands agrees with nobody; two that differ leave nobody to believe.
    assert decide({(0, 1): (1000, 500), (0, 2): (1000, 0), (1, 2): (1000, 500)}, 3) == (True, False, True)
    assert decide({(0, 1): (1000, 1000)}, 2) == (False, False)
    # In a chain, and without anything in common.
    assert decide({(0, 1): (50, 0), (1, 2): (50, 0)}, 4) == (True, True, True, True)

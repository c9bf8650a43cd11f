"""Tables of All of Us are found by how their names end, wherever one points."""

from __future__ import annotations

import pytest

from allscan.errors import InputError
from allscan.phenotypes.auxiliary import KINDS, find_auxiliary
from allscan.phenotypes.sex import FEMALE, MALE, UNKNOWN, read_sex
from allscan.phenotypes.tables import read_covariate_table, read_sample_list

NAMES = {
    "ancestry_preds": "ancestry/echo_v4_r2.ancestry_preds.tsv",
    "relatedness": "relatedness/samples_relatedness.tsv",
    "relatedness_flagged_samples": "relatedness/samples_relatedness_flagged_samples.tsv",
    "flagged_samples": "qc/flagged_samples.tsv",
    "all_samples": "qc/all_samples.tsv",
    "genomic_metrics": "qc/genomics_metrics_Dec142023_1859_02_tz0000.tsv",
    "admixture": "admixture_estimates/aou_admixture_estimates_rye_v8.Q",
}
EARLIER = {
    "ancestry_preds": "ancestry/ancestry_preds.tsv.gz",
    "relatedness": "relatedness/relatedness.tsv",
    "relatedness_flagged_samples": "relatedness/relatedness_flagged_samples.tsv",
    "flagged_samples": "qc/flagged_samples.tsv",
    "all_samples": "qc/all_samples.tsv",
    "genomic_metrics": "qc/genomic_metrics.tsv",
    "admixture": "admixture_estimates/rye.Q",
}


def release(root, names):
    aux = root / "wgs" / "short_read" / "snpindel" / "aux"
    for name in (*names.values(), "vat/vat_complete.bgz.tsv.gz", "README.tsv"):
        (aux / name).parent.mkdir(parents=True, exist_ok=True)
        (aux / name).write_text("x\n")
    return aux


@pytest.mark.parametrize("names", [NAMES, EARLIER])
@pytest.mark.parametrize("kind", KINDS)
def test_from_every_level(tmp_path, names, kind):
    aux = release(tmp_path, names)
    wanted = aux / names[kind]
    for start in (tmp_path, aux.parent, aux, wanted.parent, wanted):
        assert find_auxiliary(start, kind) == wanted


def test_from_the_beginning_of_a_name(tmp_path):
    aux = release(tmp_path, NAMES)
    (aux / "ancestry" / "foxtrot_v4.ancestry_preds.tsv").write_text("x\n")
    for begins in ("echo_v4_r2", "echo_v4_r2.", "echo"):
        found = find_auxiliary(aux / "ancestry" / begins, "ancestry_preds")
        assert found.name == "echo_v4_r2.ancestry_preds.tsv"
    with pytest.raises(InputError, match="more than one table could be the predicted ancestries") as caught:
        find_auxiliary(aux, "ancestry_preds")
    assert "echo_v4_r2.ancestry_preds.tsv, foxtrot_v4.ancestry_preds.tsv" in caught.value.what


def test_nothing_there(tmp_path):
    with pytest.raises(InputError, match=r"no name ends in 'ancestry_preds\.tsv'") as caught:
        find_auxiliary(tmp_path, "ancestry_preds")
    assert "wgs/short_read/snpindel/aux/ancestry" in str(caught.value)
    with pytest.raises(InputError, match="no table of pairs of relatives"):
        find_auxiliary(tmp_path / "nowhere" / "at_all", "relatedness")


def test_a_folder_of_part_files_is_a_table(tmp_path):
    (tmp_path / "part-0.parquet").write_bytes(b"PAR1")
    assert find_auxiliary(tmp_path, "ancestry_preds") == tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "sample_id\n1\n2\n",
        "sample_id.s\n1\n2\n",
        "research_id\n1\n2\n",
        "s\n1\n2\n",
        's\tancestry_pred\tprobabilities\tqc_metrics_filters\n1\teur\t[0.5,0.5]\t["snp_count"]\n2\tafr\t[1,0]\t[]\n',
    ],
)
def test_flagged_samples_are_a_list_of_people(tmp_path, text):
    (tmp_path / "flagged_samples.tsv").write_text(text)
    assert read_sample_list(tmp_path / "flagged_samples.tsv").sample_ids.tolist() == ["1", "2"]


def test_metrics_of_sequencing_are_covariates_and_tell_sex(tmp_path):
    header = "research_id sample_source sex_at_birth dragen_sex_ploidy mean_coverage verify_bam_id2_contamination"
    rows = ["1\tWhole Blood\tM\tXY\t38.5\t0.001", "2\tSaliva\tF\tXX\t35\t2e-4", "3\tSaliva\tM\tXXY\t31\tNA"]
    (tmp_path / "genomic_metrics.tsv").write_text("\n".join([header.replace(" ", "\t"), *rows]) + "\n")
    table = read_covariate_table(tmp_path / "genomic_metrics.tsv")
    assert table.columns["mean_coverage"].values.tolist() == [38.5, 35, 31]
    assert table.columns["verify_bam_id2_contamination"].values[:2].tolist() == [0.001, 2e-4]
    assert table.columns["sample_source"].levels == ("Saliva", "Whole Blood")
    found = read_sex(table, "dragen_sex_ploidy")
    assert found.values.tolist() == [MALE, FEMALE, UNKNOWN]
    assert "1 people have another entry than male or female" in found.warnings[0]

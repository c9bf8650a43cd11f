"""Phenotypes of the HDR UK library as definitions; the codes of definitions as lists."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import pytest

from allscan.errors import FileFormatError, InputError
from allscan.phenotypes.definitions.exports import export_codes
from allscan.phenotypes.definitions.hdruk import import_hdruk
from allscan.phenotypes.definitions.loading import derive, load_definition
from allscan.phenotypes.records.opening import open_records
from tests.phenotypes.cdr import Cdr

TEMPLATE = """\
phenotype_uuid: 5bqxGMaqvZFBhtEYb5mhZJ
title: Made-up Disease
publish: FALSE
author:
- A. Writer
- B. Reader
type: Disease or Syndrome
sex: Female
validation_performed: FALSE
publications:
- "Writer A. Made-up disease in records. 2020. doi: 10.1000/xyz.123."
concept_information:
- name: Made-up Disease - Secondary care
  type: csv
  filepath: C:/my/csv/secondary.csv
  code_column: ICD
  description_column: text
  coding_system: ICD10 codes
- name: Primary care
  type: csv
  filepath: primary.csv
  coding_system: Read codes v2
"""

REPOSITORY = """\
---
layout: phenotype
title: Made-up Disease
phenotype_id: 2J7
clinical_terminologies:
    - Read Version 2
codelists: Writer_Madeup_2J7_Read2.csv, Writer_Madeup_2J7_ICD10.csv
sex:
    - Female
    - Male
author:
    - A. Writer
validation:
version: Revision 1
---

### Primary Care

{% include csv.html %}
"""


def library(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "secondary.csv").write_text('ICD,text\nE11.9,Diabetes\n\nE11.0,"With coma, or so"\n')
    (folder / "primary.csv").write_text("Code,Description\nC10F.,Type 2 diabetes\n")
    (folder / "Writer_Madeup_2J7_Read2.csv").write_text("code,description,terminology\nC10F.,Type 2,Read2\n")
    (folder / "Writer_Madeup_2J7_ICD10.csv").write_text("code,description\nE11.9,Diabetes\n")
    return folder


def test_template_becomes_a_definition(tmp_path):
    (library(tmp_path / "in") / "it.yaml").write_text(TEMPLATE)
    definition = import_hdruk(tmp_path / "in" / "it.yaml", tmp_path / "out")
    spec = definition.spec
    assert (spec.id, spec.label, spec.sex) == ("made_up_disease", "Made-up Disease", "female")
    assert spec.authors == ["A. Writer", "B. Reader"]
    assert spec.references == ["10.1000/xyz.123"]
    assert "5bqxGMaqvZFBhtEYb5mhZJ" in spec.description
    assert list(spec.codes) == ["made_up_disease_secondary_care", "primary_care"]
    text = (tmp_path / "out" / "made_up_disease_made_up_disease_secondary_care.csv").read_text()
    assert text == 'vocabulary,code,name\nICD10,E11.9,Diabetes\nICD10,E11.0,"With coma, or so"\n'
    assert load_definition("made_up_disease.yaml", tmp_path / "out").digest == definition.digest
    cdr = Cdr().person(1).person(2).person(3).condition(1, "E119", "2015-01-01").condition(2, "C10F.", "2015-01-01")
    with open_records(cdr.write(tmp_path / "cdr")) as records:
        (trait,) = derive(records, definition)
    assert trait.values.tolist() == [1, 1, 0]


def test_repository_becomes_a_definition(tmp_path):
    (library(tmp_path / "in") / "it.md").write_text(REPOSITORY)
    definition = import_hdruk(tmp_path / "in" / "it.md", tmp_path / "out")
    assert (definition.spec.version, definition.spec.sex) == ("Revision 1", "both")
    assert set(definition.files) == {"made_up_disease_read2.csv", "made_up_disease_icd10.csv"}
    assert (tmp_path / "out" / "made_up_disease_read2.csv").read_text().splitlines()[1] == "Read,C10F.,Type 2"


@pytest.mark.parametrize(
    ("change", "error", "what", "where"),
    [
        (("type: csv", "type: existing_concept"), InputError, "not in a file", "key concept_information[0]"),
        (("ICD10 codes", "ICPC-2 codes"), InputError, "'ICPC-2 codes' is no vocabulary", "secondary.csv, line 2"),
        (
            ("code_column: ICD", "code_column: ICE"),
            FileFormatError,
            "no column 'ICE'",
            "secondary.csv, header: icd, text",
        ),
        (("primary.csv", "other.csv"), FileFormatError, "cannot be read", "key concept_information[1]"),
        (("concept_information:", "concept_informations:"), FileFormatError, "no list of codes", "it.yaml"),
    ],
)
def test_refused_with_place(tmp_path, change, error, what, where):
    (library(tmp_path / "in") / "it.yaml").write_text(TEMPLATE.replace(*change, 1))
    with pytest.raises(error) as refusal:
        import_hdruk(tmp_path / "in" / "it.yaml", tmp_path / "out")
    assert what in refusal.value.what
    assert where in str(refusal.value.where)


def test_codes_are_exported_with_their_concepts_and_read_again(tmp_path):
    cdr = Cdr().person(1).person(2).person(3)
    cdr.concept(1, "ICD10CM", "E11.9", "Type 2 diabetes").concept(2, "ICD10CM", "E11.65", "With, hyperglycaemia")
    cdr.concept(3, "SNOMED", "44054006", "Diabetes", "S").concept(4, "SNOMED", "5", "Foot", "S").below(3, 4)
    cdr.condition(1, "x", "2015-01-01", 4).condition(2, "y", "2015-01-01", 0, 2)
    codes = [
        {"vocabulary": "ICD10CM", "codes": ["E11*"]},
        {"concepts": [3], "descendants": True},
        {"vocabulary": "ICD9CM", "codes": ["250.00"]},
    ]
    keys = {"kind": "case_control", "id": "it", "cases": {"codes": "t2d"}}
    with open_records(cdr.write(tmp_path / "cdr")) as records:
        definition = load_definition({**keys, "codes": {"t2d": codes}})
        digest = export_codes(definition, records, tmp_path / "codes.csv")
        assert export_codes(definition, records, tmp_path / "again.csv") == digest
        again = load_definition({**keys, "codes": {"t2d": {"file": "codes.csv"}}}, tmp_path)
        (first,), (second,) = list(derive(records, definition)), list(derive(records, again))
    content = (tmp_path / "codes.csv").read_bytes()
    assert hashlib.sha256(content).hexdigest() == digest
    assert list(csv.reader(content.decode().splitlines())) == [
        ["set", "vocabulary", "code", "name", "concept_id", "standard"],
        ["t2d", "ICD10CM", "E11.65", "With, hyperglycaemia", "2", ""],
        ["t2d", "ICD10CM", "E11.9", "Type 2 diabetes", "1", ""],
        ["t2d", "ICD9CM", "250.00", "", "", ""],
        ["t2d", "SNOMED", "44054006", "Diabetes", "3", "S"],
        ["t2d", "SNOMED", "5", "Foot", "4", "S"],
    ]
    assert first.values.tolist() == second.values.tolist() == [1, 1, 0]


def test_definitions_without_codes_export_none(tmp_path):
    with open_records(Cdr().person(1).write(tmp_path / "cdr")) as records:
        definition = load_definition({"kind": "case_control", "id": "it", "cases": {"death": True}})
        with pytest.raises(InputError, match="no codes of its own"):
            export_codes(definition, records, tmp_path / "codes.csv")

"""Definitions: read, refused by line and key, hashed with what they name, and found in records."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest
from pydantic import Field

from allscan.documents.sections import FilePath, Section
from allscan.errors import InputError, JobError
from allscan.phenotypes.definitions import loading
from allscan.phenotypes.definitions.loading import Definition, cohort, derive, load_definition
from allscan.phenotypes.definitions.spec import Header
from allscan.phenotypes.phenotype import QUANTITATIVE, Phenotype
from allscan.phenotypes.records.codes import CodeSet
from allscan.phenotypes.records.opening import open_records
from tests.phenotypes.cdr import Cdr


class Base(Section):
    """A definition that this one builds on."""

    definition: FilePath


class Spec(Header):
    """A kind for these tests."""

    codes: dict[str, CodeSet] = Field(default={})
    bases: list[Base] = Field(default=[])


@pytest.fixture(autouse=True)
def tested_kind(monkeypatch):
    module = types.ModuleType("tested_kind")

    def find(records, definition):
        yield Phenotype(definition.spec.id, QUANTITATIVE, np.arange(len(records.people), dtype=np.float64))

    module.SPEC, module.derive = Spec, find
    monkeypatch.setitem(sys.modules, "tested_kind", module)
    monkeypatch.setitem(loading.KINDS, "tested", "tested_kind")


def written(folder: Path, text: str, name: str = "it.yaml") -> Definition:
    (folder / name).write_text(text)
    return load_definition(name, folder)


BRIEF = "kind: tested\nid: it\n"


def test_header_is_read(tmp_path):
    text = BRIEF + (
        "version: '2.1'\ntitle: It\ndescription: >\n  over two\n  lines\ncategory: Tests\nsex: female\n"
        "references: ['doi: 10.1000/abc', https://example.org/it]\n"
        "validation: [{where: a hospital, ppv: 0.9, people: 100}]\n"
    )
    spec = written(tmp_path, text).spec
    assert (spec.version, spec.label, spec.description, spec.only_sex) == ("2.1", "It", "over two lines", 2)
    assert spec.references == ["10.1000/abc", "https://example.org/it"]
    assert spec.validation[0].ppv == 0.9


@pytest.mark.parametrize(
    ("text", "what", "where", "fix"),
    [
        ("id: it\n", "does not say its kind", "it.yaml:1:1", "write one of case_control"),
        ("kind: testet\nid: it\n", "kind is not 'testet'", "it.yaml:1:1, key kind", "did you mean 'tested'?"),
        (BRIEF + "titel: x\n", "unknown key 'titel'", "it.yaml:3:1", "did you mean 'title'?"),
        ("kind: tested\nid: 2d\n", "'2d' is no name of a trait", "it.yaml:2:1, key id", ""),
        (BRIEF + "version: 1.0\n", "not text", "it.yaml:3:1", "put it in quotes"),
        (BRIEF + "sex: woman\n", "none of its values", "it.yaml:3:1", "both, male, female"),
        (BRIEF + "references: [a book]\n", "neither a DOI", "it.yaml:3:14", ""),
        (
            BRIEF + "codes: {x: {file: none.csv}}\n",
            "'none.csv' cannot be read",
            "key codes.x[0].file",
            "check the path",
        ),
        (BRIEF + "codes: {x: {file: 's3://bucket/x.csv'}}\n", "stands on disk", "key codes.x[0].file", "copy"),
        (BRIEF + "bases: [{definition: none.yaml}]\n", "no such file", "it.yaml:3:10, key bases[0].definition", "path"),
        (BRIEF + "bases: [{definition: it.yaml}]\n", "circle: it.yaml → it.yaml", "it.yaml:3:10", "do without"),
    ],
)
def test_refused_with_place_and_remedy(tmp_path, text, what, where, fix):
    with pytest.raises(JobError) as refusal:
        written(tmp_path, text)
    assert what in refusal.value.what
    assert where in str(refusal.value.where)
    assert fix in str(refusal.value.fix)


def test_circle_of_three_is_refused(tmp_path):
    for name, other in (("a", "b"), ("b", "c")):
        (tmp_path / f"{name}.yaml").write_text(f"kind: tested\nid: {name}\nbases: [{{definition: {other}.yaml}}]\n")
    (tmp_path / "c.yaml").write_text("kind: tested\nid: c\nbases: [{definition: b.yaml}]\n")
    with pytest.raises(JobError, match=r"circle: b.yaml → c.yaml → b.yaml"):
        load_definition(tmp_path / "a.yaml")


def test_digest_is_of_the_content_and_of_what_is_named(tmp_path):
    (tmp_path / "codes.csv").write_text("code,vocabulary\nE11,ICD10CM\n")
    (tmp_path / "base.yaml").write_text("kind: tested\nid: base\n")
    text = BRIEF + "codes: {x: {file: codes.csv}}\nbases: [{definition: base.yaml}]\n"
    first = written(tmp_path, text).digest
    assert written(tmp_path, f"# a remark\nid: 'it'\n{text.replace('id: it', '')}", "again.yaml").digest == first
    assert written(tmp_path, text.replace("id: it", "id: it2")).digest != first
    (tmp_path / "base.yaml").write_text("kind: tested\nid: base\nversion: '2'\n")
    second = written(tmp_path, text).digest
    assert second != first
    (tmp_path / "codes.csv").write_text("code,vocabulary\nE11.9,ICD10CM\n")
    assert written(tmp_path, text).digest not in (first, second)


def test_keys_of_python_are_a_definition_too(tmp_path):
    found = load_definition({"kind": "tested", "id": "it"}, tmp_path)
    assert found.digest == written(tmp_path, BRIEF).digest
    assert found.where("codes", "x") == "definition it, key codes.x"
    with pytest.raises(JobError, match="unknown key"):
        load_definition({"kind": "tested", "id": "it", "ids": 1})


def test_trait_carries_its_definition(tmp_path):
    definition = written(tmp_path, BRIEF + "title: It\ncategory: Tests\nsex: male\n")
    with open_records(Cdr().person(1).person(2).write(tmp_path / "cdr")) as records:
        (trait,) = derive(records, definition)
        assert (trait.label, trait.category, trait.only_sex) == ("It", "Tests", 1)
        assert trait.recipe["definition"]["sha256"] == definition.digest
        with pytest.raises(InputError, match="has no cases"):
            cohort(records, definition)


def test_refusal_says_the_key_that_led_there(tmp_path):
    definition = written(tmp_path, BRIEF)
    with pytest.raises(InputError) as refusal, definition.at("id"):
        raise InputError("wrong", where="line 3", fix="right it")
    assert refusal.value.where == f"{tmp_path / 'it.yaml'}:2:1, key id: line 3"

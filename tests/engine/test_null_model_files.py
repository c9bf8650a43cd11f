"""Null models on disk: what is written is read, whole or not at all, and damage is named and never used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from allscan.engine.null_model_files import (
    ARRAYS,
    HEADER,
    PREDICTION,
    NullModelFiles,
    NullModelHeader,
    TraitModel,
    write_null_model,
)
from allscan.engine.offsets import ALL
from allscan.errors import CorruptChunkError, FileFormatError, InputError
from tests.engine.null_models import draw_model
from tests.engine.test_scan import tree

PEOPLE = [f"person{k}" for k in range(40)]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    drawn = draw_model(tmp_path / "m", PEOPLE, ["a", "bad", "b"], missing=0.1, failed=["bad"], transform="log", h2=0.25)
    model = NullModelFiles(tmp_path / "m")
    assert (model.method, model.chromosomes) == ("drawn", ("1", "2"))
    assert [(t.name, t.status) for t in model.traits] == [("a", "ok"), ("bad", "not_converged"), ("b", "ok")]
    assert (model.traits[0].transform, model.traits[2].h2, model.traits[2].accuracy) == ("log", 0.25, ("r2", 0.1))
    assert list(model.sample_ids) == PEOPLE
    for k, trait in enumerate(model.traits):
        if trait.name not in drawn:
            continue
        for row, chromosome in enumerate(("1", "2", ALL)):
            np.testing.assert_array_equal(model.read(k, chromosome), drawn[trait.name][row].astype(np.float32))
        np.testing.assert_array_equal(model.has_prediction(k), np.isfinite(drawn[trait.name][0]))
        assert trait.n == model.has_prediction(k).sum() < 40
    # In any order; and somebody else is nobody.
    rows = model.rows_of(0, np.array(["person7", "nobody", "person0"], object))
    assert rows.tolist() == [7, -1, 0]


def test_the_zarr_library_reads_it(tmp_path: Path) -> None:
    drawn = draw_model(tmp_path / "m", PEOPLE, ["a", "bad", "b"], failed=["bad"])
    group = zarr.open_group(tmp_path / "m" / ARRAYS, mode="r")
    assert list(group["sample_id"][:]) == PEOPLE
    assert list(group["trait"][:]) == ["a", "bad", "b"]
    assert list(group["chromosome"][:]) == ["1", "2", "all"]
    values = group[PREDICTION]
    assert (values.shape, values.chunks, values.dtype) == ((3, 3, 40), (1, 1, 40), np.float32)
    assert values.metadata.dimension_names == ("trait", "chromosome", "sample_id")
    np.testing.assert_array_equal(values[2], drawn["b"].astype(np.float32))
    assert np.isnan(values[1]).all()


def test_the_same_model_has_the_same_bytes_and_another_trait_changes_no_digest(tmp_path: Path) -> None:
    for name in ("one", "two"):
        draw_model(tmp_path / name, PEOPLE, ["a", "b"])
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    draw_model(tmp_path / "more", PEOPLE, ["a", "b", "c"])
    draw_model(tmp_path / "other", PEOPLE, ["a", "b"], seed=4)
    one, more, other = (NullModelFiles(tmp_path / name) for name in ("one", "more", "other"))
    assert one.digest(0) == more.digest(0) != other.digest(0)
    assert one.digest(0) != one.digest(1)
    assert len({one.model_digest, more.model_digest, other.model_digest}) == 3


def test_a_model_whose_writing_was_cut_short_is_none(tmp_path: Path) -> None:
    draw_model(tmp_path / "m", PEOPLE, ["a", "b"])

    def some() -> Iterator[tuple[str, np.ndarray]]:
        yield "a", np.zeros((2, 40))
        raise KeyboardInterrupt

    header = NullModelHeader("drawn", (TraitModel("a", 40), TraitModel("b", 40)))
    with pytest.raises(KeyboardInterrupt):
        write_null_model(tmp_path / "m", header, np.array(PEOPLE, object), ["1"], some())
    with pytest.raises(InputError, match="there is no null model here"):
        NullModelFiles(tmp_path / "m")
    draw_model(tmp_path / "m", PEOPLE, ["a", "b"])
    assert len(NullModelFiles(tmp_path / "m").traits) == 2


@pytest.mark.parametrize(
    ("n", "values", "match"),
    [
        (40, np.zeros((3, 40)), "shape"),
        (39, np.zeros((2, 40)), "39 were fitted"),
        (40, np.where(np.arange(80).reshape(2, 40) == 3, np.nan, 0.0), "without all chromosomes"),
    ],
)
def test_what_contradicts_itself_is_not_written(tmp_path: Path, n: int, values: np.ndarray, match: str) -> None:
    header = NullModelHeader("drawn", (TraitModel("a", n),))
    with pytest.raises(AssertionError, match=match):
        write_null_model(tmp_path / "m", header, np.array(PEOPLE, object), ["1"], [("a", values)])
    assert not (tmp_path / "m" / HEADER).exists()


def test_every_fitted_trait_must_be_written(tmp_path: Path) -> None:
    header = NullModelHeader("drawn", (TraitModel("a", 40), TraitModel("b", 40)))
    with pytest.raises(AssertionError, match="of all traits that are ok"):
        write_null_model(tmp_path / "m", header, np.array(PEOPLE, object), ["1"], [("a", np.zeros((2, 40)))])


def test_numbers_that_are_none_are_null(tmp_path: Path) -> None:
    draw_model(tmp_path / "m", PEOPLE, ["a"], h2=float("nan"))
    assert json.loads((tmp_path / "m" / HEADER).read_bytes())["traits"][0]["h2"] is None


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_a_damaged_prediction_is_named(tmp_path: Path, damage: str) -> None:
    draw_model(tmp_path / "m", PEOPLE, ["a", "b"])
    chunk = tmp_path / "m" / ARRAYS / PREDICTION / "c" / "1" / "0" / "0"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.unlink()
    if damage != "gone":
        chunk.write_bytes(content if damage == "flip" else content[:-9])
    model = NullModelFiles(tmp_path / "m")
    model.read(0, "1")
    with pytest.raises(CorruptChunkError, match="cannot be read") as refused:
        model.read(1, "1")
    assert str(chunk) in str(refused.value)


def change(**changes: Any) -> Any:
    return lambda document: {**document, **changes}


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda _: "{", "cannot be read"),
        (lambda _: [], "not that of a null model"),
        (change(format="other"), "not that of a null model"),
        (change(format_version=99), "format version 99"),
        (change(chromosomes=["1"]), "last chromosome"),
        (change(chromosomes=[]), "cannot be read"),
        (change(chromosomes=None), "cannot be read"),
        (change(traits=[{"name": "a"}]), "cannot be read"),
        (change(traits={}), "shape"),
        (change(n_samples=41), "shape"),
        (lambda d: {**d, "traits": [{**d["traits"][0], "n": "many"}]}, "name, n or status"),
        (lambda d: {**d, "traits": [{**d["traits"][0], "evil": 1}]}, "evil"),
    ],
)
def test_a_damaged_header_is_refused(tmp_path: Path, spoil: Any, match: str) -> None:
    draw_model(tmp_path / "m", PEOPLE, ["a"])
    header = tmp_path / "m" / HEADER
    changed = spoil(json.loads(header.read_bytes()))
    header.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(FileFormatError, match=match):
        NullModelFiles(tmp_path / "m").rows_of(0, np.array(PEOPLE, object))


def test_a_place_without_a_model_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no null model here") as refused:
        NullModelFiles(tmp_path / "nowhere")
    assert "_pred.list" in str(refused.value)


def test_the_example_of_the_reference_reads_it(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = draw_model(tmp_path / "runs/step1/null_model", PEOPLE, ["a", "b"], missing=0.2)
    page = (repository / "docs" / "reference" / "null-model.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert "allscan" not in code
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    exec(compile(code, "null-model.md", "exec"), namespace)
    np.testing.assert_array_equal(namespace["without_first"], drawn["a"][0].astype(np.float32))
    document = json.loads((tmp_path / "runs/step1/null_model" / HEADER).read_text())
    for key in {*document, *document["traits"][0]}:
        assert f"`{key}`" in page

"""The null model of a whole genome as files: what was fitted, and each trait's predictions without each chromosome.

A folder ``null_model`` holds a Zarr group, ``predictions.zarr``, and ``null_model.json``, which is written last: where
it is, everything is. docs/reference/null-model.md describes both.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib import metadata
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allscan import arrow
from allscan.engine.arrays import StoredArray, write_array, write_group
from allscan.engine.chunk_files import ChunkLayout, Codec
from allscan.engine.hashing import content_hash
from allscan.engine.offsets import ALL, OK
from allscan.engine.variant_names import encode_strings_chunk
from allscan.errors import AllscanError, CorruptChunkError, FileFormatError, InputError
from allscan.storage import remove_tree, write_atomically, write_files

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from allscan.storage import Place

FOLDER = "null_model"
"""Of a run folder."""
HEADER = "null_model.json"
FAMILIES_TOGETHER = "families_together"
"""Setting of a fitted model: relatives were in the same fold, so that nobody was predicted by their own."""
ARRAYS = "predictions.zarr"
FORMAT = "allscan-null-model"
FORMAT_VERSION = 1

PREDICTION = "loco_prediction"


class Accuracy(NamedTuple):
    """How well the out-of-fold predictions of all markers do."""

    name: str  # "r2" or "auc"
    value: float


@dataclass(frozen=True)
class TraitModel:
    """What is known of the null model of one trait; None where a method does not say."""

    name: str
    n: int  # samples that it was fitted in
    status: str = OK  # or why there are no predictions
    message: str = ""
    kind: str | None = None  # "quantitative": predictions are in the trait's unit; "binary": log odds
    transform: str | None = None  # of the trait before it was fitted, as in the job file
    residual_sd: float | None = None  # of a quantitative trait after the covariates, n − rank: the unit of REGENIE
    accuracy: Accuracy | None = None
    shrinkage: float | None = None
    h2: float | None = None
    lambda_without: float | None = None  # genomic control of plain regression
    lambda_with: float | None = None  # and with these predictions
    digest: str = ""  # of the predictions; filled in when they are written


@dataclass(frozen=True)
class NullModelHeader:
    """What is known of a null model beside its predictions."""

    method: str
    traits: tuple[TraitModel, ...]
    settings: dict[str, Any] = field(default_factory=dict)  # of the method, as JSON
    program_version: str = field(default_factory=lambda: metadata.version("allscan"))


def write_null_model(
    place: Place,
    header: NullModelHeader,
    sample_ids: NDArray[np.object_],
    chromosomes: Sequence[str],
    predictions: Iterable[tuple[str, NDArray[np.floating[Any]]]],
) -> str:
    """Write a null model; a model that is there goes first.

    Parameters
    ----------
    place
        The folder ``null_model``.
    header
        Its traits' digests are filled in here.
    sample_ids : (samples,)
        As in the genotype store.
    chromosomes
        Those that the model has markers of, in order; without ``ALL``.
    predictions
        For each trait with the status ``ok``, in any order, its name and an array (chromosomes + 1, samples): without
        each chromosome, and last of all markers. NaN where a sample was not fitted, in all rows alike. They are taken
        one after the other.

    Returns
    -------
    Digest of the model.

    Raises
    ------
    OSError
        If a file cannot be written.
    """
    (place / HEADER).unlink(missing_ok=True)
    remove_tree(place / ARRAYS)
    place.mkdir(parents=True, exist_ok=True)
    names = (*chromosomes, ALL)
    shape = (len(header.traits), len(names), len(sample_ids))
    layout = _layout(len(sample_ids))
    group = place / ARRAYS
    group.mkdir()
    _write_names(group, {"sample_id": sample_ids, "trait": [t.name for t in header.traits], "chromosome": names})
    write_array(
        group / PREDICTION,
        dtype=layout.dtype,
        shape=shape,
        chunks=(1, 1, max(1, len(sample_ids))),
        dimensions=("trait", "chromosome", "sample_id"),
        codecs=layout.codecs,
        attributes={"description": "Prediction of a trait without the markers of a chromosome; all: of all markers"},
    )
    index = {model.name: k for k, model in enumerate(header.traits)}
    digests: dict[str, str] = {}
    for name, values in predictions:
        digests[name] = _write_predictions(group, index[name], header.traits[index[name]], values, shape)
    fitted = {model.name for model in header.traits if model.status == OK}
    assert fitted == set(digests), "predictions of all traits that are ok, and of no other"
    write_group(group, {"format": FORMAT, "format_version": FORMAT_VERSION})
    traits = [replace(model, digest=digests.get(model.name, "")) for model in header.traits]
    known = asdict(replace(header, traits=tuple(traits)))
    known["traits"] = [_trait_json(model) for model in traits]
    content = {"chromosomes": list(names), "n_samples": len(sample_ids), **known}
    digest = content_hash(json.dumps(content, sort_keys=True), "\n".join(sample_ids))
    document = {"format": FORMAT, "format_version": FORMAT_VERSION, "digest": digest, **content}
    write_atomically(place / HEADER, (json.dumps(document, indent=1, allow_nan=False) + "\n").encode())
    return digest


def _trait_json(model: TraitModel) -> dict[str, Any]:
    known = {key: _finite(value) for key, value in asdict(model).items()}
    known["accuracy"] = None if model.accuracy is None else {k: _finite(v) for k, v in model.accuracy._asdict().items()}
    return known


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _layout(n_samples: int) -> ChunkLayout:
    return ChunkLayout(np.dtype(np.float32), 1, max(1, n_samples), 1, Codec.BITSHUFFLE)


def _write_names(group: Place, lists: dict[str, Sequence[str] | NDArray[np.object_]]) -> None:
    files = []
    for name, texts in lists.items():
        size = max(1, len(texts))
        write_array(group / name, dtype=None, shape=(len(texts),), chunks=(size,), dimensions=(name,))
        (group / name / "c").mkdir()
        files.append((group / name / "c" / "0", encode_strings_chunk(arrow.string_array(texts), size)))
    write_files(files)


def _write_predictions(
    group: Place, trait: int, model: TraitModel, values: NDArray[np.floating[Any]], shape: tuple[int, ...]
) -> str:
    assert values.shape == shape[1:], f"predictions of shape {values.shape}, expected {shape[1:]}"
    known = np.isfinite(values[-1])
    assert (np.isfinite(values) == known).all(), "a sample has predictions without all chromosomes, or none"
    assert known.sum() == model.n, f"{known.sum()} samples have predictions, {model.n} were fitted"
    rows = np.ascontiguousarray(values, np.float32)
    layout = _layout(shape[2])
    folder = group / PREDICTION / "c" / str(trait)
    for chromosome in range(len(rows)):
        (folder / str(chromosome)).mkdir(parents=True)
    write_files((folder / str(c) / "0", layout.encode(rows[c : c + 1])) for c in range(len(rows)))
    return content_hash(rows)


class NullModelFiles:
    """A stored null model, opened for reading (see :class:`allscan.engine.offsets.Predictions`).

    Parameters
    ----------
    place
        The folder ``null_model``.

    Raises
    ------
    InputError
        If there is no null model, or it is damaged or of another version.
    """

    standardised = False

    def __init__(self, place: Place) -> None:
        self.place = place
        self.where = str(place)
        document = _read_header(place / HEADER)
        try:
            self.chromosomes: tuple[str, ...] = tuple(map(str, document["chromosomes"][:-1]))
            if document["chromosomes"][-1] != ALL:
                raise ValueError("its last chromosome is not 'all'")
            self.traits = tuple(_trait_model(fields) for fields in document["traits"])
            self.model_digest = str(document["digest"])
            self.method = str(document["method"])
            self.settings: dict[str, Any] = dict(document["settings"])
            self.program_version = str(document["program_version"])
            self._shape = (len(self.traits), 1 + len(self.chromosomes), int(document["n_samples"]))
            shape = StoredArray(place / ARRAYS / PREDICTION).shape
            if shape != self._shape:
                raise ValueError(f"its predictions have the shape {shape}, not {self._shape}")
        except AllscanError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, OSError) as error:
            raise _damaged(place / HEADER, error) from error
        self._last: tuple[NDArray[np.object_], NDArray[np.int64]] | None = None

    def __repr__(self) -> str:
        return f"NullModelFiles({self.where!r}: {len(self.traits)} traits, {len(self.chromosomes)} chromosomes)"

    @cached_property
    def sample_ids(self) -> NDArray[np.object_]:
        """Ids of the samples, (samples,)."""
        path = self.place / ARRAYS / "sample_id"
        try:
            ids = StoredArray(path).read()
        except AllscanError:
            raise
        except Exception as error:
            raise _damaged(path, error) from error
        if ids.shape != self._shape[2:]:
            raise _damaged(path, ValueError(f"it has the shape {ids.shape}"))
        return ids

    def rows_of(self, trait: int, ids: NDArray[np.object_]) -> NDArray[np.int64]:  # noqa: ARG002 - all have the same
        """Which of the samples these people are, -1 for none."""
        if self._last is None or self._last[0] is not ids:
            row = {person: k for k, person in enumerate(self.sample_ids)}
            self._last = ids, np.array([row.get(person, -1) for person in ids], np.int64)
        return self._last[1]

    def has_prediction(self, trait: int) -> NDArray[np.bool_]:
        """Which of the samples have predictions of a trait."""
        if self.traits[trait].n == self._shape[2]:
            return np.ones(self._shape[2], np.bool_)
        return np.isfinite(self.read(trait, ALL))

    def read(self, trait: int, chromosome: str) -> NDArray[np.float32]:
        """Predictions of a trait without a chromosome, or of ``ALL``, (samples,).

        Raises
        ------
        CorruptChunkError
            If they are damaged.
        """
        names = (*self.chromosomes, ALL)
        out: NDArray[np.float32] = np.empty((1, self._shape[2]), np.float32)
        path = self.place / ARRAYS / PREDICTION / "c" / str(trait) / str(names.index(chromosome)) / "0"
        try:
            _layout(self._shape[2]).read(path, slice(0, 1), slice(0, self._shape[2]), out)
        except AllscanError:
            raise
        except Exception as error:
            raise CorruptChunkError(
                f"predictions of the null model cannot be read: {error}",
                where=str(path),
                fix="restore the file from a copy, or fit the null model again",
            ) from error
        return out.reshape(-1)

    def digest(self, trait: int) -> str:
        """Hash of the predictions of a trait."""
        return content_hash(self.traits[trait].digest, *self.chromosomes)


def _trait_model(fields: dict[str, Any]) -> TraitModel:
    accuracy = fields["accuracy"]
    model = TraitModel(**{**fields, "accuracy": accuracy and Accuracy(**accuracy)})
    if not (isinstance(model.name, str) and isinstance(model.status, str) and isinstance(model.n, int)):
        raise TypeError("name, n or status of a trait")
    return model


def _read_header(path: Place) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            "there is no null model here",
            where=str(path.parent),
            fix="name the folder of a run that fitted one, its folder null_model, or a REGENIE _pred.list",
        ) from None
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _damaged(path, ValueError("it is not that of a null model"))
    if document.get("format_version") != FORMAT_VERSION:
        raise FileFormatError(
            f"the null model has format version {document.get('format_version')}; this program reads {FORMAT_VERSION}",
            where=str(path),
            fix="fit it again, or use the version of allscan that made it",
        )
    return document


def _damaged(path: Place, error: Exception) -> FileFormatError:
    return FileFormatError(
        f"the null model cannot be read: {error}", where=str(path), fix="restore it from a copy, or fit it again"
    )

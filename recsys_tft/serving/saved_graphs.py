"""Saved graphs of a run that compute features of raw rows: the transform graph and the serving models."""

import pathlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import pyarrow as pa

from recsys_tft.errors import InputError
from recsys_tft.features import Feature, raw_columns
from recsys_tft.run_layout import periods, run_folders
from recsys_tft.serving import served_models, serving_folders
from recsys_tft.serving.serving_rows import arrays
from recsys_tft.transform_graph import TransformGraph

_MANY, _FEW = 1 << 15, 256  # rows per call, without and with a text embedding


class SavedGraph(Protocol):
    """Computes features.

    Attributes:
        name: for messages.
    """

    name: str

    def has(self, feature: Feature) -> bool:
        """Whether it computes the feature."""

    def call(self, raw: pa.Table, features: Sequence[Feature]) -> dict[str, np.ndarray]:
        """[n] or [n, width] values of features by name; lists padded with 0."""


def compute(graph: SavedGraph, raw: pa.Table, features: Sequence[Feature]) -> dict[str, np.ndarray]:
    """[n] or [n, width] values of features of [n] raw rows by name; lists padded with 0 to the longest.

    Args:
        graph: that computes them.
        raw: rows of one entity.
        features: of this entity.
    """
    size = _FEW if any(feature.op.is_large for feature in features) else _MANY
    parts = [graph.call(raw.slice(start, size), features) for start in range(0, max(len(raw), 1), size)]
    return {feature.name: stack([part[feature.name] for part in parts]) for feature in features}


def stack(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Concatenate arrays; lists are padded with 0 to the longest."""
    if parts[0].ndim == 1:
        return np.concatenate(parts)
    width = max(part.shape[1] for part in parts)
    return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts])


class Transform:
    """`artifacts/transform_graph`.

    Args:
        folder: of the SavedModel.
    """

    name = "transform_graph"

    def __init__(self, folder: str):
        self._graph = TransformGraph.load(folder)

    def fitted(self) -> dict[str, np.ndarray]:
        """The results of the full-pass ops, by feature."""
        return dict(self._graph.fitted)

    def has(self, feature: Feature) -> bool:
        return True

    def call(self, raw: pa.Table, features: Sequence[Feature]) -> dict[str, np.ndarray]:
        columns = [column.name for column in raw_columns(tuple(features))]
        table = self._graph.engineer(raw.select(columns), features)
        return {name: _array(table[name].combine_chunks()) for name in table.column_names}


def load_transform(output_dir: str) -> Transform:
    """The transform graph of a run.

    Raises:
        InputError: if there is none.
    """
    folder = pathlib.Path(output_dir, "artifacts", "transform_graph", "transform_fn")
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no transform graph; run the main job first.")
    return Transform(str(folder))


class Serving:
    """The `features` signature of a serving model.

    Args:
        name: of the model.
        folder: of the SavedModel.
    """

    def __init__(self, name: str, folder: str):
        self.name = name
        self._model = served_models.load(folder, serving_folders.EXPORT_AGAIN)
        self._signature = self._model.signatures["features"]

    def has(self, feature: Feature) -> bool:
        return feature.name in self._signature.outputs

    def call(self, raw: pa.Table, features: Sequence[Feature]) -> dict[str, np.ndarray]:
        columns = {column.name: raw[column.name] for column in raw_columns(tuple(features))}
        outputs = self._model.run("features", arrays(columns, self._signature.inputs))
        return {feature.name: outputs[feature.name] for feature in features}


def load_serving(output_dir: str, run: str | None = None) -> Iterator[Serving]:
    """The models of the newest export of this run, if there is one.

    Args:
        output_dir: with the exports.
        run: the held folder of its artifacts; by default `output_dir`.

    The export of a period is in the output of its run; there may be a newer one, of a later period.

    Raises:
        InputError: if the newest export is of another run.
    """
    root = serving_folders.serving_folder(periods.output_of(output_dir))
    if not root.is_dir():
        return
    held, version = serving_folders.hold_version(str(root.parent))
    with held:
        described = serving_folders.description(held.folder / serving_folders.STORE / str(version))
        if described["transform_graph"] != run_folders.fingerprint(run or output_dir):
            if described.get("period") or str(root.parent) != output_dir:
                return
            raise InputError(f"{root}: version {version} is of another run than {output_dir}; export again.")
        for name in serving_folders.NAMES:
            yield Serving(f"{name}/{version}", str(held.folder / name / str(version)))


def _array(values: pa.Array) -> np.ndarray:
    if pa.types.is_fixed_size_list(values.type):
        return values.flatten().to_numpy().reshape(len(values), -1)
    if not pa.types.is_list(values.type):
        return values.to_numpy(zero_copy_only=False)
    lengths = values.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)
    flat = values.flatten().to_numpy()
    padded = np.zeros((len(values), int(lengths.max(initial=0))), flat.dtype)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = flat
    return padded

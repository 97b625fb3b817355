"""The two-tower model: vectors of users in context and of videos, whose dot product is the score."""

import pathlib
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from recsys_tft import table_records
from recsys_tft.columns import Accuracy
from recsys_tft.configuration import settings
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError, readable
from recsys_tft.features import CANDIDATE, QUERY, Feature
from recsys_tft.retrieval.towers import Tables, Tensors, Tower, TowerShape, dense
from recsys_tft.training.model_folders import MODEL, ModelFolder

FOLDER = "two_tower"
QUERY_WEIGHTS, CANDIDATE_WEIGHTS = "query_tower.weights.h5", "candidate_tower.weights.h5"


class TwoTower:
    """Both towers, with the tables that they share.

    Args:
        query: the features of the query tower.
        candidate: the features of the candidate tower.
        categories: number of values of each categorical feature, including 0 for missing.
        shapes: for each large feature the width of its vector.
        settings: of the run, of which `two_tower`, `embeddings`, `vocabularies` and `seed` are used.

    Attributes:
        query_tower: a keras.Model from dense tensors by feature to [batch, dim] float32.
        candidate_tower: likewise for videos.
    """

    def __init__(
        self,
        query: tuple[Feature, ...],
        candidate: tuple[Feature, ...],
        categories: Mapping[str, int],
        widths: Mapping[str, int],
        settings: Settings,
    ):
        self.categories, self.widths, self.settings = dict(categories), dict(widths), settings
        options = settings.two_tower
        shape = TowerShape(
            options.dim,
            options.hidden,
            options.dropout,
            options.normalize,
            options.title_dim,
            options.history_encoder,
            settings.history.length,
            settings.seed,
        )
        tables = Tables(categories, settings)
        self.query_tower = Tower(query, tables, shape, "query_tower")
        self.candidate_tower = Tower(candidate, tables, shape, "candidate_tower")
        for tower in (self.query_tower, self.candidate_tower):
            tower({feature.name: self._example(feature) for feature in tower.features})

    def _example(self, feature: Feature) -> tf.Tensor:
        """One row of a feature, to build layers with."""
        shape = (self.widths[feature.name],) if feature.op.is_large else feature.op.shape(self.settings)
        shape = (1,) if shape is None else shape
        return tf.zeros((1, *shape), tf.int64 if feature.is_categorical else tf.float32)

    @property
    def query_features(self) -> tuple[Feature, ...]:
        """The features of `query`."""
        return self.query_tower.features

    @property
    def candidate_features(self) -> tuple[Feature, ...]:
        """The features of `candidate`."""
        return self.candidate_tower.features

    @property
    def dim(self) -> int:
        """Width of the vectors."""
        return self.settings.two_tower.dim

    def query(self, features: Tensors) -> tf.Tensor:
        """[batch, dim] float32 from engineered features: dense; lists also ragged, sparse or padded with 0."""
        return self._vectors(self.query_tower, features)

    def candidate(self, features: Tensors) -> tf.Tensor:
        """Like `query`, for videos."""
        return self._vectors(self.candidate_tower, features)

    @staticmethod
    def _vectors(tower: Tower, features: Tensors) -> tf.Tensor:
        missing = [feature.name for feature in tower.features if feature.name not in features]
        if missing:
            raise InputError(
                f"The {tower.name} needs the feature '{missing[0]}', which is not among {sorted(features)}."
            )
        return tower({feature.name: dense(features[feature.name]) for feature in tower.features})

    def tables(self) -> dict[str, keras.layers.Embedding]:
        """The distinct embedding tables of both towers, by `Feature.embedding_table`."""
        return self.query_tower.tables() | self.candidate_tower.tables()

    def variables(self) -> list[keras.Variable]:
        """The distinct trainable variables."""
        both = [*self.query_tower.trainable_variables, *self.candidate_tower.trainable_variables]
        return list({id(variable): variable for variable in both}.values())

    def description(self) -> dict[str, Any]:
        """Plain values from which `from_description` builds the model again."""
        return {
            "settings": self.settings.model_dump(mode="json"),
            table_records.RECORD: table_records.record(self.settings.features),
            "query_features": [feature.name for feature in self.query_features],
            "candidate_features": [feature.name for feature in self.candidate_features],
            "categories": self.categories,
            "widths": self.widths,
            "dim": self.dim,
        }

    def save(self, folder: pathlib.Path) -> None:
        """Write the weights of both towers; those of shared tables are in both files."""
        self.query_tower.save_weights(folder / QUERY_WEIGHTS)
        self.candidate_tower.save_weights(folder / CANDIDATE_WEIGHTS)


def from_description(found: Mapping[str, Any], source: str) -> TwoTower:
    """The model that `TwoTower.description` describes, with fresh weights.

    Raises:
        InputError: naming `source`, if it has a feature that the table no longer has.
    """
    chosen = settings.from_manifest(found, source)
    known = chosen.table.by_name
    for name in (*found["query_features"], *found["candidate_features"]):
        if name not in known:
            raise InputError(
                f"{source}: the model reads '{name}', which the feature table does not have; train it again."
            )
    query, candidate = (tuple(known[name] for name in found[f"{side}_features"]) for side in ("query", "candidate"))
    return TwoTower(query, candidate, found["categories"], found["widths"], chosen)


def features_for(chosen: Settings) -> tuple[tuple[Feature, ...], tuple[Feature, ...]]:
    """The features of the query tower and of the candidate tower under these settings.

    With a random split the past of a training row contains the user's test videos, which would be trained against (a
    video of the past is never the next one). So point-in-time features of the exposure are left out there.

    Raises:
        InputError: if one is a list of numbers, which padding would change.
    """
    active = [feature for feature in chosen.table.select(QUERY, CANDIDATE) if feature.is_active(chosen)]
    active = [feature for feature in active if chosen.two_tower.title or not feature.op.is_large]
    if chosen.split.kind == "random_per_user":
        active = [feature for feature in active if feature.accuracy is not Accuracy.AS_OF]
    for feature in active:
        if feature.op.shape(chosen) is None and not feature.is_categorical:
            raise InputError(
                f"The towers cannot read the feature '{feature.name}': it is a list of numbers; let its op make a "
                "vector or one number, such as their mean, or leave QUERY and CANDIDATE out of its used_by."
            )
    return tuple(f for f in active if QUERY in f.used_by), tuple(f for f in active if CANDIDATE in f.used_by)


def load(output_dir: str) -> TwoTower:
    """The trained model of a run: OUTPUT_DIR/models/two_tower.

    Raises:
        InputError: if there is none, or the feature table no longer has one of its features.
    """
    with ModelFolder(output_dir, FOLDER).held() as held:
        return load_held(held)


def load_held(folder: ModelFolder) -> TwoTower:
    """Like `load`, from a held folder."""
    return load_weights(folder, folder.read(MODEL))


def load_weights(folder: ModelFolder, described: Mapping[str, Any]) -> TwoTower:
    """The described model with the weights of a held folder."""
    with readable(folder.target / MODEL, folder.remedy):
        model = from_description(described, str(folder.target / MODEL))
    for tower, name in ((model.query_tower, QUERY_WEIGHTS), (model.candidate_tower, CANDIDATE_WEIGHTS)):
        with readable(folder.target / name, folder.remedy):
            tower.load_weights(folder.target / name)
    return model

"""The data sets of a run: their columns, and the entity of each column."""

import dataclasses
from collections.abc import Callable

import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.features import CANDIDATE, QUERY, RANKER, Entity, Feature, FeatureTable, Use
from recsys_tft.labelling.split_times import SPLITS

OUTCOME = "outcome"  # in the place of an entity: columns of the row itself
# Columns besides the features, and their types.
KEY_COLUMNS: dict[str, pa.DataType] = {
    "user_id": pa.int64(),
    "video_id": pa.int64(),
    "interaction_time": pa.int64(),  # microseconds since 1970-01-01 UTC
    "candidate_row": pa.int64(),  # number of the video's row in videos/, all files in order
    "label": pa.int64(),  # 1 positive, 0 negative
    "weight": pa.float32(),
    "source": pa.string(),  # positive, exposed or sampled
    "watch_share": pa.float32(),  # of the video, at most 1; -1 if unknown
    "log_q": pa.float32(),  # log of the probability with which the sampler draws the video
}

IDS = ("user_id", "video_id")  # KEY_COLUMNS with the kind of ids of the tables


def key_type(name: str, settings: Settings) -> pa.DataType:
    """The type of one of the KEY_COLUMNS; for ids by their kind in the tables."""
    column = settings.table.raw.get(name)
    return column.type if column and column.key else KEY_COLUMNS[name]


def is_written(name: str, settings: Settings) -> bool:
    """Whether rows have one of the KEY_COLUMNS under these settings."""
    return name != "watch_share" or settings.ranker.watch_share


@dataclasses.dataclass(frozen=True)
class DataSet:
    """One kind of rows.

    Attributes:
        name: its folder under `processed_data/`.
        keys: its KEY_COLUMNS, by entity.
        rows_of: from a feature table to the features that it may have.
        splits: the sub-folders, one for each split; empty for a corpus.
    """

    name: str
    keys: dict[Entity | str, tuple[str, ...]]
    rows_of: Callable[[FeatureTable], tuple[Feature, ...]]
    splits: tuple[str, ...] = ()

    def features(self, settings: Settings) -> tuple[Feature, ...]:
        """Its features under these settings; joined rows leave out large features that are stored once per entity."""
        inline = not self.splits or settings.output.inline_title_embedding
        return tuple(
            f for f in self.rows_of(settings.table) if f.is_active(settings) and (inline or not f.is_stored_once)
        )

    def columns(self, entity: Entity | str, settings: Settings) -> list[str]:
        """The columns of one entity."""
        features = [feature.name for feature in self.features(settings) if feature.entity is entity]
        return [*(name for name in self.keys.get(entity, ()) if is_written(name, settings)), *features]

    @property
    def labelled(self) -> bool:
        """Whether its rows are positives and negatives."""
        return "label" in self.keys.get(OUTCOME, ())

    @property
    def folders(self) -> tuple[str, ...]:
        """Its folders below `processed_data/`."""
        return tuple(f"{self.name}/{split}" for split in self.splits) or (self.name,)


def _example(name: str, keys: dict[Entity | str, tuple[str, ...]], *uses: Use) -> DataSet:
    common = {Entity.USER: ("user_id",), Entity.VIDEO: ("video_id",), Entity.EXPOSURE: ("interaction_time",)}
    merged = {entity: common.get(entity, ()) + keys.get(entity, ()) for entity in (*Entity, OUTCOME)}
    return DataSet(name, merged, lambda table: table.select(*uses), SPLITS)


TWO_TOWER = _example("two_tower", {Entity.VIDEO: ("candidate_row",), OUTCOME: ("weight",)}, QUERY, CANDIDATE)
RANKER_ROWS = _example(
    "ranker", {Entity.VIDEO: ("log_q",), OUTCOME: ("label", "weight", "source", "watch_share")}, RANKER
)


def _user_features(table: FeatureTable) -> tuple[Feature, ...]:
    """All features of the users table, including those that exposures replace by their history."""
    return tuple(f for f in table.features if all(column.table == "users" for column in f.columns))


def _video_features(table: FeatureTable) -> tuple[Feature, ...]:
    """All features of a video that do not depend on the moment."""
    return tuple(feature for feature in table.select(entity=Entity.VIDEO) if not feature.is_versioned)


USERS = DataSet("users", {Entity.USER: ("user_id",)}, _user_features)
VIDEOS = DataSet("videos", {Entity.VIDEO: ("video_id", "candidate_row")}, _video_features)
DATA_SETS = (TWO_TOWER, RANKER_ROWS, USERS, VIDEOS)


def shard_name(number: int, shards: int, extension: str, part: int = 0) -> str:
    """The file name of a shard, or of a further part of it, which sorts right after it."""
    return f"part-{number:05d}-of-{shards:05d}{f'_{part:05d}' if part else ''}.{extension}"

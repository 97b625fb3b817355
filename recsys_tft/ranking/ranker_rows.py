"""The ranker's rows as models take them: columns by name, groups by user, no loop over rows."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError
from recsys_tft.features import RANKER, Feature
from recsys_tft.ids import codes_of
from recsys_tft.training import timeline, training_rows
from recsys_tft.training.timeline import Timeline

KEYS = ("user_id", "video_id", "interaction_time", "label", "weight")
SHOWN = "shown"  # beside the KEYS: whether the user was shown the video, rather than that it was drawn as a negative
WATCH_SHARE = "watch_share"  # the same, where the run has written it
START = "start"  # the same, for trees: the logit that they add to
_ENOUGH = 0.1  # of the weight of positives, that shown negatives need to teach alone what is liked
_SAMPLED = codes_of(pa.array([b"sampled"]))[0].as_py()
LARGEST_GROUP = 1000  # rows; YetiRank takes at most 1023 in a group


def features_for(chosen: Settings) -> tuple[Feature, ...]:
    """The ranker's features under these settings.

    Raises:
        InputError: if one is a list or a title's vector, which a ranker that is to be served cannot take.
    """
    features = tuple(feature for feature in chosen.table.select(RANKER) if feature.is_active(chosen))
    for feature in features:
        if feature.op.shape(chosen) is None or feature.op.is_large:
            raise InputError(
                f"The ranker cannot read the feature '{feature.name}': a served ranker takes categories, "
                "numbers and short vectors, not lists or embeddings; leave RANKER out of its used_by."
            )
    return features


@dataclasses.dataclass(frozen=True)
class Column:
    """One column as a model sees it.

    Attributes:
        name: of the feature; `NAME[i]` for component i of a vector.
        feature: which it is from.
        index: of the component; None for a scalar.
        kind: categorical or numeric.
        sources: the raw columns that the feature reads.
    """

    name: str
    feature: str
    index: int | None
    kind: str
    sources: tuple[str, ...] = ()


def columns_of(features: Sequence[Feature], chosen: Settings) -> tuple[Column, ...]:
    """The columns in the order in which models are given them: vectors one component after the other."""
    found = []
    for feature in features:
        kind = "categorical" if feature.is_categorical else "numeric"
        shape = feature.op.shape(chosen)
        indices = range(shape[0]) if shape else (None,)
        names = (feature.name if i is None else f"{feature.name}[{i}]" for i in indices)
        found += [Column(name, feature.name, i, kind, feature.sources) for name, i in zip(names, indices, strict=True)]
    return tuple(found)


@dataclasses.dataclass(frozen=True)
class RankerRows:
    """The rows of one split, by user and in each by time.

    Attributes:
        keys: [n] arrays of KEYS, WATCH_SHARE where there is one and, as bool, SHOWN; ids that are text as their int64
            codes.
        data: [n] rows of the columns: tokens as pandas categories, numbers as float32.
    """

    keys: dict[str, np.ndarray]
    data: pd.DataFrame

    def __len__(self) -> int:
        return len(self.data)

    def weights(self, sampled: float = 1.0) -> np.ndarray:
        """[n] float32.

        Args:
            sampled: by which those of drawn negatives are multiplied where shown negatives weigh a tenth of the
                positives or more; with fewer it is nearer to 1, and 1 with none.
        """
        weights, shown, labels = self.keys["weight"], self.keys[SHOWN], self.keys["label"]
        positive, negative = (float(weights[shown & (labels == label)].sum()) for label in (1, 0))
        enough = min(negative / (_ENOUGH * positive), 1.0) if positive else float(negative > 0)
        factor = 1 - enough * (1 - sampled)
        return weights if factor == 1 else np.where(shown, weights, weights * np.float32(factor))

    def owners(self) -> tuple[np.ndarray, int]:
        """The user's number of each row, from 0, and how many users there are."""
        users, owners = np.unique(self.keys["user_id"], return_inverse=True)
        return owners, len(users)

    def take(self, chosen: np.ndarray) -> "RankerRows":
        """Those of some numbers or, by [n] bool, those that are chosen."""
        return RankerRows({name: values[chosen] for name, values in self.keys.items()}, self.data.iloc[chosen])

    def sample(self, rows: int, seed: int) -> "RankerRows":
        """At most so many of the rows, drawn by the seed, in their order."""
        if rows >= len(self):
            return self
        return self.take(np.sort(np.random.default_rng(seed).choice(len(self), rows, replace=False)))


def read(source: str | Timeline, split: str, features: Sequence[Feature], columns: Sequence[Column]) -> RankerRows:
    """The rows of a split of OUTPUT_DIR/processed_data/ranker, or of one of an output and its periods."""
    splits = timeline.single_run(source) if isinstance(source, str) else source
    folder = splits.folder("ranker", split)
    keys = [*KEYS, *(name for name in (WATCH_SHARE,) if name in folder.columns())]
    found = training_rows.coded_columns(folder, [*keys, "source", *(feature.name for feature in features)])
    order = _order(found)
    sizes = training_rows.categories(splits.schema_of("ranker"))
    data = {column.name: _values(found[column.feature], column, sizes, order) for column in columns}
    shown = (found["source"] != _SAMPLED)[order]
    return RankerRows({name: found[name][order] for name in keys} | {SHOWN: shown}, pd.DataFrame(data, copy=False))


def together(parts: Sequence[RankerRows]) -> RankerRows:
    """The rows of several splits, by user and in each by time."""
    keys = {name: np.concatenate([part.keys[name] for part in parts]) for name in parts[0].keys}
    found = RankerRows(keys, pd.concat([part.data for part in parts], ignore_index=True))
    return found.take(_order(keys))


def _order(keys: dict[str, np.ndarray]) -> np.ndarray:
    return np.lexsort((keys["video_id"], keys["interaction_time"], keys["user_id"]))


def _values(values: np.ndarray, column: Column, sizes: dict[str, int], order: np.ndarray) -> Any:
    chosen = (values if column.index is None else values[:, column.index])[order]
    if column.kind == "numeric":
        return chosen.astype(np.float32, copy=False)
    # CatBoost turns each category, not each row, into text.
    return pd.Categorical.from_codes(chosen, categories=np.arange(sizes[column.feature]))


def groups(users: np.ndarray) -> np.ndarray:
    """[n] int64: one number for the rows of one user, [n] ids that stand together; users of many rows have several."""
    begins = np.concatenate([[True], users[1:] != users[:-1]])[: len(users)]
    starts = np.flatnonzero(begins)
    place = np.arange(len(users)) - np.repeat(starts, np.diff(np.append(starts, len(users))))
    return np.cumsum(place % LARGEST_GROUP == 0) - 1

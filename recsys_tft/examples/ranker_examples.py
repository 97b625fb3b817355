"""The ranker's examples: each labelled exposure, followed by the negatives drawn for it."""

import functools

import numpy as np
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import negatives
from recsys_tft.examples.examples import DISLIKED, WATCH_SHARE

SOURCES = ("positive", "disliked", "exposed", "sampled")

ROW_SCHEMA = pa.schema(
    {
        "exposure": pa.int64(),  # row of the exposure that gives user, time and context
        "video_id": pa.int64(),
        "label": pa.int64(),
        "weight": pa.float32(),
        "source": pa.dictionary(pa.int8(), pa.string()),
    }
)


DRAWS = "draws"  # a column of exposures: how many negatives to draw for each


def draws(exposures: pa.Table, settings: Settings) -> np.ndarray:
    """[n] int64: how many negatives to draw for each exposure, of all exposures of users by user, time and video."""
    user, split, label = (exposures[name].to_numpy() for name in ("user_id", "split", "label"))
    number, positive = np.unique(user, return_inverse=True)[1], label == 1
    return negatives.slots(number, split.astype(np.int64), positive, ~positive, settings.ranker.negative_sample_ratio)


def ranker_rows(
    exposures: pa.Table, catalogue: negatives.Catalogue, settings: Settings, pairs: pa.Table | None = None
) -> tuple[pa.Table, int]:
    """Labelled rows of ROW_SCHEMA: each exposure, followed by its negatives; and how many could not be drawn.

    If exposures have a WATCH_SHARE, rows have it too; it is -1 for drawn negatives.

    Args:
        exposures: as `label_exposures` returns them, all of their users; or a part of them, with DRAWS.
        catalogue: what negatives are drawn from.
        settings: of the run.
        pairs: user_id, video_id and split of further positives of these users.
    """
    user, video, time = (exposures[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    split = exposures["split"].to_numpy().astype(np.int64)
    positive = exposures["label"].to_numpy() == 1
    to_draw = exposures[DRAWS].to_numpy() if DRAWS in exposures.column_names else draws(exposures, settings)
    users, number = np.unique(user, return_inverse=True)
    positives = [number[positive], video[positive], split[positive]]
    if pairs is not None:
        besides = (np.searchsorted(users, pairs["user_id"].to_numpy()), pairs["video_id"], pairs["split"])
        positives = [np.concatenate(both) for both in zip(positives, besides, strict=True)]
    of_user, of_video, of_split = positives
    taken = negatives.PositivePairs(of_user, of_video, of_split, catalogue)
    owner, drawn = negatives.sample(catalogue, taken, number, split, (user, video, time), to_draw, settings.seed)
    sizes = 1 + np.bincount(owner, minlength=len(user))  # rows of each exposure, its own first
    first_rows, place = np.cumsum(sizes) - sizes, functools.partial(_interleave, rows=len(user) + len(owner))
    videos = place(first_rows, video, catalogue.video_ids[drawn])
    source = place(first_rows, _own_sources(exposures, positive), np.int8(SOURCES.index("sampled")))
    rows = {
        "exposure": np.repeat(np.arange(len(user)), sizes),
        "video_id": videos,
        "label": (source == 0).astype(np.int64),
        "weight": place(first_rows, exposures["weight"].to_numpy(), np.float32(1)),
        "source": pa.DictionaryArray.from_arrays(pa.array(source), pa.array(SOURCES)),
    }
    result = pa.table(rows, ROW_SCHEMA)
    if WATCH_SHARE in exposures.column_names:
        result = result.append_column(
            WATCH_SHARE, pa.array(place(first_rows, exposures[WATCH_SHARE].to_numpy(), np.float32(-1)))
        )
    return result, int(to_draw.sum()) - len(owner)


def _interleave(places: np.ndarray, values_there: np.ndarray, others: np.ndarray | np.generic, rows: int) -> np.ndarray:
    """[rows] values: `values_there` at `places`, and `others`, an array or one value, everywhere else."""
    values = np.empty(rows, values_there.dtype)
    rest = np.ones(rows, bool)
    rest[places] = False
    values[places], values[rest] = values_there, others
    return values


def _own_sources(exposures: pa.Table, positive: np.ndarray) -> np.ndarray:
    """[n] int8: the source of each exposure, as an index into SOURCES."""
    source = np.where(positive, np.int8(SOURCES.index("positive")), np.int8(SOURCES.index("exposed")))
    if DISLIKED in exposures.column_names:
        source[exposures[DISLIKED].to_numpy()] = SOURCES.index("disliked")
    return source

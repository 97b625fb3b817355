"""The ranker's examples: each labelled exposure, followed by the negatives that are drawn for it."""

import functools

import numpy as np
import pyarrow as pa

from recsys_tft.configuration.settings import Settings
from recsys_tft.examples import negatives
from recsys_tft.examples.examples import DISLIKED, WATCH_SHARE

SOURCES = ("positive", "disliked", "exposed", "sampled")

ROW_SCHEMA = pa.schema(
    {
        "exposure": pa.int64(),  # number of the exposure whose user, time and context the row has
        "video_id": pa.int64(),
        "label": pa.int64(),
        "weight": pa.float32(),
        "source": pa.dictionary(pa.int8(), pa.string()),
    }
)


DRAWS = "draws"  # a column of exposures: how many negatives to draw for each


def draws(exposures: pa.Table, settings: Settings) -> np.ndarray:
    """[n] int64: how many negatives to draw for each exposure, by user, time and video; all of their users."""
    user, split, label = (exposures[name].to_numpy() for name in ("user_id", "split", "label"))
    number, positive = np.unique(user, return_inverse=True)[1], label == 1
    return negatives.slots(number, split.astype(np.int64), positive, ~positive, settings.ranker.negative_sample_ratio)


def ranker_rows(
    exposures: pa.Table, catalogue: negatives.Catalogue, settings: Settings, pairs: pa.Table | None = None
) -> tuple[pa.Table, int]:
    """Labelled rows of ROW_SCHEMA: each exposure, followed by the negatives drawn for it; and how many were missing.

    Where exposures have a WATCH_SHARE, rows have one too: -1 of a drawn negative.

    Args:
        exposures: as `label_exposures` returns them, all of their users; or a part of them, with DRAWS.
        catalogue: what negatives are drawn from.
        settings: of the run.
        pairs: user_id, video_id and split of positives that these users have besides.
    """
    user, video, time = (exposures[name].to_numpy() for name in ("user_id", "video_id", "interaction_time"))
    split = exposures["split"].to_numpy().astype(np.int64)
    positive = exposures["label"].to_numpy() == 1
    wanted = exposures[DRAWS].to_numpy() if DRAWS in exposures.column_names else draws(exposures, settings)
    users, number = np.unique(user, return_inverse=True)
    of_positives = [number[positive], video[positive], split[positive]]
    if pairs is not None:
        besides = (np.searchsorted(users, pairs["user_id"].to_numpy()), pairs["video_id"], pairs["split"])
        of_positives = [np.concatenate(both) for both in zip(of_positives, besides, strict=True)]
    of_user, of_video, of_split = of_positives
    taken = negatives.PositivePairs(of_user, of_video, of_split, catalogue)
    owner, drawn = negatives.sample(catalogue, taken, number, split, (user, video, time), wanted, settings.seed)
    sizes = 1 + np.bincount(owner, minlength=len(user))  # rows of each exposure, its own first
    own, among = np.cumsum(sizes) - sizes, functools.partial(_among, rows=len(user) + len(owner))
    videos = among(own, video, catalogue.video_ids[drawn])
    source = among(own, _own_sources(exposures, positive), np.int8(SOURCES.index("sampled")))
    rows = {
        "exposure": np.repeat(np.arange(len(user)), sizes),
        "video_id": videos,
        "label": (source == 0).astype(np.int64),
        "weight": among(own, exposures["weight"].to_numpy(), np.float32(1)),
        "source": pa.DictionaryArray.from_arrays(pa.array(source), pa.array(SOURCES)),
    }
    found = pa.table(rows, ROW_SCHEMA)
    if WATCH_SHARE in exposures.column_names:
        found = found.append_column(
            WATCH_SHARE, pa.array(among(own, exposures[WATCH_SHARE].to_numpy(), np.float32(-1)))
        )
    return found, int(wanted.sum()) - len(owner)


def _among(places: np.ndarray, own: np.ndarray, others: np.ndarray | np.generic, rows: int) -> np.ndarray:
    """[rows] values: `own` in their places, and in all others the `others` in their order, or one value."""
    found = np.empty(rows, own.dtype)
    rest = np.ones(rows, bool)
    rest[places] = False
    found[places], found[rest] = own, others
    return found


def _own_sources(exposures: pa.Table, positive: np.ndarray) -> np.ndarray:
    """[n] int8: which of SOURCES exposures themselves are."""
    source = np.where(positive, np.int8(SOURCES.index("positive")), np.int8(SOURCES.index("exposed")))
    if DISLIKED in exposures.column_names:
        source[exposures[DISLIKED].to_numpy()] = SOURCES.index("disliked")
    return source

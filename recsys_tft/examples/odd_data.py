"""Odd but legal data: the counts that a run keeps of it, and its warnings at the end.

Each step counts in a few vector operations; the sums become one sentence per oddity.
"""

from collections.abc import Collection, Mapping

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft.configuration.job_settings import SplitSettings
from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import TITLE
from recsys_tft.labelling import split_times
from recsys_tft.labelling.exposures import KEY
from recsys_tft.labelling.split_times import SPLITS, Cuts, Histogram
from recsys_tft.point_in_time.counters import COUNTERS
from recsys_tft.titles.encoder_spec import MINILM, MULTILINGUAL, SCRIPTS

Counts = dict[str, int]

_DAY, _LONG = 86_400, 3 * 3600  # seconds: few catalogues are mostly longer than the latter
_FEW = 10  # watch times of which nothing is said
_MILLISECONDS, _MINUTES = 100, 3  # least watch time in durations, if its unit is off by 1000 or 60
_LEVEL = "level/"  # in front of a popularity that is no level
_OTHER = "titles/other/"  # in front of an encoder
_ANOTHER = {
    MINILM: "title_encoder: multilingual knows more of them (docs/titles.md)",
    MULTILINGUAL: "name a SavedModel that does with title_encoder (docs/titles.md)",
}
_NAMED = 3  # levels of each partition, and in the warning


def of_videos(videos: pa.Table, computed: Collection[str], settings: Settings) -> Counts:
    """Count the oddities of some videos.

    Args:
        videos: raw rows, one per key.
        computed: columns of videos that are not read.
        settings: of the run.
    """
    counts = {
        f"videos/{name}": _sum(test(videos["video_duration"], limit))
        for name, test, limit in (
            ("timed", pc.greater, 0), ("hours", pc.greater, _LONG), ("long", pc.greater_equal, _DAY)
        )
    }  # fmt: skip
    if not {"view_count", "like_count"} & {*computed}:
        views, likes = videos["view_count"], videos["like_count"]
        has_counts = pc.greater(pc.max_element_wise(views, likes, skip_nulls=False), 0)
        counts |= {"videos/told": _sum(has_counts), "videos/equal": _sum(pc.and_(has_counts, pc.equal(views, likes)))}
    if "popularity" not in computed:
        counts |= _unknown_levels(videos["popularity"], settings.popularity.levels)
    encoder = settings.title_encoder
    if isinstance(encoder, str) and encoder in SCRIPTS and TITLE in videos.column_names:
        counts |= _scripts(videos[TITLE], encoder)
    return counts


def _scripts(titles: pa.ChunkedArray, encoder: str) -> Counts:
    """How many titles have letters, and of how many less than half of these are of scripts that the encoder knows."""
    text = titles.cast(pa.string(), safe=False)  # a user's bytes need not be UTF-8
    scripts = "".join(rf"\p{{{script}}}" for script in SCRIPTS[encoder])
    letters, known = (pc.count_substring_regex(text, pattern) for pattern in (r"\p{L}", f"[{scripts}]"))
    other = pc.greater(letters, pc.multiply(known, 2))
    return {"titles": _sum(pc.greater(letters, 0)), f"{_OTHER}{encoder}": _sum(other)}


def _sum(values: pa.ChunkedArray) -> int:
    return pc.sum(values).as_py() or 0


def _unknown_levels(values: pa.ChunkedArray, levels: tuple[str, ...]) -> Counts:
    """How many values are no level, and the most frequent ones."""
    text = values.cast(pa.string(), safe=False)  # a user's bytes need not be UTF-8
    lowered = pa.array([level.lower() for level in levels])
    unknown = text.filter(pc.and_(text.is_valid(), pc.invert(pc.is_in(pc.ascii_lower(text), lowered))))
    counted = sorted((-n["counts"], n["values"]) for n in unknown.cast(pa.binary()).value_counts().to_pylist())
    frequent = {f"{_LEVEL}{value.decode(errors='replace')}": -number for number, value in counted[:_NAMED]}
    return {"videos/levels": len(unknown), **frequent}


def repeated(events: pa.Table) -> int:
    """How many events are equal to another one in every column.

    Args:
        events: sorted as by `exposures.sort_events`, so that equal ones are adjacent.
    """
    keys = (events[name].to_numpy() for name in KEY)
    same = np.logical_and.reduce([key[1:] == key[:-1] for key in keys])
    rows = np.flatnonzero(same)
    others = events.select([name for name in events.column_names if name not in KEY])
    one, other = (pl.DataFrame(others.take(pa.array(places))) for places in (rows, rows + 1))
    equal = np.ones(len(rows), bool)
    for name in others.column_names:
        equal &= one[name].eq_missing(other[name]).to_numpy()
    return int(equal.sum())


def of_watch_times(watched: np.ndarray, duration: np.ndarray) -> Counts:
    """How watch times compare to durations.

    Args:
        watched: [n] float64 seconds of exposures.
        duration: [n] float32 seconds of their videos, NaN where unknown.
    """
    usable = (watched > 0) & (duration > 0)
    durations = watched[usable] / duration[usable]
    above = {name: int((durations > limit).sum()) for name, limit in _ABOVE.items()}
    shares = (watched[usable] <= 1) & (duration[usable] > 1)
    return {"watched": len(durations), **above, "watched/shares": int(shares.sum())}


_ABOVE = {"watched/above": 1, "watched/minutes": _MINUTES, "watched/milliseconds": _MILLISECONDS}


def of_counted(increments: pa.Table) -> Counts:
    """How many views and likes of videos are counted.

    Args:
        increments: of counters.INCREMENT_SCHEMA.
    """
    numbers = np.bincount(increments["counter"].to_numpy(), minlength=len(COUNTERS))
    return {"views": int(numbers[COUNTERS.index("view_count")]), "likes": int(numbers[COUNTERS.index("like_count")])}


def warnings(
    odd: Mapping[str, int],
    splits: Mapping[str, int],
    span: tuple[int, int],
    cuts: Cuts | None,
    split: SplitSettings | None,
) -> list[str]:
    """One sentence for each oddity.

    Args:
        odd: sums of what this module counts; `repeated` and `zero_durations`, and `views` and `likes` where these are
            counted from the interactions.
        splits: how many exposures each split has.
        span: the times of the first and the last exposure.
        cuts: where the splits end; None if each user has their own.
        split: the settings; None for a refresh, which has one split.
    """
    sentences = [*_of_durations(odd), *_of_counts(odd), *_of_levels(odd), *_of_titles(odd), *_of_events(odd, span)]
    return sentences + (_of_splits(splits, span, cuts, split) if split else [])


def _of_durations(odd: Mapping[str, int]) -> list[str]:
    sentences = []
    if zeros := odd.get("zero_durations", 0):
        sentences.append(
            f"{_rows(zeros, 'videos', 'has')} a video_duration of 0, which counts as missing: "
            "no watch time makes an exposure of such a video positive"
        )
    if long := odd.get("videos/long", 0):
        sentences.append(
            f"{_rows(long, 'videos', 'has')} a video_duration of a day or more; it is read as seconds, "
            "so divide it by 1,000 if yours is in milliseconds"
        )
    elif 2 * odd.get("videos/hours", 0) > odd.get("videos/timed", 0):
        sentences.append(
            f"{odd['videos/hours']:,} of {odd['videos/timed']:,} videos have a video_duration above 3 hours; it is "
            "read as seconds, so divide it by 1,000 if yours is in milliseconds"
        )
    watched, above = odd.get("watched", 0), odd.get("watched/above", 0)
    if 2 * above > watched:
        sentences.append(
            f"{above:,} of {watched:,} exposures have a watch_time above the video_duration; both are read as seconds"
            f"{_unit(odd, watched)}"
        )
    if odd.get("watched/shares", 0) == watched > _FEW:
        sentences.append(
            f"none of {watched:,} watch times is above 1 second; watch_time is read as seconds, so multiply it by "
            "video_duration if yours is a share"
        )
    return sentences


def _unit(odd: Mapping[str, int], watched: int) -> str:
    if 2 * odd.get("watched/milliseconds", 0) > watched:
        return ", so divide watch_time by 1,000 if yours is in milliseconds"
    if 2 * odd.get("watched/minutes", 0) > watched:
        return ", so multiply video_duration by 60 if yours is in minutes"
    return ", and a video that is watched repeatedly in one exposure adds up"


def _of_counts(odd: Mapping[str, int]) -> list[str]:
    both = odd.get("videos/told", 0)
    if both > 1 and odd.get("videos/equal", 0) == both:
        return [
            f"view_count equals like_count for all {both:,} videos that have both, so that like_ratio tells nothing; "
            "is one column mapped or copied to both names?"
        ]
    views = odd.get("views", 0)
    if views > 1 and odd.get("likes", 0) == views:
        return [
            f"each of the {views:,} views that are counted has a like, so that like_count equals view_count and "
            "like_ratio tells nothing: the interactions hold no view without a like"
        ]
    return []


def _of_levels(odd: Mapping[str, int]) -> list[str]:
    number = odd.get("videos/levels", 0)
    if not number:
        return []
    levels = {name.removeprefix(_LEVEL): count for name, count in odd.items() if name.startswith(_LEVEL)}
    named = sorted(levels, key=lambda level: (-levels[level], level))[:_NAMED]
    shown = ", ".join(repr(level[:40]) for level in named)
    return [
        f"{_rows(number, 'videos', 'has')} a popularity that is none of popularity.levels, such as {shown}; "
        "no popularity is taken from it"
    ]


def _of_titles(odd: Mapping[str, int]) -> list[str]:
    titles = odd.get("titles", 0)
    known = {encoder: odd.get(f"{_OTHER}{encoder}", 0) for encoder in SCRIPTS}
    return [
        f"{other:,} of {titles:,} titles are mostly in other scripts than {', '.join(SCRIPTS[encoder])}, which the "
        f"encoder {encoder} does not know; {_ANOTHER[encoder]}"
        for encoder, other in known.items()
        if 2 * other > titles
    ]


def _of_events(odd: Mapping[str, int], span: tuple[int, int]) -> list[str]:
    sentences = []
    if number := odd.get("repeated", 0):
        sentences.append(
            f"{_rows(number, 'interactions', 'is')} equal to another one in every column; they count as one exposure, "
            "in which their watch times add up"
        )
    if span[0] == span[1]:
        sentences.append(
            f"all interactions are at one time, {split_times.describe(span[0])}, so that nothing is before another"
        )
    return sentences


def _of_splits(splits: Mapping[str, int], span: tuple[int, int], cuts: Cuts | None, split: SplitSettings) -> list[str]:
    """A sentence about requested splits that are empty."""
    if split.fixed_cuts:
        wanted = ["val", "test"] if split.test_from else ["val"]
    else:
        wanted = [name for name, share in (("val", split.val_share), ("test", split.test_share)) if share]
    empty = [name for name in wanted if not splits.get(name)]
    if not empty:
        return []
    which = " and ".join(empty) + (" splits are" if len(empty) > 1 else " split is")
    return [f"the {which} empty: {_why(span, cuts, split)}"]


def _why(span: tuple[int, int], cuts: Cuts | None, split: SplitSettings) -> str:
    if cuts is None:
        return f"no user has enough exposures for a split of kind {split.kind}"
    ends = {"val_from": cuts[0], "test_from": cuts[1]}
    when = " and ".join(f"{name} is {split_times.describe(time)}" for name, time in ends.items() if time is not None)
    return f"{when}, and exposures are from {split_times.describe(span[0])} to {split_times.describe(span[1])}"


def _rows(number: int, table: str, verb: str) -> str:
    return f"1 row of {table} {verb}" if number == 1 else f"{number:,} rows of {table} {_PLURALS[verb]}"


_PLURALS = {"is": "are", "has": "have"}


def gap(until: int, first: int) -> list[str]:
    """A sentence, if there is a day or more between the end of the state and the first exposure of a refresh."""
    if first - until < _DAY * 1_000_000:
        return []
    return [
        f"no interaction is between {split_times.describe(until)}, the end of the last period, and "
        f"{split_times.describe(first)}; if a day was skipped, its interactions will be too late"
    ]


def exposures_by_split(counts: Mapping[str, int]) -> Counts:
    """How many exposures each split has, by the counts of a run."""
    kinds = ("positive", "disliked", "exposed", "contradicted")
    return {name: sum(counts.get(f"exposures/{name}/{kind}", 0) for kind in kinds) for name in SPLITS}


def span_of(times: Histogram) -> tuple[int, int]:
    """The first and the last of all times; `times` has at least these."""
    return int(times[0][0]), int(times[0][-1])

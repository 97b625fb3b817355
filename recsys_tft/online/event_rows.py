"""Events as callers give them, checked by the rules of the tables: each is an event of the main job, or is rejected."""

import dataclasses
import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys_tft import ids
from recsys_tft.columns import STRING, Column
from recsys_tft.configuration.column_settings import names_and_units
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError, did_you_mean
from recsys_tft.labelling.exposures import event_columns
from recsys_tft.online.snapshot import EVENT, own_keys
from recsys_tft.storage.hashing import keyed_hash, text_hash
from recsys_tft.tables import column_types, raw_tables, row_checks
from recsys_tft.tables.conversions import Faults
from recsys_tft.tables.entities import VideoLookup
from recsys_tft.tables.event_signals import events_of
from recsys_tft.time_lookups import find_sorted

EVENT_ID = Column("event_id", "interactions", STRING)
_TYPE = "interaction_type"
_AHEAD = 86_400_000_000  # microseconds by which clocks of others may differ from ours
Given: TypeAlias = Sequence[Mapping[str, Any]] | pa.Table


@dataclasses.dataclass(frozen=True)
class Rejection:
    """An event that is not taken.

    Attributes:
        index: its place among those given, from 0.
        reason: why, as a sentence without its full stop.
    """

    index: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Read:
    """Events that were given.

    Attributes:
        events: those that can be used, with `exposures.event_columns` and EVENT.
        places: [n] int64 where each of these was given.
        rejected: the others.
    """

    events: pa.Table
    places: np.ndarray
    rejected: list[Rejection]


class EventReader:
    """Makes events of what callers give.

    Args:
        settings: of the run.
        videos: the lookup of all videos.
    """

    def __init__(self, settings: Settings, videos: VideoLookup):
        self._settings, self._videos, self._bits = settings, videos, settings.table.bits
        self._columns = {**settings.table.columns_of("interactions"), EVENT_ID.name: EVENT_ID}
        self._own_names, _ = names_and_units(settings.columns.get("interactions", {}))
        self._flags = [name for name in self._bits.flags if name in self._columns]
        self._known_videos = videos.rows["video_id"].to_numpy()

    def read(self, given: Given) -> Read:
        """The events, those that cannot be used apart.

        Args:
            given: the columns of interactions as the tables have them, by the names in the tables or ours; a time is a
                datetime, microseconds since 1970 UTC, or text. What may be missing may be left out. `event_id`, of any
                kind, tells an event from another one of the same user.

        Raises:
            InputError: if it is no list of mappings and no table.
        """
        values, strange = self._values(given, self._columns)
        told = {name: column for name, column in self._columns.items() if values[name] is not None}
        raw, faults = {}, {}
        for name, column in told.items():
            raw[name], faults[name] = _converted(values[name], column)
        rows = row_checks.without_missing(pa.table(raw), told)
        reasons = row_checks.check_rows(rows, told, (), faults).to_numpy(zero_copy_only=False)
        reasons = np.where(_are_told(strange), strange, reasons)
        _refuse(reasons, self._wrong_signals(rows))
        plain = {name: raw_tables.canonical(rows[name], column) for name, column in told.items()}
        plain |= {n: pa.nulls(len(rows), _canonical_type(c)) for n, c in self._columns.items() if n not in told}
        events = ids.coded(pa.table({name: plain[name] for name in self._columns}), self._columns.values())
        _refuse(reasons, _where(self._unknown(events), "video_id is not in videos"))
        ahead = pc.fill_null(events["interaction_time"], 0).to_numpy() > time.time_ns() // 1000 + _AHEAD
        _refuse(reasons, _where(ahead, "interaction_time is more than a day ahead of the clock of this machine"))
        is_good = ~_are_told(reasons)
        found, places = self._events(events, is_good)
        rejected = [Rejection(int(place), reasons[place]) for place in np.flatnonzero(~is_good)]
        return Read(found, places, rejected)

    def _values(self, given: Given, columns: Mapping[str, Column]) -> tuple[dict[str, Any], np.ndarray]:
        """The values of each column, None of one that is left out and may be; and for each event why it is strange."""
        if isinstance(given, pa.Table):
            names, size = set(given.column_names), len(given)
        elif isinstance(given, Sequence) and not isinstance(given, str | bytes):
            given, names, size = list(map(_plain, given)), set(), len(given)
            for event in given:
                names.update(event or ())
        else:
            raise InputError(f"events are {type(given).__name__}; expected a list of mappings or a pyarrow.Table.")
        stored = {name: self._own_names.get(name, name) for name in columns}
        strange = np.full(size, None, object)
        for place in [] if isinstance(given, pa.Table) else [p for p, event in enumerate(given) if event is None]:
            strange[place] = "is no mapping from columns to values"
        known = {*columns, *stored.values()}
        for name in sorted(names - known):
            text = f"{name} is no column of interactions{_hint(name, known)}"
            for place in range(size) if isinstance(given, pa.Table) else _having(given, name):
                strange[place] = strange[place] or text
        found = {}
        for name, own in stored.items():
            is_told = columns[name].required or name in names or own in names
            found[name] = _column(given, own if own in names else name, size) if is_told else None
        return found, strange

    def _wrong_signals(self, rows: pa.Table) -> np.ndarray:
        """[n]: what is wrong with the signals of each event; None where nothing is."""
        found, names = np.full(len(rows), None, object), [_TYPE, "watch_time", *self._flags]
        is_told = {name: rows[name].is_valid().to_numpy() for name in names if name in rows.column_names}
        if _TYPE in is_told:
            kind = rows[_TYPE]
            known = pc.is_in(kind, pa.array(self._bits.names, kind.type)).to_numpy()
            for place in np.flatnonzero(is_told[_TYPE] & ~known):
                found[place] = f"{_TYPE} is {kind[int(place)].as_py()!r}; expected one of {', '.join(self._bits.names)}"
        says_nothing = ~np.logical_or.reduce([np.zeros(len(rows), bool), *is_told.values()])
        found[says_nothing] = f"says not what happened; expected {', '.join(names)} or several"
        return found

    def _unknown(self, events: pa.Table) -> np.ndarray:
        """[n] bool: which events are of a video that nobody knows."""
        codes = pc.fill_null(events["video_id"], 0).to_numpy()
        unknown = find_sorted(self._known_videos, codes) < 0
        if self._videos.has_text_ids:
            same = pc.equal(self._videos.given(codes), events[f"{ids.GIVEN}video_id"].combine_chunks())
            unknown |= ~pc.fill_null(same, False).to_numpy(zero_copy_only=False)
        return unknown

    def _events(self, rows: pa.Table, is_good: np.ndarray) -> tuple[pa.Table, np.ndarray]:
        """The good ones as the main job has them, in the order in which they were given, and where that was."""
        is_long = rows[_TYPE].is_valid().to_numpy()
        kinds = np.unique(is_long[is_good]).tolist() or [True]
        places = [np.flatnonzero(is_good & (is_long == long)) for long in kinds]
        some = [rows if len(own) == len(rows) else rows.take(pa.array(own)) for own in places]
        parts = [events_of(own, long, self._bits) for own, long in zip(some, kinds, strict=True)]
        order = np.argsort(np.concatenate(places))
        events = pa.concat_tables(parts).take(pa.array(order)) if len(parts) > 1 else parts[0]
        found = events.select(event_columns(self._settings)).append_column(EVENT, _event_keys(events))
        return found.combine_chunks(), np.concatenate(places)[order]


@functools.cache
def _canonical_type(column: Column) -> pa.DataType:
    """The type that the main job has values of a column in."""
    return raw_tables.canonical(pa.nulls(0, column.type), column).type


def _are_told(reasons: np.ndarray) -> np.ndarray:
    """[n] bool: which of [n] texts or None are texts."""
    return reasons != None  # noqa: E711, as NumPy compares each by itself


def _where(are: np.ndarray, reason: str) -> np.ndarray:
    """[n] of the reason where it holds, else None."""
    found = np.full(len(are), None, object)
    found[are] = reason
    return found


def _refuse(reasons: np.ndarray, more: np.ndarray) -> None:
    """Notes why events are rejected, [n] of text or None, where nothing is noted yet."""
    are = ~_are_told(reasons) & _are_told(more)
    reasons[are] = more[are]


def _event_keys(events: pa.Table) -> pa.Array:
    """[n] int64 by which events of a user are told apart: their ids, else the video, the time and the signals."""
    given = events[EVENT_ID.name].combine_chunks()
    if given.null_count == len(given):
        return pa.array(own_keys(events))
    of_ids = keyed_hash(text_hash(given).view(np.int64), 1).view(np.int64)
    if not given.null_count:
        return pa.array(of_ids)
    return pa.array(np.where(given.is_valid().to_numpy(zero_copy_only=False), of_ids, own_keys(events)))


def _hint(name: str, known: set[str]) -> str:
    hint = did_you_mean(name, sorted(known)).strip().rstrip("?.")
    return f"; {hint[:1].lower()}{hint[1:]}?" if hint else ""


def _plain(event: Any) -> dict[str, Any] | None:
    """An event as a dict, which is read faster than other mappings; None where it is none."""
    if type(event) is dict:
        return event
    return dict(event) if isinstance(event, Mapping) else None


def _having(given: Sequence[Mapping[str, Any]], name: str) -> list[int]:
    return [place for place, event in enumerate(given) if event and name in event]


def _column(given: Given, key: str, size: int) -> Any:
    if isinstance(given, pa.Table):
        return given[key] if key in given.column_names else pa.nulls(size)
    return [event.get(key) if event else None for event in given]


def _converted(values: Any, column: Column) -> tuple[pa.Array, Faults]:
    """[n] values as a column has them, and by reason a mask of those that cannot be."""
    if column is EVENT_ID:
        texts = values.to_pylist() if isinstance(values, pa.Array | pa.ChunkedArray) else values
        texts = [None if each is None or each == "" else str(each) for each in texts]
        try:
            return pa.array(texts, STRING), {}
        except UnicodeEncodeError:
            broken = [each is not None and _is_broken(each) for each in texts]
            found = [None if is_broken else each for each, is_broken in zip(texts, broken, strict=True)]
            return pa.array(found, STRING), {"is no text": np.array(broken)}
    if isinstance(values, list):
        try:
            return _read(pa.array(values, from_pandas=True), column)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            return _one_by_one(values, column)
    try:
        return _read(values, column)
    except (pa.ArrowException, TypeError):
        raise InputError(f"events: the column {column.name} is {values.type}; expected {column.type}.") from None


def _is_broken(text: str) -> bool:
    """Whether it holds half of a surrogate pair, which JSON can say."""
    return any("\ud800" <= each <= "\udfff" for each in text)


def _read(values: pa.Array | pa.ChunkedArray, column: Column) -> tuple[pa.Array, Faults]:
    if not column_types.is_taken(values.type, column.type, "us", column.kind):
        raise TypeError(f"{column.name} is {values.type}")
    found, faults = column_types.read(values, column, "us")
    return (found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found), faults


def _one_by_one(values: Sequence[Any], column: Column) -> tuple[pa.Array, Faults]:
    """As `_read`, of values that are not all of one type."""
    found = []
    faults: Faults = {}
    for place, value in enumerate(values):
        try:
            one, wrong = _read(pa.array([value], from_pandas=True), column)
            reasons = [reason for reason, mask in wrong.items() if mask[0]]
            one = one.cast(column.type, safe=False)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            one, reasons = pa.nulls(1, column.type), [f"is {value!r}; expected {column.type}"]
        found.append(one)
        for reason in reasons:
            faults.setdefault(reason, np.zeros(len(values), bool))[place] = True
    return pa.concat_arrays(found), faults

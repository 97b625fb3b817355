"""Requests for recommendations, checked before any model runs."""

import contextlib
import dataclasses
import datetime
import functools
import numbers
import operator
import time
from collections.abc import Iterable, Mapping, Sized
from typing import Any

import pyarrow as pa

from recsys_tft import ids
from recsys_tft.columns import INT64, TIMESTAMP, Column, IdKind
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError, did_you_mean
from recsys_tft.missing import nulled
from recsys_tft.recommending import request_columns
from recsys_tft.statistics import EMPTY_IDS

_OWN = {
    "user_id": Column("user_id", "users", INT64, required=True, key="user_id"),
    "interaction_time": Column("interaction_time", "interactions", TIMESTAMP, required=True),
}
_OURS = request_columns.columns_of_table(DEFAULT)
_NOBODY, _NOBODY_OF_TEXTS = EMPTY_IDS + 1, b"\xff"  # ids that no user has: the latter is no UTF-8, as all ids are
_IDS = range(EMPTY_IDS + 1, 2**63)


@dataclasses.dataclass(frozen=True)
class Request:
    """A user at a moment.

    Attributes:
        user_id: an integer or a string, as in the tables (UUIDs in any case); None: anonymous, served as an
            out-of-vocabulary user, since training rows have unseen users, but never a missing one.
        given: raw columns of the user or the moment that override the stored ones, such as
            {"country": "DE", "age": 30, "device": "mobile"}. None, NaN, "", [] and the least int64 are missing values,
            also as elements of a list. A time is a datetime, microseconds since 1970 UTC, or ISO text.
        time: microseconds since 1970 UTC.
        known: the columns that may be given; by default those of the default feature table.
        kind: of the ids of users.

    Raises:
        InputError: if `given` has a column that is neither the user's nor the moment's, or a value of a wrong type or
            one that a run would reject; or if `user_id` or `time` is one that a run would reject.
    """

    user_id: int | str | None
    given: Mapping[str, Any]
    time: int
    known: tuple[Column, ...] = _OURS
    kind: IdKind = IdKind.INTEGER

    def __post_init__(self) -> None:
        if self.kind.is_text:
            if self.user_id is not None and self.user is None:
                raise InputError("user_id is empty, which is no id; leave it out for someone unknown.")
        elif self.user_id is not None and _integer("user_id", self.user_id) not in _IDS:
            raise InputError(f"user_id is {self.user_id}, which is no id; expected {_IDS.start} to {_IDS.stop - 1}.")
        _check("time", _integer("time", self.time), _OWN["interaction_time"])
        columns = {column.name: column for column in self.known}
        for name, value in self.given.items():
            if name not in columns:
                raise InputError(f"'{name}' is not known of a user or a moment.{did_you_mean(name, columns)}")
            (plain,) = _array(name, value, columns[name]).to_pylist()
            _check(name, plain, columns[name])

    def columns(self, stored: pa.Table) -> dict[str, pa.Array]:
        """[1] known raw columns of the user and the moment.

        Args:
            stored: the user's row in the store, or an empty table.
        """
        stored_columns = {name: stored[name].combine_chunks() for name in stored.column_names} if len(stored) else {}
        columns = {column.name: column for column in self.known} | _OWN
        given = {name: _array(name, value, columns[name]) for name, value in self.given.items()}
        columns_of_request = stored_columns | {"interaction_time": pa.array([self.time], INT64)} | given
        nobody = _NOBODY_OF_TEXTS if self.kind.is_text else _NOBODY
        user = nobody if self.user is None else self.user
        return columns_of_request | {"user_id": pa.array([user], pa.binary() if self.kind.is_text else INT64)}

    @functools.cached_property
    def user(self) -> int | bytes | None:
        """The id as rows have it; None without one."""
        return _array("user_id", self.user_id, _OWN["user_id"].of_kind(self.kind))[0].as_py()

    @property
    def code(self) -> int:
        """An integer for the user: the id or its code; 0 for an anonymous user."""
        return 0 if self.user is None else ids.codes_of(pa.array([self.user]))[0].as_py()


@dataclasses.dataclass(frozen=True)
class Wanted:
    """A request with the number of videos to return.

    Attributes:
        request: the user and the moment.
        k: number of videos.

    Raises:
        InputError: if k is below 1.
    """

    request: Request
    k: int = 10

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"k is {self.k}; it needs at least 1.")


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def _integer(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise InputError(f"{name} is {value!r}; expected int64.") from None


def _array(name: str, value: Any, column: Column) -> pa.Array:
    """[1] value with the type of the store, null if missing."""
    if column.key and column.kind.is_text:
        return _text_ids(name, value, column)
    kind = pa.list_(column.graph_type) if column.is_list else column.graph_type
    wrong = InputError(f"{name} is {value!r}; expected {_expected(column)}.")
    plain = None if isinstance(value, Sized) and not len(value) else _as_number(value, column)
    if (column.is_list and isinstance(plain, str | bytes)) or (column.graph_type == pa.int64() and _is_fraction(plain)):
        raise wrong
    if pa.types.is_boolean(column.type) and isinstance(plain, numbers.Real) and plain == plain and plain not in (0, 1):
        raise wrong
    try:
        array = pa.array([plain], kind, from_pandas=True)
    except (pa.ArrowException, TypeError, OverflowError, UnicodeEncodeError):
        raise wrong from None
    stored = pa.binary() if pa.types.is_string(column.graph_type) else column.graph_type
    return nulled(array.cast(pa.list_(stored) if column.is_list else stored), column.zero_is_missing)


def _text_ids(name: str, value: Any, column: Column) -> pa.Array:
    """As `_array`, of ids that are text."""
    kind_of_id = ids.WANTED[column.kind]
    wrong = InputError(
        f"{name} is {value!r}; expected {f'a list of ids, each {kind_of_id}' if column.is_list else kind_of_id}."
    )
    if not column.is_list or _is_missing(value):
        values = [None if _is_missing(value) else value]
    elif isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise wrong
    else:
        values = list(value)
    try:
        texts = [None if _is_missing(element) else ids.text_of(element, column.kind) for element in values]
    except ValueError:
        raise wrong from None
    if not column.is_list:
        return pa.array(texts, pa.binary())
    return nulled(pa.array([None if _is_missing(value) else texts], pa.list_(pa.binary())))


def _is_missing(value: Any) -> bool:
    return (
        value is None or (isinstance(value, Sized) and not len(value)) or (isinstance(value, float) and value != value)
    )


def _expected(column: Column) -> str:
    if pa.types.is_timestamp(column.type):
        return "a time such as 2025-03-01T12:00, or its microseconds since 1970 UTC"
    return str(column.type)


def _as_number(value: Any, column: Column) -> Any:
    """Convert a boolean or a time to a number, for columns of these."""
    if pa.types.is_boolean(column.type) and isinstance(value, bool):
        return int(value)
    if pa.types.is_timestamp(column.type) and isinstance(value, str):
        with contextlib.suppress(ValueError):  # otherwise it is refused like any wrong type
            value = datetime.datetime.fromisoformat(value)
    if pa.types.is_timestamp(column.type) and isinstance(value, datetime.datetime):
        return pa.scalar(value, TIMESTAMP).cast(pa.int64()).as_py()
    return value


def _is_fraction(value: Any) -> bool:
    """Whether a number is one that Arrow would truncate to an integer."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return any(map(_is_fraction, value))
    return isinstance(value, numbers.Real) and value == value and value % 1 != 0


def _check(name: str, value: Any, column: Column) -> None:
    """Refuse values that a run would reject."""
    low, high = column.limits or (None, None)
    if low is not None and value is not None and not low <= value < high:
        raise InputError(f"{name} is {value}; it needs to be {column.wanted}.")

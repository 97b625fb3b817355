"""Codes of ids: pinned, all different, and where two ids share one, refused rather than taken for each other."""

import uuid
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft import ids
from recsys_tft.columns import IdKind
from recsys_tft.configuration.settings import parse
from recsys_tft.errors import InputError
from recsys_tft.examples import event_chunks, examples
from recsys_tft.storage import arrow_ipc
from recsys_tft.storage.hashing import text_hash
from recsys_tft.tables.entities import VideoLookup, add_channels, drop_duplicates

PINNED = [
    "e220a8397b1dcdaf",
    "5e41ab087439611e",
    "66e8fdab7dced5e6",
    "e5eee863d8b86b92",
    "5e025f9ade9eaf3e",
    "f7d56560769fe4ec",
    "83dbec76b33f9ca3",
    "7cf46f00f45fa22a",
    "3e0d4c2c77d6ef4e",
    "f50fcf92948132eb",
    "243f379456a54245",
]
SETTINGS = parse({}, "the test")
TEXTS = st.lists(st.one_of(st.none(), st.binary(max_size=40)), max_size=20)
quick = settings(deadline=None, derandomize=True, max_examples=60)


def test_hashes_of_texts_never_change() -> None:
    """Partitions and draws of earlier runs depend on them."""
    texts = ["", "\0", "7", "007", "a", "A", "12345678", "123456789", str(uuid.UUID(int=1)), "é\n\U0001f4f1", "x" * 200]
    assert [f"{number:x}" for number in text_hash(pa.array(texts)).tolist()] == PINNED
    assert ids.codes_of(pa.array(["a"])).to_pylist() == [int(np.uint64(int(PINNED[4], 16)).astype(np.int64))]


@quick
@given(TEXTS, TEXTS, st.sampled_from((pa.binary(), pa.large_binary(), pa.binary_view())))
def test_a_text_has_the_same_code_wherever_it_stands(before: list, texts: list, kind: pa.DataType) -> None:
    alone = [None if text is None else int(text_hash(pa.array([text], pa.binary()))[0]) for text in texts]
    part = pa.array([*before, *texts, *before], kind).slice(len(before), len(texts))
    found = text_hash(part).tolist()
    assert [code if text is not None else None for text, code in zip(texts, found, strict=True)] == alone
    codes = ids.codes_of(pa.chunked_array([part, pa.array(before, kind)])).to_pylist()
    assert codes[: len(texts)] == [None if code is None else code - (code >> 63 << 64) for code in alone]
    assert [code is None for code in codes] == [text is None for text in [*texts, *before]]


def alike() -> Iterator[str]:
    """Ids as tables have them, most of whose characters are the same."""
    for number in range(100_000):
        yield from (str(number), f"{number:09}", f"user_{number:012}", f"{number}\0", str(uuid.UUID(int=number << 64)))


def test_ids_that_are_nearly_the_same_have_different_codes() -> None:
    texts = pa.array(alike())
    hashes = text_hash(texts)
    assert len(np.unique(hashes)) == len(texts)
    for shift in (0, 29, 58):  # any bits of them are filled evenly, in partitions of a few thousand too
        counts = np.bincount((hashes >> np.uint64(shift)) % np.uint64(64), minlength=64)
        assert ((counts - len(texts) / 64) ** 2 / (len(texts) / 64)).sum() < 104  # chi-square, 1 in 1,000


def test_no_text_has_the_code_that_is_no_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "text_hash", lambda texts: np.full(len(texts), 2**63, np.uint64))
    assert ids.codes_of(pa.array(["a"])).to_pylist() == [-(2**63) + 1]


def weak_hash(texts: pa.Array) -> np.ndarray:
    """[n] uint64: the first byte of each text."""
    return np.array([(text or b" ")[0] for text in texts.cast(pa.binary()).to_pylist()], np.uint64)


@pytest.fixture
def weak(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids that begin with the same letter share a code."""
    monkeypatch.setattr(ids, "text_hash", weak_hash)


def table(own: dict[str, list], **others: pa.Array) -> pa.Table:
    """Rows of text ids as `raw_tables.read` returns them."""
    known = SETTINGS.table.with_ids(dict.fromkeys(("user_id", "video_id", "channel_id"), IdKind.STRING)).raw
    arrays = {
        name: pa.array(told, pa.list_(pa.binary()) if known[name].is_list else pa.binary())
        for name, told in own.items()
    }
    rows = pa.table({**arrays, **others})
    return ids.coded(rows, [known[name] for name in own]).append_column("_row", pa.array(range(len(rows))))


def refused(key: str, one: str, other: str) -> str:
    return f"^the {key}s '{one}' and '{other}' cannot be told apart, as they share a hash of 64 bits; give one of them"


@pytest.mark.usefixtures("weak")
@pytest.mark.parametrize("key", ["user_id", "video_id", "channel_id"])
def test_rows_of_two_ids_of_one_code_are_refused(key: str) -> None:
    kept, dropped = drop_duplicates(table({key: ["b", "ax", "ax", "c"]}), key)
    assert [len(kept), len(dropped)] == [3, 1]
    with pytest.raises(InputError, match=refused(key, "ax", "ay")):
        drop_duplicates(table({key: ["b", "ax", "c", "ay"]}), key)
    with pytest.raises(InputError, match=refused(key, "ax", "ay")):  # versions of one at different times
        drop_duplicates(table({key: ["ax", "ax", "ay"]}, updated_at=pa.array([3, 1, 2])), key)


VIDEOS = {"video_duration": pa.array([60.0, 60.0], pa.float32()), "category": pa.array([b"music", None])}


def lookup(channels: pa.Table, of_videos: list[str | None]) -> VideoLookup:
    rows = table({"video_id": ["vx", "wx"], "channel_id": of_videos}, **VIDEOS)
    videos, _ = drop_duplicates(rows, "video_id")
    assert add_channels(videos.drop_columns(["_row"]), channels)["channel_name"].to_pylist() == ["one", None]
    return VideoLookup.of(videos, channels, IdKind.STRING)


@pytest.mark.usefixtures("weak")
def test_a_channel_that_nobody_knows_is_not_taken_for_one_of_its_code() -> None:
    channels = drop_duplicates(table({"channel_id": ["cx"]}, channel_name=pa.array(["one"])), "channel_id")[0]
    lookup(channels, ["cx", None])
    lookup(channels, ["cx", "dx"])
    with pytest.raises(InputError, match=refused("channel_id", "cy", "cx")):
        lookup(channels, ["cx", "cy"])


def gather(users: dict[str, list], events: list[tuple[str, str]], way: str) -> tuple[pa.Table, int]:
    """The histories of users with their ids as given, by events of (user, video), and how many of these are unknown."""
    channels = drop_duplicates(table({"channel_id": ["cx"]}, channel_name=pa.array(["one"])), "channel_id")[0]
    videos = lookup(channels, ["cx", None])
    known, _ = drop_duplicates(table(users), "user_id")
    number = len(events)
    others = {
        "interaction_time": pa.array(range(number)),
        "signals": pa.array([1] * number),
        "watch_time": pa.nulls(number, pa.float32()),
        "device": pa.nulls(number, pa.binary()),
    }
    rows = table({"user_id": [user for user, _ in events], "video_id": [video for _, video in events]}, **others)
    if way == "whole":
        unknown = examples.gather_events(rows, table(users), videos, SETTINGS).unknown
    else:
        unknown = event_chunks.Gathered([arrow_ipc.dumps(rows)], known, videos, SETTINGS).unknown
    if "history_video_ids" in users:
        given = examples.with_given_ids(known.select(["history_video_ids"]), known, videos)
        assert ids.plain(given)["history_video_ids"].to_pylist() == known["given/history_video_ids"].to_pylist()
    return known, len(unknown)


ways = pytest.mark.parametrize("way", ["whole", "chunks"])


@pytest.mark.usefixtures("weak")
@ways
def test_an_event_of_someone_or_something_unknown_is_not_that_of_another_of_its_code(way: str) -> None:
    users = {"user_id": ["ax", "bx"]}
    known, unknown = gather(users, [("bx", "vx"), ("zx", "vx"), ("zy", "wx"), ("ax", "yx")], way)
    assert (len(known), unknown) == (2, 3)
    with pytest.raises(InputError, match=refused("user_id", "ay", "ax")):
        gather(users, [("bx", "vx"), ("ay", "vx")], way)
    with pytest.raises(InputError, match=refused("video_id", "vy", "vx")):
        gather(users, [("bx", "vx"), ("ax", "vy")], way)


@pytest.mark.usefixtures("weak")
@ways
def test_videos_of_given_histories_are_not_taken_for_others_of_their_code(way: str) -> None:
    def users(*told: list[str] | None) -> dict[str, list]:
        return {"user_id": ["ax", "bx", "cx"], "history_video_ids": list(told)}

    events = [("bx", "vx")]
    gather(users(["vx", "zx"], None, ["zx", "wx", "ux"]), events, way)
    gather(users([], None, None), events, way)
    with pytest.raises(InputError, match=refused("video_id", "vy", "vx")):
        gather(users(["zx"], ["zx", "vy"], None), events, way)
    with pytest.raises(InputError, match=refused("video_id", "zy", "zx")):
        gather(users(["zx"], [], ["wx", "zy"]), events, way)

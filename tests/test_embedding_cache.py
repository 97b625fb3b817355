"""The cache of title vectors gives back what was kept, or says why not."""

import pathlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys_tft import embedding_cache
from recsys_tft.embedding_cache import EmbeddingCache
from recsys_tft.errors import InputError

WIDTH = 3
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
kept_titles = st.dictionaries(st.binary(max_size=12), st.lists(finite, min_size=WIDTH, max_size=WIDTH), max_size=30)


def binary(titles: list[bytes]) -> pa.Array:
    return pa.array(titles, pa.binary())


def filled(folder: pathlib.Path, fingerprint: str = "encoder") -> EmbeddingCache:
    cache = EmbeddingCache(str(folder), fingerprint, WIDTH)
    cache.add(binary([b"a", b"b"]), np.array([[1, 2, 3], [4, 5, 6]], np.float32))
    return cache


def the_file(folder: pathlib.Path) -> pathlib.Path:
    (file,) = folder.rglob("*.parquet")
    return file


@settings(max_examples=40, deadline=None, derandomize=True)
@given(first=kept_titles, second=kept_titles, asked=st.lists(st.binary(max_size=12), unique=True))
def test_what_was_kept_comes_back_bit_for_bit(
    first: dict[bytes, list[float]],
    second: dict[bytes, list[float]],
    asked: list[bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = str(tmp_path_factory.mktemp("cache"))
    for part in (first, second):
        vectors = np.array(list(part.values()), np.float32).reshape(-1, WIDTH)
        EmbeddingCache(folder, "encoder", WIDTH).add(binary(list(part)), vectors)
    titles = list(dict.fromkeys([*first, *second, *asked]))
    cache = EmbeddingCache(folder, "encoder", WIDTH)
    vectors, found = cache.lookup(binary(titles))
    for title, vector, is_found in zip(titles, vectors, found, strict=True):
        options = [np.array(part[title], np.float32).tobytes() for part in (first, second) if title in part]
        assert is_found == bool(options)
        assert vector.tobytes() in (options or [bytes(4 * WIDTH)])
    assert cache.ignored == {}


def test_another_encoder_finds_nothing(tmp_path: pathlib.Path) -> None:
    filled(tmp_path)
    assert not EmbeddingCache(str(tmp_path), "another", WIDTH).lookup(binary([b"a"]))[1].any()


@pytest.mark.parametrize("place", [0, 100, -5])
def test_a_damaged_file_is_ignored_and_said_so(place: int, tmp_path: pathlib.Path) -> None:
    filled(tmp_path)
    data = bytearray(the_file(tmp_path).read_bytes())
    data[place] ^= 0xFF
    the_file(tmp_path).write_bytes(data)
    cache = EmbeddingCache(str(tmp_path), "encoder", WIDTH)
    assert not cache.lookup(binary([b"a", b"b"]))[1].any()
    assert list(cache.ignored) == [str(the_file(tmp_path))]


def test_a_file_of_another_encoder_is_ignored(tmp_path: pathlib.Path) -> None:
    filled(tmp_path / "own")
    filled(tmp_path / "foreign", "another")
    foreign = the_file(tmp_path / "foreign")
    the_file(tmp_path / "own").unlink()
    foreign.rename(tmp_path / "own" / "encoder" / foreign.name)
    cache = EmbeddingCache(str(tmp_path / "own"), "encoder", WIDTH)
    assert not cache.lookup(binary([b"a"]))[1].any()
    assert len(cache.ignored) == 1


def test_a_foreign_file_does_not_stop_the_others(tmp_path: pathlib.Path) -> None:
    filled(tmp_path)
    (tmp_path / "encoder" / "notes.parquet").write_text("not a cache file")
    cache = EmbeddingCache(str(tmp_path), "encoder", WIDTH)
    vectors, found = cache.lookup(binary([b"b"]))
    assert found.all()
    np.testing.assert_array_equal(vectors, [[4, 5, 6]])


def test_the_same_vectors_kept_twice_are_one_file(tmp_path: pathlib.Path) -> None:
    filled(tmp_path)
    filled(tmp_path)
    the_file(tmp_path)


def test_what_is_not_finite_or_of_another_width_is_refused(tmp_path: pathlib.Path) -> None:
    cache = EmbeddingCache(str(tmp_path), "encoder", WIDTH)
    with pytest.raises(InputError, match="not finite"):
        cache.add(binary([b"a"]), np.array([[1, np.nan, 3]], np.float32))
    with pytest.raises(InputError, match="keeps"):
        cache.add(binary([b"a"]), np.zeros((1, 2), np.float32))


def test_titles_are_owned_in_equal_ranges() -> None:
    titles = binary([str(number).encode() for number in range(3000)])
    owners = embedding_cache.owner(titles, 3)
    assert np.bincount(owners, minlength=3).min() > 800
    np.testing.assert_array_equal(owners, embedding_cache.owner(titles, 3))

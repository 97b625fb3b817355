"""The cache of title vectors: what is added comes back bit for bit, and nothing else does."""

import multiprocessing
import pathlib
import shutil
import tempfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recsys_tft.errors import InputError
from recsys_tft.titles import embedding_cache
from recsys_tft.titles.embedding_cache import EmbeddingCache, hashes, owner

FINGERPRINT, WIDTH = "f" * 32, 4
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
DISTINCT = st.lists(st.binary(max_size=12), unique=True, max_size=30)


def vectors_of(count: int, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def titles_of(count: int, start: int = 0) -> pa.Array:
    return pa.array([f"title {k}" for k in range(start, start + count)])


@pytest.fixture
def cache(tmp_path: pathlib.Path) -> EmbeddingCache:
    """With ten titles in one file."""
    made = EmbeddingCache(str(tmp_path), FINGERPRINT, WIDTH)
    made.add(titles_of(10), vectors_of(10))
    return made


def files(cache: EmbeddingCache) -> list[pathlib.Path]:
    return sorted(pathlib.Path(cache.folder).iterdir())


def assert_all_missing(cache: EmbeddingCache, titles: pa.Array) -> None:
    vectors, found = cache.lookup(titles)
    assert not found.any()
    assert not vectors.any()
    assert vectors.shape == (len(titles), WIDTH)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(DISTINCT, DISTINCT, st.data())
def test_what_was_added_comes_back_bit_for_bit(first: list[bytes], second: list[bytes], data: st.DataObject) -> None:
    batches = [first, [title for title in second if title not in first]]
    kept: dict[bytes, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        for titles in batches:
            vectors = data.draw(hnp.arrays(np.float32, (len(titles), WIDTH), elements=FINITE))
            EmbeddingCache(folder, FINGERPRINT, WIDTH).add(pa.array(titles, pa.binary()), vectors)
            kept |= {title: vector.tobytes() for title, vector in zip(titles, vectors, strict=True)}
        asked = [*data.draw(DISTINCT), *second, *first]
        cache = EmbeddingCache(folder, FINGERPRINT, WIDTH)
        vectors, found = cache.lookup(pa.array(asked, pa.large_binary()))
    assert found.tolist() == [title in kept for title in asked]
    assert [vector.tobytes() for vector in vectors] == [kept.get(title, bytes(4 * WIDTH)) for title in asked]
    assert not cache.ignored


def test_strings_and_bytes_are_the_same_titles(cache: EmbeddingCache) -> None:
    assert cache.lookup(titles_of(10).cast(pa.large_binary()))[1].all()
    assert cache.lookup(titles_of(10).cast(pa.large_string()))[1].all()


def test_slices_and_repeated_titles_are_looked_up(cache: EmbeddingCache) -> None:
    asked = pa.array(["x", "title 3", "title 3", "title 0"])[1:]
    vectors, found = cache.lookup(asked)
    assert found.all()
    np.testing.assert_array_equal(vectors, vectors_of(10)[[3, 3, 0]])


def test_an_empty_cache_finds_nothing(tmp_path: pathlib.Path) -> None:
    assert_all_missing(EmbeddingCache(str(tmp_path / "nowhere"), FINGERPRINT, WIDTH), titles_of(3))


def test_no_titles_leave_no_file(tmp_path: pathlib.Path) -> None:
    cache = EmbeddingCache(str(tmp_path), FINGERPRINT, WIDTH)
    cache.add(titles_of(0), vectors_of(0))
    assert not list(tmp_path.iterdir())
    assert_all_missing(cache, titles_of(0))


def test_another_encoder_does_not_see_them(cache: EmbeddingCache, tmp_path: pathlib.Path) -> None:
    other = EmbeddingCache(str(tmp_path), "0" * 32, WIDTH)
    assert_all_missing(other, titles_of(10))
    assert not other.ignored


def test_the_same_vectors_are_kept_once(cache: EmbeddingCache) -> None:
    cache.add(titles_of(10), vectors_of(10))
    assert len(files(cache)) == 1


def test_a_title_that_was_added_twice_has_one_of_its_vectors_whole(cache: EmbeddingCache) -> None:
    cache.add(titles_of(10), vectors_of(10, seed=1))
    vectors, found = cache.lookup(titles_of(10))
    options = vectors_of(10), vectors_of(10, seed=1)
    assert found.all()
    assert all(vector.tobytes() in {a.tobytes(), b.tobytes()} for vector, a, b in zip(vectors, *options, strict=True))
    assert not cache.ignored


def test_folders_may_hold_the_signs_of_patterns(tmp_path: pathlib.Path) -> None:
    cache = EmbeddingCache(str(tmp_path / "a[b]*?c"), FINGERPRINT, WIDTH)
    cache.add(titles_of(3), vectors_of(3))
    assert cache.lookup(titles_of(3))[1].all()


def test_a_changed_byte_anywhere_is_noticed_and_repaired(cache: EmbeddingCache) -> None:
    (file,) = files(cache)
    whole = file.read_bytes()
    for place in range(0, len(whole), 17):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        assert_all_missing(cache, titles_of(10))
        assert "damaged" in cache.ignored.pop(str(file))
    cache.add(titles_of(10), vectors_of(10))
    assert cache.lookup(titles_of(10))[1].all()
    assert not cache.ignored


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_cut_off_file_is_noticed(cache: EmbeddingCache, keep: int) -> None:
    (file,) = files(cache)
    file.write_bytes(file.read_bytes()[:keep])
    assert_all_missing(cache, titles_of(10))
    assert "damaged" in cache.ignored[str(file)]


def foreign(cache: EmbeddingCache, made: EmbeddingCache) -> pathlib.Path:
    """Puts the file of one cache in place of another's."""
    (file,) = files(cache)
    file.unlink()
    return pathlib.Path(shutil.copy(files(made)[0], file.parent))


@pytest.mark.parametrize(("fingerprint", "width"), [("0" * 32, WIDTH), (FINGERPRINT, WIDTH + 1)])
def test_a_file_of_another_encoder_or_width_is_ignored(
    cache: EmbeddingCache, tmp_path: pathlib.Path, fingerprint: str, width: int
) -> None:
    other = EmbeddingCache(str(tmp_path / "other"), fingerprint, width)
    other.add(titles_of(10), vectors_of(10, width))
    moved = foreign(cache, other)
    assert_all_missing(cache, titles_of(10))
    assert "made for" in cache.ignored[str(moved)]


def test_a_file_that_says_nan_is_ignored(cache: EmbeddingCache, tmp_path: pathlib.Path) -> None:
    other = EmbeddingCache(str(tmp_path / "other"), FINGERPRINT, WIDTH)
    other._write(hashes(titles_of(1)), np.full((1, WIDTH), np.nan, np.float32))
    moved = foreign(cache, other)
    assert_all_missing(cache, titles_of(1))
    assert "not finite" in cache.ignored[str(moved)]


def test_files_that_are_no_cache_are_ignored(cache: EmbeddingCache) -> None:
    folder = pathlib.Path(cache.folder)
    pq.write_table(pa.table({"a": [1]}), folder / "mine.parquet")
    (folder / "notes.txt").write_text("not Parquet")
    assert cache.lookup(titles_of(10))[1].all()
    assert cache.ignored == {str(folder / "mine.parquet"): "its name is not one of this cache"}


def test_an_unfinished_file_is_not_read(cache: EmbeddingCache) -> None:
    (file,) = files(cache)
    file.rename(f"{file}.0123456789abcdef")
    assert_all_missing(cache, titles_of(10))
    assert not cache.ignored


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused(cache: EmbeddingCache, bad: float) -> None:
    vectors = vectors_of(3)
    vectors[1, 2] = bad
    with pytest.raises(InputError, match="vector of 'title 1' is not finite"):
        cache.add(titles_of(3), vectors)


@pytest.mark.parametrize("vectors", [vectors_of(2), vectors_of(3, WIDTH + 1), vectors_of(3).astype(np.float64)])
def test_vectors_of_another_shape_are_refused(cache: EmbeddingCache, vectors: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"keeps \[3, 4\] float32, not \["):
        cache.add(titles_of(3), vectors)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"encoder_cache: .*file.* cannot be written"):
        EmbeddingCache(str(tmp_path / "file"), FINGERPRINT, WIDTH).add(titles_of(1), vectors_of(1))


def test_a_lookup_reads_only_files_in_whose_range_it_has_titles(
    cache: EmbeddingCache, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_cache, "_ROWS_PER_FILE", 100)
    big = EmbeddingCache(str(tmp_path / "big"), FINGERPRINT, WIDTH)
    big.add(titles_of(2000), vectors_of(2000))
    assert len(files(big)) == 20
    read: list[str] = []
    verified = big._verified
    monkeypatch.setattr(big, "_verified", lambda path, data: read.append(path) or verified(path, data))
    vectors, found = big.lookup(titles_of(1, start=77))
    assert found.all()
    assert len(read) == 1
    np.testing.assert_array_equal(vectors, vectors_of(2000)[77:78])
    assert big.lookup(titles_of(2000))[1].all()


def test_owners_share_the_titles_and_read_their_own_files(tmp_path: pathlib.Path) -> None:
    titles, cache = titles_of(3000), EmbeddingCache(str(tmp_path), FINGERPRINT, WIDTH)
    owners = owner(titles, 4)
    assert np.bincount(owners, minlength=4).min() > 650
    for part in range(4):
        cache.add(titles.filter(pa.array(owners == part)), vectors_of(int((owners == part).sum())))
    for path in files(cache)[1:]:
        path.write_bytes(b"damaged")
    assert cache.lookup(titles.filter(pa.array(owners == 0)))[1].all()
    assert not cache.ignored
    assert owner(titles_of(0), 4).shape == (0,)


def _add(folder: str, start: int) -> None:
    for k in range(5):
        EmbeddingCache(folder, FINGERPRINT, WIDTH).add(titles_of(20, start + 10 * k), vectors_of(20, seed=start + k))


@pytest.mark.slow
def test_writers_at_the_same_time_do_not_meet(tmp_path: pathlib.Path) -> None:
    processes = [
        multiprocessing.get_context("spawn").Process(target=_add, args=(str(tmp_path), 7 * k)) for k in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    cache = EmbeddingCache(str(tmp_path), FINGERPRINT, WIDTH)
    assert cache.lookup(titles_of(67))[1].all()
    assert len(files(cache)) == 10
    assert not cache.ignored

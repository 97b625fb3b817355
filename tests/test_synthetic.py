"""Synthetic tables: shape, determinism, and the signal that is planted in them."""

import pathlib
import subprocess
import sys
import unicodedata

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys_tft import PipelineConfig, ProcessingPipeline
from recsys_tft.columns import HISTORY, KEYS, TABLES, UPDATED, IdKind
from recsys_tft.default_table import COLUMNS, DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.tables import synthetic, synthetic_world
from recsys_tft.tables.synthetic_world import START

SIZES = {"users": 2000, "videos": 1000, "interactions": 60_000}
Tables = dict[str, pl.DataFrame]


def _read(directory: pathlib.Path) -> Tables:
    return {table: pl.read_parquet(directory / f"{table}.parquet") for table in TABLES}


def _bytes(directory: pathlib.Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    directory = tmp_path_factory.mktemp("synthetic")
    synthetic.write_tables(directory, **SIZES)
    return directory


@pytest.fixture(scope="module")
def tables(directory: pathlib.Path) -> Tables:
    return _read(directory)


@pytest.fixture(scope="module")
def world() -> synthetic_world.World:
    return synthetic_world.plant(users=SIZES["users"], videos=SIZES["videos"])


@pytest.fixture(scope="module")
def exposures(tables: Tables) -> pl.DataFrame:
    """One row per user, video and impression that was their only one: what followed it."""
    happened = pl.col("interaction_type")
    return (
        tables["interactions"]
        .group_by("user_id", "video_id", maintain_order=True)
        .agg(
            (happened == "impression").sum().alias("impressions"),
            *((happened == name).any().alias(name) for name in DEFAULT.bits.names[1:]),
            pl.col("watch_time").sum(),
            pl.col("interaction_time"),
        )
        .filter(pl.col("impressions") == 1)
    )


def test_same_seed_same_bytes_and_another_seed_other_bytes(tmp_path: pathlib.Path, directory: pathlib.Path) -> None:
    synthetic.write_tables(tmp_path / "same", **SIZES, seed=0)
    synthetic.write_tables(tmp_path / "other", **SIZES, seed=1)
    assert _bytes(tmp_path / "same") == _bytes(directory)
    other = _bytes(tmp_path / "other")
    assert all(other[name] != data for name, data in _bytes(directory).items())


def test_the_files_have_the_columns_of_the_long_layout(directory: pathlib.Path) -> None:
    for table in TABLES:
        schema = pq.read_schema(directory / f"{table}.parquet")
        own = [name for name in DEFAULT.columns_of(table) if name not in (*DEFAULT.flags, *HISTORY, UPDATED)]
        expected = {name: DEFAULT.columns_of(table)[name].type for name in own}
        assert dict(zip(schema.names, schema.types, strict=True)) == expected


def test_versions_begin_with_the_rows_of_tables_without_and_before_the_first_event(
    tmp_path: pathlib.Path, tables: Tables
) -> None:
    for name in ("one", "other"):
        synthetic.write_tables(tmp_path / name, **SIZES, seed=0, versioned=True)
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "other")
    changing = _read(tmp_path / "one")
    assert changing["interactions"].equals(tables["interactions"])
    first_event = tables["interactions"]["interaction_time"].min()
    for table, key in KEYS.items():
        rows = changing[table]
        assert rows.height > 1.2 * tables[table].height
        assert rows.select(key, UPDATED).is_unique().all()
        assert rows.equals(rows.sort(key, UPDATED))
        first = rows.unique(key, keep="first", maintain_order=True)
        assert first.drop(UPDATED).equals(tables[table].select(first.drop(UPDATED).columns))
        if table != "videos":
            assert (first[UPDATED] < first_event).all()
        last = rows.unique(key, keep="last", maintain_order=True)
        assert not last.drop(UPDATED).equals(first.drop(UPDATED))


TYPES = {IdKind.STRING: pa.string(), IdKind.UUID: pa.binary(16), IdKind.UINT64: pa.uint64()}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("versioned", [False, True])
def test_other_ids_stand_for_the_same_integers_in_every_table_and_for_any_seed(
    tmp_path: pathlib.Path, kind: IdKind, versioned: bool
) -> None:
    sizes = {"users": 60, "videos": 50, "interactions": 800, "versioned": versioned}
    known: dict[str, dict[object, int]] = {key: {} for key in KEYS.values()}
    for seed in (0, 1):
        synthetic.write_tables(tmp_path / "integers", **sizes, seed=seed)
        synthetic.write_tables(tmp_path / "others", **sizes, seed=seed, ids=kind)
        for table in TABLES:
            numbers, others = (pq.read_table(tmp_path / f / f"{table}.parquet") for f in ("integers", "others"))
            keys = [name for name in numbers.column_names if name in known]
            assert others.drop_columns(keys).equals(numbers.drop_columns(keys))
            assert others.column_names == numbers.column_names
            for key in keys:
                assert others[key].type == TYPES[kind]
                assert others[key].is_valid().equals(numbers[key].is_valid())
                for other, number in zip(others[key].drop_null(), numbers[key].drop_null(), strict=True):
                    assert known[key].setdefault(other.as_py(), number.as_py()) == number.as_py()
    for key, numbers in known.items():
        assert len(set(numbers.values())) == len(numbers)  # each integer has one id
        others = [set(found) for other, found in known.items() if other != key]
        assert not set(numbers) & set().union(*others)
    if kind is IdKind.STRING:
        assert all(len(text) == 11 for text in known["user_id"])
    if kind is IdKind.UINT64:
        assert 0.2 < np.mean([number >= 2**63 for number in known["user_id"]]) < 0.8


def test_ids_of_no_kind_are_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match="Synthetic tables have ids of integer, uint64, string, uuid, not 'auto'"):
        ProcessingPipeline(PipelineConfig(output_dir=str(tmp_path / "out"))).run_synthetic(ids="auto")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("users", "videos", "interactions"),
    [(1, 1, 1), (5, 3, 20), (1, 40, 500), (40, 1, 500), (3, 3, 2**17 + 1)],
)
def test_every_size_gives_exactly_its_rows(tmp_path: pathlib.Path, users: int, videos: int, interactions: int) -> None:
    synthetic.write_tables(tmp_path, users=users, videos=videos, interactions=interactions)
    tables = _read(tmp_path)
    assert [tables[name].height for name in ("users", "videos", "interactions")] == [users, videos, interactions]
    assert tables["channels"].height >= 1
    _assert_nothing_to_reject(tables)


def test_no_row_gives_a_reason_to_reject_it(tables: Tables) -> None:
    assert [tables[name].height for name in SIZES] == list(SIZES.values())
    _assert_nothing_to_reject(tables)


def _assert_nothing_to_reject(tables: Tables) -> None:
    for table, key in KEYS.items():
        assert tables[table][key].null_count() == 0
        assert tables[table][key].is_unique().all()
    for column in COLUMNS:
        if column.required:
            assert tables[column.table][column.name].null_count() == 0
        if column.minimum is not None:
            values = tables[column.table][column.name].cast(pl.Float64).drop_nulls()
            assert (values >= column.minimum).all(), column.name
            assert not values.is_nan().any(), column.name
    for table, key in (("users", "user_id"), ("videos", "video_id")):
        assert tables["interactions"].join(tables[table], on=key, how="anti").is_empty()
    owned = tables["videos"].drop_nulls("channel_id")
    assert owned.join(tables["channels"], on="channel_id", how="anti").is_empty()
    assert set(tables["interactions"]["interaction_type"]) <= set(DEFAULT.bits.names)


@pytest.mark.parametrize("name", ["users", "videos", "interactions"])
def test_a_size_below_one_is_refused(tmp_path: pathlib.Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"^Synthetic tables need {name} of at least 1, got 0\.$"):
        synthetic.write_tables(tmp_path / "out", **SIZES | {name: 0})
    with pytest.raises(InputError, match=r"^Synthetic tables need seed of at least 0, got -1\.$"):
        synthetic.write_tables(tmp_path / "out", **SIZES, seed=-1)
    assert not (tmp_path / "out").exists()


def test_events_lie_within_eight_weeks_and_row_groups_stay_small(tmp_path: pathlib.Path) -> None:
    synthetic.write_tables(tmp_path, users=50, videos=50, interactions=200_000)
    times = pl.read_parquet(tmp_path / "interactions.parquet")["interaction_time"].to_physical()
    assert times.min() >= START
    assert times.max() < START + synthetic_world.PERIOD + synthetic_world.DAY  # a last session may go on
    file = pq.ParquetFile(tmp_path / "interactions.parquet").metadata
    assert [file.row_group(i).num_rows for i in range(file.num_row_groups)] == [100_000, 100_000]


def test_a_tenth_of_the_videos_gets_most_events_and_a_tenth_of_the_users_makes_many(tables: Tables) -> None:
    for key, share in (("video_id", 0.5), ("user_id", 0.3)):
        counts = tables["interactions"][key].value_counts(sort=True)["count"]
        entities = SIZES["videos" if key == "video_id" else "users"]
        assert counts.head(entities // 10).sum() > share * SIZES["interactions"]


def test_channels_own_several_videos_and_few_have_most_subscribers(tables: Tables) -> None:
    assert tables["videos"]["channel_id"].drop_nulls().value_counts()["count"].max() > 20
    subscribers = tables["channels"]["channel_subscriber_count"].drop_nulls().sort(descending=True)
    assert subscribers.head(len(subscribers) // 10).sum() > 0.4 * subscribers.sum()


def test_users_see_and_click_their_favourite_category_far_more_often_than_chance(
    world: synthetic_world.World, exposures: pl.DataFrame
) -> None:
    favourite = world.taste.argmax(axis=1)[exposures["user_id"].to_numpy() - 1]
    hit = favourite == world.category[exposures["video_id"].to_numpy() - 1]
    assert hit.mean() > 0.3
    assert hit[exposures["click"].to_numpy()].mean() > 0.4


def test_the_taste_shows_in_the_tables_alone(tables: Tables) -> None:
    before = tables["users"].select("user_id", "previously_watched_category").drop_nulls()
    clicks = tables["interactions"].filter(pl.col("interaction_type") == "click")
    joined = clicks.join(before, on="user_id").join(tables["videos"].drop_nulls("category"), on="video_id")
    assert (joined["category"] == joined["previously_watched_category"]).mean() > 0.25


def test_engagement_follows_the_planted_affinity(world: synthetic_world.World, exposures: pl.DataFrame) -> None:
    users, videos = exposures["user_id"].to_numpy(), exposures["video_id"].to_numpy()
    liking = world.affinity(users, videos)
    assert ((liking >= 0) & (liking <= 1)).all()
    clicked = exposures["click"].to_numpy()
    assert clicked.mean() == pytest.approx((0.05 + 0.8 * liking).mean(), abs=0.02)
    assert _spearman(liking[clicked], (exposures["watch_time"] / world.duration[videos - 1]).to_numpy()[clicked]) > 0.2
    fond = liking > np.quantile(liking, 0.8)
    for name in ("like", "comment", "share"):
        happened = exposures[name].to_numpy()
        assert happened[fond].mean() > 3 * happened[~fond].mean() > 0


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a.argsort().argsort(), b.argsort().argsort())[0, 1])


def test_affinity_of_known_values() -> None:
    taste, understood, quality = np.array([0.1, 0.9, 0.9, 0.0]), np.array([1, 1, 0.5, 1]), np.array([1, 0, 0, 1])
    assert synthetic_world.affinity(taste, understood, quality) == pytest.approx([0.5, 0.54, 0.27, 0])


def test_most_clicks_are_on_videos_in_the_own_language(world: synthetic_world.World, exposures: pl.DataFrame) -> None:
    clicked = exposures.filter(pl.col("click"))
    users, videos = clicked["user_id"].to_numpy() - 1, clicked["video_id"].to_numpy() - 1
    own = world.language[users] == world.video_language[videos]
    second = world.second_language[users] == world.video_language[videos]
    assert own.mean() > 0.5
    assert own.mean() > second.mean() > 0.1


def test_events_of_an_exposure_are_minutes_apart_and_begin_with_the_impression(exposures: pl.DataFrame) -> None:
    times = exposures.select(pl.col("interaction_time").list.eval(pl.element().sort().diff().max()).list.first())
    assert times.to_series().drop_nulls().dt.total_minutes().max() < 30
    assert exposures.filter(pl.col("watch") & ~pl.col("click")).is_empty()


def test_no_video_is_seen_before_it_is_published_and_some_appear_during_the_period(tables: Tables) -> None:
    first = tables["interactions"].group_by("video_id").agg(pl.col("interaction_time").min())
    seen = first.join(tables["videos"].drop_nulls("published_at"), on="video_id")
    assert (seen["published_at"] <= seen["interaction_time"]).all()
    during = (tables["videos"]["published_at"].to_physical() > START).mean()
    assert 0.08 < during < 0.22


def test_time_of_day_goes_by_country(tables: Tables) -> None:
    events = tables["interactions"].join(tables["users"], on="user_id")
    hour = pl.col("interaction_time").dt.hour()
    night = events.group_by("country").agg(hour.is_between(17, 21).mean().alias("share"))  # 2 to 6 in Japan
    share = dict(night.drop_nulls().iter_rows())
    assert share["JP"] < 0.15 < 0.25 < share["GB"]


def test_every_script_occurs_in_titles(tables: Tables) -> None:
    letters = {letter for title in tables["videos"]["title"].drop_nulls() for letter in title if letter.isalpha()}
    scripts = {unicodedata.name(letter).split()[0] for letter in letters}
    assert scripts >= {"LATIN", "CYRILLIC", "ARABIC", "DEVANAGARI", "CJK", "HIRAGANA", "KATAKANA", "HANGUL", "GREEK"}


def test_titles_and_tags_tell_the_category(tables: Tables) -> None:
    videos = tables["videos"].drop_nulls(("category", "tags", "title"))
    music, rest = videos.filter(pl.col("category") == "music"), videos.filter(pl.col("category") != "music")
    words = ["song", "guitar", "concert", "piano", "album"]
    about_music = pl.col("tags").list.eval(pl.element().is_in(words)).list.any()
    assert music.select(about_music.mean()).item() > 0.5 > 0.1 > rest.select(about_music.mean()).item()


def test_lists_hold_zero_to_eight_tags_and_zero_to_three_child_categories(tables: Tables) -> None:
    for name, longest in (("tags", 8), ("child_categories", 3)):
        values = tables["videos"][name].drop_nulls()
        assert set(values.list.len()) == set(range(longest + 1))
        assert (values.list.n_unique() == values.list.len()).all()


def test_counts_are_consistent_and_heavy_tailed(tables: Tables) -> None:
    counts = tables["videos"].select("view_count", "like_count", "comment_count").drop_nulls()
    assert (counts["like_count"] <= counts["view_count"]).all()
    assert (counts["comment_count"] <= counts["view_count"]).all()
    assert counts["view_count"].min() == 0
    assert counts["view_count"].mean() > 2 * counts["view_count"].median()
    assert set(tables["videos"]["popularity"]) == {"low", "medium", "high", "viral", None}


def test_every_optional_column_has_some_nulls_but_not_many(tables: Tables) -> None:
    for column in COLUMNS:
        if column.required or column.name in (*DEFAULT.flags, *HISTORY, UPDATED, "interaction_type"):
            continue
        values = tables[column.table]
        if column.name == "watch_time":
            values = values.filter(pl.col("interaction_type") == "watch")
        if column.table != "channels":  # a hundred rows are too few
            assert 0 < values[column.name].null_count() < 0.5 * values.height, column.name


def test_importing_the_module_leaves_tensorflow_and_beam_out() -> None:
    code = "import sys, recsys_tft.tables.synthetic; sys.exit(bool({'tensorflow', 'apache_beam'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_watch_time_is_null_on_everything_but_watches(directory: pathlib.Path) -> None:
    events = pq.read_table(directory / "interactions.parquet")
    assert events.schema.field("watch_time").type == pa.float32()
    watched = pl.from_arrow(events).filter(pl.col("watch_time").is_not_null())
    assert set(watched["interaction_type"]) == {"watch"}

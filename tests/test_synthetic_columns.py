"""What synthetic tables hold of a user's own columns and signals."""

import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from recsys_tft.columns import BOOL, FLOAT, FLOATS, INT64, INTS, STRING, STRINGS, TIMESTAMP, Column
from recsys_tft.default_table import DEFAULT
from recsys_tft.signals import Signal
from recsys_tft.tables import synthetic
from recsys_tft.tables.synthetic_world import START

COLUMNS = (
    Column("plan", "users", STRING),
    Column("badges", "users", STRINGS),
    Column("joined", "users", TIMESTAMP),
    Column("chapters", "videos", INTS),
    Column("loudness", "videos", FLOAT, minimum=-60),
    Column("moods", "videos", FLOATS),
    Column("shop_id", "videos", INT64, required=True, minimum=1),
    Column("verified", "channels", BOOL),
    Column("surface", "interactions", STRING),
)
TABLE = DEFAULT.extend(COLUMNS, signals=["follow", Signal("report", negative=True)])
SIZES = {"users": 400, "videos": 600, "interactions": 20_000, "seed": 5}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    folder = tmp_path_factory.mktemp("own")
    synthetic.write_tables(folder, **SIZES, features=TABLE)
    return {path.stem: pq.read_table(path) for path in folder.iterdir()}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("plain")
    synthetic.write_tables(folder, **SIZES)
    return folder


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.name)
def test_each_column_has_values_of_its_type_and_some_are_missing(column: Column, tables: dict[str, pa.Table]) -> None:
    values = tables[column.table][column.name]
    assert values.type == column.type
    assert (values.null_count > 0) is not column.required or column.table == "channels"
    assert values.null_count < len(values) / 4
    flat = pc.list_flatten(values) if column.is_list else values.drop_null()
    assert len(pc.unique(flat)) > 1
    if column.minimum is not None:
        assert pc.min(flat).as_py() >= column.minimum


def test_texts_are_few_and_one_is_by_far_the_most_frequent(tables: dict[str, pa.Table]) -> None:
    counts = sorted(pc.value_counts(tables["interactions"]["surface"].drop_null()).field("counts").to_pylist())
    assert len(counts) == 8
    assert counts[-1] > 2 * counts[-2]
    assert pc.max(tables["users"]["joined"]).cast(pa.int64()).as_py() <= START


def test_what_holds_for_a_session_holds_for_its_events(tables: dict[str, pa.Table]) -> None:
    events = tables["interactions"].to_pandas()
    by_day = events.groupby([events["user_id"], events["interaction_time"].dt.floor("2h")])["surface"].nunique()
    assert (by_day <= 2).mean() > 0.95


def test_own_signals_occur_rarely_and_where_they_belong(tables: dict[str, pa.Table]) -> None:
    events = tables["interactions"].to_pandas()
    counts = events["interaction_type"].value_counts()
    assert 0 < counts["follow"] < len(events) / 20
    assert 0 < counts["report"] < len(events) / 20
    clicked = set(map(tuple, events.loc[events["interaction_type"] == "click", ["user_id", "video_id"]].to_numpy()))
    reported = events.loc[events["interaction_type"] == "report", ["user_id", "video_id"]].to_numpy()
    assert np.mean([tuple(pair) in clicked for pair in reported]) < 0.5
    assert len(events) == SIZES["interactions"]
    assert not {"follow", "report", "clicked"} & {*events.columns}  # no flags beside interaction_type


def test_our_columns_stay_as_they_are(tables: dict[str, pa.Table], plain: pathlib.Path) -> None:
    for name in ("users", "videos", "channels"):
        ours = pq.read_table(plain / f"{name}.parquet")
        assert tables[name].select(ours.column_names).equals(ours)


def test_the_same_arguments_give_the_same_bytes(tmp_path: pathlib.Path) -> None:
    for name in ("one", "other"):
        synthetic.write_tables(tmp_path / name, **{**SIZES, "interactions": 900}, versioned=True, features=TABLE)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes()

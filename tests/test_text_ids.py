"""A run on ids of text: it makes what one on integers in the same order makes, and shows ids as they were given."""

import collections
import re

import numpy as np
import ordered_ids
import pandas as pd
import pyarrow.parquet as pq
import pytest
from conftest import Ran

from recsys_tft.columns import IdKind
from recsys_tft.default_table import DEFAULT
from recsys_tft.features import Entity
from recsys_tft.run_layout.data_folders import DataFolder
from recsys_tft.vocabularies import values_of

FOLDERS = [f"{name}/{split}" for name in ("two_tower", "ranker") for split in ("train", "val", "test")]
DRAWN = b"sampled"  # the source of rows whose video depends on hashes of ids


def rows_of(ran: Ran, folder: str) -> pd.DataFrame:
    """All rows of a folder by their keys, with numbers in the place of ids, and of places of videos."""
    rows = DataFolder(str(ran.root / "processed_data" / folder)).pandas()
    keys = [name for name in ("user_id", "interaction_time", "video_id", "source") if name in rows]
    for key in rows.columns.intersection(["user_id", "video_id"]):
        if rows[key].dtype == object or isinstance(rows[key].dtype, pd.StringDtype):
            rows[key] = [ordered_ids.number_of(given) for given in encoded(rows[key])]
    if "candidate_row" in rows and folder != "videos":
        of_row = rows_of(ran, "videos").set_index("candidate_row")["video_id"]
        assert of_row[rows["candidate_row"]].tolist() == rows["video_id"].tolist()
    return rows.sort_values(keys).reset_index(drop=True)


def encoded(values: pd.Series) -> list[bytes]:
    return [value if isinstance(value, bytes) else value.encode() for value in values]


@pytest.mark.parametrize("folder", [*FOLDERS, "users", "videos"])
def test_rows_are_those_of_integers_but_for_the_ids(synthetic_run: Ran, texts_run: Ran, folder: str) -> None:
    one, other = (rows_of(ran, folder) for ran in (synthetic_run, texts_run))
    if folder == "videos":
        assert sorted(other["candidate_row"]) == sorted(one["candidate_row"]) == list(range(len(one)))
    if "source" in one:
        assert one["source"].value_counts().to_dict() == other["source"].value_counts().to_dict()
        assert DRAWN in set(one["source"])
        one, other = (rows[rows["source"] != DRAWN].reset_index(drop=True) for rows in (one, other))
    assert len(one) > 20
    pd.testing.assert_frame_equal(*(rows.drop(columns="candidate_row", errors="ignore") for rows in (one, other)))


def test_drawn_videos_have_training_rows_and_are_none_that_the_user_was_positive_on(texts_run: Ran) -> None:
    rows = rows_of(texts_run, "ranker/train")
    positive, drawn = (
        set(zip(chosen["user_id"], chosen["video_id"], strict=True))
        for chosen in (rows[rows["source"] == source] for source in (b"positive", DRAWN))
    )
    assert len(drawn) > 100
    assert not positive & drawn
    assert {video for _, video in drawn} <= set(rows[rows["source"] != DRAWN]["video_id"])


def test_vocabularies_hold_the_ids_in_the_order_of_integers_and_a_line_each(synthetic_run: Ran, texts_run: Ran) -> None:
    for name in ("user_id", "video_id"):
        model = "artifacts/transform_graph/transform_fn"
        one, other = (values_of(name, str(ran.root / model)) for ran in (synthetic_run, texts_run))
        assert [int(value) for value in one] == [ordered_ids.number_of(given) for given in other]
        lines = (texts_run.root / f"artifacts/vocabularies/{name}.txt").read_text().split("\n")
        assert lines[2:-1] == [given.decode().replace("\n", "\\n") for given in other]
        assert len(lines) == len((synthetic_run.root / f"artifacts/vocabularies/{name}.txt").read_text().split("\n"))


def test_counts_are_those_of_integers_and_the_kinds_are_in_the_manifest(synthetic_run: Ran, texts_run: Ran) -> None:
    one, other = (ran.result.manifest for ran in (synthetic_run, texts_run))
    assert set(other["settings"]["ids"].values()) == {IdKind.STRING}
    kept = [name for name in one["counts"] if not re.search(r"^rows/\w+/(in|read)$", name)]  # rejected ones included
    of_pairs = {feature.name for feature in DEFAULT.select(entity=Entity.PAIR)}  # other negatives are drawn
    kept = [name for name in kept if not (name.endswith("/missing") and name.split("/")[1] in of_pairs)]
    assert len(kept) > 100
    assert {name: other["counts"].get(name) for name in kept} == {name: one["counts"][name] for name in kept}
    reasons = collections.Counter(
        f"rejected/{table}/{reason}" for table, bad in ordered_ids.REJECTED.items() for _, reason in bad
    )
    assert {name: n for name, n in other["counts"].items() if name.startswith("rejected/")} == reasons


@pytest.mark.parametrize("table", ["users", "videos", "interactions"])
def test_rejected_rows_show_ids_as_they_were_given(texts_run: Ran, table: str) -> None:
    files = (texts_run.root / "rejected" / table).glob("*.parquet")
    rows = pd.concat([pq.read_table(file).to_pandas() for file in files])
    found = zip(rows[ordered_ids.KEYS_OF[table]], rows["reason"], strict=True)
    told = {(None if given is None else encoded(pd.Series([given]))[0], reason) for given, reason in found}
    assert told == {
        (given if given is None else given.encode(), reason) for given, reason in ordered_ids.REJECTED[table]
    }
    places = rows["source_row"].sort_values().tolist()
    number = pq.read_metadata(texts_run.raw / f"{table}.parquet").num_rows
    assert places == list(np.arange(number)[-len(places) :])

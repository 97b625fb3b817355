"""Bad input as a user meets it: one sentence that says what is wrong where, exit code 1 or 2, and nothing written."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from workspace import DAYS, NO_TITLES, USERS, VIDEOS, Fails, Workspace, good_rows, table_of

from recsys_tft.columns import TABLES

# --- Tables


def test_a_missing_table_is_named(workspace: Workspace, fails: Fails) -> None:
    (workspace.data / "videos.parquet").unlink()
    found = fails()
    assert found == (
        f"{workspace.data}: found no table videos; expected videos.parquet or videos.csv, or a folder videos/ of "
        "Parquet or CSV files."
    )


def test_a_folder_that_does_not_exist_is_named(workspace: Workspace, fails: Fails) -> None:
    nowhere = str(workspace.folder / "nowhere")
    found = fails(arguments=["run", "--data-dir", nowhere, "--output-dir", str(workspace.out), "--overwrite"])
    assert found.startswith(f"{nowhere}: ")


def test_a_table_that_is_there_twice_is_refused(workspace: Workspace, fails: Fails) -> None:
    (workspace.data / "users").mkdir()
    pq.write_table(table_of(good_rows()["users"]), workspace.data / "users" / "part-0.parquet")
    assert "the table users exists twice" in fails()


def test_a_missing_required_column_is_named_with_its_file_and_a_likely_name(workspace: Workspace, fails: Fails) -> None:
    rows = pq.read_table(workspace.data / "interactions.parquet")
    workspace.write("interactions", rows.rename_columns({"interaction_time": "interaction_tim"}))
    assert fails() == (
        f"{workspace.data}/interactions.parquet: the table interactions has no column 'interaction_time'. "
        "Did you mean 'interaction_tim'? Name it under `columns: {interactions: ...}` in the config if it is called "
        "otherwise."
    )


def test_interactions_that_say_nothing_of_what_happened_are_refused(workspace: Workspace, fails: Fails) -> None:
    workspace.write(
        "interactions", pq.read_table(workspace.data / "interactions.parquet").drop_columns(["interaction_type"])
    )
    assert "interactions need a column 'interaction_type', or boolean columns out of clicked, liked" in fails()


@pytest.mark.parametrize(
    ("table", "column", "values", "sentence"),
    [
        ("users", "age", pa.array(["old"] * USERS), "column 'age' is string, expected int64; row 0 has 'old', which"),
        ("users", "age", pa.array([True] * USERS), "column 'age' is bool, expected int64; cast it in pandas: df["),
        ("users", "user_id", pa.array([1.5] * USERS), "column 'user_id' is double, expected int64"),
        ("videos", "category", pa.array([1.5] * VIDEOS), "column 'category' is double, expected string"),
        ("interactions", "interaction_time", pa.array([0] * USERS * DAYS), "column 'interaction_time' is int64, expec"),
    ],
)
def test_a_wrong_type_is_named_with_file_column_and_what_is_right(
    workspace: Workspace, fails: Fails, table: str, column: str, values: pa.Array, sentence: str
) -> None:
    rows = pq.read_table(workspace.data / f"{table}.parquet")
    workspace.write(table, rows.set_column(rows.schema.get_field_index(column), column, values))
    assert f"{workspace.data}/{table}.parquet: {sentence}" in fails()


@pytest.mark.parametrize("table", ["users", "videos", "interactions"])
def test_an_empty_table_is_named(workspace: Workspace, fails: Fails, table: str) -> None:
    workspace.write(table, table_of(good_rows()[table]).slice(0, 0))
    assert fails() == f"{workspace.data}/{table}.parquet: the table {table} is empty; it needs at least one row."


@pytest.mark.usefixtures("unfitted")
def test_a_table_without_positives_names_the_rules(workspace: Workspace, fails: Fails) -> None:
    workspace.write("interactions", [row | {"interaction_type": "impression"} for row in good_rows()["interactions"]])
    config = workspace.config("labels: {positive: {like: 1.0, click: 0.5}}")
    assert fails("--config", config) == (
        "No exposure in the training split is positive by the rules of labels.positive (like, click)."
    )


def test_text_in_the_place_of_parquet_is_named(workspace: Workspace, fails: Fails) -> None:
    (workspace.data / "users.parquet").write_text("user_id,age\n1,20\n" * 10)
    assert fails().startswith(f"{workspace.data}/users.parquet: not a readable Parquet file (")


def test_a_file_cut_short_is_named(workspace: Workspace, fails: Fails) -> None:
    file = workspace.data / "interactions.parquet"
    file.write_bytes(file.read_bytes()[:-40])
    assert fails().startswith(f"{file}: not a readable Parquet file (")


def test_a_column_name_that_is_no_text_is_named(workspace: Workspace, fails: Fails) -> None:
    file = workspace.data / "users.parquet"
    file.write_bytes(file.read_bytes().replace(b"country", b"co\x80ntry"))
    assert fails().startswith(f"{file}: not a readable Parquet file (")


def test_a_column_that_is_there_twice_is_named(workspace: Workspace, fails: Fails) -> None:
    rows = pq.read_table(workspace.data / "users.parquet")
    workspace.write("users", rows.append_column("age", rows["age"]))
    found = f"{workspace.data}/users.parquet: column 'age' appears more than once; a table holds a name once."
    assert fails() == found


@pytest.mark.usefixtures("unfitted")
@pytest.mark.parametrize("place", ["header", "values"])
def test_damaged_pages_are_found_where_the_footer_is_good(workspace: Workspace, fails: Fails, place: str) -> None:
    file = workspace.data / "interactions.parquet"
    column = pq.read_metadata(file).row_group(0).column(0)
    begin = column.dictionary_page_offset or column.data_page_offset
    begin += 0 if place == "header" else 30
    data = bytearray(file.read_bytes())
    data[begin : begin + 25] = b"\xff" * 25
    file.write_bytes(data)
    assert pq.read_metadata(file).num_rows == USERS * DAYS
    assert fails().startswith(f"{file}: the Parquet file is damaged (")


def test_all_that_is_wrong_with_all_tables_is_told_at_once(workspace: Workspace, fails: Fails) -> None:
    events = pq.read_table(workspace.data / "interactions.parquet")
    workspace.write("interactions", events.rename_columns({"user_id": "user_ID"}))
    users = pq.read_table(workspace.data / "users.parquet").drop_columns(["age"])
    flags, names = pa.array([True] * USERS), pa.array([["DE"]] * USERS)
    workspace.write(
        "users", users.append_column("age", flags).drop_columns(["country"]).append_column("country", names)
    )
    (workspace.data / "videos.parquet").unlink()
    first, *others = fails().split("\n")
    assert first == "4 problems with the tables:"
    assert [sentence.removeprefix(f"  {workspace.data}").partition(";")[0] for sentence in others] == [
        "/users.parquet: column 'country' is list<element: string>, expected string",
        "/users.parquet: column 'age' is bool, expected int64",
        ": found no table videos",
        "/interactions.parquet: the table interactions has no column 'user_id'. Did you mean 'user_ID'? Name it under "
        "`columns: {interactions: ...}` in the config if it is called otherwise.",
    ]


def test_a_channels_table_by_a_similar_name_is_not_left_out(workspace: Workspace, fails: Fails) -> None:
    (workspace.data / "channels.parquet").rename(workspace.data / "channel.parquet")
    sentence = fails()
    assert "found no table channels" in sentence
    assert sentence.rstrip().endswith("Is channel.parquet meant?")


def test_what_many_files_share_is_told_once(workspace: Workspace, fails: Fails) -> None:
    users = pq.read_table(workspace.data / "users.parquet").drop_columns(["user_id"])
    (workspace.data / "users.parquet").unlink()
    (workspace.data / "users").mkdir()
    for part in range(3):
        pq.write_table(users, workspace.data / "users" / f"part-{part}.parquet")
    assert fails().startswith(
        f"{workspace.data}/users/part-0.parquet (and 2 more): the table users has no column 'user_id'."
    )


def test_a_mapped_column_beside_one_of_that_name_is_refused(workspace: Workspace, fails: Fails) -> None:
    users = pq.read_table(workspace.data / "users.parquet")
    workspace.write("users", users.append_column("years", users["age"]))
    found = fails("--config", workspace.config("columns: {users: {years: age}}"))
    assert "column 'years' is read as 'age', but there is a column 'age' too; rename or drop one of them." in found


def test_only_some_files_with_interaction_type_are_refused(workspace: Workspace, fails: Fails) -> None:
    events = pq.read_table(workspace.data / "interactions.parquet")
    (workspace.data / "interactions.parquet").unlink()
    (workspace.data / "interactions").mkdir()
    pq.write_table(events, workspace.data / "interactions" / "a.parquet")
    wide = events.drop_columns(["interaction_type"]).append_column("liked", pa.array([True] * len(events)))
    pq.write_table(wide, workspace.data / "interactions" / "b.parquet")
    assert fails() == (
        f"{workspace.data}/interactions/b.parquet: there is no column 'interaction_type' here, but in other files of "
        "the table."
    )


# --- Settings, which are checked before any data is read


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sede: 1", "unknown setting 'sede'. Did you mean 'seed'?"),
        ("ranker: {negative_ratio: 3}", "unknown setting 'ranker.negative_ratio'. Did you mean 'negative_sample_rat"),
        ("vocabularies: {tags: {noov: 3}}", "unknown setting 'vocabularies.tags.noov'. Did you mean 'n_oov'?"),
        ("vocabularies: {tag: {n_oov: 3}}", "vocabularies has the unknown vocabulary 'tag'. Did you mean 'tags'?"),
        ("buckets: {age: [18, 18, 25]}", "buckets.age must be finite and increase, such as [1, 2, 3], not [18.0, 18.0"),
        ("buckets: {duration: [60, 30]}", "buckets.duration must be finite and increase"),
        ("ranker: {negative_sample_ratio: -1}", "ranker.negative_sample_ratio is -1; expected 0 or more."),
        ("split: {train: 0.8, val: 0.3}", "split train 0.8 and val 0.3 exceed 1 together"),
        ("split: {train: 1.5}", "split.train is 1.5; expected 1.0 or less."),
        ("split: {val_from: 2025-03-09, train: 0.5}", "split takes either train and val, or val_from and test_from"),
        ("split: {test_from: 2025-03-09}", "split test_from needs val_from"),
        ("labels: {positive: {likes: 1.0}}", "labels.positive has the unknown rule 'likes'. Did you mean 'like'?"),
        ("labels: {positive: {}}", "labels.positive names no rule"),
        ("labels: {positive: {like: -1}}", "labels.positive gives 'like' the weight -1.0, which must be above 0"),
        ("max_rejected_fraction: 2", "max_rejected_fraction is 2; expected 1.0 or less."),
        ("output: {format: csv}", "output.format is 'csv'; expected 'tfrecord' or 'parquet'."),
        ("seed: one", "seed is 'one'; expected a whole number."),
        ("[1, 2]", "expected a mapping of settings, found list."),
        ("a: [", "not a YAML file ("),
        # A columns mapping reads {your name: our name}.
        (
            "columns: {interactions: {user_id: userId}}",
            "columns maps 'user_id' of interactions to the unknown column 'userId'. Did you mean 'user_id'?",
        ),
        ("columns: {events: {ts: interaction_time}}", "columns has the unknown table 'events'."),
        ("columns: {users: {a: age, b: age}}", "columns maps two columns of users to one name"),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_named_with_its_file_before_data_is_read(
    workspace: Workspace, fails: Fails, text: str, sentence: str
) -> None:
    for table in TABLES:
        (workspace.data / f"{table}.parquet").unlink()
    config = workspace.config(text)
    assert fails("--config", config).startswith(f"{config}: {sentence}")


def test_a_config_that_is_not_there_is_named(workspace: Workspace, fails: Fails) -> None:
    config = str(workspace.folder / "none.yaml")
    assert fails("--config", config).startswith(f"{config}: cannot read the config (")


def test_a_mapping_to_a_column_that_the_file_lacks_is_named(workspace: Workspace, fails: Fails) -> None:
    found = fails("--config", workspace.config("columns: {users: {years: age}}"))
    assert f"{workspace.data}/users.parquet: the table users has no column 'years'." in found


def test_a_negative_ratio_of_minus_one_is_refused(fails: Fails) -> None:
    assert "ranker.negative_sample_ratio is -1; expected 0 or more." in fails("--negative-ratio", "-1")


# --- Options


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--ouput-dir=x"], "neither recsys-tft nor Beam has an option '--ouput-dir'. Did you mean '--output-dir'?"),
        (["--zzzz", "1"], "neither recsys-tft nor Beam has an option '--zzzz'."),
        (["--workers", "0"], "--workers is 0; it needs at least 1."),
        (
            ["--users", "3"],
            "--users, --videos, --interactions, --versioned and --ids go with --synthetic, not --data-dir.",
        ),
    ],
)
def test_a_wrong_option_is_named_and_ends_with_2(fails: Fails, options: list[str], sentence: str) -> None:
    assert fails(*options, code=2) == sentence


@pytest.mark.parametrize("sizes", [["--users", "0"], ["--videos", "0"], ["--interactions", "-5"]])
def test_synthetic_tables_of_no_rows_are_refused(workspace: Workspace, fails: Fails, sizes: list[str]) -> None:
    arguments = ["run", "--synthetic", "--output-dir", str(workspace.out), "--overwrite", *NO_TITLES, *sizes]
    found = fails(arguments=arguments)
    assert sizes[0].removeprefix("--") in found
    assert sizes[1] in found

"""Ops and statistics of a user's own: the public contract test, what is refused while tracing, settings on the row."""

import pathlib
import pickle
import re
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from op_cases import CASES, SETTINGS
from own_ops import (
    DoubleMean,
    InOrder,
    IsFirst,
    Learning,
    LengthClasses,
    Lengths,
    LengthSum,
    PairSums,
    TooMany,
    Uncounted,
    Wrong,
)

from recsys_tft import feature_tables, graph
from recsys_tft.analyzers import StatisticRequest, merge_states, outputs, states_of
from recsys_tft.beam_pipelines import engineer
from recsys_tft.columns import FLOAT, INT64, INTS, STRING, STRINGS, Column
from recsys_tft.configuration.settings import parse
from recsys_tft.default_table import DEFAULT
from recsys_tft.errors import InputError
from recsys_tft.features import CANDIDATE, QUERY, RANKER, Feature, FeatureTable
from recsys_tft.number_ops import Bucket, ZScore
from recsys_tft.ops import History, Lookup, Op
from recsys_tft.output_checks import check_categories
from recsys_tft.ranking import ranker_rows
from recsys_tft.retrieval import two_tower
from recsys_tft.run_layout.artifacts import check_path
from recsys_tft.run_layout.data_sets import VIDEOS
from recsys_tft.run_layout.schemas import schema_of
from recsys_tft.testing import check_op
from recsys_tft.vocabularies import Vocabulary

AGE, COUNTRY, TAGS = (DEFAULT.raw[name] for name in ("age", "country", "tags"))
AGES = [(3,), (None,), (5,), (3,)]
TYPES = {tf.int64: (INT64, INTS), tf.float32: (FLOAT, FLOAT), tf.string: (STRING, STRINGS)}


def with_features(monkeypatch: pytest.MonkeyPatch, *features: Feature, without: tuple[str, ...] = ()) -> FeatureTable:
    """The default table with more features, as every setting leads to it."""
    table = DEFAULT.extend(features=features, without=without)
    monkeypatch.setattr(feature_tables, "load", lambda name: table)
    return table


# --- The contract


@pytest.mark.parametrize("name", CASES)
def test_our_ops_keep_the_contract_that_a_user_can_try(name: str) -> None:
    case = CASES[name]
    listed = [any(isinstance(row[place], list) for row in case.rows) for place in range(len(case.dtypes))]
    types = [TYPES[dtype][is_list] for dtype, is_list in zip(case.dtypes, listed, strict=True)]
    columns = [Column(f"column_{place}", "users", found) for place, found in enumerate(types)]
    missing = {"positive_rate": np.float32(8 / 26), "affinity": 0.5}  # as the cases say; of others what their kind has
    found = check_op(case.op, columns, case.rows, SETTINGS, missing.get(name))
    if name not in ("language_two", "history"):  # which are fitted together with others there
        flat, expected = (np.hstack([np.ravel(v) for v in values]) for values in (found, case.expected))
        np.testing.assert_allclose(flat, expected, atol=2e-7)


def test_ops_of_a_users_own_keep_it() -> None:
    assert check_op(LengthSum(), [COUNTRY], [("de",), ("at",), ("fra",), (None,)]) == [4, 4, 3, 0]
    assert check_op(IsFirst(), [COUNTRY], [("de",), ("at",), (None,)]) == [1, 2, 0]
    assert check_op(Lengths(), [TAGS], [(["a", "bcd", "a"],), ([],), (None,)]) == [[1, 3, 1], [], []]
    assert check_op(LengthClasses(), [TAGS], [(["a", "bcd"],), (None,)]) == [[2, 4], []]


@pytest.mark.parametrize(
    ("op", "sentence"),
    [
        (Wrong("dtype"), r"Wrong: .* says that it makes numbers \(float32 \[batch\]\), but it makes int64 \[batch\]\."),
        (Wrong("width"), r"says that it makes numbers \(float32 \[batch\]\), but it makes float32 \[batch, 2\]\."),
        (Wrong("list"), r"but it makes a RaggedTensor of float32 of rank 2\."),
        (Wrong("text"), r"but it makes a str\."),
        (Wrong("raises"), r"Wrong\.apply raised \w+ \(.*\) at .*own_ops\.py, line \d+\."),
        (Wrong("place"), r"Wrong: makes 7\.0 of \(5,\), but 5\.0 in two batches"),
        (Wrong("batch"), r"Wrong: makes 14\.0 of \(3,\), but "),
        (Wrong("infinite"), r"makes numbers that are not finite"),
        (Wrong("missing"), r"makes 1\.0 of a row in which all columns are missing, expected 0\.0; if that is meant"),
        (Wrong("rows"), r"makes 4 values of 5 rows"),
        (Uncounted("dtype"), r"numbers categories, but says that there are None; `categories` must say how many"),
        (TooMany("dtype"), r"says that it numbers 2 categories, 0 to 1, but makes \[3, 5\]"),
        (
            Learning("width", InOrder()),
            r"InOrder gives another result for rows in two batches, merged two",
        ),
        (Learning("width", DoubleMean()), r"its statistic DoubleMean says .* float32 \[\], but it is float64 \[\]"),
    ],
)
def test_an_op_that_breaks_the_contract_is_told_how(op: Op, sentence: str) -> None:
    with pytest.raises(AssertionError, match=sentence):
        check_op(op, [AGE], AGES)


def test_an_op_must_be_a_value() -> None:
    class Loose(Op):
        missing = "0"

    with pytest.raises(AssertionError, match="Loose: must be a frozen dataclass"):
        check_op(Loose(), [AGE], AGES)


# --- Refused while the graph is traced


@pytest.mark.parametrize("kind", ["dtype", "width", "list", "text", "raises"])
def test_what_an_op_does_not_make_as_it_says_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    feature = Feature("mine", "age", Wrong(kind), QUERY)
    table = FeatureTable(DEFAULT.columns, DEFAULT.signals, (feature,))
    monkeypatch.setattr(feature_tables, "load", lambda name: table)
    with pytest.raises(InputError, match=r"^The feature 'mine': .*Wrong"):
        graph.engineer({"age": tf.constant([[1], [2]], tf.int64)}, parse({}, "the test"))


def test_a_vocabulary_that_no_feature_fits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    table = FeatureTable(
        DEFAULT.columns, DEFAULT.signals, (Feature("mine", "history_video_ids", History(Vocabulary("v", True)), QUERY),)
    )
    monkeypatch.setattr(feature_tables, "load", lambda name: table)
    with pytest.raises(InputError, match="'mine' looks tokens up in the vocabulary 'v', which no feature fits"):
        graph.engineer({"history_video_ids": tf.constant([[1]], tf.int64)}, parse({}, "the test"))


def test_a_statistic_that_fails_on_a_worker_is_named() -> None:
    asked = (StatisticRequest("mine", PairSums(), "int64"),)
    with pytest.raises(InputError, match=r"'mine': PairSums\.of raised TypeError \(.*\) at .*own_ops\.py, line \d+"):
        states_of((np.arange(3),), asked)
    wrong = (StatisticRequest("mine", DoubleMean(), "float32"),)
    merged = merge_states([states_of((np.ones(2),), wrong)], wrong)
    with pytest.raises(InputError, match=r"'mine': its statistic DoubleMean says that the result is float32 \[\]"):
        list(outputs(merged, wrong, "unused"))


@pytest.mark.parametrize(
    "path", ["manifest.json", "../x/y.json", "vocabularies/mine.txt", "a/b/c.json", "/a", "buckets/"]
)
def test_a_description_stays_in_a_folder_of_its_own(path: str) -> None:
    with pytest.raises(
        InputError, match=re.escape(f"'mine' describes itself in artifacts/{path}; expected FOLDER/mine")
    ):
        check_path("mine", path)
    check_path("mine", "own/mine.json")


@pytest.mark.parametrize(("made", "value"), [(pa.array([0, 2]), 2), (pa.array([[1], [], [-1, 1]]), -1)])
def test_categories_that_an_op_does_not_say_are_refused(made: pa.Array, value: int) -> None:
    features = [Feature("mine", "age", TooMany("dtype"), QUERY)]
    sentence = rf"'mine': its op TooMany says that it numbers 2 categories, 0 to 1, but it makes {value}\."
    with pytest.raises(InputError, match=sentence):
        check_categories(pa.table({"mine": made}), features, SETTINGS)
    check_categories(pa.table({"mine": pa.array([0, 1, 1])}), features, SETTINGS)


def test_categories_of_what_is_counted_are_looked_at_too(monkeypatch: pytest.MonkeyPatch) -> None:
    made = SimpleNamespace(engineer=lambda *_: pa.table({"mine": [0, 2]}))
    monkeypatch.setattr(engineer.transform_graph, "load", lambda _: made)
    table = DEFAULT.extend(features=[Feature("mine", "view_count", TooMany("dtype"), CANDIDATE)])
    counts = pa.table({"video_id": [5, 5], "since": [0, 1], "view_count": [0, 1]})
    job = SimpleNamespace(settings=SETTINGS)
    with pytest.raises(InputError, match="'mine': its op TooMany says that it numbers 2 categories"):
        engineer._engineer_counted(counts, pa.table({"video_id": [5]}), (table.by_name["mine"],), (), "the graph", job)


# --- Consumers go by what the op says


def test_a_schema_knows_categories_and_lists_of_a_users_op(monkeypatch: pytest.MonkeyPatch) -> None:
    with_features(
        monkeypatch,
        Feature("classes", "tags", LengthClasses(), CANDIDATE),
        Feature("lengths", "tags", Lengths(), ()),
        Feature("first", "category", IsFirst(), CANDIDATE),
    )
    chosen = parse({"title_encoder": "none"}, "the test")
    sizes = {f.name: 9 if f.vocabulary else f.op.categories(chosen) for f in VIDEOS.features(chosen)}
    schema = {feature.name: feature for feature in schema_of(VIDEOS, chosen, sizes).feature}
    assert [schema[name].type for name in ("classes", "lengths", "first")] == [2, 3, 2]  # INT, FLOAT, INT
    assert schema["classes"].int_domain.max == 4
    assert schema["first"].int_domain.max == 2
    assert not schema["lengths"].HasField("shape")


def test_towers_and_ranker_refuse_the_lists_that_they_cannot_take(monkeypatch: pytest.MonkeyPatch) -> None:
    with_features(monkeypatch, Feature("lengths", "tags", Lengths(), CANDIDATE))
    with pytest.raises(InputError, match="The towers cannot read the feature 'lengths': it is a list of numbers"):
        two_tower.features_for(parse({}, "the test"))
    with_features(monkeypatch, Feature("classes", "tags", LengthClasses(), RANKER))
    with pytest.raises(InputError, match="The ranker cannot read the feature 'classes'"):
        ranker_rows.features_for(parse({}, "the test"))
    with_features(monkeypatch, Feature("classes", "tags", LengthClasses(), CANDIDATE))
    assert "classes" in [feature.name for feature in two_tower.features_for(parse({}, "the test"))[1]]


# --- Settings on the row


def test_the_config_overrides_what_stands_on_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    surface = Vocabulary("surface", dim=9, n_oov=3, min_count=2)
    with_features(
        monkeypatch,
        Feature("surface_token", "country", Lookup(surface), RANKER),
        Feature("subscribers", "view_count", Bucket("subscribers", boundaries=(100, 1e4), dim=7), RANKER),
        Feature("first", "country", IsFirst(dim=5), QUERY),
    )
    rows = parse({}, "the test")
    assert [rows.embedding_width(name) for name in ("surface", "subscribers", "first", "device")] == [9, 7, 5, 16]
    assert rows.buckets["subscribers"] == (100, 1e4)
    assert rows.vocabulary("surface").model_dump() == {"n_oov": 3, "min_count": 2, "max_size": None}
    text = {
        "embeddings": {"surface_dim": 2, "first_dim": 4, "default_dim": 6},
        "buckets": {"subscribers": [1, 2, 3]},
        "vocabularies": {"surface": {"n_oov": 8, "max_size": 10}, "default": {"min_count": 5}},
    }
    config = parse(text, "the test")
    assert [config.embedding_width(name) for name in ("surface", "subscribers", "first", "device")] == [2, 7, 4, 6]
    assert Bucket("subscribers", (100,)).categories(config) == 5
    assert config.vocabulary("surface").model_dump() == {"n_oov": 8, "min_count": 2, "max_size": 10}
    assert config.vocabulary("country").min_count == 5
    for again in (config.model_dump(mode="json"), config.model_dump(mode="json", exclude_unset=True)):
        assert parse(again, "a manifest") == config
    assert "age" not in config.model_dump(exclude_unset=True)["buckets"]


def test_default_vocabularies_leave_what_the_row_says(monkeypatch: pytest.MonkeyPatch) -> None:
    with_features(monkeypatch, Feature("mine", "country", Lookup(Vocabulary("mine", n_oov=3)), RANKER))
    config = parse({"vocabularies": {"default": {"n_oov": 7, "min_count": 4}}}, "the test")
    assert config.vocabulary("mine").model_dump() == {"n_oov": 3, "min_count": 4, "max_size": None}


def test_all_names_that_the_table_does_not_have_are_told_at_once() -> None:
    text = {
        "embeddings": {"age_z_dim": 4, "user_language_token_dim": 4, "countri_dim": 4, "country": 4},
        "buckets": {"agee": [1]},
        "vocabularies": {"language_": {}},
    }
    with pytest.raises(InputError) as refused:
        parse(text, "the test")
    found = str(refused.value)
    assert found.startswith("6 problems with the test:")
    for part in (
        "'age_z_dim', but the feature 'age_z' has no embedding table of its own: it is no category.",
        "'user_language_token' has no embedding table of its own: its table is 'language'.",
        "unknown width 'countri_dim'. Did you mean 'country_dim'?",
        "unknown width 'country'. Did you mean 'country_dim'?",
        "buckets has the unknown name 'agee'. Did you mean 'age'?",
        "vocabularies has the unknown vocabulary 'language_'. Did you mean 'language'?",
    ):
        assert part in found


def test_boundaries_may_be_left_to_the_config_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with_features(monkeypatch, Feature("mine", "age", Bucket("mine"), QUERY))
    with pytest.raises(InputError, match="buckets lacks the boundaries of 'mine', which its row does not say either"):
        parse({}, "the test")
    assert parse({"buckets": {"mine": [7]}}, "the test").buckets["mine"] == (7,)


def test_one_name_with_two_meanings_is_refused() -> None:
    rows = [
        Feature("one", "country", Lookup(Vocabulary("mine", dim=8)), RANKER),
        Feature("two", "country", Lookup(Vocabulary("mine", dim=9)), RANKER),
        Feature("three", "age", Bucket("age", boundaries=(1, 2)), RANKER),
        Feature("four", "country", Lookup(Vocabulary("age_z")), RANKER),
    ]
    with pytest.raises(InputError) as refused:
        DEFAULT.extend(features=rows)
    assert "the vocabulary 'mine' has different options" in str(refused.value)
    assert "the boundaries 'age' differ: [1, 2] and [18, 25, 35, 45, 55, 65]." in str(refused.value)
    assert "the vocabulary 'age_z' has the name of a feature that does not use it" in str(refused.value)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: Vocabulary("x", dim=0, n_oov=0),
            r"Vocabulary\('x'\): dim is 0, .* 8,192; n_oov is 0, .* 1,000,000",
        ),
        (lambda: Vocabulary("x", max_size=True), r"max_size is True, expected a whole number"),
        (lambda: Bucket("x", (2, 1)), r"Bucket\('x'\): boundaries must be finite and increase"),
        (lambda: Bucket("x", ("1", 2)), r"Bucket\('x'\): boundaries must be numbers"),
        (lambda: Bucket("x", (1, 2), dim=1.5), r"Bucket\('x'\): dim is 1.5, expected a whole number"),
    ],
)
def test_a_setting_on_a_row_has_the_limits_of_the_configs(make: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        make()


def test_ops_say_of_themselves_whether_they_are_categories() -> None:
    assert [op.is_categorical for op in (IsFirst(), LengthClasses(), Lengths(), ZScore())] == [True, True, False, False]
    assert pickle.loads(pickle.dumps(Bucket("x", [1, 2]))) == Bucket("x", (1, 2))
    assert isinstance(hash(Bucket("x", [1, 2])), int)


def test_the_contract_test_is_light_to_import(tmp_path: pathlib.Path) -> None:
    code = "import sys, recsys_tft.testing; print({'tensorflow', 'apache_beam', 'pandas'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout == "set()\n"

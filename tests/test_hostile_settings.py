"""Settings as people write them: what YAML makes of them otherwise than meant, and what no machine could take."""

import pathlib

import pytest
from workspace import Fails, Workspace

from recsys_tft.cli import main
from recsys_tft.columns import TABLES
from recsys_tft.configuration import settings
from recsys_tft.configuration.settings import Settings
from recsys_tft.errors import InputError, RenamedSettingWarning

FOLDED = "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
BLOCKED = "recommender: {filters: {unavailable: {NO: {categories: [%s]}}}}"


def loaded(tmp_path: pathlib.Path, text: str | bytes) -> Settings:
    file = tmp_path / "config.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return settings.load(file)


def wrong(tmp_path: pathlib.Path, text: str | bytes) -> str:
    with pytest.raises(InputError) as caught:
        loaded(tmp_path, text)
    return str(caught.value).replace(f"{tmp_path}/", "")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        # A key is there once, and what is written is what is read.
        ("seed: 1\nseed: 2", "the key 'seed' exists twice, in lines 1 and 2"),
        ("ranker:\n  depth: 3\n  iterations: 9\n  depth: 4", "the key 'depth' exists twice, in lines 2 and 4"),
        ("columns: {users: {a: age, 'a': country}}", "the key 'a' exists twice, in line 1"),
        ("seed: 1\n---\nseed: 2", "expected a single document"),
        ("ranker:\n\tdepth: 1", "indent with spaces"),
        ("seed: \0", "line 1: the character '\\x00' is not allowed"),
        (b"seed: 1\ntitle_encoder: caf\xe9", "line 2: byte 0xe9 is not UTF-8"),
        ("seed: 1".encode("utf-16"), "line 1: byte 0xff is not UTF-8"),
        # Nothing runs, nor grows without bound.
        ("seed: !!python/object/apply:os.system [id]", "the tag !!python/object/apply:os.system is not allowed"),
        ("seed: !!set {a, b}", "the tag !!set is not allowed"),
        (f"a: &a [1, 2, 3]\n{FOLDED}", "its aliases expand to "),
        ("a: &a [*a]", "the anchor contains an alias of itself"),
        ("a: " + "[" * 10_000, "more than 64 nested levels"),
        ("a: " + "{a: " * 10_000, "more than 64 nested levels"),
        ("? [a, b]\n: 1", "line 1: a key has to be a single word"),
    ],
)  # fmt: skip
def test_a_file_that_says_something_twice_or_without_bound_is_named_with_its_line(
    tmp_path: pathlib.Path, text: str | bytes, sentence: str
) -> None:
    found = wrong(tmp_path, text)
    assert found.startswith("config.yaml: not a YAML file (")
    assert sentence in found
    assert len(found) < 300


@pytest.mark.parametrize(
    ("text", "key"),
    [
        *((f"split: {{val_from: {value}}}", "split.val_from") for value in
          ("20250210", "2025", "2025-13-01", "2025-02-30", "1e3", "0", "soon", "true", "''", "[2025-02-10]")),
        ("cooccurrence: {max_pairs: 1e23}", "cooccurrence.max_pairs"),
        ("cooccurrence: {max_pairs: 100000000000000000000000}", "cooccurrence.max_pairs"),
        ("vocabularies: {tags: {n_oov: 1e11}}", "vocabularies.tags.n_oov"),
        ("vocabularies: {tags: {n_oov: 100000000000}}", "vocabularies.tags.n_oov"),
        *((f"seed: {value}", "seed") for value in
          ("1" * 5000, ".inf", ".nan", "1e400", "1.5", "-1", "010", "1:30", "on", "9223372036854775808")),
        ("max_rejected_fraction: .nan", "max_rejected_fraction"),
        ("labels: {positive: {like: .inf}}", "labels.positive"),
        ("labels: {positive: {like: 1e-300}}", "labels.positive"),
        ("labels: {exposure_gap_minutes: 1e300}", "labels.exposure_gap_minutes"),
        ("counters: {every: 90}", "counters.every"),
        (f"counters: {{delay: {'9' * 5000}s}}", "counters.delay"),
        ("two_tower: {temperature: 1e-300}", "two_tower.temperature"),
        ("two_tower: {batch_size: 10000000}", "two_tower.batch_size"),
        ("two_tower: {dim: 1000000000}", "two_tower.dim"),
        ("embeddings: {user_id_dim: 1000000000}", "embeddings.user_id_dim"),
        ("output: {users_per_shard: 1e30}", "output.users_per_shard"),
        ("recommender: {candidates: 1e30}", "recommender.candidates"),
        *((f"recommender: {{filters: {{blocked: {{videos: [{value}]}}}}}}", "recommender.filters.blocked.videos.0") for
          value in ("18446744073709551616", "1.5", "true", "null", "[1]", "2020-02-03")),
        ("{ids: {video_id: integer}, recommender: {filters: {blocked: {videos: [9223372036854775808]}}}}",
         "recommender.filters.blocked.videos"),
        ("buckets: {age: [1, 1e39]}", "buckets.age"),
        ("buckets: {age: [18, 18.0000001]}", "buckets.age"),
        ("popularity: {levels: [low, low, high, viral]}", "popularity levels"),
        ("columns: {users: {age: country}}", "columns maps 'age' of users to 'country', but 'age' is our name of"),
        ("columns: {users: {a: age, A: age}}", "columns maps two columns of users to one name"),
        ("recommender: {filters: {unavailable: {NO: {}, no: {}}}}", "recommender.filters.unavailable names one"),
        ("title_encoder: '  '", "title_encoder"),
        ("encoder_cache: ''", "encoder_cache"),
        ('encoder_cache: "a\\0b"', "encoder_cache"),
        ("beam: {labels: {a: 1}}", "beam.labels"),
        ("null: 1", "unknown setting 'null'"),
        ("true: 1", "unknown setting 'true'"),
        ("1: 2", "unknown setting '1'"),
    ],
)  # fmt: skip
def test_a_setting_that_could_not_be_meant_is_named(tmp_path: pathlib.Path, text: str, key: str) -> None:
    found = wrong(tmp_path, text)
    assert found.startswith(f"config.yaml: {key}")
    assert "\n" not in found
    assert len(found) < 400


@pytest.mark.parametrize("field", ["vocabularies", "ranker", "two_tower", "output", "recommender"])
def test_every_number_has_an_upper_limit(tmp_path: pathlib.Path, field: str) -> None:
    section = {"vocabularies": "VocabularySettings"}.get(field)
    annotation = Settings.model_fields[field].annotation
    model = annotation.__args__[1] if section else annotation
    for name, described in model.model_fields.items():
        if not set(str(described.annotation).replace("<class '", "").split("'")[0].split(" | ")) & {"int", "float"}:
            continue
        value = f"{{{name}: 1{'0' * 30}}}"
        text = f"{field}: {{tags: {value}}}" if section else f"{field}: {value}"
        assert f".{name} is " in wrong(tmp_path, text)


@pytest.mark.parametrize("name", Settings().embeddings)
def test_every_width_has_an_upper_limit(tmp_path: pathlib.Path, name: str) -> None:
    assert f".{name} is " in wrong(tmp_path, f"embeddings: {{{name}: 1{'0' * 30}}}")


def test_words_that_yaml_takes_for_booleans_numbers_or_dates_stay_words(tmp_path: pathlib.Path) -> None:
    words = ["on", "no", "yes", "y", "off", "010", "1:30", "2025-01-01", "1.0", "1e3", "0x10", "true"]
    found = loaded(tmp_path, BLOCKED % ", ".join(words)).recommender.filters.unavailable
    assert found["NO"].categories == tuple(words)
    assert loaded(tmp_path, "popularity: {levels: [no, on, 010, viral]}").popularity.levels == (
        "no",
        "on",
        "010",
        "viral",
    )
    assert loaded(tmp_path, "columns: {users: {NO: age, 1: country}}").columns == {
        "users": {"NO": "age", "1": "country"}
    }


def test_booleans_numbers_and_dates_are_read_where_they_are_meant(tmp_path: pathlib.Path) -> None:
    found = loaded(tmp_path, "recent: {enabled: yes}\nseed: 1e3\nsplit: {val_from: 2025-02-10}\ncounters: {every: 1 d}")
    assert (found.recent.enabled, found.seed, found.counters.every_microseconds) == (True, 1000, 86_400_000_000)
    assert found.split.val_from.isoformat() == "2025-02-10T00:00:00"
    assert loaded(tmp_path, "ranker: {popularity_alpha: -0.0}").model_dump_json().count("-0.0") == 0


def test_anchors_and_merged_mappings_work(tmp_path: pathlib.Path) -> None:
    text = (
        "vocabularies:\n  tags: &large {n_oov: 4, min_count: 2}\n  category: *large\n  country: {<<: *large, n_oov: 1}"
    )
    found = loaded(tmp_path, text).vocabularies
    assert [(v.n_oov, v.min_count) for v in found.values()] == [(4, 2), (4, 2), (1, 2)]


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "\ufeffseed: 0", "seed: 0\r\n"])
def test_a_file_of_nothing_or_with_the_marks_of_an_editor_is_read(tmp_path: pathlib.Path, text: str) -> None:
    assert loaded(tmp_path, text) == Settings()


def test_a_setting_is_read_by_the_name_that_it_had_in_an_earlier_release(tmp_path: pathlib.Path) -> None:
    with pytest.warns(RenamedSettingWarning, match="the setting 'unseen' is now called 'oov_dropout'"):
        assert loaded(tmp_path, "two_tower: {unseen: 3}").two_tower.oov_dropout == 3
    assert "has both 'oov_dropout' and 'unseen', its name in earlier releases; remove 'unseen'" in wrong(
        tmp_path, "two_tower: {unseen: 3, oov_dropout: 2}"
    )


def test_an_earlier_name_is_warned_of_even_while_libraries_are_loaded(
    workspace: Workspace, tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old.yaml").write_text("two_tower: {unseen: 3}")
    main(["check", "--data-dir", str(workspace.data), "--config", str(tmp_path / "old.yaml")])
    told = "warning: the setting 'unseen' is now called 'oov_dropout'; the old name is still read\n"
    assert capfd.readouterr().err.count(told) == 1


def test_two_columns_may_change_names(tmp_path: pathlib.Path) -> None:
    assert loaded(tmp_path, "columns: {users: {age: country, land: age}}").columns["users"]["age"] == "country"


def test_all_wrong_settings_are_told_at_once_before_data_is_read(
    workspace: Workspace, capfd: pytest.CaptureFixture[str]
) -> None:
    for table in TABLES:
        (workspace.data / f"{table}.parquet").unlink()
    text = "sede: 1\nranker: {depth: 99}\nlabels: {positive: {likes: 1, share: -1}}\ncolumns: {user: {}}\n"
    config = workspace.config(text)
    assert main(workspace.arguments("--config", config)) == 1
    first, *others = capfd.readouterr().err.splitlines()
    assert first == f"error: 5 problems with {config}:"
    assert sorted(others) == [
        "  columns has the unknown table 'user'. Did you mean 'users'?",
        "  labels.positive gives 'share' the weight -1.0, which must be above 0, from 1e-06 to 1e+06.",
        "  labels.positive has the unknown rule 'likes'. Did you mean 'like'?",
        "  ranker.depth is 99; expected 16 or less.",
        "  unknown setting 'sede'. Did you mean 'seed'?",
    ]


def test_a_config_that_is_a_folder_or_has_no_end_is_named(workspace: Workspace, fails: Fails) -> None:
    assert fails("--config", str(workspace.folder)) == f"{workspace.folder}: cannot read the config (Is a directory)."
    assert fails("--config", "/dev/zero").startswith("/dev/zero: more than 16 MiB")

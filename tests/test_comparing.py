"""Planted drifts are found, samples of one distribution raise no alarm, and nothing on the terminal is cut."""

import json
import pathlib
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy.spatial import distance
from tensorflow_metadata.proto.v0 import anomalies_pb2

from recsys_tft import cli, terminal
from recsys_tft.comparing import anomalies, distances
from recsys_tft.comparing.comparison import Comparison, compare_figures
from recsys_tft.configuration.monitoring_settings import DriftLimits, DriftSettings
from recsys_tft.configuration.settings import parse
from recsys_tft.describing import figures
from recsys_tft.describing.columns import Kind, count_rows, describe
from recsys_tft.describing.sketches import Rows
from recsys_tft.describing.statistics_files import LAYOUT
from recsys_tft.errors import InputError

KINDS = {
    "video_duration": Kind.NUMBER, "category": Kind.TEXT, "age": Kind.NUMBER, "country": Kind.TEXT,
    "rating": Kind.NUMBER, "repeated": Kind.TEXT, "seconds_since_last": Kind.NUMBER, "popularity": Kind.NUMBER,
    "token": Kind.TOKEN, "tags": Kind.TOKEN, "vector": Kind.VECTOR, "day": Kind.TIME,
}  # fmt: skip
WORDS = [f"word {i}" for i in range(300)]
COLUMNS = {
    name: figures.Column(
        kind,
        is_list=name == "tags",
        words=WORDS if kind is Kind.TOKEN else None,
        size=300 if kind is Kind.TOKEN else None,
        n_oov=1,
    )
    for name, kind in KINDS.items()
}
COUNTRIES = np.array(["US", "IN", "BR", "DE", "FR", "NG"], object)


def sample(rows: int, seed: int) -> dict[str, np.ndarray | pa.Array]:
    """Rows of one distribution, with tails and rare values."""
    rng = np.random.default_rng(seed)
    tags = rng.integers(0, 5, rows)
    return {
        "video_duration": np.where(rng.random(rows) < 0.02, np.nan, rng.lognormal(5, 1, rows)).astype(np.float32),
        "category": np.array(["news", "music", "gaming", "sports"], object)[
            rng.choice(4, rows, p=[0.4, 0.3, 0.2, 0.1])
        ],
        "age": np.where(rng.random(rows) < 0.1, np.nan, rng.integers(13, 80, rows)).astype(np.float32),
        "country": COUNTRIES[rng.choice(6, rows, p=[0.4, 0.3, 0.2, 0.05, 0.03, 0.02])],
        "rating": rng.normal(3, 1, rows).astype(np.float32),
        "repeated": rng.random(rows) < 0.01,
        "seconds_since_last": np.where(rng.random(rows) < 0.01, 0, rng.exponential(3600, rows)).astype(np.float32),
        "popularity": np.exp(-np.log1p(rng.zipf(1.6, rows))).astype(np.float32),
        "token": np.minimum(rng.zipf(1.3, rows), 301),
        "tags": pa.ListArray.from_arrays(np.append(0, np.cumsum(tags)), pa.array(rng.integers(0, 300, tags.sum()))),
        "vector": pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=rows * 4).astype(np.float32)), 4),
        "day": pa.array(rng.integers(1.6e15, 1.7e15, rows), pa.timestamp("us")),
    }


def made(columns: dict[str, np.ndarray | pa.Array], users: int | None = None) -> dict:
    """The figures of rows; of so many users each has as many."""
    table = pa.table({n: v if isinstance(v, pa.Array) else pa.array(v, from_pandas=True) for n, v in columns.items()})
    rows = Rows.every(len(table))
    owners = None if users is None else Rows.of([np.arange(len(table)) % users], users)
    described = {**describe(table, KINDS, rows, "rows"), **count_rows(rows, "rows", owners, owners)}
    found = figures.figures(described, {"rows": ("train",)}, {"rows": COLUMNS})
    return json.loads(json.dumps({"layout": LAYOUT, "data_sets": found}))  # as read from a file


def _null(columns: dict) -> None:
    columns["age"] = pa.nulls(len(columns["age"]), pa.float32())


def _duplicated(columns: dict) -> None:
    """Each event occurs twice, so that the second one follows after nothing."""
    columns["repeated"] = np.arange(len(columns["repeated"])) % 2 == 1
    columns["seconds_since_last"][1::2] = 0


def _milliseconds(columns: dict) -> None:
    columns["video_duration"] *= np.float32(1000)


def _renamed(columns: dict) -> None:
    columns["category"][columns["category"] == "sports"] = "Sports"


def _new_country(columns: dict) -> None:
    columns["country"][::25] = "KE"


def _shifted(columns: dict) -> None:
    columns["rating"] += np.float32(0.8)


def _scaled(columns: dict) -> None:
    columns["popularity"] *= np.float32(100)


PLANTED = {
    "video_duration": (_milliseconds, {"jensen_shannon", "psi"}),
    "category": (_renamed, {"infinity_norm", "new_values"}),
    "age": (_null, {"missing_change"}),
    "country": (_new_country, {"new_values"}),
    "rating": (_shifted, {"jensen_shannon", "psi"}),
    "repeated": (_duplicated, {"infinity_norm", "psi"}),
    "popularity": (_scaled, {"jensen_shannon", "psi"}),
}


@pytest.fixture(scope="module")
def reference() -> dict:
    return made(sample(4000, 0))


@pytest.mark.parametrize("column", PLANTED)
def test_a_planted_drift_is_found_and_nothing_else(reference: dict, column: str) -> None:
    plant, measures = PLANTED[column]
    columns = sample(3000, 1)
    plant(columns)
    found = compare_figures(reference, made(columns))
    named = {each.column: {m.measure for m in each.alarms} for each in found.drifted}
    also = {"seconds_since_last"} if column == "repeated" else set()
    assert named.keys() - also == {column}
    assert measures <= named[column]
    assert found.columns[0].column in {column} | also


@pytest.mark.parametrize(("rows", "users"), [(200, None), (4000, None), (20_000, 100)])
def test_twenty_pairs_of_samples_of_one_distribution_raise_no_alarm(rows: int, users: int | None) -> None:
    """Also where they are small, or where all rows of a user are alike."""
    for seed in range(20):
        pair = []
        for number in (2 * seed, 2 * seed + 1):
            columns = sample(users or rows, 100 + number)
            if users:
                place = pa.array(np.arange(rows) % users)
                columns = {n: (v if isinstance(v, pa.Array) else pa.array(v)).take(place) for n, v in columns.items()}
            pair.append(made(columns, users))
        found = compare_figures(*pair)
        assert [(each.column, each.alarms) for each in found.drifted] == []
        assert len(found.columns) == len(KINDS)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=2, max_size=20))
@settings(max_examples=100, deadline=None)
def test_distances_are_those_of_scipy_and_of_their_formulas(counts: list[tuple[int, int]]) -> None:
    old, new = (np.array(each) for each in zip(*counts, strict=True))
    if old.sum() and new.sum():
        found = distances.jensen_shannon(old, new)
        assert found == pytest.approx(distance.jensenshannon(old, new, base=2) ** 2, abs=1e-12)
        assert 0 <= found <= 1 + 1e-12
        p, q = ((each + 0.5) / (each + 0.5).sum() for each in (old, new))
        by_hand = sum((b - a) * np.log(b / a) for a, b in zip(p, q, strict=True))
        assert distances.psi(old, new) == pytest.approx(by_hand)
        assert distances.psi(old, old) == pytest.approx(0, abs=1e-12)


def test_the_noise_of_the_index_is_a_quantile_of_chi_square() -> None:
    from scipy import stats

    for bins in (2, 5, 10, 50):
        exact = stats.chi2.isf(1e-6, bins - 1) * (1 / 500 + 1 / 300)
        assert 0.99 * exact <= distances.psi_noise(bins, 500, 300) <= 1.2 * exact


def test_limits_hold_for_all_or_for_one_column(reference: dict) -> None:
    columns = sample(3000, 1)
    _shifted(columns)
    after = made(columns)
    off = DriftLimits(jensen_shannon=None, psi=None)
    for drift in (DriftSettings(jensen_shannon=None, psi=None), DriftSettings(features={"rating": off})):
        assert not compare_figures(reference, after, drift).drifted
    strict = DriftSettings(psi=50, jensen_shannon=0.999, features={"rating": DriftLimits(psi=0.2)})
    (found,) = compare_figures(reference, after, strict).drifted
    assert [m.measure for m in found.alarms] == ["psi"]


def test_a_limit_of_an_unknown_column_is_an_error() -> None:
    with pytest.raises(InputError, match=r"drift.features names the unknown column or feature 'countri'"):
        parse({"drift": {"features": {"countri": {"psi": 1}}}}, "my.yaml")
    with pytest.raises(InputError, match=r"drift.psi is 0"):
        parse({"drift": {"psi": 0}}, "my.yaml")


@pytest.fixture
def outputs(tmp_path: pathlib.Path, reference: dict) -> Callable[[dict], list[str]]:
    """Folders with the statistics of OLD and NEW."""

    def write(after: dict) -> list[str]:
        for name, found in (("old", reference), ("new", after)):
            folder = tmp_path / name / "artifacts" / "statistics"
            folder.mkdir(parents=True)
            (folder / "statistics.json").write_text(json.dumps(found))
            manifest = {"settings": {"drift": {}}, "inputs": {}, "splits": {}, "counts": {}}
            (folder.parent / "manifest.json").write_text(json.dumps(manifest))
        return [str(tmp_path / "old"), str(tmp_path / "new")]

    return write


@pytest.fixture
def drifted() -> dict:
    columns = sample(3000, 1)
    _renamed(columns)
    _milliseconds(columns)
    columns["country"][::25] = "\x1b[31mKE"
    return made(columns)


def test_the_command_shows_the_worst_first_and_cuts_nothing(
    outputs: Callable,
    drifted: dict,
    capsys: pytest.CaptureFixture,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(terminal, "console", lambda: Console(width=80, highlight=False))
    folders = outputs(drifted)
    assert (
        cli.main(["compare", *folders, "--anomalies", str(tmp_path / "alarms"), "--html", str(tmp_path / "page.html")])
        == 1
    )
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.index('data-name="video_duration"') < page.index('data-name="age"')
    assert page.count('class="feature"') == len(KINDS)
    assert "3 of 12 columns have drifted" in page
    assert 'class="line new"' in page
    assert "\x1b" not in page
    assert "…" not in shown
    assert "\x1b[31mKE" not in shown
    assert lines[0].split() == ["column", "JS", "PSI", "L-inf", "missing", "OOV", "new"]
    ordered = [line.split()[0] for line in lines[1:4]]
    assert set(ordered) == {"video_duration", "category", "country"}
    assert "3 of 12 columns have drifted." in shown
    assert "Sports (" in " ".join(shown.split())
    read = text_format.Parse((tmp_path / "alarms/rows.pbtxt").read_text("utf-8"), anomalies_pb2.Anomalies())
    assert set(read.anomaly_info) == {"video_duration", "category", "country"}
    reasons = {reason.type for reason in read.anomaly_info["video_duration"].reason}
    assert anomalies_pb2.AnomalyInfo.COMPARATOR_JENSEN_SHANNON_DIVERGENCE_HIGH in reasons
    measured = {info.path.step[0]: info.drift_measurements for info in read.drift_skew_info}
    assert measured["category"][0].threshold >= 0.05


def test_the_command_prints_json_and_takes_limits_from_a_file(
    outputs: Callable, drifted: dict, capsys: pytest.CaptureFixture, tmp_path: pathlib.Path
) -> None:
    folders = outputs(drifted)
    assert cli.main(["compare", *folders, "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["drifted"]
    assert told["rows"] == {"rows": [4000, 3000]}
    assert [each["drifted"] for each in told["columns"]] == [True] * 3 + [False] * 9
    config = tmp_path / "limits.yaml"
    names = ("jensen_shannon", "psi", "infinity_norm", "new_values")
    config.write_text(f"drift: {{{', '.join(f'{name}: null' for name in names)}}}\n")
    assert cli.main(["compare", *folders, "--config", str(config)]) == 0
    assert "0 of 12 columns have drifted." in capsys.readouterr().out


def test_what_cannot_be_compared_is_one_sentence(
    outputs: Callable, reference: dict, capsys: pytest.CaptureFixture, tmp_path: pathlib.Path
) -> None:
    old, new = outputs(reference)
    assert cli.main(["compare", old, new]) == 0
    capsys.readouterr()
    (tmp_path / "empty").mkdir()
    figures_path = pathlib.Path(new) / "artifacts/statistics/statistics.json"
    for folders, words in (
        ([old, str(tmp_path / "nowhere")], "no such folder"),
        ([old, str(tmp_path / "empty")], "there are no statistics"),
        ([old, new, "--new-split", "tset"], "there is no split 'tset'"),
    ):
        assert cli.main(["compare", *folders]) in (1, 2)
        error = capsys.readouterr().err
        assert words in error
        assert error.count("\n") == 1
    for text, words in (("{", "damaged"), ('{"layout": 99, "data_sets": {}}', "has the layout 99")):
        figures_path.write_text(text)
        assert cli.main(["compare", old, new]) == 1
        assert words in capsys.readouterr().err


def test_columns_of_one_side_alone_are_named(reference: dict) -> None:
    columns = sample(1000, 3)
    del columns["rating"]
    found = compare_figures(reference, made(columns))
    assert found.only_old == ("rows/rating",)
    assert isinstance(found, Comparison)
    assert not anomalies.to_proto(found, "rows").anomaly_info

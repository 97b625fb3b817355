"""The page about an output: what it holds, that it escapes, and that it works in a real browser."""

import html.parser
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
from browser import chromium
from conftest import Ran
from playwright.sync_api import sync_playwright

from recsys_tft import cli
from recsys_tft.reporting import charts, page
from recsys_tft.reporting.elements import element, joined
from recsys_tft.reporting.numbers import count, percent, short

SECTIONS = ("input", "rows", "labels", "features", "two-tower", "ranker", "serving", "settings")
HOSTILE = "<script>alert(1)</script>\"'&\x00"


class Tags(html.parser.HTMLParser):
    """Which elements there are, and whether each is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags_of(text: str) -> Tags:
    found = Tags()
    found.feed(text)
    assert found.open == []
    return found


def models_in(root: pathlib.Path) -> None:
    """Figures of both models, as trainers write them."""
    metric = {"value": 0.61, "low": 0.58, "high": 0.64, "users": 93}
    groups = {
        "by history length": {"1 to 4": {"ndcg@10": metric}},
        "by popularity": {"first tenth": {"ndcg@10": metric}},
    }
    judged = {name: {"all": {"auc": metric, "ndcg@10": metric}} | groups for name in ("ranker", "popularity", HOSTILE)}
    for name in ("ranker", "two_tower"):
        folder = root / "models" / name
        (folder / "logs").mkdir(parents=True)
        training = {"two_tower": {"epoch": 2, "best_epoch": 2, "seconds": 1.5}} if name == "two_tower" else {"trees": 2}
        found = {"val": judged, "test": judged, "training": training}
        (folder / "metrics.json").write_text(json.dumps(found))
    (root / "models/two_tower/logs/scalars.csv").write_text(
        "1,loss,5\n1,val_ndcg_at_10,.1\n2,loss,4\n2,val_ndcg_at_10,.2\n"
    )
    ranker = root / "models/ranker"
    for name, split in (("learn_error.tsv", 0.69), ("test_error.tsv", 0.68)):
        (ranker / "logs" / name).write_text(f"iter\tLogloss\n0\t{split}\n1\t0.5\n")
    for name in ("feature_importance", "shap_summary"):
        (ranker / f"{name}.csv").write_text(f'column,a\nage_z,12.5\n"{HOSTILE.replace(chr(34), chr(34) * 2)[:-1]}",3\n')
    (ranker / "calibration.csv").write_text(
        "split,decile,rows,mean_score,positive_share\nval,1,9,0.1,0.2\nval,2,9,0.6,0.5\n"
    )


@pytest.fixture(scope="module")
def output(synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy of what describes the synthetic run, with figures of models, hostile texts and rejected rows."""
    root = tmp_path_factory.mktemp("report") / "out"
    (root / "artifacts").mkdir(parents=True)
    shutil.copytree(synthetic_run.root / "artifacts/statistics", root / "artifacts/statistics")
    manifest = json.loads((synthetic_run.root / "artifacts/manifest.json").read_text())
    manifest["warnings"] = [f"odd: {HOSTILE}"]
    manifest["counts"] |= {f"rejected/users/{HOSTILE}": 7, "rejected/videos/video_id is null": 3}
    (root / "artifacts/manifest.json").write_text(json.dumps(manifest))
    path = root / "artifacts/statistics/statistics.json"
    figures = json.loads(path.read_text())
    top = figures["data_sets"]["raw_users"]["columns"]["country"]["splits"]["all"]["top"]
    top[0][0] = HOSTILE
    path.write_text(json.dumps(figures))
    models_in(root)
    return root


@pytest.fixture(scope="module")
def text(output: pathlib.Path) -> str:
    return page.build(str(output))


def test_ndcg_is_drawn_by_history_length_and_by_popularity(text: str) -> None:
    for split in ("val", "test"):
        for title, group in (
            ("by the number of videos that the user was positive on before", "1 to 4 (93 users)"),
            ("by the popularity rank of the videos, by training positives", "first tenth (93 users)"),
        ):
            assert f"ndcg@10 on {split}, {title}" in text
            assert group in text


def test_the_page_is_one_small_file_with_every_section(text: str) -> None:
    found = tags_of(text)
    assert [attrs["id"] for tag, attrs in found.seen if tag == "section"] == [*SECTIONS]
    assert len(text) < 3_000_000
    for tag, attrs in found.seen:
        for name in ("src", "href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), (tag, attrs)
    assert "@import" not in text
    assert not re.search(r"url\((?!data:)", text)
    labelled = [attrs for tag, attrs in found.seen if tag == "svg" and attrs.get("role") == "img"]
    assert len(labelled) > 80
    assert all(attrs["aria-label"] for attrs in labelled)


def test_every_column_of_the_statistics_is_on_the_page(text: str, output: pathlib.Path) -> None:
    figures = json.loads((output / "artifacts/statistics/statistics.json").read_text())
    listed = {(a["data-set"], a["data-name"]) for tag, a in tags_of(text).seen if a.get("class") == "feature"}
    assert listed == {(name, column.lower()) for name, own in figures["data_sets"].items() for column in own["columns"]}


def test_texts_of_users_are_escaped_wherever_they_stand(text: str) -> None:
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    assert text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5
    assert "\x00" not in text


def test_what_is_not_there_says_with_which_command_it_comes(
    synthetic_run: Ran, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture
) -> None:
    file = tmp_path / "page.html"
    assert cli.main(["report", "--output-dir", str(synthetic_run.root), "--file", str(file)]) == 0
    assert str(file) in capsys.readouterr().out
    text = file.read_text("utf-8")
    for command in ("recsys-tft train two-tower", "recsys-tft train ranker", "recsys-tft export"):
        assert command in text
    (tmp_path / "artifacts").mkdir()
    shutil.copy(synthetic_run.root / "artifacts/manifest.json", tmp_path / "artifacts")
    assert "recsys-tft run --output-dir" in page.build(str(tmp_path))  # without statistics
    assert cli.main(["report", "--output-dir", str(tmp_path / "nothing")]) == 1
    assert "no run there" in capsys.readouterr().err


def test_elements_escape_and_nest() -> None:
    assert element("p", "a<b", 1, None, [element("b", "&")], class_='x"y', data_name=True) == (
        '<p class="x&quot;y" data-name="">a&lt;b1<b>&amp;</b></p>'
    )
    assert joined("\ud800", element("i")) == "\N{REPLACEMENT CHARACTER}<i></i>"


def test_numbers_are_short() -> None:
    assert [count(1234567), percent(0.0001), percent(0.125), short(1234.5), short(2.5e9)] == [
        "1,234,567", "<0.1 %", "12.5 %", "1,234", "2.5 G",
    ]  # fmt: skip
    assert short(float("nan")) == "\N{EN DASH}"
    assert short(-0.00001234) == "\N{MINUS SIGN}1.23e\N{MINUS SIGN}05"


def test_charts_take_what_is_empty_constant_or_single() -> None:
    for drawn in (
        charts.distribution({}, [], "x"),
        charts.distribution({"train": [0.0]}, ["a"], "x"),
        charts.lines({"train": [1.0]}, "x", "a", "b", 0),
        charts.lines({"train": []}, "x", "a", "b"),
        charts.intervals([("a", 1.0, 1.0, 1.0, True)], "x"),
        charts.bars([("a", 0.0)], "x"),
        charts.timeline({"train": [0, 0]}, [(0.5, "val")], ("a", "b"), "x"),
        charts.calibration({"val": [(0.0, 0.0)]}, "x"),
    ):
        tags_of(drawn)
        assert "nan" not in drawn.lower()


def test_report_and_compare_load_no_tensorflow_and_no_beam(output: pathlib.Path, tmp_path: pathlib.Path) -> None:
    program = (
        "import sys\nfrom recsys_tft import cli\n"
        f"cli.main(['report', '--output-dir', {str(output)!r}, '--file', {str(tmp_path / 'x.html')!r}])\n"
        f"cli.main(['compare', {str(output)!r}, {str(output)!r}])\n"
        "print(sorted({'tensorflow', 'apache_beam', 'pandas', 'matplotlib', 'scipy'} & {*sys.modules}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert done.stdout.splitlines()[-1] == "[]"


# --- In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(text: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(text, encoding="utf-8")
    return path.as_uri()


@pytest.mark.slow
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_page_opens_without_an_error_and_fits(browser: object, address: str, theme: str, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, offline=True)
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("dialog", lambda dialog: (said.append("dialog"), dialog.dismiss()))
    opened.goto(address)
    opened.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width
    for name in SECTIONS:
        box = opened.locator(f"#{name}").bounding_box()
        assert box["height"] > 80, name
    empty = opened.evaluate(
        "[...document.querySelectorAll('svg[role=img]')].filter((s) => !s.getBoundingClientRect().width).length"
    )
    assert empty == 0
    ground = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (theme == "dark")
    assert _contrast(opened, "body", ".lead") >= 4.5
    small = opened.evaluate(
        "[...document.querySelectorAll('body *')].filter((e) => !e.childElementCount && e.textContent.trim()"
        " && e.getClientRects().length && parseFloat(getComputedStyle(e).fontSize) < 12).length"
    )
    assert small == 0
    assert said == []
    context.close()


def _contrast(opened: object, ground: str, text: str) -> float:
    """By WCAG 2."""
    found = [
        opened.evaluate(f"getComputedStyle(document.querySelector('{which}')).{what}")
        for which, what in ((ground, "backgroundColor"), (text, "color"))
    ]
    light = []
    for color in found:
        parts = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        light.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(light) + 0.05) / (min(light) + 0.05)


@pytest.mark.slow
def test_search_sort_choice_and_theme_work(browser: object, address: str) -> None:
    opened = browser.new_page()
    opened.goto(address)
    shown = "[...document.querySelectorAll('.feature:not([hidden])')]"
    every = opened.evaluate(f"{shown}.length")
    assert opened.inner_text("#found") == f"{every} columns"
    opened.fill("#search", "COUNTRY")
    names = opened.evaluate(f"{shown}.map((e) => e.dataset.name)")
    assert names
    assert all("country" in name for name in names)
    opened.select_option("#data-set", "ranker")
    assert opened.evaluate(f"{shown}.map((e) => e.dataset.set)") == ["ranker"]
    assert opened.inner_text("#found") == "1 column"
    opened.fill("#search", "no such column")
    assert opened.is_visible("#none")
    opened.fill("#search", "")
    opened.select_option("#data-set", "")
    for key in ("drift", "missing", "oov"):
        opened.select_option("#order", key)
        values = opened.evaluate(f"{shown}.map((e) => Number(e.dataset.{key}))")
        assert values == sorted(values, reverse=True)
        assert values[0] > 0
    opened.select_option("#order", "name")
    names = opened.evaluate(f"{shown}.map((e) => e.dataset.name)")
    assert names == sorted(names)
    opened.select_option("#order", "place")
    assert opened.evaluate(f"{shown}.length") == every
    first = opened.locator(".feature").first
    first.locator("summary").click()
    assert first.locator("table").first.is_visible()
    before = opened.evaluate("getComputedStyle(document.body).backgroundColor")
    opened.click("#theme")
    assert opened.inner_text("#theme") == "Theme: dark"
    assert opened.evaluate("getComputedStyle(document.body).backgroundColor") != before
    opened.close()

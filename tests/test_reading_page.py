"""The page on reading runs as it stands, on a small run."""

import contextlib
import io
import os
import pathlib
import re

import pytest
from conftest import Ran

PAGE = (pathlib.Path(__file__).parent.parent / "docs" / "reading.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def printed(synthetic_run: Ran, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """The lines that each block prints, where `output` is the synthetic run."""
    folder, before = tmp_path_factory.mktemp("page"), pathlib.Path.cwd()
    (folder / "output").symlink_to(synthetic_run.root)
    names: dict[str, object] = {}
    found = []
    os.chdir(folder)
    try:
        for block in BLOCKS:
            with contextlib.redirect_stdout(io.StringIO()) as text:
                exec(block, names)
            found.append(text.getvalue().splitlines())
    finally:
        os.chdir(before)
    return found


def test_every_block_reads_the_rows(printed: list[list[str]], synthetic_run: Ran) -> None:
    counts = synthetic_run.result.manifest["counts"]
    sizes = [int(re.match(r"\((\d+),\) float32", line)[1]) for line in printed[0]]
    assert sum(sizes) == counts["written/ranker/train"]
    assert printed[1] == ["64 int64"]
    assert printed[2] == [f"{counts['written/users']} 0"]
    assert printed[3] == [str(counts["written/users"])]


def test_every_file_and_heading_that_it_names_exists() -> None:
    docs = pathlib.Path(__file__).parent.parent / "docs"
    for name, heading in re.findall(r"\]\(([\w./-]+)(?:#([\w-]+))?\)", PAGE):
        headings = re.findall(r"^#+ (.*)$", (docs / name).read_text(), re.MULTILINE)
        assert not heading or heading in [text.lower().replace(" ", "-") for text in headings], heading

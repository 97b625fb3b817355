"""What decides which tests are slow, and which are first, names what exists; helpers are in modules of their own."""

import pathlib
import re

import slow_tests

HERE = pathlib.Path(__file__).parent


def test_the_fixtures_that_take_long_are_fixtures() -> None:
    text = "\n".join(path.read_text() for path in HERE.glob("*.py"))
    assert set(re.findall(r"^@pytest\.fixture.*\ndef (\w+)\(", text, re.MULTILINE)) >= slow_tests.LONG


def test_the_files_that_are_first_are_there() -> None:
    assert len(set(slow_tests.FIRST)) == len(slow_tests.FIRST)
    assert {f"test_{name}.py" for name in slow_tests.FIRST} <= {path.name for path in HERE.iterdir()}


def test_no_test_is_imported_by_another() -> None:
    text = "\n".join(path.read_text() for path in HERE.glob("*.py"))
    assert re.findall(r"^ *(?:from|import) (test_\w+)", text, re.MULTILINE) == []


def test_the_tests_that_take_over_a_second_are_tests_and_not_marked_besides() -> None:
    for name, tests in slow_tests.OVER_A_SECOND.items():
        text = (HERE / f"test_{name}.py").read_text()
        marked = re.findall(r"^@pytest\.mark\.slow\n(?:@.*\n)*def (\w+)\(", text, re.MULTILINE)
        assert set(tests) <= set(re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)) - set(marked)
        assert "pytestmark = pytest.mark.slow" not in text

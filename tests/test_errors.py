"""Errors of a user's making, also where a runner has wrapped them."""

import pytest

from recsys_tft.errors import InputError, StillRunning, UsageError
from recsys_tft.faults import sentences


@pytest.mark.parametrize(
    "error",
    [
        InputError("users: the table is empty. [while running 'Read users/Rows']"),
        RuntimeError(
            "Pipeline failed: InputError: users: the table is empty. [while running 'Read users/Rows']\nat ..."
        ),
        RuntimeError("b'...recsys_tft.errors.InputError: users: the table is empty.\\nat ...'"),
    ],
)
def test_an_input_error_leaves_as_its_sentence_alone(error: Exception) -> None:
    with pytest.raises(InputError) as found, sentences():
        raise error
    assert str(found.value) == "users: the table is empty."
    assert found.value.__cause__ is error


@pytest.mark.parametrize(
    "error", [UsageError("-k is 0."), StillRunning("it goes on."), KeyError("x"), KeyboardInterrupt()]
)
def test_other_errors_stay_what_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)) as found, sentences():
        raise error
    assert found.value is error

"""Expected values of settings, in our own words, for pydantic's errors."""

from collections.abc import Mapping
from typing import Any

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "finite": "a finite number",
    "bool": "true or false",
    "string": "text, in quotes where YAML reads something else",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "dict": "a mapping, as `name: value`",
    "model": "a mapping, as `name: value`",
    "none": "nothing",
}
_BOUNDS = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "{ge} or more",
    "less_than": "a number below {lt}",
    "less_than_equal": "{le} or less",
    "literal_error": "{expected}",
    "too_short": "{min_length} or more values",
    "too_long": "{max_length} values or fewer",
    "string_too_short": "text of {min_length} or more characters",
    "string_too_long": "text of {max_length} characters or fewer",
}


def expected(error: Mapping[str, Any]) -> str:
    """The value that was expected, for a pydantic error."""
    kind = str(error["type"])
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**error.get("ctx", {}))
    text = _KINDS.get(kind.partition("_")[0])
    return text or str(error["msg"]).removeprefix("Input should be ").removeprefix("Value error, ")

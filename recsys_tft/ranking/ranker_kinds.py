"""The kinds of ranker by `ranker.model`; each is imported when it is used."""

import importlib
from collections.abc import Callable
from types import ModuleType

from recsys_tft.errors import InputError
from recsys_tft.ranking.ranker_interface import Kind

OF_EARLIER_VERSIONS = "catboost"  # whose columns.json names no kind
KINDS: dict[str, Callable[[], ModuleType]] = {
    "catboost": lambda: importlib.import_module("recsys_tft.ranking.catboost_ranker"),
    "xgboost": lambda: importlib.import_module("recsys_tft.ranking.xgboost_ranker"),
    "dcn": lambda: importlib.import_module("recsys_tft.ranking.dcn_ranker"),
}


def of(name: str) -> Kind:
    """The kind that `ranker.model` or columns.json names.

    Raises:
        InputError: if there is none of that name, as a later version may have.
    """
    if name not in KINDS:
        raise InputError(f"The ranker is of the kind {name!r}; known are {', '.join(KINDS)}.")
    return KINDS[name]().KIND

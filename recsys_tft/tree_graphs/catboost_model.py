"""A CatBoost model, as `save_model(format='json', pool=...)` writes it, in arrays.

The semantics are those of the code that CatBoost exports (`save_model(format='python')`); nothing here imports
catboost. Unsupported parts of a model are refused by name; trainers call `check` before saving.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from recsys_tft.errors import InputError
from recsys_tft.tree_graphs.catboost_statistics import CTR_TYPES, StatisticsTables, statistics_tables

Json = Mapping[str, Any]
PROBABILITY_LOSSES = ("Logloss", "CrossEntropy")
_SPLITS = ("FloatFeature", "OneHotFeature", "OnlineCtr")
_ELEMENTS = ("cat_feature_value", "float_feature", "cat_feature_exact_value")


@dataclasses.dataclass(frozen=True)
class Tests:
    """Comparisons of one kind: row `source[i]` of their inputs with `value[i]`.

    Attributes:
        source: [n] int32.
        value: [n] float32 of borders, or int64 of hashes.
    """

    source: np.ndarray
    value: np.ndarray


@dataclasses.dataclass(frozen=True)
class CatBoostModel:
    """Symmetric trees over numeric and categorical columns.

    Attributes:
        numeric: the numbers of the numeric columns among all columns.
        categorical: the numbers of the categorical columns among all columns.
        nan_is_large: [numeric] bool, whether NaN is above every border, instead of below.
        categories: [n] int64, increasing: the values of all categorical columns.
        category_hashes: [n] int64, -2^31 <= hash < 2^31: CatBoost's hash of each value.
        above: tests whether a numeric column is above a border.
        equal: tests whether the hash of a categorical column equals a value.
        statistic_above: tests whether a target statistic is above a border.
        numeric_elements: tests like `above`, whose outcome is part of combinations.
        category_elements: tests like `equal`, whose outcome is part of combinations.
        statistics: the target statistics. The inputs of their combinations are numbered through the categorical
            columns, `numeric_elements` and `category_elements`.
        splits: [depth, trees] int32, numbers of tests through `above`, `equal` and `statistic_above`; shallower trees
            are padded with the total number of tests.
        leaves: [trees, 2^depth] float64; bit b of a row's leaf is the outcome of split b.
        scale: of the sum of a row's leaves.
        bias: added to it.
        is_probability: whether the result is a logit, instead of a rank score.
    """

    numeric: tuple[int, ...]
    categorical: tuple[int, ...]
    nan_is_large: np.ndarray
    categories: np.ndarray
    category_hashes: np.ndarray
    above: Tests
    equal: Tests
    statistic_above: Tests
    numeric_elements: Tests
    category_elements: Tests
    statistics: StatisticsTables
    splits: np.ndarray
    leaves: np.ndarray
    scale: float
    bias: float
    is_probability: bool


def check(model: Json) -> None:
    """Refuse a model that the serving graph cannot hold.

    Args:
        model: the parsed JSON.

    Raises:
        InputError: naming what is not supported.
    """
    info = model["features_info"]
    if "trees" in model:
        raise InputError("The CatBoost model has asymmetric trees; train it with grow_policy SymmetricTree.")
    if len(_biases(model)) > 1:
        raise InputError(
            f"The CatBoost model gives {len(_biases(model))} scores per row (loss {_loss(model)}); "
            "train it with a loss that gives one, such as Logloss or YetiRank."
        )
    for entry in _list(info, "cat_features_hash"):
        if not _is_whole(entry["value"]):
            raise InputError(f"The CatBoost model knows the category {entry['value']!r}; categories must be tokens.")
    for statistic in _list(info, "ctrs"):
        if statistic["ctr_type"] not in CTR_TYPES:
            supported = ", ".join(CTR_TYPES)
            raise InputError(
                f"The CatBoost model has statistics of type {statistic['ctr_type']}; supported: {supported}."
            )
    for tree in _list(model, "oblivious_trees"):
        for split in _list(tree, "splits"):
            if split["split_type"] not in _SPLITS:
                supported = ", ".join(_SPLITS)
                raise InputError(
                    f"The CatBoost model has splits of type {split['split_type']}; supported: {supported}."
                )


def parse(model: Json) -> CatBoostModel:
    """The arrays of a model.

    Args:
        model: the parsed JSON.

    Raises:
        InputError: as `check`.
    """
    check(model)
    info = model["features_info"]
    numeric, categorical, ctrs = (_list(info, k) for k in ("float_features", "categorical_features", "ctrs"))
    rows = {"float": _rows(numeric), "cat": _rows(categorical)}
    elements = sorted({_element(e, rows) for ctr in ctrs for e in ctr["elements"] if _kind(e) != _ELEMENTS[0]})
    numbers = {element: len(categorical) + number for number, element in enumerate(elements)}
    numbers |= {(0, row, 0): row for row in range(len(categorical))}
    combinations = [tuple(numbers[_element(e, rows)] for e in ctr["elements"]) for ctr in ctrs]
    statistics, positions = statistics_tables(ctrs, model.get("ctr_data") or {}, combinations)
    trees = _list(model, "oblivious_trees")
    owners = _statistic_of_split(numeric, categorical, ctrs)
    splits_of_trees = [[_split(s, rows, owners, positions) for s in _list(tree, "splits")] for tree in trees]
    tests = sorted({split for splits in splits_of_trees for split in splits})
    hashes = {int(e["value"]): signed(e["hash"]) for e in _list(info, "cat_features_hash")}
    return CatBoostModel(
        numeric=tuple(f["flat_feature_index"] for f in numeric),
        categorical=tuple(f["flat_feature_index"] for f in categorical),
        nan_is_large=np.array([f["nan_value_treatment"] == "AsTrue" for f in numeric], bool),
        categories=np.array(sorted(hashes), np.int64),
        category_hashes=np.array([hashes[value] for value in sorted(hashes)], np.int64),
        above=_tests(tests, 0, np.float32),
        equal=_tests(tests, 1, np.int64),
        statistic_above=_tests(tests, 2, np.float32),
        numeric_elements=_tests(elements, 1, np.float32),
        category_elements=_tests(elements, 2, np.int64),
        statistics=statistics,
        splits=_layers(splits_of_trees, tests),
        leaves=_leaves(trees),
        scale=float(model["scale_and_bias"][0]),
        bias=float(_biases(model)[0]),
        is_probability=_loss(model) in PROBABILITY_LOSSES,
    )


def signed(value: int) -> int:
    """A hash of 32 bits as a signed integer, as CatBoost chains it."""
    return int(np.uint32(int(value) & 0xFFFFFFFF).view(np.int32))


def _list(node: Json, name: str) -> Sequence[Any]:
    return node.get(name) or []  # CatBoost writes an empty list as null, or leaves it out


def _biases(model: Json) -> Sequence[float]:
    bias = model["scale_and_bias"][1]
    return bias if isinstance(bias, Sequence) else [bias]


def _loss(model: Json) -> str:
    return model["model_info"]["params"]["loss_function"]["type"]


def _is_whole(value: str) -> bool:
    try:
        return str(int(value)) == value and -(2**63) <= int(value) < 2**63
    except ValueError:
        return False


def _rows(features: Iterable[Json]) -> dict[int, int]:
    return {feature["feature_index"]: row for row, feature in enumerate(features)}


def _kind(element: Json) -> str:
    return element["combination_element"]


Test = tuple[int, int, float | int]  # kind, row of its inputs, value


def _element(element: Json, rows: Mapping[str, Mapping[int, int]]) -> Test:
    kind = _ELEMENTS.index(_kind(element))
    if kind == 1:
        return kind, rows["float"][element["float_feature_index"]], element["border"]
    return kind, rows["cat"][element["cat_feature_index"]], signed(element["value"]) if kind else 0


def _split(
    split: Json, rows: Mapping[str, Mapping[int, int]], owners: Mapping[int, int], positions: np.ndarray
) -> Test:
    kind = _SPLITS.index(split["split_type"])
    if kind == 0:
        return kind, rows["float"][split["float_feature_index"]], split["border"]
    if kind == 1:
        return kind, rows["cat"][split["cat_feature_index"]], signed(split["value"])
    return kind, int(positions[owners[split["split_index"]]]), split["border"]


def _statistic_of_split(numeric: Sequence[Json], categorical: Sequence[Json], ctrs: Sequence[Json]) -> dict[int, int]:
    """The statistic of a split's index; all borders of numeric columns come first, then all one-hot values."""
    first = sum(len(_list(f, "borders")) for f in numeric) + sum(len(_list(f, "values")) for f in categorical)
    owners = np.repeat(np.arange(len(ctrs)), [len(ctr["borders"]) for ctr in ctrs]).tolist()
    return dict(enumerate(owners, first))


def _tests(tests: Iterable[Test], kind: int, dtype: type) -> Tests:
    chosen = [test for test in tests if test[0] == kind]
    return Tests(np.array([t[1] for t in chosen], np.int32), np.array([t[2] for t in chosen], dtype))


def _layers(splits_of_trees: Sequence[Sequence[Test]], tests: Sequence[Test]) -> np.ndarray:
    numbers = {test: number for number, test in enumerate(tests)}
    depth = max(map(len, splits_of_trees), default=0)
    layers = np.full((depth, len(splits_of_trees)), len(tests), np.int32)
    for tree, splits in enumerate(splits_of_trees):
        layers[: len(splits), tree] = [numbers[split] for split in splits]
    return layers


def _leaves(trees: Sequence[Json]) -> np.ndarray:
    leaves = np.zeros((len(trees), max((len(tree["leaf_values"]) for tree in trees), default=1)), np.float64)
    for row, tree in zip(leaves, trees, strict=True):
        row[: len(tree["leaf_values"])] = tree["leaf_values"]
    return leaves

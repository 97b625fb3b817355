"""An XGBoost model, as `save_model("model.json")` writes it, in arrays; nothing here imports xgboost.

The semantics are those of XGBoost's CPU predictor: numbers below the threshold of a node go left, categories in its set
go right, all others left.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recsys_tft.errors import InputError

Json = Mapping[str, Any]
OBJECTIVE = "binary:logistic"
_CATEGORICAL = 1  # a node's split_type


@dataclasses.dataclass(frozen=True)
class XGBoostModel:
    """Trees over numeric and categorical columns, with nodes numbered tree by tree.

    Attributes:
        numeric: the numbers of the numeric columns among all columns.
        categorical: the numbers of the categorical columns among all columns.
        roots: [trees] int32.
        left: [nodes] int32, the left child, followed by the right one; a leaf is its own child.
        source: [nodes] int32, row of the numeric or categorical columns; -1 for leaves.
        is_categorical: [nodes] bool.
        threshold: [nodes] float32 of numeric columns.
        nan_goes_right: [nodes] bool.
        sets: by node of a categorical column [n] int64 categories that go right.
        leaves: [nodes] float32 values of leaves.
        depth: of the deepest tree.
        bias: of all rows.
    """

    numeric: tuple[int, ...]
    categorical: tuple[int, ...]
    roots: np.ndarray
    left: np.ndarray
    source: np.ndarray
    is_categorical: np.ndarray
    threshold: np.ndarray
    nan_goes_right: np.ndarray
    sets: Mapping[int, np.ndarray]
    leaves: np.ndarray
    depth: int
    bias: np.float32


def check(model: Json) -> None:
    """Refuse a model that the serving graph cannot hold.

    Args:
        model: the parsed JSON.

    Raises:
        InputError: naming what is not supported.
    """
    learner = model["learner"]
    if (objective := learner["objective"]["name"]) != OBJECTIVE:
        raise InputError(f"The XGBoost model has the objective {objective}; supported: {OBJECTIVE}.")
    if (booster := learner["gradient_booster"]["name"]) != "gbtree":
        raise InputError(f"The XGBoost model is a {booster}; supported: gbtree.")
    if learner["gradient_booster"]["model"].get("cats", {}).get("enc"):
        raise InputError("The XGBoost model codes categories itself; train it on their tokens.")


def parse(model: Json) -> XGBoostModel:
    """The arrays of a model.

    Args:
        model: the parsed JSON.

    Raises:
        InputError: as `check`.
    """
    check(model)
    learner = model["learner"]
    are_categorical = np.array([kind == "c" for kind in learner["feature_types"]], bool)
    rows = np.where(are_categorical, np.cumsum(are_categorical), np.cumsum(~are_categorical)) - 1
    trees = [_tree(tree) for tree in learner["gradient_booster"]["model"]["trees"]]
    sizes = [len(tree["left"]) for tree in trees]
    firsts = np.cumsum([0, *sizes])[:-1].astype(np.int32)
    joined = {
        name: np.concatenate([tree[name] for tree in trees] or [np.zeros(0, kind)]).astype(kind)
        for name, kind in _KINDS.items()
    }
    source = np.append(rows, -1)[joined["column"]]
    return XGBoostModel(
        numeric=tuple(np.flatnonzero(~are_categorical).tolist()),
        categorical=tuple(np.flatnonzero(are_categorical).tolist()),
        roots=firsts,
        left=joined["left"] + np.repeat(firsts, sizes).astype(np.int32),
        source=source.astype(np.int32),
        is_categorical=joined["is_categorical"],
        threshold=joined["threshold"],
        nan_goes_right=joined["nan_goes_right"],
        sets={
            int(first) + node: tokens
            for first, tree in zip(firsts, trees, strict=True)
            for node, tokens in tree["sets"].items()
        },
        leaves=joined["leaf"],
        depth=max((tree["depth"] for tree in trees), default=0),
        bias=_bias(learner["learner_model_param"]["base_score"]),
    )


_KINDS = {"left": np.int32, "column": np.int64, "is_categorical": bool, "threshold": np.float32,
          "nan_goes_right": bool, "leaf": np.float32}  # fmt: skip


def _tree(tree: Json) -> dict[str, Any]:
    """The nodes of a tree by level, so that siblings are adjacent; the column of leaves is -1."""
    children = np.stack([tree["left_children"], tree["right_children"]], 1)
    order, levels = [np.zeros(1, np.int64)], 0
    while len(parents := order[-1][children[order[-1], 0] >= 0]):
        order.append(children[parents].ravel())
        levels += 1
    nodes = np.concatenate(order)
    place = np.zeros(len(children), np.int64)
    place[nodes] = np.arange(len(nodes))
    inner = children[nodes, 0] >= 0
    values = np.array(tree["split_conditions"], np.float64).astype(np.float32)[nodes]
    starts = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    tokens = np.array(tree["categories"], np.int64)
    return {
        "left": np.where(inner, place[children[nodes, 0]], np.arange(len(nodes))),
        "column": np.where(inner, np.array(tree["split_indices"])[nodes], -1),
        "is_categorical": inner & (np.array(tree["split_type"])[nodes] == _CATEGORICAL),
        "threshold": values,
        "nan_goes_right": inner & (np.array(tree["default_left"])[nodes] == 0),
        "leaf": np.where(inner, np.float32(0), values),
        "sets": {int(place[node]): tokens[start : start + size] for node, start, size in starts},
        "depth": levels,
    }


def _bias(base_score: str) -> np.float32:
    """The logit of XGBoost's base score, computed in float32 like XGBoost; NumPy's log differs in the last bit."""
    odds = np.float32(1) / np.float32(base_score.strip("[]")) - np.float32(1)
    return np.float32(-np.log(np.float64(odds)))


def classes(tokens: Sequence[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Number the classes of categories that all sets of a column treat alike.

    Args:
        tokens: of each set.
        size: categories are 0 .. size - 1.

    Returns:
        [size + 1] int32 class of each category, and last of all others (0: in no set); and [sets, classes] bool,
        whether a class is in a set.
    """
    categories = np.unique(np.concatenate([np.zeros(0, np.int64), *tokens]))
    categories = categories[(categories >= 0) & (categories < size)]
    members = (
        np.stack([np.isin(categories, members_of_set) for members_of_set in tokens])
        if tokens
        else np.zeros((0, len(categories)), bool)
    )
    packed = np.concatenate([np.zeros((len(members), 1), bool), members], 1)
    _, first, number = np.unique(np.packbits(packed, axis=0), axis=1, return_index=True, return_inverse=True)
    class_of_category = np.full(size + 1, number.ravel()[0], np.int32)
    class_of_category[categories] = number.ravel()[1:]
    return class_of_category, packed[:, first]

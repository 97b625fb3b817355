"""An XGBoost model, as `save_model("model.json")` writes it, in arrays; nothing here imports xgboost.

The meaning of the file is that of XGBoost's CPU predictor. A number below the threshold of a node goes left, a category
in its set goes right, any other one left.
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
    """Trees over numeric and categorical columns, their nodes numbered one tree after the other.

    Attributes:
        numeric: for each numeric column its number among all columns.
        categorical: for each categorical column its number among all columns.
        roots: [trees] int32.
        left: [nodes] int32, the left child, which the right one follows; a leaf is its own.
        source: [nodes] int32, row of the numeric or categorical columns; -1 of a leaf.
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
        InputError: naming what cannot be held.
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
    """The nodes of a tree, a level after the other, so that brothers stand together; column -1 of a leaf."""
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
    """The logit of XGBoost's base score, in float32 as it computes it; NumPy's own log has another last bit."""
    odds = np.float32(1) / np.float32(base_score.strip("[]")) - np.float32(1)
    return np.float32(-np.log(np.float64(odds)))


def classes(tokens: Sequence[np.ndarray], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Categories that all sets of a column treat alike, under one number.

    Args:
        tokens: of each set.
        size: categories are 0 .. size - 1.

    Returns:
        [size + 1] int32 class of each category, and in the end of any other one, 0 of those in no set; and
        [sets, classes] bool, whether a class is in a set.
    """
    known = np.unique(np.concatenate([np.zeros(0, np.int64), *tokens]))
    known = known[(known >= 0) & (known < size)]
    members = np.stack([np.isin(known, own) for own in tokens]) if tokens else np.zeros((0, len(known)), bool)
    packed = np.concatenate([np.zeros((len(members), 1), bool), members], 1)
    _, first, number = np.unique(np.packbits(packed, axis=0), axis=1, return_index=True, return_inverse=True)
    found = np.full(size + 1, number.ravel()[0], np.int32)
    found[known] = number.ravel()[1:]
    return found, packed[:, first]

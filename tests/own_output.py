"""A run on the table of `own_table`, with counters and histories as of each exposure, both models and their export."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from conftest import SERVED_CONFIG, Ran, exported, once, pipeline_in

if TYPE_CHECKING:
    from recsys_tft.features import FeatureTable

SIZES = {"users": 60, "videos": 120, "interactions": 2500}
OWN_CONFIG = """
counters: {source: as_of, delay: 6h}
history: {length: 3}
title_precision: float32
"""


@pytest.fixture(scope="session")
def own_features(tmp_path_factory: pytest.TempPathFactory) -> "FeatureTable":
    """The table."""
    import own_table
    import tensorflow as tf
    from hashed_titles import HashedTitles

    def save(folder: pathlib.Path) -> str:
        tf.saved_model.save(HashedTitles(), str(folder))
        return str(folder)

    return own_table.table(once(tmp_path_factory, "hashed", save))


@contextlib.contextmanager
def _named(table: "FeatureTable") -> Iterator["FeatureTable"]:
    from recsys_tft import feature_tables

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_tables, "load", lambda name: table)
        yield table


@pytest.fixture(scope="module")
def own(own_features: "FeatureTable") -> Iterator["FeatureTable"]:
    """The table, which every config means."""
    with _named(own_features) as table:
        yield table


@pytest.fixture(scope="session")
def own_ran(own_features: "FeatureTable", tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """The run, trained quickly and exported."""
    import own_table

    def run(folder: pathlib.Path) -> Ran:
        raw = folder / "out" / "raw"
        raw.mkdir(parents=True)
        own_table.write_tables(raw, **SIZES)
        config = SERVED_CONFIG.replace("TITLES", "none").replace("epochs: 2", "epochs: 1")
        pipeline, said = pipeline_in(folder, f"{config}{OWN_CONFIG}encoder_cache: {folder}/cache\n")
        with _named(own_features):
            result = pipeline.run(str(raw))
            return Ran(result, pipeline, raw, exported(folder / "out"), folder / "config.yaml", said)

    return once(tmp_path_factory, "own-columns", run)

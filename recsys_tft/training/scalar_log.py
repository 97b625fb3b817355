"""Scalars for TensorBoard, written by TensorFlow alone: the tensorboard package is needed to look at them only.

What has no TensorFlow reads the same ones as rows of step, name and value from a table; of a step that is there twice,
as a training was resumed, the last row holds.
"""

import csv
import pathlib

import tensorflow as tf

TABLE = "scalars.csv"


class ScalarLog:
    """A log of numbers by step.

    Args:
        folder: which TensorBoard is to be started with.
    """

    def __init__(self, folder: pathlib.Path):
        self._writer = tf.summary.create_file_writer(str(folder))
        self._kind = tf.compat.v1.SummaryMetadata()
        self._kind.plugin_data.plugin_name = "scalars"
        folder.mkdir(parents=True, exist_ok=True)
        self._table = folder / TABLE

    def write(self, step: int, **values: float) -> None:
        """Add values of a step, and flush them."""
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.write(name, tf.constant(value, tf.float32), step, self._kind)
        self._writer.flush()
        with open(self._table, "a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows((step, name, f"{value:.9g}") for name, value in values.items())

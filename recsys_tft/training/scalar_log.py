"""Scalars for TensorBoard, written by TensorFlow alone; only viewing them needs the tensorboard package.

They are also in a CSV file of step, name and value; if a step is there twice, after a resumed training, the last row
is valid.
"""

import csv
import pathlib

import tensorflow as tf

TABLE = "scalars.csv"


class ScalarLog:
    """A log of numbers by step.

    Args:
        folder: the `--logdir` of TensorBoard.
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

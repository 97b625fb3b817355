"""Scalars for TensorBoard, written by TensorFlow alone: the tensorboard package is needed to look at them only."""

import pathlib

import tensorflow as tf


class ScalarLog:
    """A log of numbers by step.

    Args:
        folder: which TensorBoard is to be started with.
    """

    def __init__(self, folder: pathlib.Path):
        self._writer = tf.summary.create_file_writer(str(folder))
        self._kind = tf.compat.v1.SummaryMetadata()
        self._kind.plugin_data.plugin_name = "scalars"

    def write(self, step: int, **values: float) -> None:
        """Adds values of a step, and flushes them."""
        with self._writer.as_default():
            for name, value in values.items():
                tf.summary.write(name, tf.constant(value, tf.float32), step, self._kind)
        self._writer.flush()

"""Rows on disk, changed in one place."""

import pathlib
from collections.abc import Callable

import tensorflow as tf


def rewrite(folder: pathlib.Path, change: Callable[[tf.train.Example], None], row: int) -> tf.train.Example:
    """Alters one row of a folder's first file."""
    (file, *_) = sorted(folder.glob("part-*.tfrecord"))
    records = [record.numpy() for record in tf.data.TFRecordDataset(str(file))]
    altered = tf.train.Example.FromString(records[row])
    change(altered)
    records[row] = altered.SerializeToString()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)
    return altered

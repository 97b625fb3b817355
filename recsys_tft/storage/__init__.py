"""Rows on disk and how they get there: tf.Examples, TFRecords, Parquet, and an output that is whole or absent."""

"""File formats and file systems: tf.Examples, TFRecords, Parquet, and folders that change atomically."""

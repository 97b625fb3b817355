"""Rows of files as batches: TFRecords of tf.Examples, gzip or not, and Parquet, as NumPy, Arrow, tf.data or PyTorch."""

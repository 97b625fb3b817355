"""Reads rows of TFRecords of tf.Examples (also gzip) and Parquet as batches of NumPy, Arrow, tf.data or PyTorch."""

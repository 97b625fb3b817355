"""Feature engineering for video recommenders on TensorFlow: one table of features, one graph for training and serving."""

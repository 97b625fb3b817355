"""A CatBoost model as a TensorFlow graph, equal to CatBoost's own predictions."""

"""Titles as vectors: sentence encoders as TensorFlow graphs, and the cache of their vectors."""

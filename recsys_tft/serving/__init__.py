"""Serving models with the transform graph inside, and their inputs."""

"""Models for serving, which hold the transform graph, and their inputs."""

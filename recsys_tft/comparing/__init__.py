"""Drift between two outputs, by their statistics alone."""

"""Exposures, their splits and their labels: pure functions over columns."""

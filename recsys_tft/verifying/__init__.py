"""Comparison of serving graphs with the rows on disk, value by value."""

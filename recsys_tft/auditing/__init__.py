"""Whether any row changes when its future does."""

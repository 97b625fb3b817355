"""Statistics of the rows of a run: counts, distributions and values of each column, by split."""

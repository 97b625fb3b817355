"""What the rows of a run are like: counts, distributions and values of each column, by split."""

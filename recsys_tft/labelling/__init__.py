"""What an exposure is, which split it is in, and whether it is positive: pure functions over columns."""

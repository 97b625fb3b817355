"""What an example is: pure functions over columns that say what was shown, liked and known at the time."""

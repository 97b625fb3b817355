"""From events to labelled examples: pure functions over columns, one partition of users at a time."""

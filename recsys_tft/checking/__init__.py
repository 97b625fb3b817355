"""What a run would make of raw tables, found out in seconds from their footers and a sample of their rows."""

"""Preview of a run on raw tables, in seconds, from their footers and a sample of their rows."""

"""Code shared by both trainers: rows read from disk, folders of models, reports."""

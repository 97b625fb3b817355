"""What both trainers share: rows read from disk, folders of models, reports."""

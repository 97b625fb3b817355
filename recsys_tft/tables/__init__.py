"""The four raw tables: the user's, of public data sets, and synthetic ones."""

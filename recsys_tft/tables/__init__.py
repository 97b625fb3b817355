"""The four raw tables: as users give them, as MovieLens has them, and synthetic ones."""

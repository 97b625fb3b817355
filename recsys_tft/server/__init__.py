"""The recommender as an HTTP server, with a page for people."""

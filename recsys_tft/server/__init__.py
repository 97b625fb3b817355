"""The recommender as an HTTP server, with a web page."""

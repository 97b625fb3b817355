"""Measurements. `python -m bench.NAME --help` says of what."""

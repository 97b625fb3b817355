"""Commands of `recsys-tft`, one module each beside `cli.py`."""

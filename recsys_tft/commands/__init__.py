"""What the commands of `recsys-tft` do, one module each beside `cli.py`."""

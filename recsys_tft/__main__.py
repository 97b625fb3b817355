"""`python -m recsys_tft` is the same as `recsys-tft`."""

import sys

from recsys_tft.cli import main

sys.exit(main())

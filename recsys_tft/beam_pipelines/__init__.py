"""The folder `beam_pipelines` beside this package, under a name that no other project's folder can take.

Its modules are imported as `recsys_tft.beam_pipelines.NAME`, in a checkout as in an installed wheel.
"""

import pathlib

__path__ = [str(pathlib.Path(__file__).resolve().parents[2] / "beam_pipelines")]

"""The Beam wiring of recsys_tft: PTransforms, and the pipeline that joins them."""

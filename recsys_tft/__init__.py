"""Feature engineering for video recommenders: one table of features, one TensorFlow graph for training and serving."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from recsys_tft.checking.preview import check
    from recsys_tft.processing import PipelineConfig, ProcessingPipeline, RunResult
    from recsys_tft.reading.rows import read
    from recsys_tft.recommending.recommender import Recommender
    from recsys_tft.refreshing import refresh

__all__ = ["PipelineConfig", "ProcessingPipeline", "Recommender", "RunResult", "check", "read", "refresh"]


def __getattr__(name: str) -> object:
    """The public names, imported when they are first used, so that `import recsys_tft` stays light."""
    if name == "Recommender":
        from recsys_tft.recommending.recommender import Recommender

        return Recommender
    if name == "read":
        from recsys_tft.reading.rows import read

        return read
    if name == "check":
        from recsys_tft.checking.preview import check

        return check
    if name == "refresh":
        from recsys_tft.refreshing import refresh

        return refresh
    if name in __all__:
        from recsys_tft import processing

        return getattr(processing, name)
    raise AttributeError(f"module 'recsys_tft' has no attribute {name!r}")

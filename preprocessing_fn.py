"""The preprocessing_fn of tf.Transform, and so the module file of a TFX Transform component.

It applies the feature table. `custom_config` may hold `settings` (a mapping of what differs from the defaults) or
`config` (the path of a YAML file); without it the defaults apply.
"""

from recsys_tft.graph import preprocessing_fn

__all__ = ["preprocessing_fn"]

"""The preprocessing_fn of tf.Transform, and so the module file of a TFX Transform component.

It applies the feature table. `custom_config` may hold `settings` (a mapping of what differs from the defaults) or
`config` (the path of a YAML file); without it the defaults apply.
"""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from recsys_tft.configuration import settings as settings_module
from recsys_tft.graph import engineer


def preprocessing_fn(inputs: Mapping[str, Any], custom_config: Mapping[str, Any] | None = None) -> dict[str, tf.Tensor]:
    """Every feature of the table from raw inputs.

    Args:
        inputs: raw columns by name, as dense, sparse or ragged tensors; an absent one is missing everywhere, and
            those that no feature reads are ignored.
        custom_config: `{"settings": {...}}` or `{"config": "file.yaml"}`.

    Returns:
        Engineered features by name.

    Raises:
        InputError: if a setting is wrong, or `inputs` holds no column that a feature reads.
    """
    config = custom_config or {}
    if "config" in config:
        return engineer(inputs, settings_module.load(config["config"]))
    return engineer(inputs, settings_module.parse(dict(config.get("settings") or {}), "custom_config"))

"""The columns that are known as of a moment."""

from recsys_tft.columns import HISTORY
from recsys_tft.default_table import DEFAULT

COUNTED = {name for name, feature in DEFAULT.by_name.items() if feature.is_counted}
RECENT = {name for name, feature in DEFAULT.by_name.items() if feature.option == "recent"}
OF_HISTORY = {name for name, feature in DEFAULT.by_name.items() if set(feature.sources) <= set(HISTORY)}

"""Columns of each raw table that the main job reads."""

from recsys_tft.columns import UPDATED
from recsys_tft.configuration.settings import Settings
from recsys_tft.default_table import DEFAULT
from recsys_tft.features import raw_columns
from recsys_tft.tables.raw_tables import RawTable

# Columns of each table for keys and labels, besides those that features read.
_NEEDED = {
    "users": (),
    "videos": ("video_id", "channel_id", "video_duration", "category"),
    "channels": ("channel_id",),
    "interactions": ("user_id", "video_id", "interaction_time", "watch_time"),
}


def needed_columns(table: RawTable, settings: Settings) -> list[str]:
    """The columns of a table that the job uses."""
    # The job's own columns are read even if the user's table has no feature of them.
    ours = [column for column in raw_columns(DEFAULT.switched_on(settings)) if column.built_in]
    read = (column for column in (*raw_columns(settings.table.switched_on(settings)), *ours))
    features = [column.name for column in read if column.table == table.name and column.name in table.known]
    signals = [] if table.name != "interactions" else ["interaction_type", *table.possible_flags]
    updated = [UPDATED] if table.is_versioned else []
    return list(dict.fromkeys([*_NEEDED[table.name], *updated, *features, *signals]))

"""Raw tables in memory as the main job takes them, for an export and for `verify`."""

"""Settings of a configuration file: every option with its default, checked."""

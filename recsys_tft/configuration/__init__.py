"""What a configuration file may say: every option with its default, checked."""

"""What has changed between two outputs, by their statistics alone."""

"""One page of HTML about an output: its data, its features and its models."""

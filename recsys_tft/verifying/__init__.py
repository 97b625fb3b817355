"""Whether serving graphs compute what stands on disk, value by value."""

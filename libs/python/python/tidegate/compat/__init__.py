"""Stand-ins for other systems, so that programs written for them run on Tidegate."""

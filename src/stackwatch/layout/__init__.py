"""A listing becomes layers: which files, which slices, in which order."""

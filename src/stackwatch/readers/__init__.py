"""A file becomes slices: one format, one module."""

"""Slabs become bytes on disk, and a finished dataset becomes visible."""

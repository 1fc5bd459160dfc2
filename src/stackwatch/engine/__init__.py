"""The fast part: slices become slabs, slabs become mags. Knows no format, no folder, no job."""

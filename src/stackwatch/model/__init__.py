"""Values only: frozen records without I/O and without logging."""

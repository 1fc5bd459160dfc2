"""Events are hints, the scan is the truth."""

"""The status page, the metrics and the health check: they read what is recorded."""

"""The service: wiring, worker processes, signals."""

"""Building blocks for tests, demos and benchmarks; nothing outside them imports this package."""

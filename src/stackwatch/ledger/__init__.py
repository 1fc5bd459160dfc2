"""The ledger: facts and transitions in SQLite, written by the daemon alone."""

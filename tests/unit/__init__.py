PATIENCE_SECONDS = 300  # far more than what is awaited takes: another run may be on the same machine

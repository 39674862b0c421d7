PATIENCE_SECONDS = 900  # two whole runs on the same machine leave these tests hardly any time

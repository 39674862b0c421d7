"""The verbs that operate a deployed pipeline."""

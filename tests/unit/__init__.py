PATIENCE_SECONDS = 300  # far more than what is awaited takes: another run may be on the same machine
WAITED_FOR = ("timeout", "stall")  # the faults that a test notices only when time has passed


def waits(test: str) -> bool:
    """Return whether a test waits for a request to time out, by its ID, which ends with the fault.

    The scheduler of pytest-xdist knows no more than IDs.
    """
    return test.endswith(tuple(f"{fault}]" for fault in WAITED_FOR))

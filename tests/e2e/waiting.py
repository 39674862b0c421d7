"""How the end-to-end tests wait: for a result, a verdict, a message, or anything else that comes in its own time."""

from collections.abc import Callable

from commands import terminal

DEADLINE_SECONDS = 480.0  # for a busy machine, and less than pytest gives a test; most take a second


def wait_for[T](what: str, check: Callable[[], T | None], seconds: float = DEADLINE_SECONDS) -> T:
    """Return the first truthy result of check; fail when none comes in time."""
    result = terminal.wait_for(check, seconds, poll_seconds=0.1)
    assert result, f"waited {seconds:.0f} s for {what}, which did not come"
    return result

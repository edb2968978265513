"""A stop for commands that must end: it lets retries wait so long in all, and then asks for the end."""

from threading import Event


class Patience:
    """Implements `core.ports.Stop`; it counts waits and reads no clock."""

    def __init__(self, wait_seconds_max: float) -> None:
        """Start with all its patience."""
        self._left = wait_seconds_max
        self._never = Event()

    def is_set(self) -> bool:
        """Whether patience is used up."""
        return self._left <= 0

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds, or as long as patience lasts."""
        seconds = self._left if timeout is None else min(timeout, self._left)
        self._never.wait(max(0.0, seconds))
        self._left -= seconds
        return self.is_set()

"""Waits that take no time."""


class Impatient:
    """A stop whose waits return at once; it sets itself after `waits_max` of them, so that no test runs for ever."""

    def __init__(self, waits_max: int = 200) -> None:
        """Start unset."""
        self.waits = 0
        self._waits_max = waits_max

    def is_set(self) -> bool:
        """Whether too many waits were asked for."""
        return self.waits >= self._waits_max

    def wait(self, timeout: float | None = None) -> bool:
        """Count a wait."""
        del timeout
        self.waits += 1
        return self.is_set()

"""When to ask of a stream or table again: at an interval, and ever later after calls that failed."""

from dataclasses import dataclass, field
from typing import Final, assert_never

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from lockside.aws.retrying import error_code, verdict
from lockside.core import telemetry
from lockside.core.failures import Verdict
from lockside.engines.embedded.pace import Outage
from lockside.engines.embedded.services import Services

LOG = structlog.get_logger(__name__)

CALL_ERRORS: Final = (ClientError, BotoCoreError)
"""What a call of boto3 raises when it fails."""


@dataclass(slots=True)
class Asking:
    """One series of calls. `due_ms` is when the next may be made, in monotonic milliseconds."""

    services: Services
    operation: str
    table: str
    due_ms: int
    _outage: Outage = field(default_factory=Outage)

    @property
    def is_due(self) -> bool:
        """Whether it is time."""
        return self.services.clock.now().mono_ms >= self.due_ms

    @property
    def is_failing(self) -> bool:
        """Whether the last call failed."""
        return self._outage.failures > 0

    def again_in(self, seconds: float) -> None:
        """Ask again after a while."""
        self.due_ms = self.services.clock.now().mono_ms + round(seconds * 1000)

    def answered(self) -> None:
        """Note that a call succeeded."""
        self._outage.over()

    def failed(self, error: ClientError | BotoCoreError) -> None:
        """Put the next call off; raise an error that would come again for ever."""
        judged = verdict(error)
        match judged:
            case Verdict.RETRY | Verdict.THROTTLED | Verdict.DENIED | Verdict.NOT_FOUND:
                pass
            case Verdict.CONDITION | Verdict.FATAL | Verdict.TRIMMED | Verdict.EXPIRED_ITERATOR:
                raise error
            case _:
                assert_never(judged)
        now_ms = self.services.clock.now().mono_ms
        if self._outage.failed(now_ms):
            failure = {telemetry.ERROR: error_code(error), telemetry.ATTEMPT: self._outage.failures}
            LOG.warning("asking_fails", **{telemetry.TABLE: self.table, telemetry.OPERATION: self.operation}, **failure)
        self.services.meter.count("retries", operation=self.operation)
        self.again_in(self.services.settings.back_off.wait_seconds(self._outage.failures, self.services.jitter))

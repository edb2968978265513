"""What KCL calls, written in Python: record processors and their factory, and the listener to a worker's state.

Each only turns Java's arguments into ours. What it calls raises nothing: an exception that reached KCL would make it
pass over the batch.
"""

from collections.abc import Callable
from typing import Any, Final

import structlog

from lockside.engines.kcl.checkpointer import JavaCheckpointer
from lockside.engines.kcl.handover import HandOver
from lockside.engines.kcl.leases import sequence
from lockside.engines.kcl.shard import KclShard

LOG = structlog.get_logger(__name__)

PROCESSOR: Final = "com.amazonaws.services.dynamodbv2.streamsadapter.processor.DynamoDBStreamsShardRecordProcessor"
FACTORY: Final = "software.amazon.kinesis.processor.ShardRecordProcessorFactory"
LISTENER: Final = "software.amazon.kinesis.coordinator.WorkerStateChangeListener"

MakeShard = Callable[[str], KclShard]


class _Processor:
    """One record processor. KCL makes one for each lease, before it says of which shard it is."""

    def __init__(self, make: MakeShard, hand_over: HandOver, failed: Callable[[BaseException], None]) -> None:
        self._make = make
        self._hand_over = hand_over
        self._failed = failed
        self._shard: KclShard | None = None

    def methods(self) -> dict[str, Any]:
        """Return what Java calls, by its own names; both overloads of processRecords arrive in one."""
        return {
            "initialize": self._safe(self.initialize),
            "processRecords": self._safe(self.process),
            "leaseLost": self._safe(self.lease_lost),
            "shardEnded": self._safe(lambda given: self._known().shard_ended(JavaCheckpointer(given.checkpointer()))),
            "shutdownRequested": self._safe(self.shutdown_requested),
        }

    def initialize(self, given: Any) -> None:
        shard = self._shard = self._make(str(given.shardId()))
        shard.initialize(sequence(str(given.extendedSequenceNumber().sequenceNumber())))

    def process(self, given: Any) -> None:
        records = given.records()
        lines = self._hand_over.lines(records) if not records.isEmpty() else b""
        self._known().process(lines, JavaCheckpointer(given.checkpointer()), at_end=bool(given.isAtShardEnd()))

    def lease_lost(self, _given: Any) -> None:
        # KCL may take a lease back before it has told of its shard.
        if self._shard is not None:
            self._shard.lease_lost()

    def shutdown_requested(self, given: Any) -> None:
        if self._shard is not None:
            self._shard.shutdown_requested(JavaCheckpointer(given.checkpointer()))

    def _known(self) -> KclShard:
        if self._shard is None:
            message = "KCL called a processor before it initialized it"
            raise RuntimeError(message)
        return self._shard

    def _safe(self, step: Callable[[Any], None]) -> Callable[[Any], None]:
        """Keep what goes wrong at the border itself from KCL: the worker ends, and no batch follows."""

        def guarded(given: Any) -> None:
            try:
                step(given)
            except BaseException as error:  # noqa: BLE001 - whatever it is, Java must not see it
                if self._shard is not None:
                    self._shard.refuse()
                self._failed(error)

        return guarded


def factory(make: MakeShard, failed: Callable[[BaseException], None]) -> Any:
    """Return what makes record processors. It is also called once without a shard, as a probe of its type."""
    import jpype  # noqa: PLC0415 - an optional package

    hand_over = HandOver()

    def made(*_stream: Any) -> Any:
        return jpype.JProxy(PROCESSOR, dict=_Processor(make, hand_over, failed).methods())

    return jpype.JProxy(FACTORY, dict={"shardRecordProcessor": made})


def listener(table: str, given_up: Callable[[str], None]) -> Any:
    """Return what hears of a scheduler's life; `given_up` of its last attempt to begin, with the error's name."""
    import jpype  # noqa: PLC0415 - an optional package

    def changed(state: Any) -> None:
        LOG.info("kcl_state", table=table, state=str(state).lower())

    def failed(error: Any) -> None:
        given_up("" if error is None else str(error.getClass().getName()))

    methods = {"onWorkerStateChange": changed, "onAllInitializationAttemptsFailed": failed}
    return jpype.JProxy(LISTENER, dict=methods)

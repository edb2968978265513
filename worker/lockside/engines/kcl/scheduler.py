"""KCL's scheduler of one stream: its configuration from our knobs, and its thread.

One scheduler a stream, in one process: the adapter's multi-stream mode stalls where shards roll (docs/decisions).
"""

from dataclasses import dataclass
from typing import Any, Final

from lockside.engines.kcl.clients import JavaClients, adapters_arn
from lockside.engines.kcl.java import class_of, typed
from lockside.engines.kcl.knobs import Knobs

KCL: Final = "software.amazon.kinesis."
ADAPTER: Final = "com.amazonaws.services.dynamodbv2.streamsadapter."
PAGE_RECORDS_MAX: Final = 1_000
IDLE_THREAD_SECONDS: Final = 5

WORKER_REPORTS_KEPT: Final = 10
"""A worker that missed so many reports is gone: its row is removed, so that no shard is given to it."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a scheduler is made for. `application` names its lease table."""

    stream_arn: str
    application: str
    worker_id: str
    knobs: Knobs
    page_records: int = PAGE_RECORDS_MAX


class Scheduler:
    """One running scheduler."""

    def __init__(self, order: Order, clients: JavaClients, factory: Any, listener: Any) -> None:
        """Configure it; nothing is called yet. `factory` makes record processors, `listener` hears of its life."""
        self.order = order
        self._clients = clients
        self._scheduler = _configured(order, clients, factory, listener)
        _let_idle_threads_go(self._scheduler)
        self._thread = class_of("java.lang.Thread")(self._scheduler, f"kcl-{order.application}")
        self._thread.setDaemon(True)
        self._stopping: Any = None

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it works: it also ends by itself, after twenty attempts to begin."""
        return bool(self._thread.isAlive())

    def ask_to_stop(self) -> None:
        """Ask it to hand its shards back in good order."""
        if self._stopping is None:
            self._stopping = self._scheduler.startGracefulShutdown()

    def stop_at_once(self) -> None:
        """Let it end without waiting for its processors."""
        self._scheduler.shutdown()

    def close(self) -> None:
        """Close its connections."""
        for client in (self._clients.streams, self._clients.dynamodb, self._clients.cloudwatch):
            client.close()


def _configured(order: Order, clients: JavaClients, factory: Any, listener: Any) -> Any:
    knobs = order.knobs
    arn = adapters_arn(order.stream_arn)
    position = class_of(KCL + "common.InitialPositionInStream").TRIM_HORIZON
    begin = class_of(KCL + "common.InitialPositionInStreamExtended").newInitialPosition(position)
    schedulers = class_of(ADAPTER + "StreamsSchedulerFactory")
    tracker = schedulers.createSingleStreamTracker(arn, begin)
    made = class_of(KCL + "common.ConfigsBuilder")(
        tracker, order.application, clients.adapter, clients.dynamodb, clients.cloudwatch, order.worker_id, factory
    )
    return schedulers.createScheduler(
        made.checkpointConfig(),
        _coordinator(made.coordinatorConfig(), knobs, listener),
        _leases(made.leaseManagementConfig(), knobs),
        made.lifecycleConfig(),
        made.metricsConfig().metricsFactory(class_of(KCL + "metrics.NullMetricsFactory")()),
        _processors(made.processorConfig()),
        _retrieval(made.retrievalConfig(), order, arn, clients.adapter),
        clients.adapter,
    )


def _let_idle_threads_go(scheduler: Any) -> None:
    """Shorten the minute for which KCL keeps the threads of a burst: each has a stack, and a state of Python's.

    Its pool makes as many as there are tasks at a time, which is right: one may be held up, and the others must not be.
    """
    pool = typed(scheduler.executorService(), "java.util.concurrent.ThreadPoolExecutor")
    pool.setKeepAliveTime(IDLE_THREAD_SECONDS, class_of("java.util.concurrent.TimeUnit").SECONDS)


def _coordinator(config: Any, knobs: Knobs, listener: Any) -> Any:
    config.parentShardPollIntervalMillis(knobs.parent_poll_ms)
    config.shardConsumerDispatchPollIntervalMillis(knobs.dispatch_ms)
    config.workerStateChangeListener(listener)
    return config


def _leases(config: Any, knobs: Knobs) -> Any:
    boxed = class_of("java.lang.Long")
    config.failoverTimeMillis(knobs.failover_ms)
    config.shardSyncIntervalMillis(knobs.shard_sync_ms)
    config.leaseAssignmentIntervalMillis(boxed(knobs.lease_assignment_ms))
    config.dynamoDbLockBasedLeaderLeaseDurationInMillis(knobs.leader_lease_ms)
    config.dynamoDbLockBasedLeaderHeartbeatPeriodInMillis(knobs.leader_heartbeat_ms)
    workers = config.workerUtilizationAwareAssignmentConfig()
    # Without it each worker asks EC2's metadata address, with time-outs of seconds where there is none.
    workers.disableWorkerMetrics(True)  # noqa: FBT003 - Java's own
    workers.workerMetricsReporterFreqInMillis(knobs.worker_report_ms)
    seconds = max(1, WORKER_REPORTS_KEPT * knobs.worker_report_ms // 1000)
    workers.staleWorkerMetricsEntryCleanupDuration(class_of("java.time.Duration").ofSeconds(seconds))
    return config


def _processors(config: Any) -> Any:
    config.callProcessRecordsEvenForEmptyRecordList(True)  # noqa: FBT003 - Java's own
    return config


def _retrieval(config: Any, order: Order, arn: str, adapter: Any) -> Any:
    polling = class_of(ADAPTER + "polling.DynamoDBStreamsPollingConfig")(arn, adapter)
    polling.idleTimeBetweenReadsInMillis(order.knobs.idle_ms)
    polling.maxRecords(order.page_records)
    config.retrievalSpecificConfig(polling)
    return config

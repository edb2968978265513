"""The numbers an operator sees, in Prometheus' text format, in a registry of our own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client import Counter as PrometheusCounter
from prometheus_client import Gauge as PrometheusGauge
from prometheus_client import Histogram as PrometheusHistogram
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from lockside.core.telemetry import Counter, Gauge, Timing

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
NAMESPACE: Final = "lockside"


@dataclass(frozen=True, slots=True)
class Described:
    """What a metric says, and by what it is split."""

    help: str
    labels: tuple[str, ...] = ()


COUNTERS: Final[Mapping[Counter, Described]] = {
    "records": Described("Stream records consumed.", ("table",)),
    "events": Described("Events interpreted, recorded or only counted.", ("type",)),
    "written": Described("Audit records acknowledged by DynamoDB.", ("log",)),
    "retries": Described("AWS calls tried again.", ("operation",)),
    "undecodable": Described("Stream records that became stream.undecodable.", ("code",)),
    "unclaimed": Described("Stream records that no layout of their source claimed.", ("table",)),
    "uneventful": Described("Stream records of a source that give no event.", ("reason",)),
    "lapses": Described("Lapses declared.", ("via",)),
    "stale": Described("Locks without a lease that were told as stale."),
    "verifications": Described("Consistent reads made to prove a lapse.", ("verdict",)),
    "checkpoints": Described("Checkpoints written."),
    "gaps": Described("Losses of the stream that were recorded as stream.gap.", ("table",)),
    "leases_taken": Described(
        "Shards that KCL leased to this worker: for the first time, again, or moved from another.", ("table", "how")
    ),
    "leases_lost": Described("Leases that went to another worker while this one held them.", ("table",)),
    "replicated": Described(
        "Writes to a replica: taken, or stale as it held that change or a newer.", ("replica", "outcome")
    ),
    "copied": Described("Rows of the source that were scanned for a replica.", ("replica",)),
}
GAUGES: Final[Mapping[Gauge, Described]] = {
    "lag_seconds": Described(
        "How old what a shard has not seen may be; it grows while no page is read.", ("table", "shard")
    ),
    "oldest_unwritten_seconds": Described(
        "Age of the oldest change read and not yet acknowledged, in a halted shard of all that it holds up; the stream "
        "forgets at 86400.",
        ("table", "shard"),
    ),
    "live_deadlines": Described("Deadlines armed."),
    "shards_open": Described("Shards being read."),
    "shards_halted": Described("Shards that stand still until somebody acts."),
    "owner": Described("1 while this worker owns its application, 0 while it stands by or was taken over."),
    "fleet": Described("1 in a worker of a fleet, which has no owner; 0 with the embedded engine."),
    "leases_held": Described("Shards that KCL has leased to this worker.", ("table",)),
    "undecodable_kept": Described(
        "Undecodable changes kept for redrive; the shard halts at engine.undecodable_max.", ("table", "shard")
    ),
    "replica_lag_seconds": Described("How old what a replica has not seen yet may be.", ("replica", "shard")),
    "replica_incomplete": Described("1 while a replica may lack rows until the table is copied anew.", ("replica",)),
}
TIMINGS: Final[Mapping[Timing, Described]] = {
    "batch_seconds": Described("One batch, from decoding to acknowledgement."),
    "delay_seconds": Described("From a change's creation to its record's acknowledgement."),
    "lapse_delay_seconds": Described("From the legal instant of a lapse to its declaration."),
}
# From a fast batch to a shard held back for an hour: creation times are whole seconds, so nothing finer means much.
BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)


class PrometheusMeter:
    """Keeps numbers for scraping; implements `core.telemetry.Meter`.

    An unforeseen label never stops the record path: it is left out, and a forgotten one is empty.
    """

    def __init__(self) -> None:
        """Register every metric, so that a scrape shows those that are still zero."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._refreshers: list[Callable[[], None]] = []
        self._counters = {
            name: PrometheusCounter(name, d.help, d.labels, NAMESPACE, registry=self._registry)
            for name, d in COUNTERS.items()
        }
        self._gauges = {
            name: PrometheusGauge(name, d.help, d.labels, NAMESPACE, registry=self._registry)
            for name, d in GAUGES.items()
        }
        self._timings = {
            name: PrometheusHistogram(name, d.help, d.labels, NAMESPACE, buckets=BUCKETS, registry=self._registry)
            for name, d in TIMINGS.items()
        }

    def count(self, name: Counter, by: int = 1, **labels: str) -> None:
        """Add to a counter."""
        metric = self._counters[name]
        (metric.labels(*_values(COUNTERS[name], labels)) if COUNTERS[name].labels else metric).inc(by)

    def gauge(self, name: Gauge, value: float, **labels: str) -> None:
        """Set a gauge."""
        metric = self._gauges[name]
        (metric.labels(*_values(GAUGES[name], labels)) if GAUGES[name].labels else metric).set(value)

    def timing(self, name: Timing, seconds: float) -> None:
        """Observe a duration."""
        self._timings[name].observe(seconds)

    def forget(self, **labels: str) -> None:
        """Drop the gauges of one table and shard, once it has ended: shards come and go for ever."""
        for name, described in GAUGES.items():
            if described.labels and set(described.labels) == set(labels):
                self._gauges[name].remove(*_values(described, labels))

    def total(self, name: Counter) -> float:
        """Add a counter up over all its labels."""
        samples = (sample for metric in self._counters[name].collect() for sample in metric.samples)
        return sum(sample.value for sample in samples if sample.name.endswith("_total"))

    def refresh_with(self, refresh: Callable[[], None]) -> None:
        """Call `refresh` before each scrape: an age must grow also while the thread that would report it is held up."""
        self._refreshers.append(refresh)

    def render(self) -> bytes:
        """Spell all numbers in Prometheus' text format."""
        for refresh in self._refreshers:
            refresh()
        return generate_latest(self._registry)


def _values(described: Described, labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(label, "") for label in described.labels)

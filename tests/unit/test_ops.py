"""What an operator sees: health pages, numbers, heartbeats, the way out."""

import ast
import queue
import signal
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest

import lockside
from lockside.core.now import Now
from lockside.core.telemetry import Counter, Gauge, Meter, Timing
from lockside.errors import SetupError
from lockside.ops import probe
from lockside.ops.clock import SystemClock
from lockside.ops.health import HealthServer, Pages
from lockside.ops.heartbeat import Heartbeats
from lockside.ops.metrics import COUNTERS, GAUGES, TIMINGS, Described, PrometheusMeter
from lockside.ops.shutdown import Shutdown

if TYPE_CHECKING:
    from collections.abc import Mapping


class HandClock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        """Start at zero."""
        self.ms = 0

    def now(self) -> Now:
        """Read it."""
        return Now(self.ms, self.ms)


def get(server: HealthServer, path: str, method: str = "GET") -> tuple[int, str]:
    """Ask a running server."""
    host, port = server.address
    request = urllib.request.Request(f"http://{host}:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - our own loopback
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_every_metric_of_the_vocabulary_is_described() -> None:
    """The tables name exactly the Literals, each with a help text."""
    assert (set(COUNTERS), set(GAUGES), set(TIMINGS)) == (
        set(get_args(Counter)),
        set(get_args(Gauge)),
        set(get_args(Timing)),
    )
    assert all(d.help.endswith(".") for table in (COUNTERS, GAUGES, TIMINGS) for d in table.values())


def test_every_call_in_the_code_uses_the_labels_that_are_described() -> None:
    """A metric is always counted with its own labels: a misspelt one would be left out of the numbers in silence."""
    tables: dict[str, Mapping[Any, Described]] = {"count": COUNTERS, "gauge": GAUGES, "timing": TIMINGS}
    wrong = []
    for path in Path(lockside.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            table = tables.get(node.func.attr, {})
            name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            labels = [keyword.arg for keyword in node.keywords if keyword.arg not in {"by", "value", "seconds"}]
            if isinstance(name, str) and name in table and set(labels) != set(table[name].labels):
                wrong.append(f"{path.name}:{node.lineno} {name} {labels}")
    assert wrong == []


def test_numbers_come_out_in_prometheus_text() -> None:
    """Counters, gauges and timings appear under their names, those that are still zero too."""
    meter = PrometheusMeter()
    as_port: Meter = meter
    as_port.count("records", 3, table="locks")
    as_port.count("checkpoints")
    as_port.gauge("lag_seconds", 1.5, table="locks", shard="s1")
    as_port.gauge("shards_open", 2)
    as_port.timing("batch_seconds", 0.02)
    text = meter.render().decode()
    assert 'lockside_records_total{table="locks"} 3.0' in text
    assert "lockside_checkpoints_total 1.0" in text
    assert 'lockside_lag_seconds{shard="s1",table="locks"} 1.5' in text
    assert 'lockside_batch_seconds_bucket{le="0.025"} 1.0' in text
    assert "lockside_live_deadlines 0.0" in text


def test_an_unforeseen_label_never_stops_the_record_path() -> None:
    """It is left out; one that is missing is empty."""
    meter = PrometheusMeter()
    meter.count("records", 1, tabel="locks")
    assert 'lockside_records_total{table=""} 1.0' in meter.render().decode()


def test_an_ended_shards_gauges_are_forgotten() -> None:
    """Shards come and go; their numbers must not pile up."""
    meter = PrometheusMeter()
    meter.gauge("lag_seconds", 1, table="locks", shard="s1")
    meter.gauge("lag_seconds", 1, table="locks", shard="s2")
    meter.forget(table="locks", shard="s1")
    text = meter.render().decode()
    assert 'shard="s1"' not in text
    assert 'shard="s2"' in text


def test_ages_are_refreshed_by_the_scrape() -> None:
    """An age grows also while the thread that would report it is held up."""
    meter = PrometheusMeter()
    ages = iter([1.0, 2.0])
    meter.refresh_with(lambda: meter.gauge("oldest_unwritten_seconds", next(ages), table="t", shard="s"))
    assert 'lockside_oldest_unwritten_seconds{shard="s",table="t"} 1.0' in meter.render().decode()
    assert 'lockside_oldest_unwritten_seconds{shard="s",table="t"} 2.0' in meter.render().decode()


def test_probes_and_metrics_are_served_and_nothing_else() -> None:
    """Each probe says what is wrong; an unknown path is not found rather than healthy."""
    wrong: list[str] = []
    with HealthServer("127.0.0.1:0", Pages(list, lambda: wrong, list, lambda: b"numbers\n")) as server:
        assert get(server, "/livez") == (200, "ok\n")
        assert get(server, "/readyz?verbose") == (200, "ok\n")
        wrong.append("shard s1: 40 s behind")
        assert get(server, "/readyz") == (503, "shard s1: 40 s behind\n")
        assert get(server, "/readyz?verbose&standby=ready") == (200, "ok\n")
        assert get(server, "/readyz?standby=readyish") == (503, "shard s1: 40 s behind\n")
        assert get(server, "/metrics") == (200, "numbers\n")
        assert get(server, "/metrics", "HEAD") == (200, "")
        assert get(server, "/")[0] == 404
        assert get(server, "/livez", "POST")[0] == 501


def test_an_image_asks_its_worker_without_curl(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0 for a worker that turns; else 1, with what it said, or that nobody answered."""
    wrong: list[str] = []
    with HealthServer("127.0.0.1:0", Pages(lambda: wrong, list, list, lambda: b"")) as server:
        host, port = server.address
        url = f"http://{host}:{port}/livez"
        assert probe.main([url]) == 0
        wrong.append("engine: silent for 61 s")
        assert probe.main([url]) == 1
        assert "503 engine: silent for 61 s" in capsys.readouterr().err
    assert probe.main([url]) == 1
    assert "no answer" in capsys.readouterr().err


def test_a_taken_port_is_one_clear_message() -> None:
    """The setting, its value and the way out are named."""
    pages = Pages(list, list, list, lambda: b"")
    with HealthServer("127.0.0.1:0", pages) as server:
        taken = f"127.0.0.1:{server.address[1]}"
        with pytest.raises(SetupError, match=rf'ops.listen = "{taken}": cannot be opened .*choose another'):
            HealthServer(taken, pages).start()


def test_a_loop_that_stopped_turning_is_named() -> None:
    """A heartbeat keeps a loop alive for a while; an ended loop is not missed."""
    clock = HandClock()
    beats = Heartbeats(clock, silence_max_ms=10_000)
    beats.beat("shard s1")
    beats.beat("shard s2")
    clock.ms = 8_000
    beats.beat("shard s2")
    assert beats.silent() == []
    clock.ms = 12_000
    assert beats.silent() == ["shard s1: silent for 12 s"]
    beats.forget("shard s1")
    assert beats.silent() == []


def watched(shutdown: Shutdown) -> threading.Thread:
    """Start the watch as the handlers would."""
    thread = threading.Thread(target=shutdown.watch, daemon=True)
    thread.start()
    return thread


def test_the_first_signal_asks_and_the_second_aborts() -> None:
    """One signal sets the stop event; another, while draining, ends the process with 128 and its number."""
    stop, codes = threading.Event(), queue.SimpleQueue[int]()
    shutdown = Shutdown(stop, drain_seconds_max=30, abort=codes.put)
    thread = watched(shutdown)
    shutdown.receive(signal.SIGTERM)
    assert stop.wait(5)
    assert codes.empty()
    shutdown.receive(signal.SIGINT)
    thread.join(5)
    assert codes.get(timeout=5) == 130


def test_a_drain_has_a_bound() -> None:
    """A worker that does not come to its end after the first signal is ended."""
    stop, codes = threading.Event(), queue.SimpleQueue[int]()
    shutdown = Shutdown(stop, drain_seconds_max=0, abort=codes.put)
    thread = watched(shutdown)
    shutdown.receive(signal.SIGTERM)
    thread.join(5)
    assert codes.get(timeout=5) == 143


def test_a_drain_that_ends_in_time_is_left_alone() -> None:
    """After the worker has finished nothing aborts it."""
    stop, codes = threading.Event(), queue.SimpleQueue[int]()
    shutdown = Shutdown(stop, drain_seconds_max=30, abort=codes.put)
    thread = watched(shutdown)
    shutdown.receive(signal.SIGTERM)
    shutdown.finish()
    thread.join(5)
    assert stop.is_set()
    assert codes.empty()


def test_handlers_are_put_back() -> None:
    """A real signal reaches the stop event while the block runs; afterwards the handlers are those from before."""
    stop, codes = threading.Event(), queue.SimpleQueue[int]()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    with Shutdown(stop, drain_seconds_max=30, abort=codes.put).handlers():
        signal.raise_signal(signal.SIGTERM)
        assert stop.wait(5)
    assert {number: signal.getsignal(number) for number in before} == before
    assert codes.empty()


def test_the_system_clock_goes_forward() -> None:
    """Both readings are milliseconds and never go back between two calls."""
    clock = SystemClock()
    first, second = clock.now(), clock.now()
    assert first.mono_ms <= second.mono_ms
    assert first.wall_ms > 1_700_000_000_000

"""A worker in this process, from its settings to its exit code: what `lockside run` starts."""

import os
import threading
from contextlib import ExitStack
from functools import partial
from typing import Final

import structlog

from lockside.app import fleet, sources
from lockside.app.worker import Worker
from lockside.aws.retrying import error_code, verdict
from lockside.core import telemetry
from lockside.core.failures import Verdict
from lockside.engines.kcl.worker_id import held_id
from lockside.errors import FencedError, UsageError
from lockside.ops import garbage, logs
from lockside.ops.health import HealthServer, Pages
from lockside.ops.shutdown import Shutdown
from lockside.ops.supervisor import Supervised, Supervisor
from lockside.settings import Settings

LOG = structlog.get_logger(__name__)

EXIT_GOOD: Final = 0
EXIT_UNEXPECTED: Final = 4


def run(settings: Settings, *, once: bool = False) -> int:
    """Run a worker in this process until a signal stops it; return its exit code.

    Raises UsageError where it cannot start or run on for a reason that its user can mend.
    """
    logs.configure(settings.ops.log_level, settings.ops.log_format)
    stop = threading.Event()
    with ExitStack() as stack:
        member = ""
        if settings.engine.kind == "kcl":
            fleet.refuse_once(settings, once=once)
            # Before the handlers: Java sets its own as it starts.
            fleet.machine_of(settings.engine.kcl).start()
            member = stack.enter_context(held_id(settings.application, settings.engine.kcl.worker_id))
            LOG.info("member", worker=member, **{telemetry.APPLICATION: settings.application})
        stack.enter_context(Shutdown(stop, settings.ops.shutdown_seconds).handlers())
        worker = Worker.connected(settings, stop=stop, worker_id=member)
        stack.callback(worker.close)
        garbage.calm()
        if settings.ops.listen:
            worker.meter.refresh_with(worker.refresh)
            fit = partial(worker.ready, standby_is_ready=True)
            pages = Pages(live=worker.live, ready=worker.ready, fit=fit, metrics=worker.meter.render)
            host, port = stack.enter_context(HealthServer(settings.ops.listen, pages)).address
            LOG.info("listening", host=host, port=port)
        supervisor = Supervisor.of(os.environ, os.getpid())
        stack.enter_context(Supervised(supervisor, stop, worker.live, worker.ready))
        try:
            worker.run(once=once)
        except UsageError:
            raise
        except FencedError as error:
            # Its text is our own and tells who must do what: a traceback would only hide it.
            LOG.error("fenced", **{telemetry.REASON: str(error)})  # noqa: TRY400
            return EXIT_UNEXPECTED
        except Exception as error:
            if verdict(error) is Verdict.NOT_FOUND:
                raise sources.own_table_gone(settings) from error
            LOG.exception("worker_stopped", **{telemetry.ERROR: error_code(error)})
            return EXIT_UNEXPECTED
    LOG.info("stopped")
    return EXIT_GOOD

"""Metrics in Prometheus' text format: requests, executions, threads, upstream calls and mints.

Each backend has a registry of its own: what else a process counts is not shown, and backends do not clash.
Labels have few values, whatever callers send: paths that are no route are one value, and so are methods that
are not used here. No value comes from a payload, a result or a header.

Where ``PROMETHEUS_MULTIPROC_DIR`` is set, as ``navai serve --workers 2`` does, prometheus_client keeps values
in files there, and each process shows the sums of all.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from navai_client._extras import needs_extra
from navai_client.server._calls import Outcome, RunningCall
from navai_client.server._errors import BackendError, UpstreamError, UpstreamTimeoutError
from navai_client.server._http import METHODS, BackendRequest, BackendResponse

if TYPE_CHECKING:
    from navai_client._threads import CallThreads

Service = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]

MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"

# Prometheus' own defaults end at 10 seconds; calls may take 30 and more.
_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_PUBLISHED_EVERY_S: Final = 1.0


class Metrics:
    """The metrics of one backend."""

    def __init__(self, threads: "CallThreads", processes: "CallThreads", running: Callable[[], int]) -> None:
        """Show the state of *threads* and *processes* and the number of *running* calls, too.

        Raises:
            ImportError: The extra ``metrics`` is not installed.
        """
        with needs_extra("metrics", "prometheus_client"):
            import prometheus_client as prometheus  # noqa: PLC0415 - only for who needs it

        self._prometheus = prometheus
        self._threads = threads
        self._processes = processes
        self._running = running
        self._publishing: asyncio.TimerHandle | None = None
        self._registry = registry = prometheus.CollectorRegistry()
        if MULTIPROCESS not in os.environ:
            prometheus.ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Any:
            return prometheus.Counter(name, text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Any:
            return prometheus.Histogram(name, text, labels, buckets=_BUCKETS, registry=registry)

        def gauge(name: str, text: str) -> Any:
            return prometheus.Gauge(name, text, registry=registry, multiprocess_mode="livesum")

        self._requests = counter("navai_requests", "Responses.", "method", "route", "status")
        self._request_seconds = histogram("navai_request_seconds", "Seconds until a response.", "route")
        self._executions = counter(
            "navai_executions",
            "Ended calls of functions: ok, failed, refused (never begun) or stopped (by a time limit, a "
            "cancellation or the end of the server).",
            "function",
            "outcome",
        )
        self._execution_seconds = histogram("navai_execution_seconds", "Seconds of such a call.", "function")
        self._calls_running = gauge("navai_calls_running", "Calls that have begun or wait, and not ended.")
        self._calls_waiting = gauge("navai_calls_waiting", "Calls that wait for a thread or a process.")
        self._threads_taken = gauge("navai_threads_taken", "Threads that run functions, abandoned ones too.")
        self._processes_taken = gauge("navai_processes_taken", "Processes that run functions.")
        self._upstream = counter(
            "navai_upstream_requests",
            "Calls of OpenAI and ElevenLabs: ok, refused (another status than 2xx, or unusable), timeout or "
            "cancelled (the client went away).",
            "operation",
            "outcome",
        )
        self._upstream_seconds = histogram("navai_upstream_seconds", "Seconds of such a call.", "operation")
        self._upstream_running = gauge("navai_upstream_running", "Calls upstream that have not ended.")
        self._mints = counter(
            "navai_mints", "Requests for a client secret: issued, limited, refused or failed.", "outcome"
        )

    def responded(
        self, request: BackendRequest, response: BackendResponse, route: str | None, seconds: float
    ) -> None:
        """Count a response; *route* is None if the path is none."""
        route = route or "other"
        method = request.method if request.method in METHODS else "other"
        self._requests.labels(method, route, str(response.status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def executed(self, call: RunningCall, outcome: Outcome, seconds: float) -> None:
        """Count a call of a function that has ended."""
        if isinstance(outcome, bytes):
            name = "ok"
        elif not outcome.has_begun:
            name = "refused"
        else:
            name = "failed" if call.stopped is None else "stopped"
        self._executions.labels(call.name, name).inc()
        self._execution_seconds.labels(call.name).observe(seconds)
        self._measure()

    def around(self, operation: str, service: Service) -> Service:
        """Return *service*, whose calls upstream are counted. What it refuses itself is none."""

        async def counted(record: Mapping[str, Any]) -> dict[str, Any]:
            began = time.perf_counter()
            outcome = "cancelled"
            with self._upstream_running.track_inprogress():
                try:
                    answer = await service(record)
                    outcome = "ok"
                except BackendError as error:
                    outcome = "refused" if isinstance(error, UpstreamError) else ""
                    outcome = "timeout" if isinstance(error, UpstreamTimeoutError) else outcome
                    raise
                finally:
                    if outcome:
                        self._upstream.labels(operation, outcome).inc()
                        self._upstream_seconds.labels(operation).observe(time.perf_counter() - began)
            return answer

        return counted

    def minted(self, response: BackendResponse) -> None:
        """Count the *response* to a request for a client secret."""
        outcome = {200: "issued", 429: "limited"}.get(response.status)
        self._mints.labels(outcome or ("refused" if response.status < 500 else "failed")).inc()  # noqa: PLR2004

    def open(self) -> None:
        """Write the gauges each second, if other processes show them, too: they show what they find."""
        self.close()
        if MULTIPROCESS in os.environ:
            self._measure()
            self._publishing = asyncio.get_running_loop().call_later(_PUBLISHED_EVERY_S, self.open)

    def close(self) -> None:
        """Write them no more."""
        if self._publishing is not None:
            self._publishing.cancel()

    def _measure(self) -> None:
        self._calls_running.set(self._running())
        self._calls_waiting.set(self._threads.waiting + self._processes.waiting)
        self._threads_taken.set(self._threads.running)
        self._processes_taken.set(self._processes.running)

    def render(self) -> tuple[bytes, bytes]:
        self._measure()
        registry = self._registry
        if MULTIPROCESS in os.environ:
            import prometheus_client.multiprocess  # noqa: PLC0415 - needs the directory

            multiprocess: Any = prometheus_client.multiprocess  # without types
            for file in Path(os.environ[MULTIPROCESS]).glob("gauge_live*.db"):
                process = int(file.stem.rpartition("_")[2])
                if not _is_alive(process):
                    multiprocess.mark_process_dead(process)
            registry = self._prometheus.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)
        return self._prometheus.generate_latest(registry), self._prometheus.CONTENT_TYPE_LATEST.encode()


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True

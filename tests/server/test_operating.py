"""What a server tells those who run it: whether it is ready, its metrics, and its log as JSON."""

import asyncio
import contextlib
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from navai_client.server import BackendError, NavaiBackend, UpstreamError
from navai_client.server._errors import UpstreamTimeoutError
from navai_client.server._http import BackendRequest
from tests.serving import NO_TLS, Serve, Served, Start, serving_app
from tests.waiting import until

EXECUTE: Final = "/navai/functions/execute"
SECRET: Final = "/navai/realtime/client-secret"
FUNCTIONS: Final = """
import os

def good(): return os.getpid()

def bad(): raise LookupError("no")

def hangs():
    import pathlib, threading
    pathlib.Path(f"hangs-{os.getpid()}").touch()
    threading.Event().wait()
"""


def get(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=20, verify=NO_TLS)


def call_of(name: str) -> dict[str, Any]:
    return {"function_name": name, "payload": None}


def execute(url: str, name: str) -> httpx.Response:
    return httpx.post(url + EXECUTE, json=call_of(name), timeout=20, verify=NO_TLS)


def values(url: str, **headers: str) -> dict[str, float]:
    """Return the samples of /metrics by their names and labels, as they are written."""
    answer = get(f"{url}/metrics", **headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = re.findall(r"^(navai_\S+) (\S+)$", answer.text, re.MULTILINE)
    return {name: float(value) for name, value in samples}


class TestReady:
    """``GET /ready``."""

    def test_is_open_to_probes_whatever_the_host_and_the_access_token(self, serve: Serve) -> None:
        server = serve(NAVAI_ACCESS_TOKEN="let-me-in")
        answer = get(f"{server.url}/ready", host="10.0.0.7:3000")
        assert (answer.status_code, answer.json()) == (200, {"ok": True})

    def test_fails_when_a_module_could_not_be_imported_and_names_nothing(
        self, serve: Serve, write: Any
    ) -> None:
        write("src/ai/functions-modules/works.py", FUNCTIONS)
        write("src/ai/functions-modules/secret_plan.py", "import not_there_at_all")
        server = serve()
        answer = get(f"{server.url}/ready")
        assert answer.status_code == 503
        assert "could not be imported" in answer.json()["error"]
        assert "secret_plan" not in answer.text
        assert get(f"{server.url}/health").status_code == 200
        assert "secret_plan" in server.stop()

    def test_fails_while_the_server_drains(self, serve: Serve) -> None:
        server = serve("--drain-delay", "60")
        assert get(f"{server.url}/ready").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        with httpx.Client(timeout=20) as client:
            until(lambda: client.get(f"{server.url}/ready").status_code != 200)
            answer = client.get(f"{server.url}/ready")
            assert answer.json() == {"error": "The server is stopping."}
            assert client.get(f"{server.url}/health").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(timeout=60)

    def test_is_described(self, serve: Serve) -> None:
        described = get(f"{serve().url}/navai/openapi.json").json()["paths"]["/ready"]["get"]
        assert described["security"] == []
        assert sorted(described["responses"]) == ["200", "503"]


class Services:
    """Services that end as the body says."""

    async def create_client_secret(self, request: Any) -> dict[str, Any]:
        """Mint or fail."""
        errors: dict[str, BackendError] = {
            "timeout": UpstreamTimeoutError("Too late."),
            "upstream": UpstreamError("Refused."),
            "unauthorized": UpstreamError("Refused.", status_code=401),
            "own": BackendError("No.", status_code=403),
        }
        if request.get("model") in errors:
            raise errors[request["model"]]
        return {"value": "ek_1"}

    async def synthesize_speech(self, request: Any) -> dict[str, Any]:
        """Speak."""
        return {"provider": "elevenlabs"}

    async def aclose(self) -> None:
        """Free nothing."""


def test_a_list_says_nothing_of_client_secrets_that_services_of_ones_own_mint() -> None:
    backend = NavaiBackend(env={}, discover=False, services=Services())
    request = BackendRequest("GET", "/navai/functions", {})
    response = asyncio.run(backend.router.respond(request, b""))
    assert response.status == 200
    assert b"navai-client-secrets" not in dict(response.headers)


class TestMetrics:
    """``GET /metrics``."""

    @pytest.fixture(name="backend")
    def _backend(self) -> NavaiBackend:
        return NavaiBackend(env={}, discover=False, services=Services(), metrics=True, function_timeout=0.05)

    @pytest.fixture(name="url")
    def _url(self, backend: NavaiBackend) -> Iterator[str]:
        with serving_app(backend) as url:
            yield url

    def test_is_no_route_unless_it_is_asked_for(self, serve: Serve) -> None:
        server = serve()
        assert get(f"{server.url}/metrics").status_code == 404

    def test_counts_requests_by_route_and_status_with_few_labels(self, serve: Serve) -> None:
        server = serve(NAVAI_METRICS="true")
        for path in ("/health", "/health", "/a", "/b", "/navai/functions"):
            get(server.url + path)
        httpx.request("DELETE", f"{server.url}/health", timeout=20)
        found = values(server.url)
        assert found['navai_requests_total{method="GET",route="/health",status="200"}'] == 2
        assert found['navai_requests_total{method="GET",route="other",status="404"}'] == 2
        assert found['navai_requests_total{method="other",route="/health",status="405"}'] == 1
        assert found['navai_request_seconds_count{route="/navai/functions"}'] == 1
        assert "process_resident_memory_bytes" in get(f"{server.url}/metrics").text

    def test_counts_executions_by_function_and_outcome(self, backend: NavaiBackend, url: str) -> None:
        @backend.function
        async def good() -> int:
            return 1

        @backend.function
        def bad() -> None:
            raise LookupError

        @backend.function
        async def late() -> None:
            await asyncio.Event().wait()

        for name in ("good", "good", "bad", "late", "unknown"):
            execute(url, name)
        found = values(url)
        outcomes = {name: value for name, value in found.items() if name.startswith("navai_executions_total")}
        assert outcomes == {
            'navai_executions_total{function="good",outcome="ok"}': 2,
            'navai_executions_total{function="bad",outcome="failed"}': 1,
            'navai_executions_total{function="late",outcome="stopped"}': 1,
        }
        assert found['navai_execution_seconds_count{function="good"}'] == 2
        assert found["navai_calls_running"] == 0

    def test_shows_threads_and_the_queue_and_what_was_refused(self) -> None:
        backend = NavaiBackend(
            env={}, discover=False, metrics=True, threads_per_function=1, max_waiting_calls=1
        )
        release = threading.Event()

        @backend.function
        def waits() -> None:
            assert release.wait(20)

        with serving_app(backend) as url, ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(execute, url, "waits") for _ in range(2)]
            until(lambda: values(url)["navai_calls_waiting"] == 1)
            assert execute(url, "waits").status_code == 503
            found = values(url)
            release.set()
            assert [call.result().status_code for call in calls] == [200, 200]
        assert found["navai_threads_taken"] == 1
        assert found["navai_calls_running"] == 2
        assert found['navai_executions_total{function="waits",outcome="refused"}'] == 1

    def test_shows_processes_and_what_waits_for_them(self, serve: Serve, write: Any, tmp_path: Path) -> None:
        write(
            "src/ai/functions-modules/works.py",
            "import pathlib, time\nfrom navai_client.server import function\n\n"
            "@function(runs_in='process')\ndef waits():\n"
            "    while not pathlib.Path('go').exists():\n        time.sleep(0.01)\n",
        )
        server = serve("--processes", "1", NAVAI_METRICS="true")
        with ThreadPoolExecutor(2) as pool:
            calls = [pool.submit(execute, server.url, "waits") for _ in range(2)]
            until(lambda: values(server.url)["navai_calls_waiting"] == 1)
            assert values(server.url)["navai_processes_taken"] == 1
            (tmp_path / "go").touch()
            assert [call.result().json()["ok"] for call in calls] == [True, True]
        assert values(server.url)["navai_processes_taken"] == 0

    def test_counts_mints_and_calls_upstream(self, url: str) -> None:
        for model in ("", "timeout", "upstream", "unauthorized", "own"):
            httpx.post(url + SECRET, json={"model": model}, timeout=20)
        httpx.post(url + SECRET, json=[], timeout=20)
        httpx.post(f"{url}/navai/speech/synthesize", json={"text": "Hi"}, timeout=20)
        found = values(url)
        assert {name: value for name, value in found.items() if name.startswith("navai_mints_total")} == {
            'navai_mints_total{outcome="issued"}': 1,
            'navai_mints_total{outcome="failed"}': 2,
            'navai_mints_total{outcome="refused"}': 3,
        }
        upstream = "navai_upstream_requests_total"
        assert found[f'{upstream}{{operation="create_client_secret",outcome="ok"}}'] == 1
        assert found[f'{upstream}{{operation="create_client_secret",outcome="timeout"}}'] == 1
        assert found[f'{upstream}{{operation="create_client_secret",outcome="refused"}}'] == 2
        assert found[f'{upstream}{{operation="synthesize_speech",outcome="ok"}}'] == 1
        assert found['navai_upstream_seconds_count{operation="create_client_secret"}'] == 4
        assert found["navai_upstream_running"] == 0

    def test_are_for_those_who_may_call_the_backend(self, serve: Serve) -> None:
        server = serve(NAVAI_METRICS="1", NAVAI_ACCESS_TOKEN="let-me-in")
        assert get(f"{server.url}/metrics").status_code == 401
        assert values(server.url, authorization="Bearer let-me-in")

    @pytest.mark.parametrize("access_token", ["", "let-me-in"])
    def test_with_a_token_of_their_own_are_for_its_holder_alone(
        self, serve: Serve, access_token: str
    ) -> None:
        environment = {"NAVAI_ACCESS_TOKEN": access_token} if access_token else {}
        server = serve(NAVAI_METRICS="true", NAVAI_METRICS_TOKEN="only-metrics", **environment)
        for refused in ({}, {"authorization": "Bearer let-me-in"}, {"authorization": "Bearer x"}):
            assert get(f"{server.url}/metrics", **refused).status_code == 401
        holder = {"authorization": "Bearer only-metrics", "host": "10.0.0.7:3000"}
        assert values(server.url, **holder)
        status = 401 if access_token else 200
        holder = {"authorization": "Bearer only-metrics"}
        assert get(f"{server.url}/navai/functions", **holder).status_code == status
        assert "only-metrics" not in server.stop()

    def test_of_two_backends_in_one_process_are_apart(self, backend: NavaiBackend, url: str) -> None:
        other = NavaiBackend(env={}, discover=False, metrics=True)
        with serving_app(other) as other_url:
            get(f"{url}/health")
            assert not any("/health" in name for name in values(other_url))
            assert any("/health" in name for name in values(url))

    def test_of_several_workers_are_sums_and_forget_those_that_died(
        self, serve: Serve, write: Any, tmp_path: Path
    ) -> None:
        write("src/ai/functions-modules/works.py", FUNCTIONS)
        server = serve("--workers", "2", NAVAI_METRICS="true")
        workers = pids_of(server, 2)
        total = values(server.url)['navai_executions_total{function="good",outcome="ok"}']
        assert total >= len(workers)
        for _ in range(6):
            execute(server.url, "good")
            total += 1
            assert values(server.url)['navai_executions_total{function="good",outcome="ok"}'] == total

        def hang() -> None:
            with contextlib.suppress(httpx.TransportError):  # its worker is killed
                execute(server.url, "hangs")

        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(hang)
            until(lambda: any(tmp_path.glob("hangs-*")))
            (mark,) = tmp_path.glob("hangs-*")
            killed = int(mark.name.removeprefix("hangs-"))
            os.kill(killed, signal.SIGKILL)
            hanging.result()
        assert killed not in pids_of(server, 2)
        found = values(server.url)
        assert found['navai_executions_total{function="good",outcome="ok"}'] > total
        assert found["navai_calls_running"] == 0

    def test_of_several_workers_show_what_each_does_now(self, serve: Serve, write: Any) -> None:
        write("src/ai/functions-modules/works.py", FUNCTIONS)
        server = serve("--workers", "2", NAVAI_METRICS="true")
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(1) as pool:
            clients: dict[int, httpx.Client] = {}
            while len(clients) < 2:  # one connection to each worker
                client = stack.enter_context(httpx.Client(base_url=server.url, timeout=60, verify=NO_TLS))
                clients[client.post(EXECUTE, json=call_of("good")).json()["result"]] = client
            (pid, busy), (_, other) = clients.items()
            hanging = pool.submit(busy.post, EXECUTE, json=call_of("hangs"))
            until(lambda: "navai_calls_running 1.0\n" in other.get("/metrics").text)
            os.kill(pid, signal.SIGKILL)
            assert isinstance(hanging.exception(), httpx.TransportError)

    def test_show_no_payload_no_key_and_no_header(self, backend: NavaiBackend, url: str) -> None:
        backend.function(name="echo")(lambda x: x)
        body = {"function_name": "echo", "payload": {"x": "private-thing"}}
        headers = {"Idempotency-Key": "private-key", "X-Request-ID": "private-id"}
        httpx.post(url + EXECUTE, json=body, headers=headers, timeout=20)
        httpx.get(f"{url}/private-path?private-query", timeout=20)
        assert "private" not in get(f"{url}/metrics").text


def pids_of(server: Served, number: int) -> set[int]:
    """Return the process ids of *number* workers, each of which has executed a function."""
    found: set[int] = set()
    while len(found) < number:
        with contextlib.suppress(httpx.TransportError):  # one that was killed had the connection
            found.add(execute(server.url, "good").json()["result"])
    return found


class TestJsonLog:
    """``NAVAI_LOG_FORMAT=json``."""

    def test_every_line_is_an_object_without_secrets(self, serve: Serve, write: Any) -> None:
        text = FUNCTIONS + "\n\ndef leaks():\n    raise LookupError('key-of-the-owner\\nsecond line')\n"
        write("src/ai/functions-modules/works.py", text)
        server = serve(
            NAVAI_LOG_FORMAT="JSON",
            NAVAI_ACCESS_TOKENS="till=token-of-the-till",
            OPENAI_API_KEY="key-of-the-owner",
        )
        headers = {"authorization": "Bearer token-of-the-till", "x-request-id": "id-1"}
        for name in ("good", "leaks"):
            httpx.post(server.url + EXECUTE, json=call_of(name), headers=headers, timeout=20)
        get(f"{server.url}/no%0aroute%22%1b")
        log = server.stop()
        lines = [json.loads(line) for line in log.splitlines()]
        for line in lines:
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])
            assert line["level"] in {"INFO", "WARNING", "ERROR"}
        first, second, third = (line for line in lines if line["logger"].endswith("access"))
        assert first["duration_ms"] >= 0
        assert {name: first[name] for name in ("request_id", "principal", "function", "status", "path")} == {
            "request_id": "id-1",
            "principal": "till",
            "function": "good",
            "status": 200,
            "path": EXECUTE,
        }
        assert second["function"] == "leaks"
        assert third["path"] == '/no\nroute"\x1b'
        assert third["principal"] is None
        (failed,) = (line for line in lines if line["level"] == "ERROR")
        assert "Traceback" in failed["message"]
        assert "LookupError: ***\nsecond line" in failed["message"]
        assert "key-of-the-owner" not in log
        assert "token-of-the-till" not in log

    def test_another_form_stops_the_start(self, start: Start) -> None:
        status, said = start(NAVAI_LOG_FORMAT="xml")
        assert status == 2
        assert "NAVAI_LOG_FORMAT" in said

"""OpenTelemetry spans of requests: what they continue, what they contain, and what they cost while off."""

import json
import subprocess
import sys
import textwrap
from typing import Any, Final

import pytest

# The process's tracer provider can be set once, so each scenario is a process of its own.
SETUP: Final = """
import json, sys
import httpx
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from navai_client import NavaiBackendClient
from navai_client.integrations.opentelemetry import OpenTelemetryInstrumentation
from navai_client.server import NavaiBackend
from tests.serving import serving_app

exporter = InMemorySpanExporter()
provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
backend = NavaiBackend(env={}, discover=False, tracing=True, access_tokens=["ann=token-of-ann"])
headers = {"Authorization": "Bearer token-of-ann"}
own = trace.get_tracer("own")

@backend.function
def in_thread(x: str = "") -> str:
    with own.start_as_current_span("work in a thread"):
        return x

@backend.function
async def on_loop() -> None:
    with own.start_as_current_span("work on the loop"):
        raise LookupError("private")

def show():
    print(json.dumps([
        {
            "name": span.name,
            "kind": span.kind.name,
            "id": format(span.context.span_id, "x"),
            "trace": format(span.context.trace_id, "x"),
            "parent": span.parent and format(span.parent.span_id, "x"),
            "status": span.status.status_code.name,
            "attributes": dict(span.attributes),
        }
        for span in exporter.get_finished_spans()
    ]))
"""


def spans_of(scenario: str) -> dict[str, dict[str, Any]]:
    """Run *scenario* and return its spans by name."""
    program = SETUP + textwrap.dedent(scenario) + "\nshow()"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return {span["name"]: span for span in json.loads(ended.stdout.splitlines()[-1])}


def test_a_span_continues_the_clients_trace_and_functions_continue_the_span() -> None:
    spans = spans_of("""
        with serving_app(backend) as url:
            instrumentation = OpenTelemetryInstrumentation()
            with NavaiBackendClient(url, headers=headers, instrumentation=instrumentation) as client:
                client.execute_function("in_thread", {"x": "private"})
    """)
    called, served, worked = (
        spans[name]
        for name in ("execute_tool in_thread", "POST /navai/functions/execute", "work in a thread")
    )
    assert len({span["trace"] for span in spans.values()}) == 1
    assert served["parent"] == called["id"]
    assert worked["parent"] == served["id"]
    assert served["kind"] == "SERVER"
    assert served["status"] == "UNSET"
    request_id = served["attributes"].pop("navai.request_id")
    assert request_id
    assert served["attributes"] == {
        "http.request.method": "POST",
        "http.route": "/navai/functions/execute",
        "url.path": "/navai/functions/execute",
        "url.scheme": "http",
        "http.response.status_code": 200,
        "enduser.id": "ann",
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "in_thread",
    }
    assert "private" not in json.dumps(served)


def test_failures_and_strange_requests_are_told_without_their_contents() -> None:
    spans = spans_of("""
        with serving_app(backend) as url:
            body = {"function_name": "on_loop", "payload": None}
            httpx.post(f"{url}/navai/functions/execute", json=body, headers=headers, timeout=20)
            httpx.get(f"{url}/private/path?private=1", headers={"x-private": "1"}, timeout=20)
            httpx.request("DELETE", f"{url}/health", headers={"traceparent": "private"}, timeout=20)
            backend.router.respond = None  # a defect
            httpx.get(f"{url}/health", timeout=20)
    """)
    assert spans["work on the loop"]["parent"] == spans["POST /navai/functions/execute"]["id"]
    assert spans["GET"]["attributes"]["http.response.status_code"] == 404
    assert spans["HTTP /health"]["attributes"]["http.request.method"] == "_OTHER"
    assert spans["HTTP /health"]["parent"] is None
    assert spans["GET /health"]["status"] == "ERROR"
    assert spans["GET /health"]["attributes"]["error.type"] == "500"
    assert "private" not in json.dumps([span for name, span in spans.items() if "work" not in name])


def test_inside_a_host_that_traces_its_requests_the_span_is_a_part_of_the_hosts() -> None:
    spans = spans_of("""
        async def host(scope, receive, send):
            if scope["type"] == "http":
                with own.start_as_current_span("host"):
                    await backend(scope, receive, send)
            else:
                await backend(scope, receive, send)

        with serving_app(host) as url:
            elsewhere = {"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01"}
            httpx.get(f"{url}/health", headers=elsewhere, timeout=20)
    """)
    assert spans["GET /health"]["parent"] == spans["host"]["id"]
    assert spans["GET /health"]["kind"] == "INTERNAL"


def test_a_cancelled_request_ends_its_span() -> None:
    spans = spans_of("""
        import asyncio

        async def scenario():
            async def never():
                await asyncio.Event().wait()
            scope = {"type": "http", "method": "POST", "path": "/navai/functions/execute", "headers": [
                (b"content-type", b"application/json"), (b"authorization", b"Bearer token-of-ann"),
            ]}
            task = asyncio.create_task(backend(scope, never, None))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert not trace.get_current_span().get_span_context().is_valid

        asyncio.run(scenario())
    """)
    span = spans["POST /navai/functions/execute"]
    assert span["status"] == "ERROR"
    assert span["attributes"]["error.type"] == "cancelled"
    assert "url.scheme" not in span["attributes"]


@pytest.mark.parametrize("option", ["tracing", "metrics"])
def test_what_is_off_is_not_imported(option: str) -> None:
    package = {"tracing": "opentelemetry", "metrics": "prometheus_client"}[option]
    program = f"""
import sys
from navai_client.server import NavaiBackend
NavaiBackend(env={{}}, discover=False)
assert {package!r} not in sys.modules
NavaiBackend(env={{}}, discover=False, {option}=True)
assert {package!r} in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)

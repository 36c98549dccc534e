"""The spans of a client's calls in an OpenTelemetry SDK, and the trace context that a backend gets."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Iterator

import httpx
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from navai_client import (
    AsyncNavaiBackendClient,
    FunctionFailedError,
    NavaiBackendClient,
    NavaiHTTPError,
    NavaiTimeoutError,
    NavaiTransportError,
    OutcomeUnknownError,
)
from navai_client.instrumentation import tool_call
from navai_client.integrations.opentelemetry import OpenTelemetryInstrumentation
from navai_client.integrations.toolset import Toolset
from navai_client.testing import FakeBackend
from tests.backends import SPEECH, Backend, Clients, answer, call
from tests.integrations.live_backend import live_backend


class Tracing:
    """A tracer provider that keeps finished spans."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def instrumentation(self, *, capture_content: bool = False) -> OpenTelemetryInstrumentation:
        return OpenTelemetryInstrumentation(tracer_provider=self.provider, capture_content=capture_content)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self._exporter.get_finished_spans()

    @property
    def span(self) -> ReadableSpan:
        """The only span."""
        (span,) = self.spans
        return span


@pytest.fixture
def tracing() -> Tracing:
    return Tracing()


@pytest.fixture
def clients(kind: str) -> Iterator[Clients]:
    made = Clients(kind)
    yield made
    made.close()


def traceparent(span: ReadableSpan) -> str:
    """Return the ``traceparent`` of *span*."""
    assert span.context is not None
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-03"


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def shown(span: ReadableSpan) -> str:
    """Return the whole content of a span as text."""
    return f"{span.name} {attributes(span)} {span.status.description} {span.events}"


DONE = {"ok": True, "result": {"city": "Bogotá"}}


class TestASpan:
    """The span of a call."""

    def test_of_an_executed_function_has_the_names_of_the_conventions(
        self, clients: Clients, tracing: Tracing
    ) -> None:
        client = clients.make(
            Backend(answer(DONE)), "https://navai.example:8443", instrumentation=tracing.instrumentation()
        )
        with client:
            assert client.execute_function("get_weather", {"location": "Bogotá"}) == {"city": "Bogotá"}
        assert tracing.span.name == "execute_tool get_weather"
        assert tracing.span.kind is SpanKind.INTERNAL
        assert tracing.span.status.status_code is StatusCode.UNSET
        assert attributes(tracing.span) == {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "get_weather",
            "gen_ai.tool.type": "function",
            "server.address": "navai.example",
            "server.port": 8443,
        }

    @pytest.mark.parametrize("operation", ["create_client_secret", "list_functions", "synthesize_speech"])
    def test_of_another_operation_has_its_name_and_no_content(
        self, clients: Clients, tracing: Tracing, operation: str
    ) -> None:
        hidden = answer({"value": "ek_hidden", "items": [], **SPEECH})
        instrumentation = tracing.instrumentation(capture_content=True)
        with clients.make(Backend(hidden), "http://navai.example", instrumentation=instrumentation) as client:
            call(client, operation)
        assert tracing.span.name == f"navai {operation}"
        assert tracing.span.kind is SpanKind.CLIENT
        assert attributes(tracing.span) == {"server.address": "navai.example", "server.port": 80}
        assert "ek_hidden" not in shown(tracing.span)

    def test_holds_the_id_of_the_models_tool_call(self, tracing: Tracing) -> None:
        with FakeBackend() as backend:
            backend.function(name="one")(lambda: 1)
            client = NavaiBackendClient(
                transport=backend.transport, instrumentation=tracing.instrumentation()
            )
            with client:
                with tool_call("call_7"):
                    client.execute_function("one")
                client.execute_function("one")
        asked, unasked = tracing.spans
        assert attributes(asked)["gen_ai.tool.call.id"] == "call_7"
        assert "gen_ai.tool.call.id" not in attributes(unasked)

    def test_holds_the_ids_of_concurrent_tool_calls(self, tracing: Tracing) -> None:
        async def ask(client: AsyncNavaiBackendClient, number: int) -> None:
            with tool_call(f"call_{number}"):
                await client.execute_function("meet", {"guest": number})

        async def crowd() -> None:
            async with live_backend() as live:
                client = AsyncNavaiBackendClient(live.url, instrumentation=tracing.instrumentation())
                async with client:
                    await asyncio.gather(*(ask(client, number) for number in range(10)))

        asyncio.run(crowd())
        ids = {attributes(span)["gen_ai.tool.call.id"] for span in tracing.spans}
        assert ids == {f"call_{number}" for number in range(10)}

    @pytest.mark.parametrize("cls", [NavaiBackendClient, AsyncNavaiBackendClient])
    def test_of_a_toolsets_call_has_the_id_from_the_model(
        self, tracing: Tracing, cls: type[NavaiBackendClient | AsyncNavaiBackendClient]
    ) -> None:
        async def ask() -> None:
            async with live_backend() as live:
                client = cls(live.url, instrumentation=tracing.instrumentation())
                async with await Toolset.load(client) as toolset:
                    with tracing.provider.get_tracer("test").start_as_current_span("turn"):
                        await toolset.call("get_weather", {"location": "Quito"}, call_id="call_1")
                if isinstance(closing := client.close(), Awaitable):
                    await closing

        asyncio.run(ask())
        listed, called, turn = tracing.spans
        assert listed.name == "navai list_functions"
        assert attributes(called)["gen_ai.tool.call.id"] == "call_1"
        assert turn.context is not None
        assert called.parent is not None
        assert called.parent.span_id == turn.context.span_id

    def test_covers_all_attempts_of_a_call(self, clients: Clients, tracing: Tracing) -> None:
        later = answer({"error": "later"}, 503, {"retry-after": "0"})
        backend = Backend(later, later, answer(DONE))
        with clients.make(backend, instrumentation=tracing.instrumentation()) as client:
            client.execute_function("get_weather")
        assert {request.headers["traceparent"] for request in backend.requests} == {traceparent(tracing.span)}
        assert len(backend.requests) == 3
        assert tracing.span.status.status_code is StatusCode.UNSET

    def test_has_no_content_by_default(self, clients: Clients, tracing: Tracing) -> None:
        failed = answer({"ok": False, "error": "Function execution failed.", "details": "no Ada here"})
        backend = Backend(answer({"ok": True, "result": "Ada lives here"}), failed)
        with clients.make(backend, instrumentation=tracing.instrumentation()) as client:
            client.execute_function("find", {"name": "Ada"})
            with pytest.raises(FunctionFailedError):
                client.execute_function("find", {"name": "Ada"})
        assert len(tracing.spans) == 2
        assert not any("Ada" in shown(span) for span in tracing.spans)

    def test_has_arguments_results_and_messages_on_request(self, clients: Clients, tracing: Tracing) -> None:
        failed = answer({"ok": False, "error": "Function execution failed.", "details": "no Ada here"})
        backend = Backend(answer({"ok": True, "result": ["Ada"]}), failed)
        with clients.make(backend, instrumentation=tracing.instrumentation(capture_content=True)) as client:
            client.execute_function("find", {"name": "Ada"})
            with pytest.raises(FunctionFailedError):
                client.execute_function("find", {"name": "Ada"})
        found, missed = tracing.spans
        assert attributes(found)["gen_ai.tool.call.arguments"] == '{"name":"Ada"}'
        assert attributes(found)["gen_ai.tool.call.result"] == '["Ada"]'
        assert "gen_ai.tool.call.result" not in attributes(missed)
        assert missed.status.description == "no Ada here"

    def test_never_holds_a_secret_that_the_client_knows(self, clients: Clients, tracing: Tracing) -> None:
        backend = Backend(answer({"ok": True, "result": "your token is gateway-secret"}))
        client = clients.make(
            backend,
            headers={"Authorization": "Bearer gateway-secret"},
            instrumentation=tracing.instrumentation(capture_content=True),
        )
        with client:
            client.execute_function("echo", {"token": "gateway-secret"})
        assert "gateway-secret" not in shown(tracing.span)
        assert attributes(tracing.span)["gen_ai.tool.call.arguments"] == '{"token":"***"}'

    def test_can_be_exported_with_lone_surrogates(self, clients: Clients, tracing: Tracing) -> None:
        backend = Backend(answer({"ok": True, "result": "\ud800"}))
        with clients.make(backend, instrumentation=tracing.instrumentation(capture_content=True)) as client:
            client.execute_function("\ud800", {"\ud800": 1})
        shown(tracing.span).encode()

    def test_of_a_result_that_json_cannot_express_says_so(self, clients: Clients, tracing: Tracing) -> None:
        many = "9" * 6000
        backend = Backend(answer(b'{"ok":true,"result":' + many.encode() + b"}"))
        with clients.make(backend, instrumentation=tracing.instrumentation(capture_content=True)) as client:
            client.execute_function("count")
        assert str(attributes(tracing.span)["gen_ai.tool.call.result"]).startswith("[The value")


class TestAFailure:
    """The span of a failure."""

    @pytest.mark.parametrize(
        ("came", "raised", "said"),
        [
            (answer({"error": "no"}, 500), NavaiHTTPError, {"http.response.status_code": 500}),
            (answer({"ok": False}), FunctionFailedError, {}),
            (
                answer({"error": "cut off", "may_have_executed": True}, 409),
                OutcomeUnknownError,
                {"http.response.status_code": 409, "navai.may_have_executed": True},
            ),
            (httpx.ConnectError("no"), NavaiTransportError, {"navai.may_have_executed": False}),
            (httpx.ReadTimeout("no"), NavaiTimeoutError, {"navai.may_have_executed": True}),
        ],
    )
    def test_has_an_error_type_that_can_be_counted(
        self,
        clients: Clients,
        tracing: Tracing,
        came: httpx.Response | Exception,
        raised: type[Exception],
        said: dict[str, object],
    ) -> None:
        instrumentation = tracing.instrumentation()
        client = clients.make(Backend(came), instrumentation=instrumentation, max_retries=0)
        with client, pytest.raises(raised):
            client.execute_function("get_weather")
        assert tracing.span.status.status_code is StatusCode.ERROR
        assert tracing.span.status.description is None
        assert not tracing.span.events
        assert attributes(tracing.span).items() >= {"error.type": raised.__name__, **said}.items()

    def test_includes_a_cancelled_caller(self, tracing: Tracing) -> None:
        async def leave() -> None:
            async with live_backend() as live:
                client = AsyncNavaiBackendClient(live.url, instrumentation=tracing.instrumentation())
                async with client:
                    task = asyncio.create_task(client.execute_function("book_table", {"name": "Ada"}))
                    await live.waiting.wait()
                    task.cancel()
                    with pytest.raises(asyncio.CancelledError):
                        await task
                    assert attributes(tracing.span)["error.type"] == "CancelledError"
                    live.release.set()
                assert live.booked == ["Ada"]

        asyncio.run(leave())


class TestTheTrace:
    """The trace context in requests."""

    def test_reaches_the_backend_and_continues_there(self, tracing: Tracing) -> None:
        async def ask() -> list[str | None]:
            async with live_backend() as live:
                client = AsyncNavaiBackendClient(live.url, instrumentation=tracing.instrumentation())
                async with client:
                    with tracing.provider.get_tracer("test").start_as_current_span("turn"):
                        places = [{"location": place} for place in ("Bogotá", "Lima", "Quito")]
                        await asyncio.gather(*(client.execute_function("get_weather", at) for at in places))
                return live.traces

        traces = asyncio.run(ask())
        *calls, turn = tracing.spans
        assert turn.name == "turn"
        assert sorted(traces, key=str) == sorted(map(traceparent, calls))
        assert turn.context is not None
        assert {span.parent and span.parent.span_id for span in calls} == {turn.context.span_id}

    @pytest.mark.parametrize("operation", ["create_client_secret", "list_functions", "execute_function"])
    def test_goes_with_every_operation(self, clients: Clients, tracing: Tracing, operation: str) -> None:
        backend = Backend(answer({"ok": True, "value": "ek_1", "items": []}))
        with clients.make(backend, instrumentation=tracing.instrumentation()) as client:
            call(client, operation)
        assert backend.request.headers["traceparent"] == traceparent(tracing.span)

    def test_has_the_headers_of_the_propagators(self, tracing: Tracing) -> None:
        backend = Backend(answer(DONE))
        with NavaiBackendClient(
            transport=httpx.MockTransport(backend), instrumentation=tracing.instrumentation()
        ) as client:
            token = context.attach(baggage.set_baggage("tenant", "bogotá"))
            client.execute_function("get_weather")
            context.detach(token)
        assert backend.request.headers["baggage"] == "tenant=bogot%C3%A1"

    def test_does_not_change_the_headers_of_the_contract(self, tracing: Tracing) -> None:
        with FakeBackend() as backend:
            backend.function(name="one")(lambda: 1)
            client = NavaiBackendClient(
                transport=backend.transport, instrumentation=tracing.instrumentation()
            )
            with client:
                assert client.execute_function("one", idempotency_key="mine") == 1
            (request,) = backend.requests
        assert request.headers["idempotency-key"] == "mine"
        assert request.headers["content-type"] == "application/json"
        assert "traceparent" in request.headers

    def test_is_absent_without_an_sdk(self, clients: Clients) -> None:
        backend = Backend(answer(DONE))
        instrumentation = OpenTelemetryInstrumentation(tracer_provider=trace.NoOpTracerProvider())
        with clients.make(backend, instrumentation=instrumentation) as client:
            assert client.execute_function("get_weather") == DONE["result"]
            with pytest.raises(TypeError):
                client.execute_function()
        assert "traceparent" not in backend.request.headers


def test_the_client_does_not_load_opentelemetry() -> None:
    code = (
        "import sys, navai_client\n"
        "with navai_client.NavaiBackendClient(env={}): pass\n"
        "assert 'opentelemetry' not in sys.modules\n"
        "sys.modules['opentelemetry'] = None\n"
        "try: import navai_client.integrations.opentelemetry\n"
        "except ImportError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "opentelemetry is not installed; run: pip install 'navai-client[otel]'\n"

"""OpenTelemetry traces: a span for each call of a client, with its context propagated to the backend.

Needs the extra ``otel``, which is OpenTelemetry's API alone: nothing is recorded unless an SDK is configured.
The names are those of OpenTelemetry's semantic conventions for generative AI
(github.com/open-telemetry/semantic-conventions-genai), which are still in development.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from navai_client._extras import needs_extra
from navai_client._version import __version__
from navai_client.errors import NavaiHTTPError, NavaiTransportError
from navai_client.instrumentation import ObservedCall

with needs_extra("otel", "opentelemetry"):
    from opentelemetry import propagate, trace
    from opentelemetry.trace import Span, SpanKind, StatusCode

__all__ = ["OpenTelemetryInstrumentation"]

_PORTS: Final = {"http": 80, "https": 443}


class OpenTelemetryInstrumentation:
    """Makes a span for each call of a client that has it as ``instrumentation``.

    The execution of a function is one span ``execute_tool {function}``, including its retries; other
    operations are spans ``navai {operation}``. A failed span has an ``error.type``, and no message. Every
    request propagates the span's context to the backend, in the headers of the process's propagators (by
    default ``traceparent``, ``tracestate`` and ``baggage``).

    Args:
        tracer_provider: The source of spans, instead of the process's own provider.
        capture_content: Whether spans record the arguments and results of functions and the messages of
            errors, which can contain what people said. Secrets that the client knows are masked in them.
    """

    def __init__(
        self, *, tracer_provider: trace.TracerProvider | None = None, capture_content: bool = False
    ) -> None:
        self._tracer = trace.get_tracer("navai_client", __version__, tracer_provider)
        self._capture_content = capture_content

    @contextmanager
    def observe(self, call: ObservedCall) -> Iterator["_Observation"]:
        """Run *call* within a span, which is the current one meanwhile."""
        is_tool = call.function_name is not None
        with self._tracer.start_as_current_span(
            _text(f"execute_tool {call.function_name}") if is_tool else f"navai {call.operation}",
            kind=SpanKind.INTERNAL if is_tool else SpanKind.CLIENT,
            record_exception=False,  # messages and tracebacks can contain arguments
            set_status_on_exception=False,
        ) as span:
            recorded = call if self._capture_content and is_tool and span.is_recording() else None
            if span.is_recording():
                span.set_attributes(_attributes(call))
            if recorded is not None:
                span.set_attribute("gen_ai.tool.call.arguments", call.text(call.payload))
            headers: dict[str, str] = {}
            propagate.inject(headers)
            try:
                yield _Observation(span, headers, recorded)
            except BaseException as error:
                span.set_attributes(_failure(error))
                span.set_status(StatusCode.ERROR, _text(error) if recorded is not None else None)
                raise


class _Observation:
    """The observation of one call.

    Attributes:
        headers: Headers for its requests.
    """

    def __init__(self, span: Span, headers: Mapping[str, str], recorded: ObservedCall | None) -> None:
        self._span = span
        self._recorded = recorded
        self.headers = headers

    def succeeded(self, value: Any) -> None:
        """Record the result of a function, if ``capture_content`` is set."""
        if self._recorded is not None:
            self._span.set_attribute("gen_ai.tool.call.result", self._recorded.text(value))


def _text(value: object) -> str:
    """Return *value* as a string that exporters can encode: a model may write lone surrogates."""
    return str(value).encode("utf-8", "backslashreplace").decode()


def _attributes(call: ObservedCall) -> dict[str, str | int]:
    parts = urlsplit(call.url)
    attributes: dict[str, str | int] = {
        "server.address": parts.hostname or "",
        "server.port": parts.port or _PORTS[parts.scheme],
    }
    if call.function_name is not None:
        attributes["gen_ai.operation.name"] = "execute_tool"
        attributes["gen_ai.tool.name"] = _text(call.function_name)
        attributes["gen_ai.tool.type"] = "function"
    if call.tool_call_id is not None:
        attributes["gen_ai.tool.call.id"] = _text(call.tool_call_id)
    return attributes


def _failure(error: BaseException) -> dict[str, str | int | bool]:
    attributes: dict[str, str | int | bool] = {"error.type": type(error).__qualname__}
    if isinstance(error, NavaiHTTPError):
        attributes["http.response.status_code"] = error.status_code
    may_have_executed: bool = getattr(error, "may_have_executed", False)
    if isinstance(error, NavaiTransportError) or may_have_executed:
        attributes["navai.may_have_executed"] = may_have_executed
    return attributes

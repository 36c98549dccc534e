"""OpenTelemetry: a span for each request, which continues the trace of its client.

Needs the extra ``otel``, which is OpenTelemetry's API alone: nothing is recorded unless an SDK is configured.
The names are those of OpenTelemetry's semantic conventions for HTTP, and for generative AI where a function
is executed. No payload, result, header or message is recorded.
"""

from collections.abc import Callable
from typing import Any, Final

from navai_client._extras import needs_extra
from navai_client._version import __version__
from navai_client.server._http import METHODS, BackendRequest, BackendResponse

_SERVER_ERROR: Final = 500  # of HTTP's statuses, those that say that the server failed


class Tracing:
    """Makes spans with the process's own tracer provider and propagators."""

    def __init__(self) -> None:
        """Find the tracer.

        Raises:
            ImportError: The extra ``otel`` is not installed.
        """
        with needs_extra("otel", "opentelemetry"):
            from opentelemetry import context, propagate, trace  # noqa: PLC0415 - only for who needs it

        self._context, self._propagate, self._trace = context, propagate, trace
        self._tracer = trace.get_tracer("navai_client.server", __version__)

    def begin(self, request: BackendRequest, route: str | None) -> Callable[[BackendResponse | None], None]:
        """Begin the span of *request*, and make it the current one.

        Its parent is the span of a host application that traces its requests, else that of the client.

        Args:
            request: The request.
            route: Its path if that is a route, else None: other paths may contain anything.

        Returns:
            Ends it with the response; with None if the request was cancelled.
        """
        parent, kind = None, self._trace.SpanKind.INTERNAL
        if not self._trace.get_current_span().get_span_context().is_valid:
            kind = self._trace.SpanKind.SERVER
            parent = self._propagate.extract(request.headers)
        method = request.method if request.method in METHODS else "_OTHER"
        attributes: dict[str, Any] = {"http.request.method": method, "navai.request_id": request.request_id}
        if route is not None:
            attributes |= {"http.route": route, "url.path": route}
        scheme = request.scope.get("scheme")
        if scheme is not None:
            attributes["url.scheme"] = scheme
        name = f"{'HTTP' if method == '_OTHER' else method} {route or ''}".rstrip()
        span = self._tracer.start_span(name, parent, kind, attributes)
        token = self._context.attach(self._trace.set_span_in_context(span))

        def end(response: BackendResponse | None) -> None:
            span.set_attributes(_attributes(request, response))
            if response is None or response.status >= _SERVER_ERROR:
                span.set_status(self._trace.StatusCode.ERROR)
            self._context.detach(token)
            span.end()

        return end


def _attributes(request: BackendRequest, response: BackendResponse | None) -> dict[str, Any]:
    attributes: dict[str, Any] = {}
    if request.principal is not None:
        attributes["enduser.id"] = request.principal.id.encode("utf-8", "backslashreplace").decode()
    if response is None:
        return {**attributes, "error.type": "cancelled"}
    attributes["http.response.status_code"] = response.status
    if response.status >= _SERVER_ERROR:
        attributes["error.type"] = str(response.status)
    if response.function is not None:
        attributes |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": response.function}
    return attributes

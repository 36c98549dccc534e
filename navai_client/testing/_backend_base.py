"""What ``FakeBackend`` and ``LiveServer`` share: functions, a record, assertions, scripted failures."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, Unpack
from unittest.mock import ANY

from navai_client.errors import NavaiConfigError
from navai_client.server._app import NavaiBackend
from navai_client.server._demo import DemoServices
from navai_client.server._http import JSON_HEADER, BackendResponse, error_response
from navai_client.testing import _assertions as assertions
from navai_client.testing._recording import RecordedCall, RecordedRequest, calls_of, lookup_name, read_request
from navai_client.testing._scripted_failures import Arrival, Failure, ScriptedFailures, Stage, Which
from navai_client.wire._encode import encode_json

if TYPE_CHECKING:
    from navai_client.testing.realtime import FakeRealtimeServer

_ERRORS: Final = range(400, 600)
_FINAL: Final = range(200, 600)


class BackendForTests(ABC):
    """A backend that records its requests, and fails where a test scripts it.

    Attributes:
        function: Registers a function, or each public method of a class: ``@backend.function``, or
            ``@backend.function(name=..., description=..., timeout=...)``.
    """

    _can_refuse: ClassVar[bool] = True

    def __init__(self, backend: NavaiBackend, services: DemoServices) -> None:
        self._backend = backend
        self._services = services
        self._requests: list[RecordedRequest] = []
        self._failures = ScriptedFailures()
        self.function = backend.function

    @abstractmethod
    def close(self) -> None:
        """Stop the calls that still run."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def mint_for(self, api: "FakeRealtimeServer") -> None:
        """Let *api* accept the client secrets that the backend mints from now on.

        The fixtures ``navai_backend`` and ``navai_server`` do so beside ``navai_realtime_server``. A session
        has the model, voice and instructions that the client asks for, else those of a backend without
        settings.
        """
        self._services.minted = api.accept

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request that arrived, in order."""
        return list(self._requests)

    @property
    def calls(self) -> list[RecordedCall]:
        """Every call of a function that arrived, in order.

        Attempts that share an ``Idempotency-Key`` are one call: that is how the clients retry.
        """
        return calls_of(self.requests)

    def assert_called(
        self, function_name: str, payload: Any = ANY, *, containing: Any = ANY, times: int | None = None
    ) -> None:
        """Assert that a function was called.

        Args:
            function_name: The function.
            payload: The payload it must have, by default any. ``unittest.mock.ANY`` and
                ``pytest.approx`` can take the place of values in it.
            containing: What must be in the payload: as *payload*, but objects may have more keys.
            times: The number of calls, by default at least one.

        Raises:
            AssertionError: It was not; the message says what came, and how to loosen what is expected.
        """
        __tracebackhide__ = True
        self._assert_called(function_name, payload, containing, times, only=False)

    def assert_called_once_with(self, function_name: str, payload: Any = None) -> None:
        """Assert that a function was called once, and with *payload*.

        Raises:
            AssertionError: It was not; the message says what came, and how to loosen what is expected.
        """
        __tracebackhide__ = True
        self._assert_called(function_name, payload, ANY, 1, only=True)

    def assert_not_called(self, function_name: str | None = None) -> None:
        """Assert that a function, or by default any function, was not called.

        Raises:
            AssertionError: It was; the message says with what.
        """
        __tracebackhide__ = True
        name = None if function_name is None else lookup_name(function_name)
        calls = [call for call in self.calls if name in (None, call.function_name)]
        if calls:
            raise AssertionError(assertions.unexpected_calls(name, calls))

    def assert_failures_used(self) -> None:
        """Assert that every scripted failure was used, unless it is optional.

        Raises:
            AssertionError: One was not; the message says which, and what came instead.
        """
        __tracebackhide__ = True
        unused = self._failures.unused()
        if unused:
            raise AssertionError(assertions.unused_failures(unused, self.requests))

    def fail_next(
        self,
        status: int = 503,
        *,
        error: str | None = None,
        retry_after: int | str | None = None,
        **which: Unpack[Which],
    ) -> None:
        """Respond to the next request with an error, without executing anything.

        The clients retry where they would with any backend: see their methods for when.

        Args:
            status: The HTTP status, 400 to 599.
            error: The ``error`` of the response, by default the status's name.
            retry_after: The response's ``Retry-After``: whole seconds, or an HTTP date.
            which: The requests: ``function=`` for those that execute this function, ``operation=`` for those
                of this method of the clients, such as ``"list_functions"``; ``times=`` for how many, by
                default 1, None for all. With ``optional=True`` the test may end without such a request.

        Raises:
            NavaiConfigError: If no request could ever fit.
        """
        if status not in _ERRORS:
            raise NavaiConfigError(
                f"fail_next() takes a status from 400 to 599, answer_next() any. Received: {status}"
            )
        phrases = {each.value: each.phrase for each in HTTPStatus}
        response = error_response(status, phrases.get(status, "Scripted failure") if error is None else error)
        if retry_after is not None:
            header = (b"retry-after", str(retry_after).encode("latin-1"))
            response = BackendResponse(status, response.body, (*response.headers, header))
        self._failures.add(Failure(call=("fail_next", {"status": status}), response=response, **which))

    def answer_next(
        self,
        content: bytes | str | None = None,
        *,
        json: Any = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        **which: Unpack[Which],
    ) -> None:
        """Respond to the next request with a response of your own, such as one that breaks the contract.

        Args:
            content: The body as it is.
            json: The body as a JSON value instead.
            status: The HTTP status, 200 to 599.
            headers: Headers of the response; ``Content-Type`` is ``application/json`` unless given.
            which: The requests, as for ``fail_next``.

        Raises:
            NavaiConfigError: If no request could ever fit.
            NavaiPayloadError: If *json* is not JSON.
        """
        if content is not None and json is not None:
            raise NavaiConfigError("content and json were both given; a response has one body.")
        if status not in _FINAL:
            raise NavaiConfigError(f"answer_next() takes a status from 200 to 599. Received: {status}")
        body = content.encode() if isinstance(content, str) else content
        if body is None:
            body = encode_json(json, name="json")
        own = tuple(
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (headers or {}).items()
        )
        typed = own if any(name == b"content-type" for name, _ in own) else (JSON_HEADER, *own)
        response = BackendResponse(status, body, typed)
        self._failures.add(Failure(call=("answer_next", {"status": status}), response=response, **which))

    def delay_next(self, seconds: float, **which: Unpack[Which]) -> None:
        """Delay the next request before the backend acts on it, or until the client times out.

        Args:
            seconds: The delay.
            which: The requests, as for ``fail_next``.

        Raises:
            NavaiConfigError: If that could never happen.
        """
        self._failures.add(Failure(call=("delay_next", {"seconds": seconds}), delay=seconds, **which))

    def drop_next(self, *, before: Stage = "answering", **which: Unpack[Which]) -> None:
        """Drop the connection of the next request.

        Args:
            before: ``"sending"``: nothing of the request is sent, as when the port is closed.
                ``"executing"``: the request arrives and nothing is executed. ``"answering"``: it is executed,
                and the response is lost. The caller cannot tell the last two apart.
            which: The requests, as for ``fail_next``.

        Raises:
            NavaiConfigError: If that could never happen.
        """
        if before == "sending" and not self._can_refuse:
            raise NavaiConfigError(
                "A real server cannot refuse one request before it is sent; FakeBackend can, and a server "
                "that is closed refuses all."
            )
        self._failures.add(Failure(call=("drop_next", {"before": before}), drop=before, **which))

    def _receive(self, method: str, path: str, headers: Mapping[bytes, bytes], content: bytes) -> Arrival:
        """Record a request, and return it with its scripted failure."""
        request = read_request(self._backend.settings, method, path, headers, content)
        arrival = Arrival(request, self._failures.take(request))
        if not arrival.is_refused:
            self._requests.append(request)
        return arrival

    def _assert_called(
        self, function_name: str, payload: Any, containing: Any, times: int | None, *, only: bool
    ) -> None:
        __tracebackhide__ = True
        name = lookup_name(function_name)
        expected = assertions.Expectation(name, payload, containing, times, only=only)
        calls = [call for call in self.calls if call.function_name == name]
        fitting = [call for call in calls if not any(expected.differences(call.payload))]
        is_met = len(fitting) == times if times is not None else bool(fitting)
        if not is_met or (only and len(calls) != len(fitting)):
            registered, refused = self._backend.functions().names, self._failures.refused()
            raise AssertionError(assertions.missing_call(expected, self.calls, registered, refused))

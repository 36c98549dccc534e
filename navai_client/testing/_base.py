"""What backends for tests have in common: functions, a record of what came, assertions, scripted failures."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final
from unittest.mock import ANY

from navai_client.errors import NavaiConfigError
from navai_client.server._backend import Backend
from navai_client.server._http import JSON_HEADER, BackendResponse, error_response
from navai_client.testing import _assertions as explaining
from navai_client.testing._failures import Fault, Stage
from navai_client.testing._recording import RecordedCall, RecordedRequest
from navai_client.testing._scenario import Scenario
from navai_client.wire._decode import trim
from navai_client.wire._encode import encode_json

_ERRORS: Final = range(400, 600)
_FINAL: Final = range(200, 600)


class ScriptedBackend:
    """A backend that notes what it is asked, and fails where its script says so.

    Attributes:
        function: Registers a function, or each public method of a class: ``@backend.function``, or
            ``@backend.function(name=..., description=..., timeout=...)``.
    """

    _can_refuse: ClassVar[bool] = True

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._scenario = Scenario(backend.settings)
        self.function = backend.function

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request that arrived, in order."""
        return self._scenario.journal.requests

    @property
    def calls(self) -> list[RecordedCall]:
        """Every call of a function that arrived, in order.

        Attempts that share an ``Idempotency-Key`` are one call: that is how the clients try again.
        """
        return self._scenario.journal.calls

    def assert_called(
        self, function_name: str, payload: Any = ANY, *, containing: Any = ANY, times: int | None = None
    ) -> None:
        """Assert that a function was called.

        Args:
            function_name: The function.
            payload: What it must have been given, by default anything. ``unittest.mock.ANY`` and
                ``pytest.approx`` can stand for values in it.
            containing: What must be in the payload: as *payload*, but objects may have more keys.
            times: How often, by default at least once.

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
        name = None if function_name is None else trim(function_name).lower()
        calls = [call for call in self.calls if name in (None, call.function_name)]
        if calls:
            raise AssertionError(explaining.called_after_all(name, calls))

    def assert_failures_used(self) -> None:
        """Assert that every scripted failure came to pass, unless it is optional.

        Raises:
            AssertionError: One did not; the message says which, and what came instead.
        """
        __tracebackhide__ = True
        left = self._scenario.script.left()
        if left:
            raise AssertionError(explaining.failures_left(left, self.requests))

    def fail_next(
        self,
        status: int = 503,
        *,
        error: str | None = None,
        retry_after: int | str | None = None,
        function: str | None = None,
        operation: str | None = None,
        times: int | None = 1,
        optional: bool = False,
    ) -> None:
        """Answer the next request with an error, without executing anything.

        The clients try again where they would with any backend: see their methods for when.

        Args:
            status: The HTTP status, 400 to 599.
            error: The ``error`` of the answer, by default the status's name.
            retry_after: The answer's ``Retry-After``: whole seconds, or a date as HTTP writes it.
            function: Only for requests that execute this function.
            operation: Only for requests of this method of the clients, such as ``"list_functions"``.
            times: For how many such requests; None for all of them.
            optional: Whether it is fine if no such request comes.

        Raises:
            NavaiConfigError: If no request could ever be answered so.
        """
        if status not in _ERRORS:
            raise NavaiConfigError(
                f"fail_next() takes a status from 400 to 599, answer_next() any. Received: {status}"
            )
        names = {each.value: each.phrase for each in HTTPStatus}
        answer = error_response(status, names.get(status, "Scripted failure") if error is None else error)
        if retry_after is not None:
            header = (b"retry-after", str(retry_after).encode("latin-1"))
            answer = BackendResponse(status, answer.body, (*answer.headers, header))
        given = _call("fail_next", status=status, function=function, operation=operation)
        self._add(given, Fault(answer=answer), function, operation, times, optional=optional)

    def answer_next(
        self,
        content: bytes | str | None = None,
        *,
        json: Any = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        function: str | None = None,
        operation: str | None = None,
        times: int | None = 1,
        optional: bool = False,
    ) -> None:
        """Answer the next request with an answer of your own, such as one that breaks the contract.

        Args:
            content: The body as it is.
            json: The body as a JSON value instead.
            status: The HTTP status, 200 to 599.
            headers: Headers of the answer; ``Content-Type`` is ``application/json`` where they have none.
            function: As for ``fail_next``, like all that follow.
            operation: See there.
            times: See there.
            optional: See there.

        Raises:
            NavaiConfigError: If no request could ever be answered so.
            NavaiPayloadError: If *json* is not JSON.
        """
        if content is not None and json is not None:
            raise NavaiConfigError("content and json were both given; an answer has one body.")
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
        given = _call("answer_next", status=status, function=function, operation=operation)
        self._add(
            given,
            Fault(answer=BackendResponse(status, body, typed)),
            function,
            operation,
            times,
            optional=optional,
        )

    def delay_next(
        self,
        seconds: float,
        *,
        function: str | None = None,
        operation: str | None = None,
        times: int | None = 1,
        optional: bool = False,
    ) -> None:
        """Let time pass before the next request is acted on; whoever waits less long times out.

        Args:
            seconds: How much.
            function: As for ``fail_next``, like all that follow.
            operation: See there.
            times: See there.
            optional: See there.

        Raises:
            NavaiConfigError: If that could never happen.
        """
        given = _call("delay_next", seconds=seconds, function=function, operation=operation)
        self._add(given, Fault(delay=seconds), function, operation, times, optional=optional)

    def drop_next(
        self,
        *,
        before: Stage = "answering",
        function: str | None = None,
        operation: str | None = None,
        times: int | None = 1,
        optional: bool = False,
    ) -> None:
        """Drop the connection of the next request.

        Args:
            before: ``"sending"``: nothing of the request leaves, as when nobody listens. ``"executing"``: the
                request arrives and nothing is done. ``"answering"``: it is done, and the answer is lost. The
                caller cannot tell the last two apart.
            function: As for ``fail_next``, like all that follow.
            operation: See there.
            times: See there.
            optional: See there.

        Raises:
            NavaiConfigError: If that could never happen.
        """
        if before == "sending" and not self._can_refuse:
            raise NavaiConfigError(
                "A real server cannot refuse one request before it is sent; FakeBackend can, and a server "
                "that is closed refuses all."
            )
        given = _call("drop_next", before=before, function=function, operation=operation)
        self._add(given, Fault(drop=before), function, operation, times, optional=optional)

    def _add(
        self,
        text: str,
        fault: Fault,
        function: str | None,
        operation: str | None,
        times: int | None,
        *,
        optional: bool,
    ) -> None:
        self._scenario.script.add(
            text, fault, operation=operation, function=function, times=times, optional=optional
        )

    def _assert_called(
        self, function_name: str, payload: Any, containing: Any, times: int | None, *, only: bool
    ) -> None:
        __tracebackhide__ = True
        name = trim(function_name).lower()
        expected = explaining.Expectation(name, payload, containing, times, only=only)
        calls = [call for call in self.calls if call.function_name == name]
        fitting = [call for call in calls if not any(expected.differences(call.payload))]
        is_met = len(fitting) == times if times is not None else bool(fitting)
        if not is_met or (only and len(calls) != len(fitting)):
            raise AssertionError(
                explaining.not_called(
                    expected, self.calls, self._backend.functions().names, self._scenario.script.refused()
                )
            )


def _call(method: str, **given: Any) -> str:
    shown = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
    return f"{method}({shown})"

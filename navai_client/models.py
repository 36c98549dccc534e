"""The values that calls return. They are frozen, and do no I/O."""

import datetime as dt
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Generic, Literal, Self, TypeVar, get_args, overload

from attrs import field, frozen

from navai_client._redaction import mask
from navai_client.errors import NavaiError
from navai_client.functions._tool_schemas import OpenAIAPI, openai_tools

__all__ = ["BackendFunction", "Cancellation", "ClientSecret", "FunctionList", "RawResponse", "SpeechAudio"]

T = TypeVar("T")

Effect = Literal["read", "write", "dangerous"]
"""What a function does to the world: nothing; something; something that a person should agree to first."""

EFFECTS: Final[tuple[Effect, ...]] = get_args(Effect)

# What a repr shows of a list. Models accept names of 64 characters.
_NAMES_SHOWN: Final = 8
_LONGEST_NAME: Final = 64


@frozen(kw_only=True)
class ClientSecret:
    """A short-lived key with which an agent opens Realtime sessions.

    It can open several sessions until it expires; a running session goes on after that. Its repr and str show
    the value masked.

    Attributes:
        value: The secret itself, such as ``ek_...``.
        expires_at: When it expires, in seconds since the Unix epoch, or None if the backend did not say.
        speech_provider: What speaks: ``openai`` (the Realtime session itself) or ``elevenlabs`` (call
            ``synthesize_speech`` with each text).
        session: The configuration of the sessions, as OpenAI gave it, or None if the backend did not send it.
            The bundled server leaves out instructions, tools and prompts, unless its owner allows them. It
            does not count in comparisons.
        issued_at: When the backend sent it, by the backend's own clock (``Date``), in seconds since the Unix
            epoch, or None if it did not say. It does not count in comparisons.
    """

    value: str = field(repr=mask)
    expires_at: float | None = None
    speech_provider: str = "openai"
    session: Mapping[str, Any] | None = field(default=None, eq=False, repr=False)
    issued_at: float | None = field(default=None, eq=False, repr=False)

    @property
    def expires_at_datetime(self) -> dt.datetime | None:
        """When the secret expires, as a time in UTC; None if that is unknown, or no year up to 9999."""
        try:
            return None if self.expires_at is None else dt.datetime.fromtimestamp(self.expires_at, dt.UTC)
        except (OverflowError, ValueError, OSError):
            return None

    def expires_in(self, *, now: float | None = None) -> float:
        """Return the seconds until the secret expires: negative afterwards, infinite if that is unknown.

        Args:
            now: Seconds since the Unix epoch; the system's clock by default.
        """
        if self.expires_at is None:
            return math.inf
        try:
            return self.expires_at - (time.time() if now is None else now)
        except OverflowError:  # an integer beyond the range of floats
            return math.inf if self.expires_at > 0 else -math.inf

    def is_expired(self, *, leeway: float = 0.0, now: float | None = None) -> bool:
        """Return whether the secret expires within *leeway* seconds.

        Args:
            leeway: Seconds that must be left for the secret to count as valid.
            now: Seconds since the Unix epoch; the system's clock by default.
        """
        return self.expires_in(now=now) <= leeway


@frozen(kw_only=True)
class BackendFunction:
    """One function that the backend offers.

    Attributes:
        name: The name to call it by.
        description: What it does, for the model, or None.
        source: Where it is defined, such as ``src/ai/functions-modules/weather.py#get_weather``, or None.
        parameters: The JSON Schema of its payload, or None. Python backends and upstream's WordPress plugin
            send one; the JavaScript backend does not.
        approval: Whether a call waits until a person has approved it (``ApprovalPendingError``).
        timeout_seconds: How long a call may take, as the backend advises, or None.
        effect: What it does, as the backend declares: ``read`` changes nothing, ``write`` changes something,
            ``dangerous`` changes what the person in the session should agree to first; or None.
        typical_seconds: How long a call takes as a rule, or None.
        say_while_waiting: What an agent may say while a call takes long, or None.
    """

    name: str
    description: str | None = None
    source: str | None = None
    parameters: Mapping[str, Any] | None = field(default=None, hash=False)
    approval: bool = False
    timeout_seconds: float | None = None
    effect: Effect | None = None
    typical_seconds: float | None = None
    say_while_waiting: str | None = None


@frozen(kw_only=True, repr=False)
class FunctionList(Sequence[Any]):  # of functions: with Any, mypy accepts `"name" in functions`
    """The functions that a backend offers, and its warnings.

    It is a sequence of its functions: ``functions[0]`` and ``functions[:3]`` work, ``functions["name"]`` is
    the function of that name, and ``"name" in functions`` says whether there is one. So it cannot be unpacked
    into functions and warnings; read the two attributes instead::

        listed = client.list_functions()
        functions, warnings = listed.functions, listed.warnings

    The list of a call that failed is empty; ``raise_for_error()`` raises the reason.

    Attributes:
        functions: The functions, in the backend's order.
        warnings: The backend's warnings. If the call failed, the first says so, and a second may say what to
            do.
        error: The exception of a failed call, which ``list_functions`` does not raise, or None. It does not
            count in comparisons.
    """

    functions: tuple[BackendFunction, ...] = ()
    warnings: tuple[str, ...] = ()
    error: NavaiError | None = field(default=None, eq=False)

    @overload
    def __getitem__(self, key: int | str) -> BackendFunction: ...

    @overload
    def __getitem__(self, key: slice) -> tuple[BackendFunction, ...]: ...

    def __getitem__(self, key: int | str | slice) -> BackendFunction | tuple[BackendFunction, ...]:
        if not isinstance(key, str):
            return self.functions[key]
        if (function := self.get(key)) is None:
            names = ", ".join(each.name for each in self.functions)
            raise KeyError(f"no function {key!r}; there are {names or 'none'}")
        return function

    def __iter__(self) -> Iterator[BackendFunction]:
        return iter(self.functions)

    def __len__(self) -> int:
        return len(self.functions)

    def __contains__(self, name: object) -> bool:
        return any(name in (function, function.name) for function in self.functions)

    def __repr__(self) -> str:
        names = ", ".join(_shortened(function.name) for function in self.functions[:_NAMES_SHOWN])
        more = len(self) - _NAMES_SHOWN
        parts = [(names or "no functions") + (f" and {more} more" if more > 0 else "")]
        if count := len(self.warnings):
            parts.append("1 warning" if count == 1 else f"{count} warnings")
        if self.error is not None:
            parts.append(type(self.error).__name__)
        return f"<FunctionList: {'; '.join(parts)}>"

    def raise_for_error(self) -> Self:
        """Return the list itself, if the call did not fail.

        Raises:
            NavaiError: ``error``, if it failed.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)
        return self

    def to_openai_tools(self, api: OpenAIAPI = "realtime") -> list[dict[str, Any]]:
        """Return the functions as tools for a model of OpenAI's, without a toolset.

        Schemas have no references, and are open where the backend sends none. Execute what the model calls
        with ``client.execute_function(call.name, json.loads(call.arguments))``. A function whose name
        OpenAI refuses is left out, with a warning in the log.

        Args:
            api: The API that the tools are for: ``realtime``, ``responses`` or ``chat`` (completions).

        Raises:
            NavaiConfigError: There is no such API.
        """
        return openai_tools(self.functions, api)

    def get(self, name: str) -> BackendFunction | None:
        """Return the function called *name*, or None."""
        return next((function for function in self.functions if function.name == name), None)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}..."


@frozen(kw_only=True)
class SpeechAudio:
    """Spoken text.

    Attributes:
        audio: The encoded sound.
        mime_type: Its media type, such as ``audio/mpeg``.
        provider: What spoke it: ``elevenlabs``.
    """

    audio: bytes = field(repr=lambda audio: f"<{len(audio)} bytes>")
    mime_type: str
    provider: str = "elevenlabs"


@frozen(kw_only=True)
class Cancellation:
    """What came of the request to cancel a call.

    Attributes:
        cancelled: Whether the call had not ended before.
        may_have_executed: Whether the function of a cancelled call had begun, and may have acted.
    """

    cancelled: bool
    may_have_executed: bool


@frozen(kw_only=True)
class RawResponse(Generic[T]):
    """The value of a call, and the response that it was read from.

    Attributes:
        value: What the operation returns.
        status_code: The HTTP status, or None without a response: ``list_functions`` can return a list from
            memory, and one that says why none arrived.
        headers: The headers. Names are case-insensitive.
        request_id: The ``X-Request-ID`` of the response, else of the request.
        elapsed: Seconds that the call took, retries included.
        attempts: How many requests were sent.
    """

    value: T
    status_code: int | None
    headers: Mapping[str, str]
    request_id: str
    elapsed: float
    attempts: int

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

    Until it expires, it can open several sessions. A running session continues after that. Its repr and str
    mask the value.

    Attributes:
        value: The secret itself, such as ``ek_...``.
        expires_at: When it expires, in seconds since the Unix epoch, or None if the backend did not say.
        speech_provider: Who speaks: ``openai`` (the Realtime session itself) or ``elevenlabs`` (call
            ``synthesize_speech`` with each text).
        session: The configuration of the sessions, as OpenAI returned it, or None if the backend did not send
            it. The bundled server leaves out instructions, tools and prompts, unless its owner allows them.
            Comparisons ignore it.
        issued_at: When the backend sent it, by the backend's clock (``Date``), in seconds since the Unix
            epoch, or None if the backend did not say. Comparisons ignore it.
    """

    value: str = field(repr=mask)
    expires_at: float | None = None
    speech_provider: str = "openai"
    session: Mapping[str, Any] | None = field(default=None, eq=False, repr=False)
    issued_at: float | None = field(default=None, eq=False, repr=False)

    @property
    def expires_at_datetime(self) -> dt.datetime | None:
        """When the secret expires, in UTC; None if that is unknown, or after the year 9999."""
        try:
            return None if self.expires_at is None else dt.datetime.fromtimestamp(self.expires_at, dt.UTC)
        except (OverflowError, ValueError, OSError):
            return None

    def expires_in(self, *, now: float | None = None) -> float:
        """Return the seconds until the secret expires; negative after that, infinite if it is unknown.

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
            leeway: Seconds that the secret must still be valid.
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
            ``dangerous`` changes something that the person in the session should agree to first; or None.
        typical_seconds: How long a call usually takes, or None.
        say_while_waiting: What an agent may say during a long call, or None.
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
    the function of that name, and ``"name" in functions`` says whether there is one. So do not unpack it into
    functions and warnings. Read the two attributes instead::

        listed = client.list_functions()
        functions, warnings = listed.functions, listed.warnings

    If the call failed, the list is empty, and ``raise_for_error()`` raises the reason.

    Attributes:
        functions: The functions, in the backend's order.
        warnings: The backend's warnings. If the call failed, the first says so, and a second may say what to
            do.
        error: The exception of a failed call, which ``list_functions`` does not raise, or None. Comparisons
            ignore it.
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
        """Return the list itself if the call did not fail.

        Raises:
            NavaiError: ``error``, if it failed.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)
        return self

    def to_openai_tools(self, api: OpenAIAPI = "realtime") -> list[dict[str, Any]]:
        """Return the functions as tools for an OpenAI model, without a toolset.

        Schemas have no references. If the backend sends no schema, the tool accepts any object. Run what the
        model calls with ``client.execute_function(call.name, json.loads(call.arguments))``. Functions with
        names that OpenAI refuses are left out, and the log has a warning.

        Args:
            api: The API that the tools are for: ``realtime``, ``responses`` or ``chat`` (completions).

        Raises:
            NavaiConfigError: If there is no such API.
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
        audio: The encoded audio.
        mime_type: Its media type, such as ``audio/mpeg``.
        provider: Who spoke it: ``elevenlabs``.
    """

    audio: bytes = field(repr=lambda audio: f"<{len(audio)} bytes>")
    mime_type: str
    provider: str = "elevenlabs"


@frozen(kw_only=True)
class Cancellation:
    """The result of a request to cancel a call.

    Attributes:
        cancelled: Whether the call was cancelled; False if it had already ended.
        may_have_executed: Whether the function of a cancelled call had begun, and may have acted.
    """

    cancelled: bool
    may_have_executed: bool


@frozen(kw_only=True)
class RawResponse(Generic[T]):
    """The value of a call, and the response that it comes from.

    Attributes:
        value: What the operation returns.
        status_code: The HTTP status, or None without a response: ``list_functions`` can return a list from
            memory, or one that says why there is no response.
        headers: The headers. Names are case-insensitive.
        request_id: The ``X-Request-ID`` of the response, or of the request if the response has none.
        elapsed: Seconds that the call took, including retries.
        attempts: How many requests were sent.
    """

    value: T
    status_code: int | None
    headers: Mapping[str, str]
    request_id: str
    elapsed: float
    attempts: int

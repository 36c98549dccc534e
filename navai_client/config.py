"""The settings of a client and of its calls: how they are checked, and which source takes precedence."""

import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypedDict, Unpack, final
from urllib.parse import urlsplit

from attrs import define, evolve, field, frozen

from navai_client._headers import HeaderSource, token_of_environment, with_headers
from navai_client.errors import NavaiConfigError
from navai_client.wire._decode import trim
from navai_client.wire._encode import type_name
from navai_client.wire._operations import PathOptions, Paths
from navai_client.wire._retry import RetryPolicy
from navai_client.wire._values import ClientHeaders
from navai_client.wire._wordpress import site_and_paths

__all__ = [
    "USE_CLIENT_DEFAULT",
    "CallOptions",
    "ExecuteOptions",
    "SessionOptions",
    "SpeechOptions",
    "UseClientDefault",
    "resolve_navai_env",
]

DEFAULT_BASE_URL: Final = "http://localhost:3000"
ENV_KEYS: Final = (
    "NAVAI_API_URL",
    "NAVAI_FUNCTIONS_FOLDERS",
    "NAVAI_AGENTS_FOLDERS",
    "NAVAI_ROUTES_FILE",
    "NAVAI_REALTIME_MODEL",
)

# Names that no rule of IDNA concerns, and addresses.
_PLAIN_HOST: Final = re.compile(r"(?!.*xn--)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,3}")
# Sockets, locks and select() count milliseconds in 32 bits, and overflow after 24.8 days.
_NO_LIMIT_FROM: Final = 2_000_000.0  # seconds: 23 days
_MOST_BYTES: Final = sys.maxsize - 1  # the largest Py_ssize_t, less the byte by which a body exceeds it


@final
class UseClientDefault:
    """The type of ``USE_CLIENT_DEFAULT``, which means the client's own setting in the options of a call."""

    def __repr__(self) -> str:
        return "USE_CLIENT_DEFAULT"


USE_CLIENT_DEFAULT: Final = UseClientDefault()


class CallOptions(TypedDict, total=False):
    """Keyword arguments of every operation: settings of the one call, instead of the client's.

    Attributes:
        max_retries: How often the call is tried again at most, or a ``RetryPolicy``.
        headers: Sent in addition to the client's headers, or instead of those of the same names.
    """

    max_retries: int | RetryPolicy | UseClientDefault
    headers: Mapping[str, str] | None


class ExecuteOptions(CallOptions, total=False):
    """More keyword arguments of ``execute_function``, for Navai's WordPress plugin.

    Attributes:
        session_key: The conversation in the plugin's memory.
        agent_key: The agent that the execution is for; the plugin chooses one by default.
    """

    session_key: str | None
    agent_key: str | None


class SessionOptions(CallOptions, total=False):
    """Keyword arguments of ``create_client_secret``. The backend fills in what is absent or None.

    Attributes:
        model: The realtime model.
        voice: The voice.
        instructions: The agent's instructions.
        language: The language of its replies.
        voice_accent: The accent that it speaks with.
        voice_tone: The tone that it speaks in.
        api_key: An OpenAI key, for backends that accept one from requests.
        session_key: The conversation in the memory of Navai's WordPress plugin; other backends ignore it.
    """

    model: str | None
    voice: str | None
    instructions: str | None
    language: str | None
    voice_accent: str | None
    voice_tone: str | None
    api_key: str | None
    session_key: str | None


class SpeechOptions(CallOptions, total=False):
    """Keyword arguments of ``synthesize_speech``. The backend fills in what is absent or None.

    Attributes:
        voice_id: The voice.
        model_id: The speech model.
        output_format: The audio format, such as ``mp3_44100_128``.
        optimize_streaming_latency: How much quality is traded for latency, from 0 to 4.
        stability: How even the voice is, from 0 (lively) to 1.
        similarity_boost: How close the voice is to the original, from 0 to 1.
        style: How much of the voice's style is used, from 0 to 1.
        use_speaker_boost: Whether likeness is boosted, at some cost in latency.
    """

    voice_id: str | None
    model_id: str | None
    output_format: str | None
    optimize_streaming_latency: int | None
    stability: float | None
    similarity_boost: float | None
    style: float | None
    use_speaker_boost: bool | None


def checked_timeout(value: Any) -> float | None:
    """Return *value* as seconds, or None for no limit."""
    if value is None or value == math.inf:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise NavaiConfigError(f"timeout (seconds) must be a number above 0; it is {value!r}.")
    return float(value) if value < _NO_LIMIT_FROM else None


def _checked_policy(value: Any, known: RetryPolicy = RetryPolicy()) -> RetryPolicy:  # noqa: B008 - it is frozen
    """Return *value*, or *known* with that number of retries."""
    # No subclass: its delay() could repeat what may have been executed.
    return value if type(value) is RetryPolicy else evolve(known, max_retries=value)


def _checked_max_response_bytes(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
        raise NavaiConfigError(f"max_response_bytes must be a whole number above 0; it is {value!r}.")
    return int(min(value, _MOST_BYTES))


def _checked_json_default(value: Any) -> Any:
    """Return *value* if it is a function or None."""
    if value is not None and not callable(value):
        raise NavaiConfigError(f"json_default must be a function; it is {type_name(value)}.")
    return value


@frozen(kw_only=True)
class ClientConfig:
    """The checked settings of a client.

    Attributes:
        base_url: Where the backend is, without trailing slashes.
        paths: The paths of its operations.
        headers: The headers of every request: the package's and the given ones.
        timeout: Seconds for one whole call, or None for no limit.
        max_retries: When a call is tried again.
        max_response_bytes: The largest response body, decompressed.
        json_default: Converts what is not JSON in a payload, or None.
    """

    base_url: str
    paths: Paths
    headers: ClientHeaders
    timeout: float | None = field(converter=checked_timeout)
    max_retries: RetryPolicy = field(converter=_checked_policy)
    max_response_bytes: int = field(converter=_checked_max_response_bytes)
    json_default: Callable[[Any], Any] | None = field(default=None, converter=_checked_json_default)


@define(eq=False)  # not frozen: that costs a microsecond for each call
class CallSettings:
    """The settings of a call: those of its client, or some of its own. Never changed once they are made.

    Attributes:
        timeout: Seconds for the whole call, or None for no limit.
        policy: When it is tried again.
        headers: The headers of its requests, unless they are asked for.
        source: Where to ask for them at each call, or None.
        spent: Seconds of the timeout that have passed.
        is_raw: Whether the response is returned beside the value.
    """

    timeout: float | None
    policy: RetryPolicy
    headers: ClientHeaders
    source: HeaderSource | None = None
    spent: float = 0.0
    is_raw: bool = False

    def asked(self, headers: ClientHeaders, spent: float) -> "CallSettings":
        """Return these settings with the *headers* that were asked for, which took *spent* seconds."""
        return CallSettings(self.timeout, self.policy, headers, self.source, spent, self.is_raw)

    def replaced(self, timeout: Any, options: dict[str, Any]) -> "CallSettings":
        """Return these settings with *timeout*, and with those of ``CallOptions`` among *options*.

        The latter are taken out of *options*, so that no frame of a traceback keeps a header.

        Raises:
            NavaiConfigError: If a value cannot work.
        """
        policy, headers, source = self.policy, self.headers, self.source
        try:
            limit = self.timeout if isinstance(timeout, UseClientDefault) else checked_timeout(timeout)
            if options:
                max_retries = options.pop("max_retries", USE_CLIENT_DEFAULT)
                if not isinstance(max_retries, UseClientDefault):
                    policy = _checked_policy(max_retries, policy)
                headers = with_headers(headers, options.pop("headers", None))
                if source is not None and headers is not self.headers:
                    source = source.below(headers)
            return CallSettings(limit, policy, headers, source, 0.0, self.is_raw)
        except NavaiConfigError as error:
            options.clear()  # what is left can be secret, too
            raise error.with_traceback(None) from None


def access_token_for(url: str, env: Mapping[str, str | None] | None) -> str | None:
    """Return ``NAVAI_ACCESS_TOKEN`` of *env* if *url* has the origin of its ``NAVAI_API_URL``."""
    token = token_of_environment(env)
    if token is None:
        return None
    from navai_client.transports._connecting import Target  # noqa: PLC0415 - it loads sockets and TLS

    try:
        home = Target.of(resolve_base_url(None, env))
    except NavaiConfigError:  # of a URL that is not used
        return None
    here = Target.of(url)
    same = isinstance(home, Target) and isinstance(here, Target) and home.origin == here.origin
    return token if same else None


def resolve_base_url(base_url: str | None, env: Mapping[str, str | None] | None) -> str:
    """Return *base_url*, else ``NAVAI_API_URL`` of *env*, else ``http://localhost:3000``.

    Each is trimmed, and an empty one counts as absent. *env* is the process's environment by default.

    Raises:
        NavaiConfigError: If the result is not an http or https URL, or has a user, a query or a fragment.
    """
    source = os.environ if env is None else env
    candidates = (("base_url", base_url), ("NAVAI_API_URL", source.get("NAVAI_API_URL")))
    for name, value in candidates:
        if value is not None and not isinstance(value, str):
            raise NavaiConfigError(f"{name} must be a string; it is {type_name(value)}.")
        if value and (url := trim(value)):
            check_base_url(name, url)
            return url.rstrip("/")
    return DEFAULT_BASE_URL


def wordpress_site(url: str | None, env: Mapping[str, str | None] | None) -> tuple[str, PathOptions]:
    """Return the base URL of the WordPress site at *url* or ``NAVAI_API_URL``, and the plugin's paths."""
    source = os.environ if env is None else env
    return site_and_paths(trim(url or "") or trim(source.get("NAVAI_API_URL") or ""))


def check_base_url(name: str, url: str, *, may_have_query: bool = False) -> None:
    """Refuse a base URL that cannot work.

    Raises:
        NavaiConfigError: If it is not an http or https URL, or has a user or a fragment, or a query that it
            may not have.
    """
    # A query, a fragment or anything before an "@" can be secret, and is never shown.
    shown = re.split("[?#]", url, maxsplit=1)[0]
    shown = "one with a user (not shown)" if "@" in shown else repr(shown)
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        has_user = parts.username is not None
        is_url = True
    except ValueError:  # its text can hold a password
        is_url = has_host = has_user = False
    if not is_url:
        raise NavaiConfigError(f"{name} is not a URL; it is {shown}.")
    if has_user:
        instead = (
            "leave them out" if may_have_query else "send them with headers={'Authorization': ...} instead"
        )
        raise NavaiConfigError(f"{name} has a user or password; {instead}.")
    if url.partition(":")[0].lower() not in {"http", "https"}:
        raise NavaiConfigError(f"{name} must begin with http:// or https://; it is {shown}.")
    has_host = has_host and _has_readable_host(url)
    if not has_host or any(character.isspace() or not character.isprintable() for character in url):
        raise NavaiConfigError(f"{name} is not a URL with a host, such as {DEFAULT_BASE_URL}; it is {shown}.")
    if "#" in url or ("?" in url and not may_have_query):
        parts_refused = "fragment" if may_have_query else "query and no fragment"
        raise NavaiConfigError(
            f"{name} must have no {parts_refused} (not shown), because paths are added to it; "
            f"what comes before is {shown}."
        )


def _has_readable_host(url: str) -> bool:
    """Return whether the host of *url* can be one: by IDNA (RFC 5891), and by the length of its parts."""
    if "[" not in url and _PLAIN_HOST.fullmatch(urlsplit(url).hostname or ""):
        return True
    from navai_client.transports._connecting import Target  # noqa: PLC0415 - it loads sockets and TLS

    return isinstance(Target.of(url), Target)


def resolve_paths(**given: Unpack[PathOptions]) -> Paths:
    """Return the paths of all operations: those *given*, else the defaults.

    Raises:
        NavaiConfigError: If one is not a string, or holds white space, control characters or a fragment.
    """
    for option, path in given.items():
        if not isinstance(path, str):
            raise NavaiConfigError(f"{option} must be a string; it is {type_name(path)}.")
        if "#" in path or any(character.isspace() or not character.isprintable() for character in path):
            raise NavaiConfigError(
                f"{option} must have no white space, control characters or fragment; it is {path!r}."
            )
    return Paths(**given)


def resolve_navai_env(sources: Iterable[Mapping[str, object]]) -> dict[str, str]:
    """Return Navai's settings from several *sources*: for each setting the first value that is not blank.

    The settings are ``NAVAI_API_URL``, ``NAVAI_FUNCTIONS_FOLDERS``, ``NAVAI_AGENTS_FOLDERS``,
    ``NAVAI_ROUTES_FILE`` and ``NAVAI_REALTIME_MODEL``; a setting that no source has is left out. The result
    can be given to a client as *env*. ``NAVAI_ACCESS_TOKEN`` is left out: together with the URL of another
    source, it would be sent to a stranger.

    Args:
        sources: Mappings such as ``os.environ`` or a settings file, the most important first.

    Raises:
        NavaiConfigError: If *sources* is a single mapping.
    """
    if isinstance(sources, Mapping):
        raise NavaiConfigError("sources must be a list of mappings; put the one you have in a list.")
    mappings = tuple(sources)
    found: dict[str, str] = {}
    for key in ENV_KEYS:
        for source in mappings:
            value = source.get(key)
            if isinstance(value, str) and trim(value):
                found[key] = trim(value)
                break
    return found

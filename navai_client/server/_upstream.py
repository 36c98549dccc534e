"""OpenAI and ElevenLabs: minting client secrets, synthesizing speech, and the calls that do so.

A call has one deadline for all of it and a bounded response, and follows no redirect. It goes through the
fast transport of ``navai_client.transports``, which is loaded by the first call.
"""

import asyncio
import base64
import contextlib
import functools
import json
import logging
import math
import re
import sys
import weakref
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar
from urllib.parse import quote, urlencode

import attrs
import msgspec

from navai_client._abandoned import BackgroundTasks
from navai_client._redaction import Redactor
from navai_client._version import __version__
from navai_client.errors import NavaiConfigError, NavaiStateError
from navai_client.models import ClientSecret, SpeechAudio
from navai_client.server._descriptors import free_descriptors
from navai_client.server._errors import (
    BackendOptionsError,
    RequestError,
    UpstreamError,
    UpstreamTimeoutError,
)
from navai_client.server._upstream_settings import BackendOptions, VoiceSettings, check_ttl, whole
from navai_client.transports import Call
from navai_client.wire._decode import trim
from navai_client.wire._operations import CREATE_CLIENT_SECRET, SYNTHESIZE_SPEECH, Field, Operation
from navai_client.wire._values import Endpoint, Request, Response, TransportFailure

if TYPE_CHECKING:
    from navai_client.transports.fast import AsyncFastTransport

T = TypeVar("T")

_log: Final = logging.getLogger("navai_client.server")

_MAX_RESPONSE_BYTES: Final = 16 * 2**20  # as the client's default
_MAX_CALLS: Final = 64
_LONGEST_WAIT_S: Final = 5.0  # for a slot: the caller has a time limit of its own, 30 seconds by default
_JSON_TYPES: Final[Mapping[str, tuple[Any, str]]] = {
    "string": (str, "a string"),
    "number": ((int, float), "a number"),
    "boolean": (bool, "true or false"),
}
_MAX_NUMBER: Final = 1e9  # far beyond every number that ElevenLabs accepts
_HEADERS: Final = (("Content-Type", "application/json"), ("User-Agent", f"navai-client/{__version__}"))
_GET_HEADERS: Final = (("Accept", "application/json"), _HEADERS[1])

_closing: Final = BackgroundTasks(_log)


class Upstream:
    """Connections to OpenAI and ElevenLabs, for the functions of this package that call them.

    Connections belong to the event loop in which they were made; in another loop, new ones are made. Close it
    with :meth:`aclose` or ``async with``; otherwise, garbage collection closes the connections.
    """

    def __init__(self, *, max_response_bytes: int = _MAX_RESPONSE_BYTES, max_calls: int = _MAX_CALLS) -> None:
        """Make *max_calls* at a time; refuse responses of more than *max_response_bytes*, decompressed."""
        self._max_response_bytes = max_response_bytes
        self._max_calls = max_calls
        self._slots = asyncio.Semaphore(max_calls)  # of the loop of the transport
        self._transport: AsyncFastTransport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._abandon: weakref.finalize[..., Any] | None = None
        self._callers: set[asyncio.Task[Any]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel the tasks that wait for a response, and close the connections."""
        transport, self._transport = self._transport, None
        if transport is None or self._abandon is None:
            return
        if self._loop is not asyncio.get_running_loop():
            self._abandon()
            return
        self._abandon.detach()
        callers = tuple(self._callers)
        for task in callers:
            task.cancel()
        if callers:
            await asyncio.wait(callers)
        await transport.close()

    async def post(
        self,
        name: str,
        url: str,
        body: object,
        *,
        headers: tuple[tuple[str, str], ...],
        timeout: float,
        repeatable: bool = False,
    ) -> Response:
        """Send *body* as JSON and return the response, whatever its status.

        A request whose connection was lost is sent once more, if it had not left or is *repeatable*: an idle
        connection may end in the moment in which it is used.

        Args:
            name: The upstream's name, for errors.
            url: The URL.
            body: A value that JSON can express.
            headers: Added to those of every request.
            timeout: Seconds that the whole call may take.
            repeatable: Whether it does no harm to send it twice.

        Raises:
            UpstreamTimeoutError: No complete response arrived in that time.
            UpstreamError: No response arrived, or one that is too large.
        """
        request = Request(_endpoint("POST", url), _HEADERS + headers, _encode(body))
        return await self._send(name, request, timeout, repeatable=repeatable)

    async def get(self, name: str, url: str, *, timeout: float) -> Response:
        """Return the response to a GET of JSON, whatever its status; arguments and errors are as for post."""
        request = Request(_endpoint("GET", url), _GET_HEADERS)
        return await self._send(name, request, timeout, repeatable=True)

    async def _send(self, name: str, request: Request, timeout: float, *, repeatable: bool) -> Response:
        transport = self._transport_of_loop()
        if self._slots.locked():
            await self._wait_for_slot(name, timeout)
        else:
            await self._slots.acquire()
        call = Call(timeout=timeout, max_response_bytes=self._max_response_bytes)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for type checkers: a coroutine of asyncio runs in a task
        self._callers.add(task)
        try:
            outcome = await transport.send(request, call)
            if isinstance(outcome, TransportFailure) and _is_lost(outcome, repeatable=repeatable):
                call = Call(timeout=call.remaining(), max_response_bytes=self._max_response_bytes)
                outcome = await transport.send(request, call)
        except NavaiConfigError as error:  # of a proxy variable
            raise _unreachable(name, str(error)) from None
        finally:
            self._slots.release()
            self._callers.discard(task)
        return _to_response(outcome, name, timeout)

    async def _wait_for_slot(self, name: str, timeout: float) -> None:
        try:
            async with asyncio.timeout(min(_LONGEST_WAIT_S, timeout)):
                await self._slots.acquire()
        except TimeoutError:
            text = f"{name} was not called: {self._max_calls} other calls have not ended."
            raise UpstreamError(text, status_code=503, retry_after="1") from None

    def _transport_of_loop(self) -> "AsyncFastTransport":
        loop = asyncio.get_running_loop()
        if self._transport is None or self._loop is not loop:
            from navai_client.transports.fast import AsyncFastTransport  # noqa: PLC0415 - see above

            if self._abandon is not None:
                self._abandon()
            self._loop = loop
            self._slots = asyncio.Semaphore(self._max_calls)
            self._transport = AsyncFastTransport()
            self._abandon = weakref.finalize(self, _abandon, self._transport, loop)
        return self._transport


def _abandon(transport: "AsyncFastTransport", loop: asyncio.AbstractEventLoop) -> None:
    """Close the connections in their own loop, whichever thread this is. A closed loop has none to close."""
    with contextlib.suppress(RuntimeError):  # the loop is closed
        loop.call_soon_threadsafe(lambda: _closing.start(transport.close(), "closing connections"))


def _is_lost(failure: TransportFailure, *, repeatable: bool) -> bool:
    """Return whether the connection was lost, and the request may be sent again."""
    is_lost = not (
        failure.timed_out or failure.permanent or isinstance(failure.cause, ConnectionRefusedError)
    )
    return is_lost and (repeatable or not failure.sent)


def _to_response(outcome: Response | TransportFailure, name: str, timeout: float) -> Response:
    if isinstance(outcome, TransportFailure):
        if outcome.timed_out:
            raise UpstreamTimeoutError(f"{name} did not respond within {timeout:g} seconds.")
        # The message of a cause can contain internal addresses.
        reason = outcome.message if outcome.cause is None else type(outcome.cause).__name__
        raise _unreachable(name, reason, outcome.message)
    if outcome.truncated:
        raise UpstreamError(f"The response of {name} is too large.")
    return outcome


def _unreachable(name: str, reason: str, detail: str | None = None) -> UpstreamError:
    brief = f"{name} could not be reached."
    return UpstreamError(f"{name} could not be reached ({reason}).", detail=detail, brief=brief)


def _url(base: str, path: str, query: str = "") -> str:
    """Return the URL of *path* below *base*, whose query is kept."""
    base, _, kept = base.partition("?")
    query = "&".join(filter(None, (kept, query)))
    return base + path + (f"?{query}" if query else "")


@functools.lru_cache(maxsize=256)
def _endpoint(method: str, url: str) -> Endpoint:
    """Return the only ``Endpoint`` of a method and a URL: transports cache by its identity."""
    return Endpoint(method, url)


def _encode(body: Any) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:
        return json.dumps(body).encode()  # lone surrogates, as JSON escapes


def _check_status(response: Response, failed: str, secrets: tuple[str, ...]) -> None:
    """Raise an error for a status other than 2xx: a client error is passed on, others are a bad gateway."""
    if 200 <= response.status <= 299:  # noqa: PLR2004 - RFC 9110, section 15
        return
    passed_on = 400 <= response.status <= 499  # noqa: PLR2004
    body = Redactor(secrets).error(response.content.decode("utf-8", "replace"))
    raise UpstreamError(
        f"{failed} failed ({response.status}): {body}",
        brief=f"{failed} failed ({response.status}).",
        status_code=response.status if passed_on else 502,
        retry_after=response.headers.get("retry-after") if passed_on else None,
    )


def _read_fields(operation: Operation[Any], record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request of *operation*, by name; None where one is absent or null.

    Raises:
        RequestError: One has the wrong type.
    """
    return {field.name: _read_field(field, record) for field in operation.fields}


def _read_field(field: Field, record: Mapping[str, Any]) -> Any:
    outer, _, name = field.wire_name.rpartition(".")
    if outer:
        inner = record.get(outer)
        if not isinstance(inner, dict | None):
            raise RequestError(f"{outer} must be an object.")
        record = inner or {}
    value = record.get(name)
    kinds, description = _JSON_TYPES[field.type]
    if value is None or (isinstance(value, kinds) and isinstance(value, bool) == (kinds is bool)):
        if field.type == "number" and value is not None and abs(value) > _MAX_NUMBER:
            raise RequestError(f"{name} is too large.")
        return value
    raise RequestError(f"{name} must be {description}.")


@attrs.frozen(kw_only=True)
class ClientSecretRequest:
    """A request for a client secret, as clients send it. The backend chooses values that are None."""

    model: str | None = None
    voice: str | None = None
    instructions: str | None = None
    language: str | None = None
    voice_accent: str | None = None
    voice_tone: str | None = None
    api_key: str | None = attrs.field(default=None, repr=lambda key: repr(key and "***"))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read the fields of a request's body, and ignore others.

        Raises:
            RequestError: A field is not a string.
        """
        return cls(**_read_fields(CREATE_CLIENT_SECRET, record))


async def create_realtime_client_secret(
    options: BackendOptions,
    request: ClientSecretRequest | Mapping[str, Any] | None = None,
    *,
    ttl_seconds: int | None = None,
    upstream: Upstream | None = None,
) -> ClientSecret:
    """Mint a client secret at OpenAI.

    Args:
        options: The backend's key and defaults. Its key takes precedence over that of the request.
        request: The session to open, as a value or as the JSON object that clients send, whose fields may be
            called as in Python, too (``voice_accent``).
        ttl_seconds: Seconds that the secret is valid, from 10 to 7200, instead of those of *options*.
        upstream: The connections to use; without them, new ones are made for this call.

    Returns:
        The secret, whose repr is masked. Its ``session`` has the instructions: leave them out for clients.

    Raises:
        RequestError: A field of the request has the wrong type (400), neither the backend nor the request has
            a key (401), or only the request has one, and the backend accepts none from requests (403).
        UpstreamError: OpenAI refused, did not respond, or gave no client secret.
    """
    seconds = options.client_secret_ttl_seconds if ttl_seconds is None else whole(ttl_seconds)
    check_ttl(None, None, seconds)
    if not isinstance(request, ClientSecretRequest):
        request = ClientSecretRequest.from_json(_in_camel_case(request or {}))
    key = _choose_key(options, request)
    session = requested_session(options, request)
    lifetime = {"anchor": "created_at", "seconds": seconds}
    async with contextlib.nullcontext(upstream) if upstream else Upstream() as connections:
        response = await connections.post(
            "OpenAI",
            _url(options.openai_base_url, "/realtime/client_secrets"),
            {"expires_after": lifetime, "session": session},
            headers=(("Authorization", f"Bearer {key}"), ("Accept", "application/json"), *_account(options)),
            timeout=options.timeout,
            repeatable=True,
        )
    _check_status(response, "OpenAI client_secrets", (key, *options.secrets))
    return _read_client_secret(response.content, options.tts_provider)


def create_realtime_client_secret_sync(
    options: BackendOptions,
    request: ClientSecretRequest | Mapping[str, Any] | None = None,
    *,
    ttl_seconds: int | None = None,
) -> ClientSecret:
    """Mint a client secret as :func:`create_realtime_client_secret` does, in code that is not async.

    Raises:
        NavaiStateError: An event loop runs in this thread, which this would block.
    """
    return _run(create_realtime_client_secret, options, request, ttl_seconds=ttl_seconds)


def _run(function: Callable[..., Coroutine[Any, Any, T]], *given: Any, **named: Any) -> T:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(function(*given, **named))
    name = function.__name__
    raise NavaiStateError(f"{name}_sync would block the event loop that runs here: await {name} instead.")


def _in_camel_case(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return *record* with the names that the contract has: ``voice_accent`` is ``voiceAccent``.

    Raises:
        RequestError: A field is given by both names.
    """
    renamed: dict[str, Any] = {}
    for key, value in record.items():
        name = re.sub("_([a-z])", lambda match: match[1].upper(), key)
        if name in renamed:
            raise RequestError(f"{name} is given twice.")
        renamed[name] = _in_camel_case(value) if isinstance(value, Mapping) else value
    return renamed


def _account(options: BackendOptions) -> tuple[tuple[str, str], ...]:
    """Return the headers that say which account a request is counted for, as OpenAI's packages send them."""
    named = (("OpenAI-Organization", options.openai_organization), ("OpenAI-Project", options.openai_project))
    return tuple((name, value) for name, value in named if value is not None)


def requested_session(options: BackendOptions, request: ClientSecretRequest) -> dict[str, Any]:
    """Return the session to open: what *request* asks for, the defaults, and the owner's own fields."""
    if options.session_extra.get("type") == "transcription":
        asked = attrs.asdict(attrs.evolve(request, api_key=None), filter=lambda _, value: value is not None)
        if asked:
            names = " and ".join(asked)
            raise RequestError(f"This backend opens transcription sessions, which have no {names}.")
        return dict(options.session_extra)
    session: dict[str, Any] = {
        "type": "realtime",
        "model": options.default_model if request.model is None else request.model,
        "instructions": _session_instructions(options, request),
    }
    if options.tts_provider == "elevenlabs":
        session["output_modalities"] = ["text"]
    else:
        voice = options.default_voice if request.voice is None else request.voice
        session["audio"] = {"output": {"voice": voice}}
    return _merged(session, options.session_extra)


def _merged(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return *base* with the members of *extra*, and objects in both merged."""
    merged = {**base, **extra}
    for name, value in base.items():
        if isinstance(value, Mapping) and isinstance(extra.get(name), Mapping):
            merged[name] = _merged(value, extra[name])
    return merged


def _session_instructions(options: BackendOptions, request: ClientSecretRequest) -> str:
    """Return the lines of the session's instructions: the base, then language, accent and tone if given."""
    lines = [trim(options.default_instructions if request.instructions is None else request.instructions)]
    for line, wanted, default in (
        ("Always reply in {}.", request.language, options.default_language),
        ("Use a {} accent while speaking.", request.voice_accent, options.default_voice_accent),
        ("Use a {} tone while speaking.", request.voice_tone, options.default_voice_tone),
    ):
        value = trim((default or "") if wanted is None else wanted)
        if value:
            lines.append(line.format(value))
    return "\n".join(lines)


def _choose_key(options: BackendOptions, request: ClientSecretRequest) -> str:
    if options.openai_api_key:
        return options.openai_api_key
    key = trim(request.api_key or "")
    if not key:
        raise RequestError(
            "Missing API key. Configure openaiApiKey or send apiKey in request.", status_code=401
        )
    if not options.allow_api_key_from_request:
        raise RequestError(
            "Passing apiKey from request is disabled. Set allowApiKeyFromRequest=true to enable it.",
            status_code=403,
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise RequestError("apiKey must be printable ASCII without spaces.")  # for a header
    return key


def _read_client_secret(body: bytes, provider: str) -> ClientSecret:
    try:
        record = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        record = None
    value = record.get("value") if isinstance(record, dict) else None
    if not isinstance(value, str) or not value:
        raise UpstreamError("The response of OpenAI has no client secret.")
    expires_at = record.get("expires_at")
    is_number = isinstance(expires_at, int | float) and not isinstance(expires_at, bool)
    session = record.get("session")
    return ClientSecret(
        value=value,
        # A whole number can be larger than every float.
        expires_at=expires_at if is_number and abs(expires_at) <= sys.float_info.max else None,
        speech_provider=provider,
        session=session if isinstance(session, dict) else None,
    )


@attrs.frozen(kw_only=True)
class SpeechRequest:
    """A request for speech, as clients send it. The backend chooses values that are None.

    *voice_settings* replaces the backend's settings as a whole.
    """

    text: str = ""
    voice_id: str | None = None
    model_id: str | None = None
    output_format: str | None = None
    optimize_streaming_latency: float | None = None
    voice_settings: VoiceSettings | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """Read the fields of a request's body, and ignore others.

        Raises:
            RequestError: A field has the wrong type.
        """
        fields = _read_fields(SYNTHESIZE_SPEECH, record)
        voice = {field.name: fields.pop(field.name) for field in attrs.fields(VoiceSettings)}
        has_voice = record.get("voiceSettings") is not None
        return cls(
            **{**fields, "text": fields["text"] or ""},
            voice_settings=VoiceSettings(**voice) if has_voice else None,
        )


async def synthesize_speech(
    options: BackendOptions,
    request: SpeechRequest | Mapping[str, Any],
    *,
    upstream: Upstream | None = None,
) -> SpeechAudio:
    """Synthesize speech at ElevenLabs.

    Args:
        options: The backend's key, voice and defaults.
        request: The text and the voice, as a value or as the JSON object that clients send, whose fields may
            be called as in Python, too (``voice_id``).
        upstream: The connections to use; without them, new ones are made for this call.

    Raises:
        RequestError: A field of the request is missing or wrong, or ElevenLabs is not the provider.
        UpstreamError: ElevenLabs refused, did not respond, or gave no audio.
    """
    if options.tts_provider != "elevenlabs":
        raise RequestError(
            'Speech synthesis is only available when NAVAI_TTS_PROVIDER is set to "elevenlabs".'
        )
    if not isinstance(request, SpeechRequest):
        request = SpeechRequest.from_json(_in_camel_case(request))
    body: dict[str, Any] = {"text": trim(request.text)}
    if not body["text"]:
        raise RequestError("text is required.")
    voice = trim(request.voice_id or "") or options.elevenlabs_voice_id or ""
    audio_format = trim(request.output_format or "") or options.elevenlabs_output_format
    query = {"output_format": audio_format}
    latency = request.optimize_streaming_latency
    if latency is None:
        latency = options.elevenlabs_optimize_streaming_latency
    if latency is not None:
        query["optimize_streaming_latency"] = str(math.floor(latency + 0.5))
    model = trim(request.model_id or "") or options.elevenlabs_model_id
    if model:
        body["model_id"] = model
    settings = attrs.asdict(
        request.voice_settings or options.elevenlabs_voice_settings, filter=lambda _, value: value is not None
    )
    if settings:
        body["voice_settings"] = settings
    path = f"/v1/text-to-speech/{quote(voice, safe='', errors='replace')}"
    async with contextlib.nullcontext(upstream) if upstream else Upstream() as connections:
        response = await connections.post(
            "ElevenLabs",
            _url(options.elevenlabs_base_url, path, urlencode(query, errors="replace")),
            body,
            headers=(("xi-api-key", options.elevenlabs_api_key or ""), ("Accept", _media_type(audio_format))),
            timeout=options.timeout,
        )
    _check_status(response, "ElevenLabs synthesize", options.secrets)
    if not response.content:
        raise UpstreamError("The response of ElevenLabs has no audio.")
    mime_type = trim(response.headers.get("content-type", "")) or _media_type(audio_format)
    return SpeechAudio(audio=response.content, mime_type=mime_type)


def synthesize_speech_sync(
    options: BackendOptions, request: SpeechRequest | Mapping[str, Any]
) -> SpeechAudio:
    """Synthesize speech as :func:`synthesize_speech` does, in code that is not async.

    Raises:
        NavaiStateError: An event loop runs in this thread, which this would block.
    """
    return _run(synthesize_speech, options, request)


def _media_type(audio_format: str) -> str:
    for start, media_type in (("pcm", "audio/pcm"), ("wav", "audio/wav"), ("ulaw", "audio/basic")):
        if audio_format.lower().startswith(start):
            return media_type
    return "audio/mpeg"


def _check_proxy(url: str) -> None:
    """Read the proxy for *url*, which was checked, now and not when somebody waits for a client secret."""
    from navai_client.transports._connecting import Target  # noqa: PLC0415 - it loads sockets and TLS
    from navai_client.transports._proxies import Proxies  # noqa: PLC0415 - as above

    target = Target.of(url)
    assert isinstance(target, Target)  # noqa: S101 - for type checkers
    try:
        Proxies(None).find(target.origin)
    except NavaiConfigError as error:
        raise BackendOptionsError(str(error)) from None


class UpstreamServices:
    """Mints at OpenAI and speaks with ElevenLabs, over one pool of connections.

    Attributes:
        mints: With whose key it mints client secrets: ``own-key``, ``request-key`` or ``no-key``.
    """

    def __init__(self, options: BackendOptions) -> None:
        """Make the pool; connections are opened when they are needed.

        Raises:
            BackendOptionsError: A base URL cannot be used, or a proxy variable does not hold a proxy's URL.
        """
        _check_proxy(options.openai_base_url)
        if options.tts_provider == "elevenlabs":
            _check_proxy(options.elevenlabs_base_url)
        room = max(1, free_descriptors() / 8)  # our own server takes three quarters for connections
        upstream = Upstream(max_calls=int(min(options.max_upstream_calls, room)))
        foreign = "request-key" if options.allow_api_key_from_request else "no-key"
        self.mints: str = foreign if options.openai_api_key is None else "own-key"
        self._options = options
        self._upstream = upstream
        self.aclose = upstream.aclose

    async def create_client_secret(
        self, request: Mapping[str, Any], *, ttl_seconds: int | None = None
    ) -> dict[str, Any]:
        """Mint a client secret; *request* and the result are those of the contract."""
        minted = await create_realtime_client_secret(
            self._options,
            ClientSecretRequest.from_json(request),
            ttl_seconds=ttl_seconds,
            upstream=self._upstream,
        )
        found = {"value": minted.value, "expires_at": minted.expires_at, "session": minted.session}
        known = {name: value for name, value in found.items() if value is not None}
        return {**known, "speech": {"provider": minted.speech_provider}}

    async def synthesize_speech(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Synthesize speech; *request* and the result are those of the contract."""
        spoken = await synthesize_speech(
            self._options, SpeechRequest.from_json(request), upstream=self._upstream
        )
        audio = base64.b64encode(spoken.audio).decode()
        return {"provider": spoken.provider, "mimeType": spoken.mime_type, "audioBase64": audio}

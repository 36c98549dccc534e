"""Client secrets: who may mint one, what the session is told, and the call to OpenAI."""

import math
from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from navai_client._redaction import Redactor
from navai_client.server._errors import (
    ApiKeyNotAllowedError,
    MissingApiKeyError,
    RequestFieldError,
    UpstreamError,
)
from navai_client.server._fields import read_texts
from navai_client.server._settings import BackendOptions, check_ttl
from navai_client.server._upstream import Upstream
from navai_client.wire._decode import trim


@attrs.frozen(kw_only=True)
class ClientSecretRequest:
    """What a request for a client secret may set; what is None is the backend's to choose.

    Attributes:
        model: The realtime model.
        voice: The voice.
        instructions: The session's instructions.
        language: The language that is always replied in.
        voice_accent: The accent that is spoken with.
        voice_tone: The tone that is spoken in.
        api_key: A key of the caller's own; shown by no repr.
    """

    model: str | None = None
    voice: str | None = None
    instructions: str | None = None
    language: str | None = None
    voice_accent: str | None = None
    voice_tone: str | None = None
    api_key: str | None = attrs.field(default=None, repr=lambda key: "None" if key is None else "'***'")

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "ClientSecretRequest":
        """Read the fields of a request's body; those it does not know are ignored.

        Raises:
            RequestFieldError: A field is no text.
        """
        return cls(
            **read_texts(
                record,
                model="model",
                voice="voice",
                instructions="instructions",
                language="language",
                voice_accent="voiceAccent",
                voice_tone="voiceTone",
                api_key="apiKey",
            )
        )


async def create_realtime_client_secret(
    options: BackendOptions,
    request: ClientSecretRequest | Mapping[str, Any] | None = None,
    *,
    upstream: Upstream | None = None,
) -> dict[str, Any]:
    """Mint a client secret at OpenAI.

    Args:
        options: The backend's key and defaults. Its own key always wins over the request's.
        request: What the session shall be, as a value or as the JSON object that clients send.
        upstream: The HTTP client to use; without one, one is made for this call.

    Returns:
        ``value``, ``expires_at`` (Unix seconds, when OpenAI gave one) and ``speech`` with its ``provider``.

    Raises:
        RequestFieldError: A field of the request has the wrong type.
        MissingApiKeyError: There is no key anywhere.
        ApiKeyNotAllowedError: The request brings a key, the backend has none, and takes none from requests.
        UpstreamError: OpenAI refused, did not answer, or gave no client secret.
    """
    check_ttl(options.client_secret_ttl_seconds)
    wanted = (
        request if isinstance(request, ClientSecretRequest) else ClientSecretRequest.from_json(request or {})
    )
    key = _resolve_key(options, wanted)
    if upstream is None:
        async with Upstream() as own:
            return await _mint(options, wanted, key, own)
    return await _mint(options, wanted, key, upstream)


def session_instructions(options: BackendOptions, request: ClientSecretRequest) -> str:
    """Return the lines that the session is told: the base, then language, accent and tone where given."""
    base = options.default_instructions if request.instructions is None else request.instructions
    said = (
        ("Always reply in {}.", _first(request.language, options.default_language)),
        ("Use a {} accent while speaking.", _first(request.voice_accent, options.default_voice_accent)),
        ("Use a {} tone while speaking.", _first(request.voice_tone, options.default_voice_tone)),
    )
    return "\n".join([trim(base), *(line.format(value) for line, value in said if value)])


def _first(given: str | None, default: str | None) -> str:
    return trim((default or "") if given is None else given)


def _resolve_key(options: BackendOptions, request: ClientSecretRequest) -> str:
    if options.openai_api_key:
        return options.openai_api_key
    given = trim(request.api_key or "")
    if not given:
        raise MissingApiKeyError("Missing API key. Configure openaiApiKey or send apiKey in request.")
    if not options.allow_api_key_from_request:
        raise ApiKeyNotAllowedError(
            "Passing apiKey from request is disabled. Set allowApiKeyFromRequest=true to enable it."
        )
    if not (given.isascii() and given.isprintable()) or " " in given:
        # Such a value cannot travel in a header; HTTP libraries would show it in their complaint.
        raise RequestFieldError("apiKey must be printable ASCII without spaces.")
    return given


async def _mint(
    options: BackendOptions, request: ClientSecretRequest, key: str, upstream: Upstream
) -> dict[str, Any]:
    session: dict[str, Any] = {
        "type": "realtime",
        "model": options.default_model if request.model is None else request.model,
        "instructions": session_instructions(options, request),
    }
    if options.tts_provider == "elevenlabs":
        session["output_modalities"] = ["text"]
    else:
        voice = options.default_voice if request.voice is None else request.voice
        session["audio"] = {"output": {"voice": voice}}
    lifetime = {"anchor": "created_at", "seconds": options.client_secret_ttl_seconds}
    answer = await upstream.post(
        "OpenAI",
        f"{options.openai_base_url}/realtime/client_secrets",
        {"expires_after": lifetime, "session": session},
        headers={"authorization": f"Bearer {key}", "accept": "application/json"},
        seconds=options.timeout,
    )
    if not answer.ok:
        passed_on = 400 <= answer.status <= 499  # noqa: PLR2004 - the client errors of HTTP
        text = Redactor((key, *options.secrets)).text(answer.text)
        raise UpstreamError(
            f"OpenAI client_secrets failed ({answer.status}): {text}",
            status_code=answer.status if passed_on else 502,
            retry_after=answer.headers.get("retry-after") if passed_on else None,
        )
    return {**_read_secret(answer.body), "speech": {"provider": options.tts_provider}}


def _read_secret(body: bytes) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        record = None
    value = record.get("value") if isinstance(record, dict) else None
    if not isinstance(value, str) or not value:
        raise UpstreamError("OpenAI gave an answer that is no client secret.")
    expires_at = record.get("expires_at")
    if (
        isinstance(expires_at, bool)
        or not isinstance(expires_at, int | float)
        or not math.isfinite(expires_at)
    ):
        return {"value": value}
    return {"value": value, "expires_at": expires_at}

"""Responses to values or errors, read as the JavaScript client reads them.

The rules of the published clients:

- Any status of 200..299 is success.
- Text is UTF-8, whatever the charset says. Invalid bytes are replaced, and a byte order mark is dropped.
- JSON is strict. ``true`` is not a number, and unknown members are ignored.
- "A record" is an object *or* an array.
"""

import binascii
import json
import math
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn
from urllib.parse import urljoin, urlsplit

from navai_client._collector import parse_undisturbed
from navai_client._redaction import Redactor, shortened
from navai_client.errors import (
    ApprovalPendingError,
    FunctionFailedError,
    InvalidResponseError,
    NavaiHTTPError,
    NavaiPayloadError,
    OutcomeUnknownError,
    UnknownFunctionError,
)
from navai_client.models import (
    EFFECTS,
    BackendFunction,
    Cancellation,
    ClientSecret,
    FunctionList,
    SpeechAudio,
)
from navai_client.wire._encode import encode_json
from navai_client.wire._values import LONGEST_BODY, UNPARSED, Endpoint, Response
from navai_client.wire._wordpress import repaired

UNREADABLE_FUNCTION_LIST: Final = "[navai] Failed to parse backend functions response."

# ECMAScript's WhiteSpace and LineTerminator. Python's own strip() also takes U+001C..U+001F and U+0085,
# and leaves U+FEFF.
_WHITE_SPACE: Final = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_BYTE_ORDER_MARK: Final = "\ufeff".encode()
NAME_SHOWN: Final = 100  # characters of a function's name that an error shows
_START: Final = 1024  # bytes of a response that show whether it is a page
_NOT_HERE: Final = {404, 405}  # from a server that lacks the path, or has another service there
_RESET_CONTENT: Final = 205  # RFC 9110, section 15.3.6: it has no body
_ONLY_IN_A_BROWSER: Final = (
    "The function runs only in a browser: the response is its JavaScript code. It was not executed."
)
_INVALID: Final = object()  # the result of parsing a body that is not JSON


def trim(text: str) -> str:
    """Return *text* without the white space around it, as ``String.prototype.trim`` does."""
    return text.strip(_WHITE_SPACE)


def http_date(text: str) -> float | None:
    """Return the seconds since the Unix epoch that *text* names (RFC 9110, section 5.6.7), or None."""
    try:
        when = parsedate_to_datetime(text)
        if when.tzinfo is None:  # the obsolete asctime form names no zone and means GMT
            when = when.replace(tzinfo=UTC)
        return when.timestamp()
    except (ValueError, OverflowError):
        return None


def client_secret(response: Response) -> ClientSecret:
    """Read the response to a request for a client secret."""
    secret = _client_secret(_parse_success(response), http_date(response.headers.get("date", "")))
    if secret is None:  # raised here, where no variable of the frame holds what may be a secret
        raise InvalidResponseError("Invalid client-secret response.", status_code=response.status)
    return secret


def _client_secret(payload: Any, issued_at: float | None) -> ClientSecret | None:
    if not isinstance(payload, dict) or not isinstance(value := payload.get("value"), str):
        return None
    expires_at = payload.get("expires_at")
    speech = payload.get("speech")
    return ClientSecret(
        value=value,
        expires_at=expires_at if _is_number(expires_at) else None,
        session=session if isinstance(session := payload.get("session"), dict) else None,
        speech_provider=(
            "elevenlabs" if isinstance(speech, dict) and speech.get("provider") == "elevenlabs" else "openai"
        ),
        issued_at=issued_at,
    )


def function_list(response: Response, known: FunctionList | None = None) -> FunctionList:
    """Read the response to a request for the functions, or whether the *known* ones are still valid."""
    if known is not None and response.status == 304:  # noqa: PLR2004 - Not Modified
        return known
    payload = _parse_success(response)
    if isinstance(payload, list):
        payload = {}  # a record without fields
    if not isinstance(payload, dict):
        raise InvalidResponseError(UNREADABLE_FUNCTION_LIST, status_code=response.status)
    items = payload.get("items")
    warnings = payload.get("warnings")
    # PHP writes no white space into an array without items; most lists have one, the warnings.
    may_be_php = response.content.count(b"[]") > (warnings == [])
    return FunctionList(
        functions=tuple(_functions(items if isinstance(items, list) else [], may_be_php=may_be_php)),
        warnings=tuple(_strings(warnings)),
    )


def function_result(
    response: Response,
    function_name: str,
    *,
    is_second: bool = False,
    check: Callable[[Any, int], Any] | None = None,
    failure_in: Callable[[Any], str | None] | None = None,
) -> Any:
    """Read the response to the execution of *function_name*.

    Args:
        response: The response.
        function_name: The function.
        is_second: Whether the response to an earlier attempt was lost.
        check: Returns the result in the wanted form, or raises if it is not valid.
        failure_in: Returns why the result of a successful response is a failure, or None.
    """
    payload = _parse_success(response, function_name, is_second=is_second)
    if isinstance(payload, list):
        payload = {}
    if not isinstance(payload, dict):
        raise InvalidResponseError("Invalid backend function response.", status_code=response.status)
    if payload.get("ok") is not True:
        if payload.get("pending_approval") is True:
            raise _approval_pending(payload, function_name, response)
        raise _function_failed(payload, function_name, response.status)
    result = payload.get("result")
    if isinstance(result, dict) and result.get("execution_mode") == "client_js" and "code" in result:
        raise _function_failed({"error": _ONLY_IN_A_BROWSER}, function_name, response.status)
    if failure_in is not None and (failure := failure_in(result)) is not None:
        raise _function_failed({"error": failure}, function_name, response.status)
    return result if check is None else check(result, response.status)


def _function_failed(record: dict[str, Any], function_name: str, status: int) -> FunctionFailedError:
    error, details = record.get("error"), record.get("details")
    return FunctionFailedError(
        failure_message(error, details),
        function_name=function_name,
        error=error,
        details=details,
        details_for_model=record.get("details_for_model") is True and isinstance(details, str),
        status_code=status,
        may_have_executed=record.get("may_have_executed") is True,
    )


def _approval_pending(record: dict[str, Any], function_name: str, response: Response) -> ApprovalPendingError:
    approval, message = record.get("approval"), _string_or_none(record.get("message"))
    number = approval.get("id") if isinstance(approval, dict) else None  # a number in WordPress
    return ApprovalPendingError(
        shortened(message or "The call waits for the approval of a person.", len(message or "")),
        function_name=function_name,
        approval_id=str(number) if isinstance(number, str | int) else None,
        trace_id=_string_or_none(record.get("trace_id")),
        idempotency_key=response.headers.get("idempotency-key"),
    )


def readiness(response: Response) -> None:
    """Read the response to a probe: a JSON object, because some applications serve a page at every path."""
    if not isinstance(_parse_success(response), dict):
        raise InvalidResponseError("The response is not a JSON object.", status_code=response.status)


def failure_message(error: Any, details: Any) -> str:
    """Return the message for a function that failed with *error* and *details*."""
    texts = (text for text in (details, error) if isinstance(text, str))
    text = next(texts, "Backend function failed.")
    return shortened(text, len(text))


def redacted_value(value: Any, redactor: Redactor) -> Any:
    """Return the JSON *value* with its strings redacted, or a note instead."""
    if isinstance(value, str):
        return redactor.text(value, LONGEST_BODY)
    if not isinstance(value, dict | list):
        return value
    try:
        content = encode_json(value, name="The value")
    except NavaiPayloadError as error:  # nested deeper than the encoder writes
        return f"[not shown: {error}]"
    redacted = _text(redactor.content(content))
    return redacted if (parsed := _parse(redacted)) is _INVALID else parsed


def says_pending(response: Response) -> bool:
    """Return whether *response* says that the call waits for approval, whatever its status."""
    payload = json_of(response)
    return isinstance(payload, dict) and payload.get("pending_approval") is True


def cancellation(response: Response) -> Cancellation:
    """Read the response to the request to cancel a call."""
    payload = _parse_success(response)
    if not isinstance(payload, dict) or not isinstance(cancelled := payload.get("cancelled"), bool):
        raise InvalidResponseError("Invalid cancellation response.", status_code=response.status)
    return Cancellation(cancelled=cancelled, may_have_executed=payload.get("may_have_executed") is True)


def says_may_have_executed(response: Response) -> bool:
    """Return whether *response* says that the function may have been executed, whatever its status."""
    payload = json_of(response)
    return isinstance(payload, dict) and payload.get("may_have_executed") is True


def why_foreign(
    response: Response, function_name: str, call_headers: tuple[tuple[str, str], ...]
) -> str | None:
    """Return why *response* cannot belong to the execution of *function_name*, or None if it can.

    HTTP tells responses apart only by their order. A peer that sends one too many shifts all that follow.

    Args:
        response: The response.
        function_name: The function.
        call_headers: The headers of the request, with its ``Idempotency-Key``.
    """
    key = response.headers.get("idempotency-key")
    if key is not None and ("Idempotency-Key", key) not in call_headers:
        return "its Idempotency-Key is not the one that was sent"
    payload = json_of(response)
    named = payload.get("function_name") if isinstance(payload, dict) else None
    if named == function_name or not isinstance(named, str):
        return None
    if not (name := _normalized(named)) or name == _normalized(function_name):
        return None
    return f"it names the function {named[:NAME_SHOWN]!r}, not {function_name!r}"


def _normalized(function_name: str) -> str:
    """Return *function_name* as backends look it up: trimmed, and in lower case."""
    return trim(function_name).lower()


def speech_audio(response: Response) -> SpeechAudio:
    """Read the response to a request for spoken text."""
    payload = _parse_success(response)
    if (
        isinstance(payload, dict)
        and payload.get("provider") == "elevenlabs"
        and isinstance(mime_type := payload.get("mimeType"), str)
        and isinstance(encoded := payload.get("audioBase64"), str)
        and len(encoded) % 4 == 0  # strict_mode accepts surplus padding
    ):
        try:
            return SpeechAudio(audio=binascii.a2b_base64(encoded, strict_mode=True), mime_type=mime_type)
        except (binascii.Error, ValueError):  # ValueError: characters outside ASCII
            pass
    raise InvalidResponseError("Invalid speech synthesis response.", status_code=response.status)


def _functions(items: list[Any], *, may_be_php: bool) -> list[BackendFunction]:
    functions = []
    for item in items:
        if isinstance(item, dict) and isinstance(name := item.get("name"), str) and trim(name):
            metadata: Any = item.get("metadata")
            if not isinstance(metadata, dict):
                metadata = {}
            parameters = item.get("parameters")
            if parameters is None:
                parameters = metadata.get("argument_schema")
            if may_be_php:
                parameters = repaired(parameters)
            effect, text = metadata.get("effect"), metadata.get("say_while_waiting")
            functions.append(
                BackendFunction(
                    name=name,
                    description=_string_or_none(item.get("description")),
                    source=_string_or_none(item.get("source")),
                    parameters=parameters if isinstance(parameters, dict) else None,
                    approval=metadata.get("requires_approval") is True,
                    timeout_seconds=_seconds_or_none(metadata.get("timeout_seconds")),
                    effect=effect if effect in EFFECTS else None,
                    typical_seconds=_seconds_or_none(metadata.get("typical_seconds")),
                    say_while_waiting=text if isinstance(text, str) and trim(text) else None,
                )
            )
    return functions


def _strings(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _string_or_none(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _seconds_or_none(value: Any) -> float | None:
    return value if _is_number(value) and value > 0 else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parse_success(response: Response, function_name: str | None = None, *, is_second: bool = False) -> Any:
    """Return the JSON of a 2xx response, or _INVALID if it is not JSON; raise for any other response."""
    if not response.is_success:
        _raise_http_error(response, function_name, is_second=is_second)
    if response.truncated:
        raise InvalidResponseError(
            f"The response is larger than max_response_bytes ({len(response.content)} bytes).",
            status_code=response.status,
        )
    if response.status == _RESET_CONTENT:
        return _INVALID
    return json_of(response)


def _raise_http_error(response: Response, function_name: str | None, *, is_second: bool) -> NoReturn:
    status = response.status
    body = _text(response.content[:LONGEST_BODY])
    parsed = json_of(response)
    record = parsed if isinstance(parsed, dict) else {}
    fields: dict[str, Any] = {
        "status_code": status,
        "body": body,
        "error": _string_or_none(record.get("message")) if (error := record.get("error")) is None else error,
        "details": record.get("details"),
        "code": _string_or_none(record.get("code")),
        "validation_errors": tuple(_strings(record.get("validation_errors"))),
    }
    message = shortened(body, len(body)) or f"HTTP {status}"
    if function_name is not None and says_pending(response):
        raise _approval_pending(record, function_name, response)
    if function_name is not None and (is_second or record.get("may_have_executed") is True):
        raise OutcomeUnknownError(message, function_name=function_name, **fields)
    if function_name is not None and status == 404 and "available_functions" in record:  # noqa: PLR2004
        raise UnknownFunctionError(
            message,
            function_name=function_name,
            available_functions=tuple(_strings(record["available_functions"])),
            **fields,
        )
    if function_name is not None and status == 500 and record.get("ok") is False:  # noqa: PLR2004
        raise _function_failed(record, function_name, status)
    raise NavaiHTTPError(message, **fields)


def hint(response: Response) -> str | None:
    """Return what a failed *response* looks like, if it does not come from a Navai backend."""
    start = trim(_text(response.content[:_START])).lower()
    if start.startswith(("<!doctype", "<html", "<?xml", "<head", "<body")):
        return "The response is a page, as gateways, logins, other services and failed applications send it."
    if response.status in _NOT_HERE:
        parsed = json_of(response)
        if not isinstance(parsed, dict) or not isinstance(parsed.get("error"), str):
            return "The response is not that of a Navai backend, whose JSON would have an error."
    return None


def redirect_message(status: int, location: str, endpoint: Endpoint, path_option: str) -> str:
    """Return the message of an error for a redirect to *location*, with what to do about it.

    Args:
        status: The status of the response.
        location: Its header ``Location``.
        endpoint: Where the request was sent.
        path_option: The option of the client that sets the endpoint's path.
    """
    target = _without_secrets(location) or "the same path"
    start = f"HTTP {status}: the redirect to {target} was not followed"
    text = f"{start}; {_redirect_advice(location, endpoint, path_option)}"
    return shortened(text, len(text))


def _redirect_advice(location: str, endpoint: Endpoint, path_option: str) -> str:
    path = endpoint.path.partition("?")[0]
    base_url = endpoint.url.removesuffix(endpoint.path)
    try:
        target = _without_secrets(urljoin(endpoint.url, location))
    except ValueError:
        target = ""
    stem = path.rstrip("/")
    new_base = target.rstrip("/").removesuffix(stem)
    new_path = target[len(new_base) :]
    changes = [f'base_url="{new_base}"'] if new_base != base_url else []
    changes += [f'{path_option}="{new_path}"'] if new_path != path else []
    if stem and new_path.rstrip("/") == stem and new_base.startswith(("http://", "https://")) and changes:
        return f"if it is right, set {' and '.join(changes)}."
    return "it leads to another page, such as a login: check the credentials in headers, and base_url."


def _without_secrets(location: str) -> str:
    """Return the *location* of a redirect without user, password, query and fragment."""
    try:
        parts = urlsplit(location)
    except ValueError:
        return "an invalid URL"
    if parts.scheme and not parts.netloc:  # what looks like the path can then hold a password
        return "an invalid URL"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _text(content: bytes) -> str:
    return content.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "replace")


def json_of(response: Response) -> Any:
    """Return the JSON of *response*, or _INVALID if it is not JSON. It is parsed once.

    An error that is too long counts as not JSON, because parsing it could take longer than the call may.
    """
    if response.parsed is UNPARSED:
        if response.is_long_error:
            response.parsed = _INVALID
        else:
            response.parsed = parse_undisturbed(_parse, _text(response.content))
    return response.parsed


def _parse(text: str) -> Any:
    try:
        try:
            return _decoder.decode(text)
        except json.JSONDecodeError:
            raise
        except ValueError:  # an integer with more digits than int() accepts
            return _lenient_decoder.decode(text)
    except (RecursionError, ValueError):
        return _INVALID


def refuse_constant(name: str) -> NoReturn:
    """Refuse ``NaN`` and the infinities, which Python reads: the ``parse_constant`` of ``json.loads``."""
    raise ValueError(f"{name} is not a JSON value")


def parse_finite(digits: str) -> float:
    """Refuse numbers that no float can hold, such as 1e999: the ``parse_float`` of ``json.loads``."""
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits} is too large")
    return value


def parse_long_int(digits: str) -> int | float:
    """Read an integer of any length. If ``int()`` refuses so many digits, read it as JavaScript does."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


_decoder = json.JSONDecoder(parse_constant=refuse_constant)
_lenient_decoder = json.JSONDecoder(parse_constant=refuse_constant, parse_int=parse_long_int)

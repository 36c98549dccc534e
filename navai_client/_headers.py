"""The headers of a client: fixed, or asked for at each call; and its access token."""

import asyncio
import base64
import inspect
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, final

from navai_client._redaction import is_secret_header, secrets_in
from navai_client._version import __version__
from navai_client.errors import NavaiConfigError, NavaiTimeoutError
from navai_client.wire._decode import trim
from navai_client.wire._encode import type_name
from navai_client.wire._values import ClientHeaders

GivenHeaders = Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]] | None
AccessToken = str | Callable[[], str | Awaitable[str]] | None

_HEADER_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110, section 5.6.2
_OWN_HEADERS: Final = {
    "accept-encoding": "the transport sets it to what it can decode",
    "connection": "the transport manages its connections",
    "content-length": "it follows from the body",
    "content-type": "the contract fixes it",
    "idempotency-key": "every call needs its own; pass idempotency_key= to execute_function",
    "transfer-encoding": "it follows from the body",
}
_DEFAULT_HEADERS: Final = {
    "Accept": "application/json",
    "User-Agent": f"navai-client/{__version__} (Python)",
}
# RFC 6750, section 2.1, and whatever else a header can carry without blanks.
_TOKEN: Final = re.compile(r"[!-~]+")
_BOTH: Final = "access_token and a header Authorization were both given; send one of them."


def resolve_headers(
    headers: Mapping[str, str] | None, defaults: Mapping[str, str] = _DEFAULT_HEADERS
) -> ClientHeaders:
    """Return the headers of every request: *headers*, and *defaults* for names that they lack.

    Raises:
        NavaiConfigError: If one cannot be sent. The message never shows a value.
    """
    if headers is not None and not isinstance(headers, Mapping):
        raise NavaiConfigError(f"headers must be a mapping of names to values; it is {type_name(headers)}.")
    given = dict(headers or {})
    for name, value in given.items():
        if not isinstance(name, str):
            raise NavaiConfigError(f"headers has a name that is not a string; it is {type_name(name)}.")
        if not _HEADER_NAME.fullmatch(name):  # the rest of it can be a secret value
            start = _HEADER_NAME.match(name)
            raise NavaiConfigError(
                f"headers has a name that begins with {start[0] if start else ''!r} and cannot be sent "
                "(the rest is not shown); a name is letters, digits and hyphens."
            )
        if reason := _OWN_HEADERS.get(name.lower()):
            raise NavaiConfigError(f"headers must not set {name}: {reason}.")
        if not isinstance(value, str):
            raise NavaiConfigError(f"The header {name} must be a string; it is {type_name(value)}.")
        if any(ord(character) < ord(" ") and character != "\t" for character in value) or "\x7f" in value:
            raise NavaiConfigError(
                f"The header {name} has a line break or another control character (not shown); "
                "a key that was read from a file often ends with one: strip it."
            )
        if value != value.strip(" \t") or not value.isascii():
            raise NavaiConfigError(
                f"The header {name} has characters outside ASCII, or blanks around its value (not shown)."
            )
    names = {name.lower() for name in given}
    ours = {name: value for name, value in defaults.items() if name.lower() not in names}
    secrets = secrets_in(value for name, value in given.items() if is_secret_header(name))
    request_id = next((value for name, value in given.items() if name.lower() == "x-request-id"), None)
    return ClientHeaders((*ours.items(), *given.items()), secrets=secrets, request_id=request_id or None)


def with_headers(known: ClientHeaders, headers: Mapping[str, str] | None) -> ClientHeaders:
    """Return *known* with *headers*, which take precedence over those of the same names."""
    return known if headers is None else _merged(known, resolve_headers(headers, defaults={}))


def _merged(known: ClientHeaders, above: ClientHeaders) -> ClientHeaders:
    if not above.plain:
        return known
    names = {name.lower() for name, _ in above.plain}
    rest = (pair for pair in known.plain if pair[0].lower() not in names)
    secrets = sorted({*known.secrets, *above.secrets}, key=len, reverse=True)
    request_id = above.request_id or known.request_id
    return ClientHeaders((*rest, *above.plain), secrets=tuple(secrets), request_id=request_id)


def wordpress_headers(
    headers: GivenHeaders, user: str | None, password: str | None, nonce: str | None
) -> GivenHeaders:
    """Return *headers* with those by which WordPress knows a user: application password (RFC 7617) and nonce.

    Raises:
        NavaiConfigError: If they cannot be sent. The message never shows a value.
    """
    own = {} if nonce is None else {"X-WP-Nonce": nonce}
    if user is not None or password is not None:
        if not isinstance(user, str) or not isinstance(password, str) or not user or ":" in user:
            raise NavaiConfigError("user (without a colon) and application_password must be given together.")
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        own["Authorization"] = f"Basic {pair}"
    if not own or headers is None:
        return own or headers
    if not isinstance(headers, Mapping):
        raise NavaiConfigError(f"headers is not a mapping; let it return {' and '.join(own)} itself.")
    return {**headers, **own}


def _has_authorization(names: Any) -> bool:
    return any(name.lower() == "authorization" for name in names)


def _checked_token(token: Any, name: str) -> str:
    if not isinstance(token, str):
        raise NavaiConfigError(f"{name} must be a string; it is {type_name(token)}.")
    if not _TOKEN.fullmatch(token):
        raise NavaiConfigError(
            f"{name} must be a token of ASCII characters without blanks (it is not shown); "
            "leave out the word Bearer, and strip what comes from a file."
        )
    return token


def token_of_environment(env: Mapping[str, str | None] | None) -> str | None:
    """Return ``NAVAI_ACCESS_TOKEN`` of *env*, trimmed, or None if it is blank."""
    token = (os.environ if env is None else env).get("NAVAI_ACCESS_TOKEN")
    return trim(token) or None if isinstance(token, str) else token


def client_headers(
    headers: GivenHeaders, access_token: AccessToken, fallback: str | None, *, authorized: bool = False
) -> "tuple[ClientHeaders, HeaderSource | None]":
    """Return the headers of a client, and where to ask for them at each call if they are not fixed.

    Args:
        headers: Headers, or a function that returns them.
        access_token: The token of ``Authorization``, or a function that returns it.
        fallback: A token for requests without another ``Authorization``.
        authorized: Whether the requests get an ``Authorization`` from elsewhere.

    Raises:
        NavaiConfigError: If something cannot be sent. The message never shows a value.
    """
    source = HeaderSource(headers, access_token, None if authorized else fallback)
    if access_token is not None and authorized:
        raise NavaiConfigError(_BOTH)
    if not callable(headers) and not callable(access_token):
        return source.ask(), None
    if not callable(headers) and _has_authorization(name for name, _ in resolve_headers(headers).plain):
        raise NavaiConfigError(_BOTH)
    if not callable(access_token) and access_token is not None:
        _checked_token(access_token, "access_token")
    return ClientHeaders(), source


@final
class HeaderSource:
    """Headers of which some are asked for, by a function for them, for the access token, or by both.

    Args:
        headers: As for ``client_headers``.
        access_token: As for ``client_headers``.
        fallback: As for ``client_headers``.
        above: Headers that take precedence over these.
    """

    def __init__(
        self,
        headers: GivenHeaders,
        access_token: AccessToken,
        fallback: str | None,
        above: ClientHeaders = ClientHeaders(),  # noqa: B008 - it is frozen
    ) -> None:
        self._headers = dict(headers or {}) if headers is None or isinstance(headers, Mapping) else headers
        self._token = access_token
        self._fallback = fallback
        self._above = above
        self._last: tuple[Any, ClientHeaders] = (None, above)

    def below(self, above: ClientHeaders) -> "HeaderSource":
        """Return this source, with *above* taking precedence. No token is asked for that it would replace."""
        replaced = _has_authorization(name for name, _ in above.plain)
        return HeaderSource(self._headers, None if replaced else self._token, self._fallback, above)

    def ask(self) -> ClientHeaders:
        """Return the headers of a call.

        Raises:
            NavaiConfigError: If something cannot be sent. The message never shows a value.
        """
        try:
            return self._combined(_now(self._headers, "headers"), _now(self._token, "access_token"))
        except NavaiConfigError as error:
            raise error.with_traceback(None) from None

    async def ask_async(self, timeout: float | None) -> ClientHeaders:
        """Return the headers of a call within *timeout* seconds, as ``ask`` does.

        Raises:
            NavaiTimeoutError: If they do not arrive in time.
        """
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return self._combined(await _later(self._headers), await _later(self._token))
        except NavaiConfigError as error:
            raise error.with_traceback(None) from None
        except TimeoutError:
            if not limit.expired():  # it is that of a function
                raise
            message = (
                f"No headers within {timeout:g} s: the function for them or for the token did not return."
            )
            raise NavaiTimeoutError(message, may_have_executed=False) from None

    def _combined(self, headers: Any, token: Any) -> ClientHeaders:
        """Return the *headers* and the *token* as headers: those of the last call, if they are the same."""
        asked = (dict(headers) if isinstance(headers, Mapping) else headers, token)
        last, known = self._last
        if asked == last:
            return known
        if headers is None:
            raise NavaiConfigError("headers must be a mapping of names to values; it is None.")
        known = resolve_headers(headers)
        authorized = _has_authorization(name for name, _ in known.plain)
        if self._token is not None:
            if authorized:
                raise NavaiConfigError(_BOTH)
            bearer = f"Bearer {_checked_token(token, 'access_token')}"
            known = with_headers(known, {"Authorization": bearer})
        elif self._fallback is not None and not authorized:
            bearer = f"Bearer {_checked_token(self._fallback, 'NAVAI_ACCESS_TOKEN')}"
            known = with_headers(known, {"Authorization": bearer})
        known = _merged(known, self._above)
        self._last = (asked, known)
        return known


def _now(source: Any, name: str) -> Any:
    value = source() if callable(source) else source
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()  # else Python warns that nothing awaited it
        raise NavaiConfigError(f"{name} is async; use AsyncNavaiBackendClient with it.")
    return value


async def _later(source: Any) -> Any:
    value = source() if callable(source) else source
    return await value if inspect.isawaitable(value) else value

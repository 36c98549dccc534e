"""Who is calling: access tokens, JSON Web Tokens, and the identity that a host application established.

A backend tries the ways that are configured in turn: access tokens, JWTs, ``authenticate=``, the inspector's
token. The first to return a principal decides. If none of the first three is configured, everybody may call.

This code handles what unauthenticated callers send. So tokens are compared in constant time, and the
comparison never ends early. A JWT is verified as RFC 8725 asks: with pinned algorithms and a required
audience. Its issuer is asked for keys at most once every few seconds, whatever callers send.
"""

import asyncio
import hashlib
import hmac
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from navai_client._extras import needs_extra
from navai_client.functions._context import Principal
from navai_client.server._errors import BackendError, BackendOptionsError, UpstreamError
from navai_client.server._hosts import LOOPBACK_HOSTS, AllowedHosts
from navai_client.server._http import BackendRequest
from navai_client.server._settings import JWT_ALGORITHMS, ServerSettings, named_token
from navai_client.server._upstream import Upstream

if TYPE_CHECKING:
    from jwt import PyJWK

_log: Final = logging.getLogger("navai_client.server")

TOKEN_HOLDER: Final = "access-token"  # noqa: S105 - no password
"""The id of all callers whose access token has no name."""

APPROVE: Final = "navai:approve"
"""The scope that a principal must hold to see the calls that wait for approval, and to decide them."""
INSPECTOR: Final = Principal("inspector", [APPROVE])
"""The principal of whoever has the inspector's own token."""

_ID_ATTRIBUTES: Final = ("id", "pk", "username", "identity")
_LEEWAY_S: Final = 30.0  # for clocks that differ; RFC 7519, section 4.1.4: "no more than a few minutes"
_FRESH_S: Final = 300.0  # as long as PyJWT's own client keeps a key set
_USABLE_S: Final = 3600.0  # beyond that, a key that was withdrawn might still be accepted
_PAUSE_S: Final = 10.0  # between two requests to the issuer, whatever callers send
_FETCH_S: Final = 5.0
_MAX_VERIFIED: Final = 1000  # tokens, at less than 2 KB with their claims
_MAX_KEY_SET_BYTES: Final = 2**20


Found = Principal | None
_FOUND: Final = (Principal, type(None))  # for isinstance(), which would build a union at each call
Authenticate = Callable[[BackendRequest], Found | Awaitable[Found]]
"""Returns the principal of a request. To refuse the request, it returns None or raises :class:`BackendError`.
If it is not async, it is called on the event loop, and must not block."""


class Authentication:
    """All ways in which the callers of a backend can say who they are."""

    def __init__(self, ways: Sequence[Authenticate]) -> None:
        """Ask each of *ways* in turn."""
        self._ways = ways

    async def identify(self, request: BackendRequest) -> Principal | None:
        """Return the principal of *request*; None refuses it.

        Raises:
            BackendError: It is impossible to tell whether it has one, or the refusal has its own status.
            TypeError: ``authenticate=`` returned something else.
        """
        for way in self._ways:
            found = way(request)
            if not isinstance(found, _FOUND) and inspect.isawaitable(found):
                found = await found
            if isinstance(found, Principal):
                return found
            if found is not None:
                raise TypeError(
                    f"authenticate must return a Principal or None, not a {type(found).__name__}."
                )
        return None

    async def aclose(self) -> None:
        """Close the connections to the issuer."""
        for way in self._ways:
            if isinstance(way, _JwtAuthentication):
                await way.aclose()


def authentication_of(settings: ServerSettings, authenticate: Authenticate | None) -> Authentication | None:
    """Return the authentication that *settings* and *authenticate* ask for; None lets everybody in.

    Raises:
        BackendOptionsError: A setting cannot work.
        ImportError: A JWT is to be verified, and the extra ``auth`` is not installed.
    """
    ways: list[Authenticate] = []
    tokens = dict(_named_tokens(settings))
    if tokens:
        ways.append(_AccessTokens(tokens))
    jwt = (settings.jwt_jwks_url, settings.jwt_issuer, settings.jwt_audience)
    if any(jwt):
        url, issuer, audience = jwt
        if not (url and issuer and audience):
            raise BackendOptionsError(
                "NAVAI_JWT_JWKS_URL, NAVAI_JWT_ISSUER and NAVAI_JWT_AUDIENCE must be set together."
            )
        ways.append(from_jwt(url, issuer=issuer, audience=audience, algorithms=settings.jwt_algorithms))
    if authenticate is not None:
        ways.append(authenticate)
    if ways and settings.inspector_token is not None:
        ways.append(_AccessTokens({settings.inspector_token.encode(): INSPECTOR}))
    return Authentication(ways) if ways else None


def bearer_token(request: BackendRequest) -> bytes | None:
    """Return the bearer token of *request* (RFC 6750, section 2.1), or None."""
    scheme, _, given = request.raw_headers.get(b"authorization", b"").partition(b" ")
    return given.strip() if scheme.lower() == b"bearer" else None


def is_token(request: BackendRequest, token: bytes) -> bool:
    """Return whether the bearer token of *request* is *token*. The time that it takes reveals nothing."""
    return hmac.compare_digest(bearer_token(request) or b"", token)


def _named_tokens(settings: ServerSettings) -> Iterator[tuple[bytes, Principal]]:
    if settings.access_token is not None:
        yield settings.access_token.encode(), Principal(TOKEN_HOLDER)
    for name, token in map(named_token, settings.access_tokens):
        yield token.encode(), Principal(name or TOKEN_HOLDER)


class _AccessTokens:
    def __init__(self, tokens: Mapping[bytes, Principal]) -> None:
        self._tokens = tuple(tokens.items())

    def __call__(self, request: BackendRequest) -> Principal | None:
        given = bearer_token(request)
        if given is None:
            return None
        found = None
        for token, principal in self._tokens:  # every one, so that the time does not reveal which one matched
            if hmac.compare_digest(given, token):
                found = principal
        return found


def from_host(
    identify: Callable[[Any], Found | Awaitable[Found]] | None = None, *, state: str | None = None
) -> Authenticate:
    """Take the identity that the host application has established, as ``NavaiBackend(authenticate=...)``.

    It reads the ASGI scope that the host's middleware has filled: ``scope["user"]``, as Starlette's
    ``AuthenticationMiddleware`` sets it, or what the host put into ``request.state``. Without such a
    host, nothing fills the scope, and every caller is refused.

    Args:
        identify: Returns the principal of the host's user, or None; it may be async. By default, the user
            must be a principal, its id, a mapping with ``sub`` or ``id``, or an object with ``id``, ``pk``,
            ``username`` or ``identity``. Its scopes are its own ``scopes``, or those of ``scope["auth"]``.
        state: The name of the user in ``request.state``, instead of ``scope["user"]``.

    A user whose ``is_authenticated`` is not True is no principal.
    """

    def authenticate(request: BackendRequest) -> Found | Awaitable[Found]:
        scope = request.scope
        user = scope.get("user") if state is None else (scope.get("state") or {}).get(state)
        if user is None or getattr(user, "is_authenticated", True) is not True:
            return None
        if identify is not None:
            return identify(user)
        return _principal_of(user, scope if state is None else {})

    return authenticate


def _principal_of(user: Any, scope: Mapping[str, Any]) -> Principal | None:
    if isinstance(user, Principal):
        return user
    known: list[Any]
    scopes: Any
    claims: Mapping[str, Any] = {}
    if isinstance(user, str):
        known, scopes = [user], None
    elif isinstance(user, Mapping):
        known, scopes, claims = [user.get("sub"), user.get("id")], user.get("scopes"), user
    else:
        known = [getattr(user, name, None) for name in _ID_ATTRIBUTES]
        scopes = getattr(user, "scopes", None)
    found = next((each for each in known if each not in (None, "")), None)
    if scopes is None:
        scopes = getattr(scope.get("auth"), "scopes", ())
    return None if found is None else Principal(str(found), scopes, claims)


def from_jwt(
    jwks_url: str, *, issuer: str, audience: str, algorithms: Sequence[str] = ("RS256",)
) -> Authenticate:
    """Verify the bearer token as a JSON Web Token, as ``NavaiBackend(authenticate=...)``.

    The principal's id is the issuer, ``|`` and the token's ``sub``; its scopes are in ``scope`` or ``scp``. A
    token must have ``exp``, ``iss``, ``aud`` and ``sub``. If the keys cannot be fetched, the caller gets
    status 503 and not 401, because the token may be valid.

    Args:
        jwks_url: Where the issuer publishes its keys (RFC 7517): https, or http on this machine.
        issuer: The ``iss`` of its tokens.
        audience: The ``aud`` of tokens for this backend; those for others are refused.
        algorithms: The signature algorithms to accept, whatever a token or a key says.

    Raises:
        BackendOptionsError: An argument cannot work.
        ImportError: The extra ``auth`` is not installed.
    """
    url = urlsplit(jwks_url)
    if not url.hostname or url.scheme not in ("http", "https"):
        raise BackendOptionsError(f"jwks_url must be an https URL. Received: {jwks_url}")
    if url.scheme == "http" and not AllowedHosts(LOOPBACK_HOSTS).allow(url.netloc.encode()):
        raise BackendOptionsError(
            f"jwks_url must be an https URL: whoever is on the way of {jwks_url} signs tokens."
        )
    if isinstance(algorithms, str) or not algorithms or not {*algorithms} <= {*JWT_ALGORITHMS}:
        raise BackendOptionsError(
            f"algorithms must be a list, of {', '.join(JWT_ALGORITHMS)}. Received: {algorithms!r}"
        )
    return _JwtAuthentication(_KeySet(jwks_url), issuer, audience, tuple(algorithms))


class _Verified(msgspec.Struct):
    """A verified token, kept because verifying it again takes four times as long as the rest of a request."""

    key: Any
    kid: str | None
    until: float
    principal: Principal


class _JwtAuthentication:
    def __init__(self, keys: "_KeySet", issuer: str, audience: str, algorithms: tuple[str, ...]) -> None:
        with needs_extra("auth", "jwt", "cryptography"):
            import cryptography  # noqa: F401, PLC0415 - without it, PyJWT knows only shared secrets
            import jwt  # noqa: PLC0415 - only for those who need it

        self._jwt = jwt
        self._keys = keys
        self._algorithms = list(algorithms)
        self._verified: dict[bytes, _Verified] = {}  # by digest, because tokens are not kept
        self._expected: dict[str, Any] = {
            "issuer": issuer,
            "audience": audience,
            "leeway": _LEEWAY_S,
            "options": {"require": ["exp", "iss", "aud", "sub"]},
        }

    async def __call__(self, request: BackendRequest) -> Principal | None:
        token = bearer_token(request)
        if token is None or token.count(b".") != 2:  # noqa: PLR2004 - RFC 7515, section 3.1
            return None
        digest = hashlib.sha256(token).digest()
        verified = self._verified.get(digest)
        # Its key is looked for each time: it may have been withdrawn, or be too old.
        if verified and verified.until > time.time() and await self._keys.find(verified.kid) is verified.key:
            return verified.principal
        try:
            kid = self._jwt.get_unverified_header(token).get("kid")
            key = await self._keys.find(kid)
            if key is None:
                return None
            claims = self._jwt.decode(token, key, self._algorithms, **self._expected)
        except self._jwt.PyJWTError as error:
            _log.info("Request %s has a token that is refused: %s", request.request_id, type(error).__name__)
            return None
        if not claims["sub"]:
            return None
        scopes = claims.get("scope") or claims.get("scp") or ""  # RFC 8693, section 4.2; Entra ID, Okta
        scopes = scopes.split() if isinstance(scopes, str) else map(str, scopes)
        principal = Principal(f"{claims['iss']}|{claims['sub']}", scopes, claims)
        if len(self._verified) >= _MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = _Verified(
            key, kid, float(claims["exp"]) + self._expected["leeway"], principal
        )
        return principal

    async def aclose(self) -> None:
        await self._keys.aclose()


class _KeySet:
    """The keys of an issuer, fetched when they are needed and then kept.

    Keys older than a few minutes are fetched again; meanwhile, callers use the old ones.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._clock = clock
        self._upstream = Upstream(max_response_bytes=_MAX_KEY_SET_BYTES)
        self._keys: list[PyJWK] = []
        self._fetched = -_USABLE_S
        self._tried = -_PAUSE_S
        self._failed = False
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, kid: str | None) -> "PyJWK | None":
        """Return the key called *kid*, or the only one if the token names none.

        Raises:
            BackendError: The keys cannot be fetched (503).
        """
        key = self._find(kid)
        age = self._clock() - self._fetched
        if key is not None and age < _USABLE_S:
            if age >= _FRESH_S:
                self._fetch()
            return key
        fetching = self._fetch()
        if fetching is not None:
            await asyncio.shield(fetching)  # others may wait for it, too
        if self._failed:
            raise BackendError(
                "The keys that verify access tokens cannot be fetched at the moment.",
                status_code=503,
                retry_after=f"{_PAUSE_S:.0f}",
            )
        return self._find(kid)

    async def aclose(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
        await self._upstream.aclose()

    def _find(self, kid: str | None) -> "PyJWK | None":
        if kid is None:
            return self._keys[0] if len(self._keys) == 1 else None
        return next((key for key in self._keys if key.key_id == kid), None)

    def _fetch(self) -> asyncio.Task[None] | None:
        """Return the task that fetches the keys, or None if one ended only a moment ago."""
        loop = asyncio.get_running_loop()
        task = self._fetching
        if task is None or task.done() or task.get_loop() is not loop:
            if self._clock() - self._tried < _PAUSE_S:
                return None
            task = self._fetching = loop.create_task(self._replace_keys())
        return task

    async def _replace_keys(self) -> None:
        try:
            response = await self._upstream.get("The issuer's key set", self._url, timeout=_FETCH_S)
            keys = _read_keys(response.status, response.content)
        except UpstreamError as error:
            _log.warning("The keys that verify access tokens cannot be fetched: %s", error.detail or error)
            self._failed = True
        else:
            self._keys, self._fetched, self._failed = keys, self._clock(), False
        self._tried = self._clock()


def _read_keys(status: int, content: bytes) -> list["PyJWK"]:
    """Return the keys of a key set that can verify signatures.

    Raises:
        UpstreamError: It is not a key set, or has no usable keys.
    """
    from jwt import PyJWKSet, PyJWTError  # noqa: PLC0415 - as above

    if status != 200:  # noqa: PLR2004 - RFC 9110, section 15.3.1
        raise UpstreamError(f"The response has status {status}.")
    try:
        keys = PyJWKSet(msgspec.json.decode(content, type=dict[str, Any]).get("keys") or [])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, PyJWTError) as error:
        raise UpstreamError(f"The response is no key set: {error}") from None
    return [
        key
        for key in keys
        if key.public_key_use in (None, "sig") and key.Algorithm.check_key_length(key.key) is None
    ]

"""Who is calling: access tokens, JSON Web Tokens, the host's identity, and what a principal may do."""

import asyncio
import base64
import datetime as dt
import hmac
import json
import logging
import threading
import time
import types
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, cast

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import Mount

from navai_client.server import (
    BackendError,
    BackendOptionsError,
    BackendRequest,
    FunctionContext,
    NavaiBackend,
    Principal,
    _authentication as authentication,
    from_host,
    from_jwt,
    function,
)
from tests.serving import NO_TLS, Serve, Start, serving_app
from tests.waiting import until

LIST: Final = "/navai/functions"
EXECUTE: Final = "/navai/functions/execute"
BASE64: Final = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlYw=="
WHO: Final = """
from navai_client.server import FunctionContext

calls = 0

def who(context: FunctionContext):
    global calls
    calls += 1
    return [context.principal and context.principal.id, calls]
"""


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def make_backend(**options: Any) -> NavaiBackend:
    backend = NavaiBackend(env={}, discover=False, **options)

    @backend.function
    def who(context: FunctionContext) -> Any:
        assert context.principal is not None
        return {"id": context.principal.id, "scopes": sorted(context.principal.scopes)}

    return backend


def get(url: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.get(url, headers=headers, timeout=60, verify=NO_TLS)


def call(url: str, name: str = "who", **headers: str) -> httpx.Response:
    body = {"function_name": name, "payload": None}
    return httpx.post(url + EXECUTE, json=body, headers=headers, timeout=60, verify=NO_TLS)


def result(url: str, token: str) -> Any:
    return call(url, **bearer(token)).json()["result"]


class TestAccessTokens:
    """Several access tokens at once."""

    def test_each_is_let_in_and_a_name_is_a_principal(self, serve: Serve, write: Any) -> None:
        write("src/ai/functions-modules/who.py", WHO)
        tokens = f"old-token-1234, new-token-5678,till=till-token-99==,{BASE64}"
        server = serve(NAVAI_ACCESS_TOKEN="first-token", NAVAI_ACCESS_TOKENS=tokens)
        for refused in (
            {},
            bearer("wrong"),
            bearer("till"),
            bearer("till=till-token-99=="),
            {"Authorization": "Basic old-token-1234"},
        ):
            answer = call(server.url, **refused)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == 'Bearer realm="navai"'
        unnamed = ("old-token-1234", "new-token-5678", BASE64, "first-token")
        assert {result(server.url, token)[0] for token in unnamed} == {"access-token"}
        assert result(server.url, "till-token-99==")[0] == "till"
        log = server.stop()
        assert ' principal="till"\n' in log
        assert ' principal="access-token"\n' in log
        assert not any(token in log for token in ("old-token", "till-token", "first-token", BASE64))

    def test_a_key_belongs_to_its_caller_and_rotation_keeps_it(self, serve: Serve, write: Any) -> None:
        write("src/ai/functions-modules/who.py", WHO)
        server = serve(NAVAI_ACCESS_TOKENS="old-token-1234,new-token-5678,till=till-token-9999")
        answers = [
            call(server.url, **bearer(token), **{"Idempotency-Key": "one"})
            for token in ("old-token-1234", "new-token-5678", "till-token-9999", "till-token-9999")
        ]
        assert [answer.json()["result"] for answer in answers] == [
            ["access-token", 1],
            ["access-token", 1],
            ["till", 2],
            ["till", 2],
        ]
        assert ["idempotent-replayed" in answer.headers for answer in answers] == [False, True, False, True]

    def test_nobody_cancels_or_reads_the_call_of_another(self) -> None:
        backend = make_backend(access_tokens=["till=till-token-9999", "desk=desk-token-9999"])
        with serving_app(backend) as url:
            key = {"Idempotency-Key": "one"}
            assert call(url, **key, **bearer("till-token-9999")).status_code == 200
            for name, status in (("desk", 404), ("till", 200)):
                headers = {**key, **bearer(f"{name}-token-9999")}
                answer = httpx.post(f"{url}{EXECUTE}/cancel", headers=headers, timeout=60, verify=NO_TLS)
                assert answer.status_code == status

    @pytest.mark.parametrize(
        "tokens",
        [
            "two words",
            "a=b=c",
            "=",
            ",",
            " ",
            "",
            "name=",  # of a variable that is not set: NAME=$TOKEN
            "a-longer-name=,other-token",
            "a;b-or-token",
            "t\u00f6ken-12345",
            "a=same-token,b=same-token",
            "same-token,b=same-token",
        ],
    )
    def test_what_cannot_be_a_token_is_refused(self, tokens: str) -> None:
        with pytest.raises(BackendOptionsError, match="NAVAI_ACCESS_TOKENS") as refused:
            NavaiBackend(env={"NAVAI_ACCESS_TOKENS": tokens}, discover=False)
        assert "same-token" not in str(refused.value)

    @pytest.mark.parametrize("tokens", ["", "a=same-token,b=same-token"])
    def test_what_cannot_be_a_token_stops_the_start(self, start: Start, tokens: str) -> None:
        status, said = start(NAVAI_ACCESS_TOKENS=tokens)
        assert status == 2
        assert "NAVAI_ACCESS_TOKENS" in said
        assert "same-token" not in said

    def test_one_string_is_no_list_and_no_repr_shows_tokens(self) -> None:
        with pytest.raises(BackendOptionsError, match="list"):
            NavaiBackend(env={}, access_tokens="one-token")
        backend = NavaiBackend(env={}, access_tokens=["one-token", "till=other-token"])
        assert "token'" not in repr(backend.settings)

    def test_every_token_is_compared_whichever_is_right(self, monkeypatch: pytest.MonkeyPatch) -> None:
        compared = []
        real = hmac.compare_digest

        def compare(given: bytes, token: bytes) -> bool:
            compared.append(token)
            return real(given, token)

        monkeypatch.setattr(hmac, "compare_digest", compare)
        tokens = ["token-11", "token-22", "token-33"]
        with serving_app(make_backend(access_tokens=tokens)) as url:
            for given in ("token-11", "token-33", "none"):
                compared.clear()
                call(url, **bearer(given))
                assert compared == [token.encode() for token in tokens]

    def test_a_failure_does_not_show_a_token(self) -> None:
        backend = make_backend(access_tokens=["till=secret-of-the-till"])

        @backend.function
        def fails() -> None:
            raise LookupError("secret-of-the-till")

        with serving_app(backend) as url:
            answer = call(url, "fails", **bearer("secret-of-the-till"))
        assert answer.json()["details"] == "***"


class TestAnOwnFunction:
    """``authenticate=`` with a function of the owner."""

    def test_may_be_async_and_decides_beside_the_access_tokens(self) -> None:
        async def authenticate(request: BackendRequest) -> Principal | None:
            cookie = request.headers.get("cookie", "")
            return Principal("ann", {"a", "b"}) if cookie == "session=1" else None

        with serving_app(make_backend(authenticate=authenticate, access_token="machine")) as url:
            assert call(url).status_code == 401
            assert call(url, Cookie="session=2").status_code == 401
            assert call(url, Cookie="session=1").json()["result"] == {"id": "ann", "scopes": ["a", "b"]}
            assert result(url, "machine")["id"] == "access-token"
            assert get(f"{url}/health").status_code == 200
            assert "security" in get(f"{url}/navai/openapi.json", headers=bearer("machine")).json()

    def test_can_refuse_with_a_status_of_its_own(self) -> None:
        def authenticate(request: BackendRequest) -> Principal | None:
            raise BackendError("Your account is locked.", status_code=403, retry_after="60")

        with serving_app(make_backend(authenticate=authenticate)) as url:
            answer = call(url)
        assert (answer.status_code, answer.json()) == (403, {"error": "Your account is locked."})
        assert answer.headers["retry-after"] == "60"

    @pytest.mark.parametrize("returned", [True, "ann", {"id": "ann"}, False, ""])
    def test_that_returns_something_else_lets_nobody_in(
        self, returned: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        with serving_app(make_backend(authenticate=lambda request: returned)) as url:
            assert call(url).status_code == 500
        assert "authenticate must return a Principal or None" in caplog.text

    def test_whose_own_work_was_cancelled_fails_its_request_alone(self) -> None:
        async def authenticate(request: BackendRequest) -> Principal | None:
            raise asyncio.CancelledError

        with serving_app(make_backend(authenticate=authenticate)) as url:
            answer = call(url)
        assert (answer.status_code, answer.json()) == (500, {"error": "Internal server error."})

    def test_that_is_cancelled_with_its_request_ends_with_it(self) -> None:
        began = asyncio.Event()

        async def authenticate(request: BackendRequest) -> Principal | None:
            began.set()
            await asyncio.Event().wait()
            return None

        async def scenario() -> None:
            transport = httpx.ASGITransport(app=cast("Any", make_backend(authenticate=authenticate)))
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                request = asyncio.create_task(client.get("/navai/functions"))
                await began.wait()
                request.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await request

        asyncio.run(scenario())

    @pytest.mark.parametrize("given", ["", None, 7])
    def test_a_principal_has_an_id(self, given: Any) -> None:
        with pytest.raises(ValueError, match="id of a principal"):
            Principal(given)

    @pytest.mark.parametrize("scopes", ["orders:read", [1]])
    def test_scopes_are_a_list_of_names(self, scopes: Any) -> None:
        with pytest.raises(ValueError, match="scopes must be a list of names"):
            Principal("ann", scopes)
        with pytest.raises(ValueError, match="scopes must be a list of names"):
            make_backend().function(scopes=scopes)(lambda: 1)

    def test_claims_are_in_no_repr(self) -> None:
        assert "private" not in repr(Principal("ann", claims={"email": "private"}))

    def test_the_log_has_the_principal_in_one_line(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, logger="navai_client.server.access")
        with serving_app(
            make_backend(authenticate=lambda request: Principal("an\nn\x1b" + "x" * 999))
        ) as url:
            call(url)
        (record,) = (each for each in caplog.records if each.name.endswith("access"))
        assert 'principal="an\\nn\\u001b' in record.getMessage()
        assert len(record.getMessage()) < 600
        assert vars(record)["navai"]["principal"].startswith("an\nn")


def by_header(request: BackendRequest) -> Principal | None:
    """Read the principal of a test's request from two headers."""
    name = request.headers.get("x-name")
    return None if name is None else Principal(name, request.headers.get("x-scopes", "").split())


@pytest.fixture(name="url", scope="module")
def _url() -> Iterator[str]:
    backend = NavaiBackend(env={}, discover=False, authenticate=by_header)
    backend.function(name="open")(lambda: "open")
    backend.function(name="read", scopes=["orders:read"])(lambda: "read")
    backend.function(name="refund", scopes=("orders:read", "orders:refund"))(lambda: "refund")
    backend.function(name="open")(lambda: "second")  # a warning, which names a function
    with serving_app(backend) as url:
        yield url


class TestScopes:
    """Functions for those who hold their scopes."""

    @staticmethod
    def ask(url: str, scopes: str, **headers: str) -> httpx.Response:
        return get(url + LIST, headers={"x-name": "ann", "x-scopes": scopes, **headers})

    def test_the_list_shows_what_its_caller_may_call(self, url: str) -> None:
        def names(scopes: str) -> list[str]:
            return [item["name"] for item in self.ask(url, scopes).json()["items"]]

        assert names("") == ["open", "open_2"]
        assert names("other orders:refund") == ["open", "open_2"]
        assert names("orders:read") == ["open", "read", "open_2"]
        assert names("orders:refund orders:read other") == ["open", "read", "refund", "open_2"]

    def test_each_visible_set_has_an_etag_and_is_for_its_caller_alone(self, url: str) -> None:
        few, more = self.ask(url, ""), self.ask(url, "orders:read")
        same = self.ask(url, "another-scope")
        assert few.headers["etag"] == same.headers["etag"] != more.headers["etag"]
        for answer in (few, self.ask(url, "", **{"If-None-Match": few.headers["etag"]})):
            assert answer.headers["cache-control"] == "private, no-cache"
            assert "Authorization" in answer.headers["vary"]
        assert answer.status_code == 304
        assert self.ask(url, "orders:read", **{"If-None-Match": few.headers["etag"]}).status_code == 200

    def test_warnings_name_functions_so_they_are_for_those_who_see_all(self, url: str) -> None:
        assert self.ask(url, "orders:read").json()["warnings"] == []
        assert len(self.ask(url, "orders:read orders:refund").json()["warnings"]) == 1

    def test_a_function_that_is_not_for_the_caller_does_not_exist_for_it(self, url: str) -> None:
        def execute(name: str, scopes: str) -> httpx.Response:
            return call(url, name, **{"x-name": "ann", "x-scopes": scopes})

        hidden, unknown = execute("refund", "orders:read"), execute("nothing", "orders:read")
        assert hidden.status_code == unknown.status_code == 404
        assert hidden.json() == unknown.json()
        assert hidden.json()["available_functions"] == ["open", "read", "open_2"]
        assert execute("refund", "orders:read orders:refund").json()["result"] == "refund"
        assert execute("open", "").json()["result"] == "open"

    def test_the_lists_of_callers_with_many_scopes_are_bounded(self) -> None:
        scopes = [f"s{number}" for number in range(9)]
        backend = NavaiBackend(env={}, discover=False, authenticate=by_header)
        for scope in scopes:
            backend.function(name=scope, scopes=[scope])(lambda: 1)
        with serving_app(backend) as url, httpx.Client(timeout=60, verify=NO_TLS) as client:
            for number in range(2**9):
                held = [scope for bit, scope in enumerate(scopes) if number >> bit & 1]
                headers = {"x-name": "ann", "x-scopes": " ".join(held)}
                items = client.get(url + LIST, headers=headers).json()["items"]
                assert [item["name"] for item in items] == held
            assert len(backend.router._listings) <= 257

    def test_a_declaration_at_the_function_holds_unless_the_registration_has_its_own(self) -> None:
        @function(scopes=["orders:read"])
        def declared() -> str:
            return "declared"

        backend = NavaiBackend(env={}, discover=False, authenticate=by_header)
        backend.function(declared)
        backend.function(name="renamed")(declared)
        backend.function(name="opened", scopes=[])(declared)
        with serving_app(backend) as url:
            items = self.ask(url, "").json()["items"]
        assert [item["name"] for item in items] == ["opened"]

    def test_where_callers_do_not_say_who_they_are_they_stay_hidden_and_the_log_says_so(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        backend = NavaiBackend(env={}, discover=False)
        backend.function(name="refund", scopes=["orders:refund"])(lambda: "refund")
        with serving_app(backend) as url:
            answer = get(url + LIST)
            assert answer.json()["items"] == []
            assert answer.headers["cache-control"] == "no-cache"
            assert call(url, "refund").status_code == 404
        assert "Functions require scopes" in caplog.text


class Logins(AuthenticationBackend):
    """A host's login: the header x-login names the user."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """Return the user, if the request has one."""
        name = conn.headers.get("x-login")
        return None if name is None else (AuthCredentials(["authenticated", "orders:read"]), SimpleUser(name))


class Keeps:
    """A host's middleware that keeps one of *users* in the state of each request."""

    def __init__(self, app: Any, users: Any) -> None:
        self.app, self.users = app, users

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass the request on."""
        if scope["type"] == "http":
            number = int(dict(scope["headers"])[b"x-number"])
            scope.setdefault("state", {})["user"] = self.users[number]
        await self.app(scope, receive, send)


class User:
    """A user of a host, with any attributes."""

    def __init__(self, **attributes: Any) -> None:
        vars(self).update(attributes)

    def __repr__(self) -> str:
        return f"User({', '.join(vars(self))})"


def mounted(backend: NavaiBackend, *middleware: Middleware) -> Starlette:
    return Starlette(routes=[Mount("/voice", backend)], middleware=middleware, lifespan=backend.lifespan)


class TestTheHost:
    """The identity that a host application established."""

    def test_the_user_of_starlettes_middleware_is_the_principal(self) -> None:
        app = mounted(
            make_backend(authenticate=from_host()), Middleware(AuthenticationMiddleware, backend=Logins())
        )
        with serving_app(app) as url:
            assert call(f"{url}/voice").status_code == 401  # an UnauthenticatedUser
            said = call(f"{url}/voice", **{"x-login": "ann"}).json()["result"]
        assert said == {"id": "ann", "scopes": ["authenticated", "orders:read"]}

    def test_nobody_is_let_in_where_no_host_has_said_who_it_is(self) -> None:
        with serving_app(make_backend(authenticate=from_host())) as url:
            assert call(url, **{"x-login": "ann", "x-user": "ann"}).status_code == 401

    def test_without_from_host_the_scope_is_not_believed(self) -> None:
        app = mounted(
            make_backend(access_token="machine"), Middleware(AuthenticationMiddleware, backend=Logins())
        )
        with serving_app(app) as url:
            assert call(f"{url}/voice", **{"x-login": "ann"}).status_code == 401

    def test_a_user_in_the_state_is_the_principal_if_it_is_authenticated(self) -> None:
        expected: list[tuple[Any, Any]] = [
            ("ann", {"id": "ann", "scopes": []}),
            (Principal("ann", {"s"}), {"id": "ann", "scopes": ["s"]}),
            ({"sub": "ann", "scopes": ["s"]}, {"id": "ann", "scopes": ["s"]}),
            ({"id": 7}, {"id": "7", "scopes": []}),
            (User(id=7, scopes=["s"]), {"id": "7", "scopes": ["s"]}),
            (User(pk=0, is_authenticated=True, username="ann"), {"id": "0", "scopes": []}),
            (User(id=7, is_authenticated=False), None),
            (User(id=7, is_authenticated=lambda: False), None),  # a method is not True either
            (User(id=None, username=""), None),
            ({"name": "ann"}, None),
            ("", None),
            (None, None),
        ]
        users = [user for user, _ in expected]
        app = mounted(make_backend(authenticate=from_host(state="user")), Middleware(Keeps, users=users))
        with serving_app(app) as url:
            for number, (_, principal) in enumerate(expected):
                answer = call(f"{url}/voice", **{"x-number": str(number)})
                assert answer.status_code == (401 if principal is None else 200)
                assert answer.json().get("result") == principal

    def test_identify_makes_the_principal_and_gets_no_unauthenticated_user(self) -> None:
        seen = []

        async def identify(user: User) -> Principal | None:
            seen.append(user)
            return Principal(f"tenant/{vars(user)['name']}")

        users = [User(name="ann"), User(name="ann", is_authenticated=False)]
        backend = make_backend(authenticate=from_host(identify, state="user"))
        with serving_app(mounted(backend, Middleware(Keeps, users=users))) as url:
            assert call(f"{url}/voice", **{"x-number": "0"}).json()["result"]["id"] == "tenant/ann"
            assert call(f"{url}/voice", **{"x-number": "1"}).status_code == 401
        assert len(seen) == 1


KEY: Final = rsa.generate_private_key(65537, 2048)
OTHER: Final = rsa.generate_private_key(65537, 2048)
CURVE: Final = ec.generate_private_key(ec.SECP256R1())
ISSUER: Final = "https://login.example"


def jwk(key: Any, kid: str | None, **members: Any) -> dict[str, Any]:
    """Return the public part of *key* as a member of a key set."""
    algorithm = (
        jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
    )
    return {
        **algorithm.to_jwk(key.public_key(), as_dict=True),
        **({} if kid is None else {"kid": kid}),
        **members,
    }


def token(key: Any = KEY, kid: str | None = "k1", algorithm: str = "RS256", **claims: Any) -> str:
    """Return a token of the issuer; a claim of None is left out."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": "voice", "sub": "ann", "exp": now + 3600, "iat": now, **claims}
    said = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(said, key, algorithm, headers=None if kid is None else {"kid": kid})


class Issuer(ThreadingHTTPServer):
    """Publishes a key set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Publishing)
        self.status = 200
        self.body: bytes = b""
        self.fetched = 0
        self.hold: threading.Event | None = None
        self.publish(jwk(KEY, "k1"))

    @property
    def url(self) -> str:
        """Where the keys are."""
        return f"http://127.0.0.1:{self.server_address[1]}/keys"

    def handle_error(self, *args: Any) -> None:
        """Ignore clients that left."""

    def publish(self, *keys: Any) -> None:
        """Publish these keys from now on."""
        self.body = json.dumps({"keys": keys}).encode()


class _Publishing(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        self.server.fetched += 1
        if self.server.hold is not None:
            self.server.hold.wait(60)
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *args: Any) -> None:
        """Write nothing."""


@pytest.fixture(name="issuer")
def _issuer() -> Iterator[Issuer]:
    with Issuer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def backend_of(issuer: Issuer, **options: Any) -> NavaiBackend:
    jwt_options = {"algorithms": ["RS256", "ES256"], **options}
    return make_backend(
        access_token="machine",
        authenticate=from_jwt(issuer.url, issuer=ISSUER, audience="voice", **jwt_options),
    )


REFUSED: Final[dict[str, Callable[[], str]]] = {
    "expired": lambda: token(exp=1),
    "no end": lambda: token(exp=None),
    "not yet": lambda: token(nbf=int(time.time()) + 3600),
    "other audience": lambda: token(aud="other"),
    "no audience": lambda: token(aud=None),
    "other issuer": lambda: token(iss="https://evil.example"),
    "no issuer": lambda: token(iss=None),
    "no subject": lambda: token(sub=None),
    "empty subject": lambda: token(sub=""),
    "subject is a number": lambda: token(sub=7),
    "other key": lambda: token(OTHER),
    "unknown key": lambda: token(kid="unknown"),
    "algorithm is not accepted": lambda: token(algorithm="RS512"),
    "algorithm is not the key's": lambda: token(CURVE, algorithm="ES256"),
    "symmetric": lambda: token("s" * 64, algorithm="HS256"),
    "unsigned": lambda: jwt.encode({"iss": ISSUER, "aud": "voice", "sub": "ann", "exp": 9e9}, "", "none"),
    "changed": lambda: f"{token()[:-8]}AAAAAAAA",
    "no base64": lambda: "a.b.c",
    "empty": lambda: "..",
    "header is a list": lambda: "W1tb.e30.e30",
    "header is nested": lambda: "W1tb" * 9000 + ".e30.e30",
    "wrong types": lambda: "eyJhbGciOltdLCJraWQiOnt9fQ.e30.AA",
}


class TestJwt:
    """JSON Web Tokens, verified with the issuer's keys."""

    def test_the_principal_is_issuer_and_subject(self, issuer: Issuer, serve: Serve, write: Any) -> None:
        write("src/ai/functions-modules/who.py", WHO)
        server = serve(NAVAI_JWT_JWKS_URL=issuer.url, NAVAI_JWT_ISSUER=ISSUER, NAVAI_JWT_AUDIENCE="voice")
        assert result(server.url, token())[0] == f"{ISSUER}|ann"
        assert call(server.url).status_code == 401
        assert call(server.url, **bearer(token(aud="other"))).status_code == 401
        assert issuer.fetched == 1

    @pytest.mark.parametrize(
        ("claims", "scopes"),
        [
            ({"scope": "a b"}, ["a", "b"]),
            ({"scp": "a b"}, ["a", "b"]),
            ({"scp": ["a", "b"]}, ["a", "b"]),
            ({}, []),
        ],
    )
    def test_scopes_are_read_in_the_forms_that_issuers_write(
        self, issuer: Issuer, claims: Any, scopes: Any
    ) -> None:
        with serving_app(backend_of(issuer)) as url:
            assert result(url, token(**claims)) == {"id": f"{ISSUER}|ann", "scopes": scopes}

    def test_every_other_token_is_refused(self, issuer: Issuer) -> None:
        with serving_app(backend_of(issuer)) as url:
            for refused, made in REFUSED.items():
                assert call(url, **bearer(made())).status_code == 401, refused
                assert result(url, token())["id"] == f"{ISSUER}|ann"

    def test_the_public_key_is_no_secret_to_sign_with(self, issuer: Issuer) -> None:
        # CVE-2015-9235: a verifier that takes the algorithm from the token would accept this.
        issuer.publish(jwk(KEY, "k1"), {"kty": "oct", "k": "c2VjcmV0" * 8, "kid": "mine", "alg": "HS256"})
        public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        signed = token("s" * 64, algorithm="HS256").rpartition(".")[0]  # PyJWT refuses to sign with that key
        mac = hmac.digest(public, signed.encode(), "sha256")
        forged = f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
        with serving_app(backend_of(issuer)) as url:
            assert call(url, **bearer(forged)).status_code == 401
            assert call(url, **bearer(token(b"secret" * 8, "mine", "HS256"))).status_code == 401

    def test_keys_that_are_weak_or_for_another_use_are_not_used(self, issuer: Issuer) -> None:
        weak = rsa.generate_private_key(65537, 1024)
        issuer.publish(jwk(weak, "weak"), jwk(OTHER, "enc", use="enc"), {"kty": "x"}, 7, jwk(CURVE, "ec"))
        with pytest.warns(match="below the minimum"):
            signed = token(weak, "weak")
        with serving_app(backend_of(issuer)) as url:
            assert call(url, **bearer(signed)).status_code == 401
            assert call(url, **bearer(token(OTHER, "enc"))).status_code == 401
            assert result(url, token(CURVE, "ec", "ES256"))["id"] == f"{ISSUER}|ann"

    def test_a_token_need_not_name_the_only_key(self, issuer: Issuer) -> None:
        with serving_app(backend_of(issuer)) as url:
            assert result(url, token(kid=None))["id"] == f"{ISSUER}|ann"
        issuer.publish(jwk(KEY, "k1"), jwk(OTHER, "k2"))
        with serving_app(backend_of(issuer)) as url:
            assert call(url, **bearer(token(kid=None))).status_code == 401

    @pytest.mark.parametrize("fault", ["status", "no JSON", "no keys", "nested", "closed", "large"])
    def test_keys_that_cannot_be_fetched_are_503_and_not_401(
        self, issuer: Issuer, fault: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        issuer.status = 500 if fault == "status" else 200
        issuer.body = {"no JSON": b"<html>", "no keys": b'{"keys":[]}', "nested": b"[" * 9999}.get(
            fault, b" " * 2**21 if fault == "large" else issuer.body
        )
        backend = backend_of(issuer)
        if fault == "closed":
            issuer.server_close()
        with serving_app(backend) as url:
            for _ in range(3):
                answer = call(url, **bearer(token()))
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
            assert call(url, **bearer("no-jwt")).status_code == 401
            assert result(url, "machine")["id"] == "access-token"
        assert issuer.fetched == (0 if fault == "closed" else 1)
        assert "cannot be fetched" in caplog.text

    def test_a_hung_issuer_holds_up_nobody_else(
        self, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(authentication, "_FETCH_S", 2)
        issuer.hold = threading.Event()
        with serving_app(backend_of(issuer)) as url, ThreadPoolExecutor(20) as pool:
            waiting = [pool.submit(call, url, **bearer(token())) for _ in range(20)]
            assert result(url, "machine")["id"] == "access-token"
            assert get(f"{url}/health").status_code == 200
            assert {each.result().status_code for each in waiting} == {503}
            until(lambda: issuer.fetched)  # in a thread of the issuer
            assert issuer.fetched == 1
            issuer.hold.set()

    def test_many_callers_and_unknown_keys_make_one_request_to_the_issuer(
        self, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(authentication, "_PAUSE_S", 3600)
        with serving_app(backend_of(issuer)) as url, ThreadPoolExecutor(10) as pool:
            tokens = [token() if number % 2 else token(kid=f"k{number}") for number in range(40)]
            answers = list(pool.map(lambda each: call(url, **bearer(each)).status_code, tokens))
        assert answers == [200 if number % 2 else 401 for number in range(40)]
        assert issuer.fetched == 1

    def test_a_token_is_verified_once_and_refused_when_it_expires(
        self, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        verified = []
        decode = jwt.decode

        def counting(given: bytes, *arguments: Any, **options: Any) -> Any:
            verified.append(given)
            return decode(given, *arguments, **options)

        monkeypatch.setattr(jwt, "decode", counting)
        monkeypatch.setattr(authentication, "_LEEWAY_S", 0)
        monkeypatch.setattr(authentication, "_MAX_VERIFIED", 1)
        with serving_app(backend_of(issuer)) as url:
            lasting = token()
            assert [result(url, lasting)["id"] for _ in range(3)] == [f"{ISSUER}|ann"] * 3
            assert len(verified) == 1
            short = token(exp=int(time.time()) + 600, sub="bob")
            assert [result(url, short)["id"] for _ in range(3)] == [f"{ISSUER}|bob"] * 3
            assert len(verified) == 2
            self.ten_minutes_pass(monkeypatch)
            assert call(url, **bearer(short)).status_code == 401
            assert len(verified) == 3
            result(url, lasting)  # the other one has taken its place
            assert len(verified) == 4

    @staticmethod
    def ten_minutes_pass(patch: pytest.MonkeyPatch) -> None:
        """Put the clocks of our verification and of PyJWT's forward."""

        class Later(dt.datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return super().now(tz) + dt.timedelta(minutes=10)

        now = time.time
        patch.setattr(jwt.api_jwt, "datetime", Later)
        patch.setattr(authentication, "time", types.SimpleNamespace(time=lambda: now() + 600))

    def test_no_key_is_fetched_before_the_first_token(self, issuer: Issuer) -> None:
        with serving_app(backend_of(issuer)) as url:
            assert call(url).status_code == 401
        assert issuer.fetched == 0

    def test_the_end_of_the_server_ends_a_fetch(
        self, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name, seconds in (("_FRESH_S", 0), ("_PAUSE_S", 0), ("_FETCH_S", 3600)):
            monkeypatch.setattr(authentication, name, seconds)
        with serving_app(backend_of(issuer)) as url:
            assert call(url, **bearer(token())).status_code == 200
            issuer.hold = threading.Event()
            assert call(url, **bearer(token())).status_code == 200  # with the key at hand
            until(lambda: issuer.fetched >= 2)
        issuer.hold.set()  # the server has ended before

    @pytest.mark.parametrize(
        "options",
        [
            {"jwks_url": "http://login.example/keys"},
            {"jwks_url": "login.example"},
            {"jwks_url": "file:///etc/keys"},
            {"algorithms": ["HS256"]},
            {"algorithms": ["none"]},
            {"algorithms": []},
            {"algorithms": "RS256"},
        ],
        ids=str,
    )
    def test_options_that_would_let_strangers_in_are_refused(self, options: Any) -> None:
        given = {"jwks_url": "https://login.example/keys", "issuer": ISSUER, "audience": "voice", **options}
        with pytest.raises(BackendOptionsError):
            from_jwt(given.pop("jwks_url"), **given)

    @pytest.mark.parametrize("missing", ["URL", "ISSUER", "AUDIENCE"])
    def test_the_three_settings_belong_together(self, start: Start, missing: str) -> None:
        given = {"JWKS_URL": "https://login.example/keys", "ISSUER": ISSUER, "AUDIENCE": "voice"}
        environment = {
            f"NAVAI_JWT_{name}": text for name, text in given.items() if not name.endswith(missing)
        }
        status, said = start(**environment)
        assert status == 2
        assert "must be set together" in said


class TestTheAgeOfKeys:
    """When keys are fetched again, on a clock of the test."""

    @pytest.fixture(name="now")
    def _now(self) -> list[float]:
        return [1000.0]

    @pytest.fixture(name="url")
    def _url(self, issuer: Issuer, now: list[float], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        class Keys(authentication._KeySet):
            """Keys on that clock."""

            def __init__(self, url: str) -> None:
                super().__init__(url, clock=lambda: now[0])

        monkeypatch.setattr(authentication, "_KeySet", Keys)
        with serving_app(backend_of(issuer)) as url:
            yield url

    def test_a_new_key_is_found_after_the_pause(self, issuer: Issuer, now: list[float], url: str) -> None:
        assert call(url, **bearer(token())).status_code == 200
        issuer.publish(jwk(OTHER, "k2"))
        assert call(url, **bearer(token(OTHER, "k2"))).status_code == 401
        now[0] += 11
        assert call(url, **bearer(token(OTHER, "k2"))).status_code == 200
        assert call(url, **bearer(token())).status_code == 401
        assert issuer.fetched == 2

    def test_old_keys_are_used_while_new_ones_are_fetched_and_for_an_hour_at_most(
        self, issuer: Issuer, now: list[float], url: str
    ) -> None:
        assert call(url, **bearer(token())).status_code == 200
        issuer.hold = threading.Event()
        issuer.status = 500
        now[0] += 301
        assert call(url, **bearer(token())).status_code == 200  # the issuer has not answered yet
        issuer.hold.set()
        assert call(url, **bearer(token())).status_code == 200
        now[0] += 3600
        assert call(url, **bearer(token())).status_code == 503
        issuer.status = 200
        now[0] += 11
        assert call(url, **bearer(token())).status_code == 200

    def test_a_failure_leaves_it_open_whether_an_unknown_key_is_good(
        self, issuer: Issuer, now: list[float], url: str
    ) -> None:
        assert call(url, **bearer(token())).status_code == 200
        issuer.status = 500
        now[0] += 11
        assert call(url, **bearer(token(OTHER, "k2"))).status_code == 503
        assert call(url, **bearer(token())).status_code == 200

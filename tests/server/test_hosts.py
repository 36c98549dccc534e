"""Which hosts and origins a backend serves: against DNS rebinding and the pages of strangers."""

import json
import socket
from typing import Any

import httpx
import pytest

from navai_client.server import BackendOptionsError, NavaiBackend
from navai_client.server._serving import is_loopback
from tests.server.conftest import Ask
from tests.serving import Serve

LIST, EXECUTE, SECRET = "/navai/functions", "/navai/functions/execute", "/navai/realtime/client-secret"
CALL = {"function_name": "tell_time"}
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", LIST, {}),
    ("POST", EXECUTE, {"json": CALL}),
    ("POST", SECRET, {"json": {}}),
    ("GET", "/navai/", {}),
    ("GET", "/navai/inspector/calls", {}),
    ("GET", "/navai/openapi.json", {}),
    ("OPTIONS", EXECUTE, {}),
    ("GET", "/nothing", {}),
]


def status(url: str, host: str | None, path: str = LIST, **headers: str) -> int:
    """Return the status of a GET with this Host header, over a socket of its own."""
    server = httpx.URL(url)
    lines = [
        f"GET {path} HTTP/1.1",
        "Connection: close",
        *(f"{name}: {text}" for name, text in headers.items()),
    ]
    lines += [] if host is None else [f"Host: {host}"]
    with socket.create_connection((server.host, server.port or 0), timeout=60) as peer:
        peer.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return int(peer.makefile("rb").readline().split()[1])


def test_a_rebound_name_reaches_nothing_on_a_developers_machine(serve: Serve) -> None:
    server = serve("--demo")
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for method, path, given in REQUESTS:
            refused = client.request(method, path, headers={"host": "evil.example"}, **given)
            assert refused.status_code == 400
            assert refused.json() == {
                "error": 'Host "evil.example" is not allowed. If it should be, add it to NAVAI_ALLOWED_HOSTS '
                "(allowed_hosts=)."
            }
        assert client.post(EXECUTE, json=CALL).json()["ok"] is True
    port = server.url.rpartition(":")[2]
    for host in (
        "localhost",
        f"LOCALHOST:{port}",
        f"127.0.0.1:{port}",
        "[::1]:3000",
        "navai.localhost",
        "localhost.",
    ):
        assert status(server.url, host) == 200
    for host in (
        *(
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            ".localhost",
            "",
        ),
        *(
            "localhost:80:80",
            "localhost@evil.example",
            "localhost, evil.example",
            "127.0.0.2",
            "*",
            "[::2]",
            "\xff",
        ),
    ):
        assert status(server.url, host) == 400
        assert status(server.url, host, "/health") == 200
    assert status(server.url, None) == 400
    assert status(server.url, "127.0.0.1", **{"X-Forwarded-Host": "evil.example"}) == 200


@pytest.mark.parametrize("name", ["Host", "Origin"])
def test_a_repeated_host_or_origin_is_refused(serve: Serve, name: str) -> None:
    server = serve("--demo")
    own = "localhost" if name == "Host" else "http://localhost"
    for values in ((own, "https://evil.example"), ("https://evil.example", own), (own, own)):
        # The second one ends the first one's line.
        once = {name: "\r\n".join((values[0], f"{name}: {values[1]}"))}
        host = None if name == "Host" else "localhost"
        assert status(server.url, host, **once) == 400
    assert status(server.url, "localhost", Accept="a\r\nAccept: b") == 200


def test_a_server_on_loopback_allows_the_hosts_of_its_proxy_too(serve: Serve) -> None:
    server = serve("--demo", NAVAI_ALLOWED_HOSTS="api.shop.example, *.wild.example, .both.example")
    for host in (
        "api.shop.example",
        "API.Shop.Example.:8443",
        "a.b.wild.example",
        "both.example",
        "a.both.example",
    ):
        assert status(server.url, host) == 200
    for host in (
        "shop.example",
        "wild.example",
        "evilwild.example",
        "evilboth.example",
        "x.api.shop.example",
    ):
        assert status(server.url, host) == 400
    assert status(server.url, "localhost") == 200


def test_every_host_is_allowed_by_a_star(serve: Serve) -> None:
    server = serve("--demo", "--allowed-hosts", "*")
    assert [status(server.url, host) for host in ("any.example", "", None)] == [200] * 3


def test_a_mounted_backend_checks_hosts_when_they_are_set(ask: Ask) -> None:
    backend = NavaiBackend(env={}, discover=False)
    assert ask(backend, "GET", LIST, headers={"host": "any.example"}).status_code == 200
    backend = NavaiBackend(env={}, discover=False, allowed_hosts=["shop.example", "::1"])
    assert ask(backend, "GET", LIST, headers={"host": "shop.example"}).status_code == 200
    assert ask(backend, "GET", LIST, headers={"host": "[::1]:3000"}).status_code == 200
    assert ask(backend, "GET", LIST, headers={"host": "localhost"}).status_code == 400
    assert ask(backend, "GET", "/health", headers={"host": "localhost"}).status_code == 200
    many = NavaiBackend(env={}, discover=False, allowed_hosts=[".shop.example"])
    for number in range(150):  # more than are remembered
        assert ask(many, "GET", LIST, headers={"host": f"h{number}.shop.example"}).status_code == 200


@pytest.mark.parametrize(
    "hosts",
    [
        "shop.example",
        None,
        ["https://shop.example"],
        ["shop.example:443"],
        ["shop.*"],
        ["*shop.example"],
        ["'shop.example'"],
        ["shop example"],
        ["shop.example/"],
        [""],
        ["[::g]"],
        ["::1::1"],
        [7],
    ],
)
def test_hosts_that_cannot_be_meant_are_refused(hosts: Any) -> None:
    with pytest.raises(BackendOptionsError, match=r"^allowed_hosts .* must be a list of host names"):
        NavaiBackend(env={}, allowed_hosts=hosts)


def test_only_an_address_that_others_do_not_reach_is_loopback() -> None:
    for family, host, expected in (
        (socket.AF_INET, "127.0.0.1", True),
        (socket.AF_INET6, "::1", True),
        (socket.AF_INET, "0.0.0.0", False),
    ):
        with socket.socket(family) as bound:
            bound.bind((host, 0))
            assert is_loopback(bound) is expected


def test_a_request_of_a_foreign_page_is_refused_and_executes_nothing(serve: Serve, write: Any) -> None:
    write("src/a.py", "from pathlib import Path\ndef act(): Path('acted').touch()\n")
    server = serve("--functions-folders", "src", NAVAI_CORS_ORIGIN="https://shop.example")
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for origin in (
            "https://evil.example",
            "null",
            "http://shop.example",
            "https://shop.example.evil.example",
        ):
            refused = client.post(EXECUTE, json={"function_name": "act"}, headers={"origin": origin})
            assert refused.status_code == 403
            assert refused.json()["error"] == (
                f"Origin {json.dumps(origin)} is not allowed. If it should be, add it to NAVAI_CORS_ORIGIN "
                "(cors_origins=)."
            )
            assert "access-control-allow-origin" not in refused.headers
            preflight = {"origin": origin, "access-control-request-method": "POST"}
            assert client.options(EXECUTE, headers=preflight).status_code == 403
        assert not server.log_file.with_name("acted").exists()
        own = str(client.base_url).rstrip("/")
        for origin in ("https://shop.example", own, "http://localhost:5173"):
            done = client.post(EXECUTE, json={"function_name": "act"}, headers={"origin": origin})
            assert done.json()["ok"] is True
        assert server.log_file.with_name("acted").exists()


@pytest.mark.parametrize(
    ("origin", "host", "passes"),
    [
        ("https://api.shop.example", "api.shop.example", True),
        ("https://api.shop.example", "API.shop.example:443", True),
        ("http://api.shop.example", "api.shop.example:80", True),
        ("https://api.shop.example:8443", "api.shop.example:8443", True),
        ("https://api.shop.example:8443", "api.shop.example", False),
        ("https://shop.example", "api.shop.example", False),
        ("null", "null", False),
        ("://", "", False),
    ],
)
def test_a_page_of_the_backends_own_origin_may_call_it(
    ask: Ask, origin: str, host: str, passes: bool
) -> None:
    backend = NavaiBackend(env={}, discover=False)
    answer = ask(backend, "GET", LIST, headers={"origin": origin, "host": host})
    assert (answer.status_code == 200) is passes


@pytest.mark.parametrize(
    ("origins", "origin", "passes"),
    [
        (["*"], "null", True),
        (["*"], "https://any.example", True),
        (["HTTPS://Shop.Example:443/"], "https://shop.example", True),
        (["http://shop.example:80"], "http://shop.example", True),
        (["https://shop.example:8443"], "https://SHOP.example:8443", True),
        (["https://shop.example:8443"], "https://shop.example", False),
        (["https://*.shop.example"], "https://a.b.shop.example", True),
        (["https://*.shop.example"], "https://shop.example", False),
        (["https://*.shop.example"], "http://a.shop.example", False),
        (["https://*.shop.example"], "https://evilshop.example", False),
        (["https://*.shop.example"], "https://*.shop.example", False),
        (["https://*.shop.example"], "https://evil.example/.shop.example", False),
        (["https://*.shop.example:8443"], "https://a.shop.example:8443", True),
        (["capacitor://localhost"], "capacitor://localhost", True),
        ([], "capacitor://localhost", False),
        ([], "null", False),
    ],
)
def test_origins_are_compared_in_one_form(ask: Ask, origins: list[str], origin: str, passes: bool) -> None:
    backend = NavaiBackend(env={}, discover=False, cors_origins=origins)
    answer = ask(backend, "GET", LIST, headers={"origin": origin, "host": "api.example"})
    assert (answer.status_code == 200) is passes
    assert (answer.headers.get("access-control-allow-origin") == origin) is passes


@pytest.mark.parametrize(
    "text",
    [
        '["https://shop.example"]',
        "'https://shop.example'",
        '"https://shop.example"',
        "https://shop.example https://b.example",
        "https://shop.example/path",
        "https://user@shop.example",
        "shop.example",
        "https://*",
        "https://shop.*",
        "https://*shop.example",
        "null",
        ",",
    ],
)
def test_origins_that_cannot_be_meant_stop_the_start(text: str) -> None:
    ways: list[dict[str, Any]] = [{"env": {"NAVAI_CORS_ORIGIN": text}}, {"env": {}, "cors_origins": [text]}]
    for given in ways:
        with pytest.raises(BackendOptionsError, match=r"must be a list of origins, each scheme://host"):
            NavaiBackend(**given)

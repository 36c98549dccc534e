"""Where ``navai serve`` listens: both families, a Unix socket, below the path of a proxy."""

import socket
from pathlib import Path

import httpx
import pytest

from navai_client.server import BackendOptionsError
from navai_client.server._process_settings import ProcessSettings
from navai_client.server._serving import bind, url_of
from tests.serving import Serve, Start

LIST = "/navai/functions"
IN_USE = "Stop the server that listens there, or choose another --uds."
NO_IPV6 = not socket.has_dualstack_ipv6()


def port_of(url: str) -> str:
    return url.rpartition(":")[2]


def test_connections_send_without_waiting_for_acknowledgements() -> None:
    """Without uvloop, a response in two parts took 40 ms: no event loop of asyncio sets this by itself."""
    with bind("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.skipif(NO_IPV6, reason="this machine has no IPv6")
@pytest.mark.parametrize("arguments", [["--host", "::"], ["--host", "[::]", "--workers", "2"]])
def test_two_colons_serve_both_families(serve: Serve, arguments: list[str]) -> None:
    server = serve("--demo", *arguments)
    assert server.url.startswith("http://[::]:")
    for host in ("127.0.0.1", "[::1]"):
        assert httpx.get(f"http://{host}:{port_of(server.url)}{LIST}", timeout=60).status_code == 200


@pytest.mark.skipif(NO_IPV6, reason="this machine has no IPv6")
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_ipv6_address_may_have_brackets_and_is_checked_as_loopback(serve: Serve, host: str) -> None:
    server = serve("--demo", NAVAI_HOST=host)
    assert server.url == f"http://[::1]:{port_of(server.url)}"
    assert httpx.get(server.url + LIST, timeout=60).status_code == 200
    assert httpx.get(server.url + LIST, headers={"host": "evil.example"}, timeout=60).status_code == 400


def test_one_address_serves_that_family_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with bind("127.0.0.1", 0) as listener:
        assert url_of(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    if not NO_IPV6:
        with bind("::", 0) as listener:
            assert listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)


@pytest.mark.parametrize("host", ["", "  ", "[]"])
def test_a_blank_host_is_not_every_address(host: str, start: Start) -> None:
    with pytest.raises(BackendOptionsError, match=r"^host \(NAVAI_HOST, --host\) must be an address"):
        ProcessSettings(host=host)
    assert start("--host", host)[0] == 2


@pytest.mark.parametrize("arguments", [[], ["--workers", "2"]])
def test_a_unix_socket_is_served_in_place_of_a_port(
    serve: Serve, start: Start, tmp_path: Path, arguments: list[str]
) -> None:
    path = tmp_path / "navai.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))  # as a killed server leaves it
    server = serve("--demo", "--uds", str(path), *arguments, OPENAI_API_KEY="sk-live-1")
    assert server.url == f"unix:{path}"
    assert path.stat().st_mode & 0o777 == 0o666
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path)), base_url="http://api.shop.example", timeout=60
    ) as client:
        assert client.get(LIST).status_code == 200
        assert "tell_time" in client.get(LIST).text
    status, said = start(NAVAI_UDS=str(path))
    assert (status, said) == (2, f"navai serve: Cannot listen on {path}: Address already in use. {IN_USE}\n")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone/navai.sock", "No such file or directory."),
        ("a-file", "Address already in use."),
        ("x" * 120, "too long"),
    ],
)
def test_a_path_that_cannot_be_a_socket_is_an_error_and_stays_as_it_is(
    start: Start, tmp_path: Path, name: str, said: str
) -> None:
    (tmp_path / "a-file").write_text("mine")
    status, written = start("--uds", str(tmp_path / name))
    assert status == 2
    assert said in written
    assert (tmp_path / "a-file").read_text() == "mine"


@pytest.mark.parametrize("root", ["/api", "api/", "/navai", "/v1/voice"])
def test_a_root_path_is_understood_whether_the_proxy_removes_it_or_not(serve: Serve, root: str) -> None:
    server = serve("--demo", "--root-path", root)
    prefix = "/" + root.strip("/")
    with httpx.Client(base_url=server.url, timeout=60) as client:
        for path in (LIST, prefix + LIST):
            assert "tell_time" in client.get(path).text
        assert (
            client.post(f"{prefix}{LIST}/execute", json={"function_name": "tell_time"}).json()["ok"] is True
        )
        assert client.get(f"{prefix}/health").status_code == 200
        assert client.get(f"{prefix}/nothing").status_code == 404
        assert client.get(f"{prefix}x{LIST}").status_code == 404


@pytest.mark.parametrize("path", ["/a?b", "/a b", "/a%20b", "/a//b", "/\u00e4", '"/api"'])
def test_a_root_path_that_cannot_be_meant_is_refused(path: str) -> None:
    with pytest.raises(BackendOptionsError, match=r"^root_path .* must be a path such as /api"):
        ProcessSettings(root_path=path)
    assert ProcessSettings(root_path="/").root_path == ""

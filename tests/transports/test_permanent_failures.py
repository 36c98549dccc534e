"""Failures that another attempt would only repeat are reported after the first."""

import logging
from typing import Any

import httpx
import httpx2
import pytest
import trustme

from navai_client import NavaiTransportError, RetryPolicy
from tests.clients import make_client
from tests.faults.server import FaultServer, Peer, answer
from tests.transports.conftest import echo
from tests.waiting import PATIENCE_S

OPTIONS: dict[str, Any] = {"timeout": PATIENCE_S, "max_retries": RetryPolicy(max_retries=2, base_delay=0.01)}


@pytest.fixture
def retries(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What was logged, retries too."""
    caplog.set_level(logging.INFO, "navai_client")
    return caplog


@pytest.mark.parametrize("operation", ["execute_function", "list_functions"])
def test_a_certificate_that_is_not_trusted(
    kind: str, through: str, operation: str, encrypted: FaultServer, retries: pytest.LogCaptureFixture
) -> None:
    with make_client(kind, through=through, base_url=encrypted.url, **OPTIONS) as client:
        if operation == "list_functions":
            assert "CERTIFICATE_VERIFY_FAILED" in client.list_functions().warnings[0]
        else:
            with pytest.raises(NavaiTransportError, match="CERTIFICATE_VERIFY_FAILED") as caught:
                client.execute_function("f")
            assert not caught.value.may_have_executed
    assert encrypted.connections == 1
    assert "trying again" not in retries.text


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_a_certificate_that_a_given_transport_does_not_trust(
    kind: str, library: Any, encrypted: FaultServer, retries: pytest.LogCaptureFixture
) -> None:
    transport = library.HTTPTransport() if kind == "sync" else library.AsyncHTTPTransport()
    with (
        make_client(kind, base_url=encrypted.url, transport=transport, **OPTIONS) as client,
        pytest.raises(NavaiTransportError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.execute_function("f")
    assert "trying again" not in retries.text


def test_a_certificate_for_another_host(
    kind: str, through: str, authority: trustme.CA, encrypted: FaultServer, tmp_path: Any
) -> None:
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    url = encrypted.url.replace("127.0.0.1", "localhost")
    with (
        make_client(kind, through=through, base_url=url, verify=str(file), **OPTIONS) as client,
        pytest.raises(NavaiTransportError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        client.execute_function("f")
    assert encrypted.connections == 1


@pytest.mark.parametrize(
    ("status", "attempts"),
    [
        ("403 Forbidden", 1),
        ("404 Not Found", 1),
        ("407 Proxy Authentication Required", 1),
        ("429 Too Many Requests", 3),
        ("502 Bad Gateway", 3),
    ],
)
def test_a_proxy_that_refuses_to_connect(kind: str, through: str, status: str, attempts: int) -> None:
    def refuses(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(answer("no", status=status))

    with FaultServer(refuses) as proxy:
        with (
            make_client(
                kind, through=through, base_url="https://backend.test", proxy=proxy.url, **OPTIONS
            ) as client,
            pytest.raises(NavaiTransportError, match=status[:3]) as caught,
        ):
            client.execute_function("f")
        assert not caught.value.may_have_executed
        assert len(proxy.arrived) == attempts


@pytest.mark.parametrize("host", ["a" * 70 + ".test", "proxy..test"])
def test_a_host_name_of_a_proxy_that_cannot_be_used(
    kind: str, through: str, host: str, retries: pytest.LogCaptureFixture
) -> None:
    with (
        make_client(kind, "http://a.test", through=through, proxy=f"http://{host}:80", **OPTIONS) as client,
        pytest.raises(NavaiTransportError) as caught,
    ):
        client.execute_function("f")
    assert not caught.value.may_have_executed
    assert "trying again" not in retries.text


@pytest.mark.parametrize("delay", ["Retry-After: 0.05", "retry-after-ms: 50"])
def test_parts_of_a_second_are_waited_for(kind: str, through: str, delay: str) -> None:
    responses = iter([answer("{}", delay, status="503 Busy")])

    def busy_once(peer: Peer) -> None:
        for response in responses:
            peer.request()
            peer.send(response)
        echo(peer)

    with FaultServer(busy_once) as server:
        with make_client(kind, through=through, base_url=server.url, **OPTIONS) as client:
            assert client.execute_function("f", 7) == 7
        assert server.count("execute") == 2

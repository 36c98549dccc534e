"""Client certificates: the ``cert`` option of clients and fast transports, against real TLS peers."""

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from navai_client import AsyncNavaiBackendClient, NavaiBackendClient, NavaiConfigError, NavaiTransportError
from navai_client.transports.fast import AsyncFastTransport, FastTransport
from tests.clients import Client, make_client
from tests.faults.server import OK, FaultServer, Peer, answer
from tests.waiting import PATIENCE_S

WORD: Final = "hidden-word"
MADE: Final = (NavaiBackendClient, AsyncNavaiBackendClient, FastTransport, AsyncFastTransport)

Make = Callable[..., Client]


class Files:
    """A client's certificate and key, in files of several forms."""

    def __init__(self, authority: trustme.CA, folder: Path) -> None:
        issued = authority.issue_cert("caller.test")
        self.both, self.chain, self.key = (str(folder / f"{name}.pem") for name in ("both", "chain", "key"))
        issued.private_key_and_cert_chain_pem.write_to_path(self.both)
        issued.cert_chain_pems[0].write_to_path(self.chain)
        issued.private_key_pem.write_to_path(self.key)
        self.locked = str(folder / "locked.pem")
        key = load_pem_private_key(issued.private_key_pem.bytes(), None)
        Path(self.locked).write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(WORD.encode()))
        )
        self.other_key = str(folder / "other.pem")
        authority.issue_cert("other.test").private_key_pem.write_to_path(self.other_key)
        self.authority = str(folder / "ca.pem")
        authority.cert_pem.write_to_path(self.authority)

    def forms(self) -> dict[str, Any]:
        return {
            "one file": self.both,
            "one file, as a Path": Path(self.both),
            "a pair": (self.chain, self.key),
            "a pair of Paths": (Path(self.chain), Path(self.key)),
            "a locked key": (self.chain, self.locked, WORD),
            "a locked key, bytes": [self.chain, self.locked, WORD.encode()],
            "a key that is not locked": (self.chain, self.key, None),
        }


@pytest.fixture(scope="module")
def files(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(authority, tmp_path_factory.mktemp("certificates"))


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["TLS 1.2", "TLS 1.3"])
def demanding(request: pytest.FixtureRequest, authority: trustme.CA) -> Iterator[FaultServer]:
    """A backend that responds with the name in the certificate, and refuses callers that have none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = request.param
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def treat(peer: Peer) -> None:
        with context.wrap_socket(peer._connection, server_side=True) as encrypted:
            peer._connection = encrypted
            certificate: Any = encrypted.getpeercert()
            ((_, name),) = certificate["subjectAltName"]
            while peer.request() is not None:
                peer.send(answer(json.dumps({"ok": True, "result": name})))

    with FaultServer(treat) as server:
        server.url = server.url.replace("http:", "https:")
        yield server


@pytest.fixture
def made(kind: str, through: str, files: Files) -> Make:
    def make(url: str, **options: Any) -> Client:
        options = {"verify": files.authority, "timeout": PATIENCE_S, "max_retries": 0, **options}
        return make_client(kind, through=through, base_url=url, **options)

    return make


@pytest.mark.parametrize(
    "form",
    [
        "one file",
        "one file, as a Path",
        "a pair",
        "a pair of Paths",
        "a locked key",
        "a locked key, bytes",
        "a key that is not locked",
    ],
)
def test_a_peer_that_demands_a_certificate_gets_it(
    form: str, demanding: FaultServer, made: Make, files: Files
) -> None:
    with made(demanding.url, cert=files.forms()[form]) as client:
        assert [client.execute_function("f") for _ in range(2)] == ["caller.test"] * 2
    assert demanding.connections == 1


@pytest.mark.parametrize("verify", [True, False])
def test_a_certificate_goes_with_any_authorities(
    verify: bool, demanding: FaultServer, made: Make, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", files.authority)
    with made(demanding.url, verify=verify, cert=files.both) as client:
        assert client.execute_function("f") == "caller.test"


def test_a_client_without_one_is_refused_even_after_another_had_one(
    demanding: FaultServer, made: Make, files: Files
) -> None:
    with made(demanding.url, cert=files.both) as client:
        assert client.execute_function("f") == "caller.test"
    with made(demanding.url) as client, pytest.raises(NavaiTransportError):
        client.execute_function("f")
    assert len(demanding.arrived) == 1


def test_a_proxy_is_not_shown_the_certificate(made: Make, authority: trustme.CA, files: Files) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_OPTIONAL
    authority.configure_trust(context)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    shown: list[Any] = []

    def treat(peer: Peer) -> None:
        with context.wrap_socket(peer._connection, server_side=True) as encrypted:
            shown.append(encrypted.getpeercert())

    with FaultServer(treat) as proxy:
        url = proxy.url.replace("http:", "https:")
        with (
            made("https://backend.test", proxy=url, cert=files.both) as client,
            pytest.raises(NavaiTransportError),
        ):
            client.execute_function("f")
    assert shown == [None]


@pytest.mark.parametrize("cls", MADE)
@pytest.mark.parametrize(
    ("of", "message"),
    [
        (lambda _: True, "cert is a path, or a tuple"),
        (lambda _: b"/a", "cert is a path, or a tuple"),
        (lambda _: ("a",), "cert is a path, or a tuple"),
        (lambda _: ("a", "b", "c", "d"), "cert is a path, or a tuple"),
        (lambda _: ("a", 1), "cert is a path, or a tuple"),
        (lambda _: (b"a", "b"), "cert is a path, or a tuple"),
        (lambda files: (files.chain, files.locked, 5), "cert is a path, or a tuple"),
        (lambda files: (files.chain, files.locked, bytearray(WORD.encode())), "cert is a path, or a tuple"),
        (lambda _: "", "cert names '', where there is no file"),
        (lambda _: "/nowhere/at/all", "cert names '/nowhere/at/all', where there is no file"),
        (lambda files: (files.chain, "/nowhere"), "cert names '/nowhere', where there is no file"),
        (lambda files: str(Path(files.chain).parent), "where there is no file"),
        (lambda files: files.chain, "cert cannot be used: .*own key"),
        (lambda files: files.key, "cert cannot be used"),
        (lambda files: (files.chain, files.other_key), "cert cannot be used: .*own key"),
        (lambda files: (files.chain, files.locked), "the key is encrypted: give its password"),
        (lambda files: (files.chain, files.locked, ""), "the right password"),
        (lambda files: (files.chain, files.locked, f"{WORD}-not"), "the right password"),
        (lambda files: (files.chain, files.locked, "x" * 5000), "cert cannot be used"),
        (lambda _: __file__, "cert cannot be used"),
    ],
)
def test_what_cannot_be_a_certificate_is_refused_at_once(
    cls: Any, of: Callable[[Files], Any], message: str, files: Files
) -> None:
    with pytest.raises(NavaiConfigError, match=message) as caught:
        cls(cert=of(files))
    assert "hidden-word" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("cls", MADE)
def test_a_context_of_ones_own_is_not_changed(cls: Any, files: Files) -> None:
    with pytest.raises(NavaiConfigError, match="load_cert_chain"):
        cls(verify=ssl.create_default_context(), cert=files.both)


@pytest.mark.parametrize("cls", [NavaiBackendClient, AsyncNavaiBackendClient])
@pytest.mark.parametrize("given", ["transport", "http_client"])
def test_a_certificate_is_for_the_default_transport(cls: Any, given: str, files: Files) -> None:
    with pytest.raises(NavaiConfigError, match="cert and uds are for the default transport"):
        cls(cert=files.both, **{given: object()})


def test_files_that_have_gone_before_the_first_connection_are_a_wrong_setting(
    made: Make, files: Files, tmp_path: Path
) -> None:
    copy = tmp_path / "both.pem"
    copy.write_bytes(Path(files.both).read_bytes())
    with made("https://127.0.0.1:1", cert=copy) as client:
        copy.unlink()
        with pytest.raises(NavaiConfigError, match="where there is no file"):
            client.execute_function("f")


def test_over_plain_http_there_is_nobody_to_show_it_to(made: Make, files: Files) -> None:
    def good(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(answer(OK))

    with FaultServer(good) as server, made(server.url, cert=files.both) as client:
        assert client.execute_function("f") == "done"

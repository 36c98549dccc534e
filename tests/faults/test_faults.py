"""Whatever a backend does, each call ends in time, in a value or a NavaiError, and none runs twice."""

import json
import time
from typing import Any, Final

import pytest

from navai_client import NavaiError, NavaiHTTPError, NavaiTimeoutError, NavaiTransportError, RetryPolicy
from tests.clients import GIVEN, KINDS, THROUGH, make_client
from tests.faults.server import FAULTS, OK, FaultServer, Peer, answer
from tests.ports import reserved_port
from tests.waiting import PATIENCE_S, until

TIMEOUT: Final = 0.6  # seconds: enough to connect and send, unless the machine is busy
# What a busy machine may add to it. No fault ends by itself within 30 seconds, so a call that ends within the
# sum of these was ended by its timeout.
SLACK: Final = 20.0
LIMIT: Final = 2**20  # bytes
RETRIES: Final = RetryPolicy(max_retries=1, base_delay=0.01)
OPERATIONS: Final[dict[str, Any]] = {
    "list": lambda client: client.list_functions(),
    "secret": lambda client: client.create_client_secret(api_key="sk-hidden-0123456789"),
    "execute": lambda client: client.execute_function("book", {"seat": "hidden-payload"}),
    "speech": lambda client: client.synthesize_speech("hello"),
}
# A transport does not know what it carries: all of ours carry an execution, which is never repeated, and each
# other operation goes with one client over each. Of what is passed in, each library carries either.
MATRIX: Final = (
    *((kind, through, "execute") for kind in KINDS for through in THROUGH),
    ("sync", "default", "list"),
    ("async", "fast", "list"),
    ("sync", "fast", "secret"),
    ("async", "default", "secret"),
    ("sync", "default", "speech"),
    ("async", "fast", "speech"),
    ("sync", "httpx", "list"),
    ("async", "httpx", "execute"),
    ("sync", "httpx2", "execute"),
    ("async", "httpx2 client", "execute"),
)
# What ends before a request is one, whatever it carries.
BEFORE: Final = (
    *((through, "execute") for through in (*THROUGH, *GIVEN)),
    ("default", "list"),
    ("fast", "secret"),
    ("default", "speech"),
)
_UNREAD: Final = {"resets on accept", "closes on accept", "never reads"}  # no request arrives
# For speech, bytes of any type count as audio.
_SOUND: Final = {"announces less than it sends", "sends invalid UTF-8"}


@pytest.fixture(params=(*THROUGH, *GIVEN))
def through(request: pytest.FixtureRequest) -> str:
    """What a client sends through: a transport of the package, or one that is passed in."""
    return str(request.param)


@pytest.fixture
def options(through: str) -> dict[str, Any]:
    return {"through": through, "timeout": TIMEOUT, "max_retries": RETRIES, "max_response_bytes": LIMIT}


def attempt(kind: str, url: str, operation: str, options: dict[str, Any], slack: float = SLACK) -> Any:
    """Return what the operation gives or raises, having checked that it ended in time."""
    client = make_client(kind, base_url=url, headers={"Authorization": "Bearer hidden-token"}, **options)
    try:
        began = time.monotonic()
        try:
            return OPERATIONS[operation](client)
        except NavaiError as error:
            return error
        finally:
            assert time.monotonic() - began < options["timeout"] + slack
    finally:
        client.close()


def outcome_of(fault: str, operation: str, kind: str, options: dict[str, Any]) -> tuple[Any, FaultServer]:
    """Return what the operation gives or raises, and the server to which it was sent within its timeout."""
    with FaultServer(FAULTS[fault]) as server:
        outcome = attempt(kind, server.url, operation, options)
    if fault in _UNREAD:
        was_sent = not isinstance(outcome, NavaiTimeoutError) or outcome.may_have_executed
    else:
        was_sent = bool(server.arrived)
    timeout = 5 * options["timeout"]
    if was_sent or timeout > PATIENCE_S:
        return outcome, server
    return outcome_of(fault, operation, kind, {**options, "timeout": timeout})


def check_failed(operation: str, outcome: Any) -> None:
    if operation == "list":
        assert not outcome.functions
        redirected = "was not followed" in outcome.warnings[-1]  # a second warning says what to set
        assert len(outcome.warnings) == 1 + redirected
    else:
        assert isinstance(outcome, NavaiError), outcome
    assert "hidden" not in str(outcome)


@pytest.mark.parametrize(("kind", "through", "operation"), MATRIX)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_ends_in_time_as_an_error_and_executes_once_at_most(
    fault: str, operation: str, kind: str, options: dict[str, Any]
) -> None:
    if operation == "speech" and fault in _SOUND:
        return
    outcome, server = outcome_of(fault, operation, kind, options)
    check_failed(operation, outcome)
    if isinstance(outcome, NavaiTransportError):
        assert outcome.may_have_executed or fault == "resets on accept"  # a reset may come first
    if operation in {"execute", "speech"}:
        assert len(server.arrived) == (fault not in _UNREAD)
    else:
        assert len(server.arrived) <= 2


@pytest.mark.parametrize(("through", "operation"), BEFORE)
def test_a_refused_connection_has_certainly_not_executed(
    operation: str, kind: str, options: dict[str, Any]
) -> None:
    with reserved_port() as port:
        outcome = attempt(kind, f"http://127.0.0.1:{port}", operation, {**options, "timeout": PATIENCE_S})
    check_failed(operation, outcome)
    if operation != "list":
        assert isinstance(outcome, NavaiTransportError)
        assert not outcome.may_have_executed


@pytest.mark.parametrize(("through", "operation"), BEFORE)
def test_tls_to_a_port_without_tls_has_certainly_not_executed(
    operation: str, kind: str, options: dict[str, Any]
) -> None:
    def plain(peer: Peer) -> None:
        peer.send(answer("{}", status="400 Bad Request"))

    with FaultServer(plain) as server:
        url = server.url.replace("http:", "https:")
        outcome = attempt(kind, url, operation, {**options, "timeout": PATIENCE_S})
        check_failed(operation, outcome)
        if operation != "list":
            assert isinstance(outcome, NavaiTransportError)
            assert not outcome.may_have_executed
        assert not server.arrived


def test_a_handshake_without_an_end_ends_in_time(kind: str, options: dict[str, Any]) -> None:
    with FaultServer(Peer.silence) as server:
        outcome = attempt(kind, server.url.replace("http:", "https:"), "execute", options)
        assert isinstance(outcome, NavaiTimeoutError)
        assert not outcome.may_have_executed


def test_a_redirect_is_not_followed_to_another_origin(kind: str, options: dict[str, Any]) -> None:
    with FaultServer(FAULTS["never answers"]) as other:
        redirect = answer("", f"Location: {other.url}/navai", status="307 Temporary Redirect")

        def fault(peer: Peer) -> None:
            while peer.request() is not None:
                peer.send(redirect)

        with FaultServer(fault) as server:
            outcome = attempt(kind, server.url, "execute", {**options, "timeout": PATIENCE_S})
            assert isinstance(outcome, NavaiHTTPError)
            assert outcome.status_code == 307
            assert server.count("execute") == 1
        assert other.connections == 0


@pytest.mark.parametrize("through", THROUGH)
@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_execute_is_sent_again_when_the_backend_asks_for_it(
    status: str, kind: str, options: dict[str, Any]
) -> None:
    answers = iter([answer("{}", "Retry-After: 0", status=status), answer(OK)])

    def busy_once(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(next(answers))

    with FaultServer(busy_once) as server:
        assert attempt(kind, server.url, "execute", {**options, "timeout": PATIENCE_S}) == "done"
        assert server.count("execute") == 2
        keys = {head.lower().partition(b"idempotency-key:")[2].split()[0] for _, head, _ in server.arrived}
        assert len(keys) == 1


@pytest.mark.parametrize("through", THROUGH)
@pytest.mark.parametrize("fault", ["never answers", "closes after the request", "sends garbage"])
def test_list_and_secret_are_tried_again_unless_time_ran_out(
    fault: str, kind: str, options: dict[str, Any]
) -> None:
    for operation in ("list", "secret"):
        timeout = TIMEOUT if fault == "never answers" else PATIENCE_S
        _, server = outcome_of(fault, operation, kind, {**options, "timeout": timeout})
        assert len(server.arrived) == (1 if fault == "never answers" else 2)


def test_a_peer_that_reads_slowly_cannot_hold_a_large_request(kind: str, options: dict[str, Any]) -> None:
    def sips(peer: Peer) -> None:
        peer.request()
        peer.send(answer(OK))
        while not peer._server.stopping.wait(0.02):
            peer._connection.recv(5_000)

    with FaultServer(sips) as server:
        client = make_client(kind, base_url=server.url, **{**options, "timeout": PATIENCE_S})
        try:
            client.execute_function("small")
            began = time.monotonic()
            with pytest.raises(NavaiTimeoutError) as caught:
                client.execute_function("large", "x" * 16 * 2**20, timeout=3.0)
            assert time.monotonic() - began < 3.0 + SLACK
            assert caught.value.may_have_executed
        finally:
            client.close()


def test_a_server_that_closes_an_idle_connection_is_noticed(kind: str, options: dict[str, Any]) -> None:
    def one_answer_each(peer: Peer) -> None:
        if peer.request() is not None:
            peer.send(answer(OK))

    with FaultServer(one_answer_each) as server:
        client = make_client(kind, base_url=server.url, **{**options, "timeout": PATIENCE_S})
        try:
            for _ in range(20):
                assert client.execute_function("f") == "done"
                for thread in server._threads:
                    thread.join()
            assert server.count("execute") == server.connections == 20
        finally:
            client.close()


@pytest.mark.parametrize("through", THROUGH)  # docs/transports.md does not promise it for others
@pytest.mark.parametrize("padding", [0, 60_000, 65_536, 300_000])
def test_the_second_of_two_responses_in_one_packet_never_reaches_the_next_call(
    padding: int, kind: str, options: dict[str, Any]
) -> None:
    check_twice(answer(OK + " " * padding), kind, options)


@pytest.mark.parametrize("through", THROUGH)
def test_a_response_of_exactly_one_read_and_another_behind_it_are_kept_apart(
    kind: str, options: dict[str, Any]
) -> None:
    first = answer(OK.ljust(65536 - len(answer(OK.ljust(65000))) + 65000))
    assert len(first) == 65536

    check_twice(first, kind, options)


def check_twice(first: bytes, kind: str, options: dict[str, Any]) -> None:
    """Check that a call gets *first*, and the next one never what was sent behind it."""
    sent: list[bool] = []

    def twice(peer: Peer) -> None:
        while peer.request() is not None:
            try:
                peer.send(first + answer('{"ok": true, "result": "a stranger\'s"}'))
            finally:  # the client may have closed the connection meanwhile
                sent.append(True)

    with FaultServer(twice) as server:
        client = make_client(kind, base_url=server.url, **{**options, "timeout": PATIENCE_S})
        try:
            for calls in range(1, 11):
                assert client.execute_function("f") == "done"
                until(lambda calls=calls: len(sent) == calls)  # type: ignore[misc]
            assert server.count("execute") == 10
        finally:
            client.close()


# Above the transports.
@pytest.mark.parametrize(
    ("kind", "through", "operation"), [("sync", "default", "execute"), ("async", "fast", "list")]
)
def test_an_error_that_keeps_the_search_for_secrets_busy_ends_in_time(
    operation: str, kind: str, options: dict[str, Any]
) -> None:
    # To search it all takes 20 seconds.
    busy = json.dumps({"error": ""}).replace('""', f'"{r"%41&#65;A" * 3_450_000}"')

    def treat(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(answer(busy, status="500 Internal Server Error"))

    options |= {"timeout": 3.0, "max_response_bytes": 2**26}
    with FaultServer(treat) as server:
        check_failed(operation, attempt(kind, server.url, operation, options, slack=SLACK / 2))

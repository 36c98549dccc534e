"""A function runs at most once, and its caller gets a result or is told that it may have run."""

import json
import re
import threading
from collections import Counter
from typing import Any, Final

import pytest
from hypothesis import given, strategies as st

from navai_client import (
    FunctionFailedError,
    InvalidResponseError,
    NavaiError,
    NavaiHTTPError,
    NavaiTransportError,
    OutcomeUnknownError,
    RetryPolicy,
)
from tests.clients import Client, make_client
from tests.faults.server import FaultServer, Peer, answer
from tests.properties import PROPERTY

SHARED: Final = "Navai-Idempotency: shared"
POLICY: Final = RetryPolicy(max_retries=2, jitter=lambda: 0.0)
TIMEOUT: Final = 60.0  # seconds; no script is that slow
STALL: Final = 3.0  # seconds, of a call that is left waiting: it is sent twice before
UNKNOWN: Final = '{"error": "It was cut off.", "may_have_executed": true}'

LOST: Final = [
    "closed before it runs",
    "reset before it runs",
    "closed after it ran",
    "reset after it ran",
    "cut in the head",
    "cut in the body",
    "garbage",
    "mixed up with another",
]
"""Each loses the response; the first two before the function runs."""
SAID: Final = ["busy", "unavailable to the gateway", "cut off", "cut off, with Retry-After", "failed"]


class Backend:
    """Runs functions of as many processes as there are requests.

    Args:
        keeps_keys: Whether the processes share a store of idempotency keys.

    Attributes:
        script: What happens to the next executions; the last item is ``"answer"``, for ever.
        ran: How often the function ran for each key.
        results: What it returned for each key.
        keys: The keys that arrived, in order.
        steps: What happened to each of them.
    """

    def __init__(self, *, keeps_keys: bool) -> None:
        self._keeps_keys = keeps_keys
        self._lock = threading.Lock()
        self.results: dict[str, int] = {}
        self.script: list[str] = []
        self.says_shared = keeps_keys
        self.ran: Counter[str] = Counter()
        self.keys: list[str] = []
        self.steps: list[str] = []

    def __call__(self, peer: Peer) -> None:
        stays_open = True
        while stays_open and peer.request() is not None:
            path, head, _ = peer._server.arrived[-1]
            headers = (SHARED,) if self.says_shared else ()
            if path.endswith("/execute"):
                stays_open = self._execute(peer, head, headers)
            else:
                peer.send(answer('{"items": []}', *headers))

    def _execute(self, peer: Peer, head: bytes, headers: tuple[str, ...]) -> bool:
        """Respond to an execution; return whether the connection stays open."""
        found = re.search(rb"idempotency-key: *(\S+)", head, re.IGNORECASE)
        assert found is not None
        key = found[1].decode()
        with self._lock:
            step = self.script.pop(0) if self.script else "answer"
            self.keys.append(key)
            self.steps.append(step)
            begins = "before" not in step and step != "busy"
            if begins and not (self._keeps_keys and key in self.results):
                self.ran[key] += 1
                self.results[key] = len(self.keys)
        whole = answer(json.dumps({"ok": True, "result": self.results.get(key)}), *headers)
        again = ("Retry-After: 0", *headers)
        responses = {
            "answer": whole,
            "busy": answer("{}", *again, status="503 Service Unavailable"),
            "unavailable to the gateway": answer("<html>", status="502 Bad Gateway"),
            "cut off": answer(UNKNOWN, *headers, status="409 Conflict"),
            "cut off, with Retry-After": answer(UNKNOWN, *again, status="503 Service Unavailable"),
            "failed": answer('{"ok": false, "may_have_executed": true}', *headers),
        }
        parts = {"cut in the head": whole[:20], "cut in the body": whole[:-3], "garbage": b"\x00\x01" * 20}
        parts["mixed up with another"] = answer('{"ok": true, "function_name": "g", "result": -1}')
        peer.send(responses.get(step) or parts.get(step, b""))
        if step == "stalls":
            peer.wait()
        elif step.startswith("reset"):
            peer.reset()
        return step in responses


def client_of(kind: str, through: str, server: FaultServer, timeout: float = TIMEOUT) -> Client:
    return make_client(kind, server.url, through=through, max_retries=POLICY, timeout=timeout)


def check(backend: Backend, key: str, outcome: Any) -> None:
    """Check what the promise says of one call, the latest."""
    assert backend.ran[key] <= 1
    if not isinstance(outcome, NavaiError):
        assert (backend.ran[key], backend.results[key]) == (1, outcome)
    elif isinstance(outcome, NavaiTransportError | FunctionFailedError | InvalidResponseError):
        assert outcome.may_have_executed
    elif not isinstance(outcome, OutcomeUnknownError):
        assert isinstance(outcome, NavaiHTTPError)
        assert backend.ran[key] == 0 or backend.steps[-1] == "unavailable to the gateway"


def attempt(client: Client, key: str, timeout: float = TIMEOUT) -> Any:
    try:
        return client.execute_function("f", idempotency_key=key, timeout=timeout)
    except NavaiError as error:
        return error


@PROPERTY
@given(
    keeps_keys=st.booleans(),
    calls=st.lists(
        st.tuples(
            st.lists(st.sampled_from([*LOST, *SAID]), max_size=4), st.sampled_from(["", "", "list", "drop"])
        ),
        min_size=1,
        max_size=4,
    ),
)
@pytest.mark.parametrize("through", ["default", "fast"])
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_function_runs_once_and_its_caller_gets_a_result_or_is_told(
    kind: str, through: str, keeps_keys: bool, calls: list[tuple[list[str], str]]
) -> None:
    backend = Backend(keeps_keys=keeps_keys)
    with FaultServer(backend) as server, client_of(kind, through, server) as client:
        for number, (script, before) in enumerate(calls):
            if before == "list":
                client.list_functions()
            backend.says_shared = keeps_keys and before != "drop"
            key = f"key-{number}"
            backend.script = [*script]
            check(backend, key, attempt(client, key))


@pytest.mark.parametrize("lost", LOST)
@pytest.mark.parametrize("primed_by", ["list", "execute"])
def test_a_lost_response_is_asked_for_again_where_all_processes_share_their_keys(
    kind: str, through: str, lost: str, primed_by: str
) -> None:
    backend = Backend(keeps_keys=True)
    with FaultServer(backend) as server, client_of(kind, through, server) as client:
        if primed_by == "list":
            client.list_functions()
        else:
            client.execute_function("f")
        backend.script = [lost, lost]
        result = client.execute_function("f", idempotency_key="one")
        assert (backend.ran["one"], backend.results["one"]) == (1, result)
        assert set(backend.keys[-2:]) == {"one"}


@pytest.mark.parametrize("lost", LOST)
def test_a_lost_response_is_not_asked_for_again_without_that(kind: str, through: str, lost: str) -> None:
    backend = Backend(keeps_keys=False)
    with FaultServer(backend) as server, client_of(kind, through, server) as client:
        client.execute_function("f")
        backend.script = [lost]
        outcome = attempt(client, "one")
        assert isinstance(outcome, NavaiTransportError | InvalidResponseError)
        assert outcome.may_have_executed
        assert backend.keys.count("one") <= 1
        assert backend.ran["one"] <= 1


def test_an_execution_without_the_header_ends_the_trust(kind: str, through: str) -> None:
    backend = Backend(keeps_keys=True)
    with FaultServer(backend) as server, client_of(kind, through, server) as client:
        client.list_functions()
        backend.says_shared = False
        client.list_functions()  # a list need not say it
        backend.script = ["closed after it ran"]
        client.execute_function("f", idempotency_key="one")
        backend.script = ["closed after it ran"]
        with pytest.raises(NavaiTransportError):
            client.execute_function("f", idempotency_key="two")
        assert backend.keys == ["one", "one", "two"]


def test_what_is_known_of_the_store_belongs_to_one_identity(kind: str, through: str) -> None:
    backend = Backend(keeps_keys=True)
    with FaultServer(backend) as server, client_of(kind, through, server) as client:
        client.list_functions(headers={"Authorization": "Bearer another"})
        backend.script = ["closed after it ran"]
        with pytest.raises(NavaiTransportError):
            client.execute_function("f", idempotency_key="one")
        assert backend.keys == ["one"]


def test_to_ask_again_ends_at_the_deadline(kind: str, through: str) -> None:
    backend = Backend(keeps_keys=True)
    with FaultServer(backend) as server, client_of(kind, through, server) as client:
        client.list_functions()
        backend.script = ["closed after it ran", "stalls"]
        outcome = attempt(client, "one", STALL)
        assert isinstance(outcome, NavaiTransportError)
        assert outcome.may_have_executed
        assert (backend.keys, backend.ran["one"]) == (["one", "one"], 1)


@pytest.mark.parametrize(
    "said", ["busy", "unavailable to the gateway", "cut off", "cut off, with Retry-After"]
)
def test_an_error_after_a_lost_response_leaves_the_outcome_unknown(
    kind: str, through: str, said: str
) -> None:
    backend = Backend(keeps_keys=True)
    with FaultServer(backend) as server, client_of(kind, through, server) as client:
        client.list_functions()
        backend.script = ["closed after it ran", said, said, said]
        outcome = attempt(client, "one")
        assert isinstance(outcome, OutcomeUnknownError)
        assert outcome.may_have_executed
        assert outcome.function_name == "f"
        assert backend.ran["one"] == 1


@pytest.mark.parametrize("status", ["409 Conflict", "429 Too Many Requests", "503 Service Unavailable"])
@pytest.mark.parametrize("operation", ["execute_function", "synthesize_speech", "create_client_secret"])
def test_a_response_that_says_that_it_may_have_executed_is_never_repeated(
    kind: str, through: str, status: str, operation: str
) -> None:
    def cut_off(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(answer(UNKNOWN, "Retry-After: 0", SHARED, status=status))

    arguments = () if operation == "create_client_secret" else ("f",)
    with FaultServer(cut_off) as server, client_of(kind, through, server) as client:
        with pytest.raises(NavaiHTTPError, match="It was cut off") as caught:
            getattr(client, operation)(*arguments)
        assert caught.value.status_code == int(status[:3])
        assert isinstance(caught.value, OutcomeUnknownError) == (operation == "execute_function")
        assert len(server.arrived) == 1


def test_a_function_that_failed_after_it_may_have_acted_says_so(kind: str, through: str) -> None:
    backend = Backend(keeps_keys=False)
    with FaultServer(backend) as server, client_of(kind, through, server) as client:
        backend.script = ["failed"]
        with pytest.raises(FunctionFailedError) as caught:
            client.execute_function("f")
        assert caught.value.may_have_executed

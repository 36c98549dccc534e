"""A response that belongs to another call is an error, and ends the connection."""

import json
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest

from navai_client import FunctionFailedError, InvalidResponseError, NavaiHTTPError
from tests.backends import BASE, Backend, answer
from tests.clients import THROUGH, Client, make_client
from tests.faults.server import FaultServer, Peer, answer as reply

pytestmark = pytest.mark.parametrize("through", THROUGH)

Respond = Callable[[str, str], bytes]


def done(name: Any, *headers: str, result: Any = None) -> bytes:
    body = {"ok": True, "function_name": name, "source": "a.py#a", "result": result}
    return reply(json.dumps(body), *headers)


def serve(*responses: Respond | None) -> Callable[[Peer], None]:
    """Return a peer whose n-th response is the n-th of *responses*, or the right one.

    They are called with the name and the key of the request.
    """
    queue = list(responses)

    def treat(peer: Peer) -> None:
        while (body := peer.request()) is not None:
            head = peer._server.arrived[-1][1].decode()
            found = re.search(r"idempotency-key: *(\S+)", head, re.IGNORECASE)
            name, key = json.loads(body)["function_name"], found[1] if found else ""
            respond = queue.pop(0) if queue else None
            peer.send(done(name, result=name) if respond is None else respond(name, key))

    return treat


def refused(client: Client, name: str = "get_weather") -> InvalidResponseError:
    with pytest.raises(InvalidResponseError) as caught:
        client.execute_function(name)
    assert caught.value.may_have_executed is True
    return caught.value


class TestASurplusResponse:
    """A peer that sends a response again, when the next request has just left."""

    @staticmethod
    def twice(peer: Peer) -> None:
        """Respond to each request; before the response to the second and to later ones, repeat the last."""
        last = b""
        while (body := peer.request()) is not None:
            peer.send(last)
            last = done(json.loads(body)["function_name"], result=body.decode())
            peer.send(last)

    def test_it_never_becomes_the_result_of_the_next_call(self, kind: str, through: str) -> None:
        names = [f"function_{number % 7}" for number in range(60)]
        outcomes = []
        with FaultServer(self.twice) as server, make_client(kind, server.url, through=through) as client:
            for name in names:
                try:
                    result = client.execute_function(name)
                except InvalidResponseError:
                    outcomes.append("refused")
                else:
                    outcomes.append("right" if json.loads(result)["function_name"] == name else "wrong")
        assert "wrong" not in outcomes
        assert outcomes.count("right") >= 30
        assert len(server.arrived) == 60  # each was sent once


class TestTheName:
    """The member function_name of a response."""

    def test_the_error_says_what_came_and_may_have_executed(self, kind: str, through: str) -> None:
        with (
            FaultServer(serve(lambda *_: done("delete_order"))) as server,
            make_client(kind, server.url, through=through) as client,
        ):
            error = refused(client)
        assert str(error) == (
            "The response belongs to another call: it names the function 'delete_order', "
            "not 'get_weather'. The connection was closed."
        )
        assert (error.status_code, bool(error.request_id)) == (200, True)

    def test_its_connection_is_not_used_again(self, kind: str, through: str) -> None:
        with (
            FaultServer(serve(None, lambda *_: done("delete_order"))) as server,
            make_client(kind, server.url, through=through) as client,
        ):
            assert client.execute_function("get_weather") == "get_weather"
            assert server.connections == 1
            refused(client)
            assert client.execute_function("get_weather") == "get_weather"
            assert client.execute_function("get_weather") == "get_weather"
        assert server.connections == 2

    @pytest.mark.parametrize(
        "body", [{"ok": False, "function_name": "other", "details": "no"}, {"function_name": "x"}]
    )
    def test_failures_of_other_functions_are_refused_as_well(
        self, kind: str, through: str, body: Any
    ) -> None:
        with (
            FaultServer(serve(lambda *_: reply(json.dumps(body)))) as server,
            make_client(kind, server.url, through=through) as client,
        ):
            refused(client)

    @pytest.mark.parametrize("status", ["500 No", "404 No", "409 No"])
    def test_refusals_of_other_functions_are_refused_as_well(
        self, kind: str, through: str, status: str
    ) -> None:
        body = json.dumps({"error": "no", "function_name": "other", "available_functions": []})
        with (
            FaultServer(serve(lambda *_: reply(body, status=status), None)) as server,
            make_client(kind, server.url, through=through) as client,
        ):
            refused(client)
            assert client.execute_function("get_weather") == "get_weather"
        assert server.connections == 2

    @pytest.mark.parametrize("status", ["429 Busy", "503 Busy"])
    def test_no_call_is_repeated_because_another_one_was_refused(
        self, kind: str, through: str, status: str
    ) -> None:
        body = json.dumps({"error": "busy", "function_name": "other"})
        with (
            FaultServer(serve(lambda *_: reply(body, "Retry-After: 0", status=status))) as server,
            make_client(kind, server.url, through=through) as client,
        ):
            refused(client)
        assert len(server.arrived) == 1

    @pytest.mark.parametrize(
        ("asked", "named"),
        [
            ("get_weather", "get_weather"),
            (" Get_Weather\ufeff", "get_weather"),
            ("GET_WEATHER", "get_weather"),
            ("get_weather", " GET_WEATHER\n"),
            ("MAÑANA", "mañana"),
            ("get_weather", None),
            ("get_weather", 5),
            ("get_weather", ""),
        ],
    )
    def test_the_same_name_is_accepted_as_the_contract_normalizes_it(
        self, kind: str, through: str, asked: str, named: Any
    ) -> None:
        with (
            FaultServer(serve(lambda *_: done(named, result=1), lambda *_: done(named, result=2))) as server,
            make_client(kind, server.url, through=through) as client,
        ):
            assert client.execute_function(asked) == 1
            assert client.execute_function(asked) == 2
        assert server.connections == 1

    def test_a_name_within_the_result_does_not_matter(self, kind: str, through: str) -> None:
        body = json.dumps({"ok": True, "result": {"function_name": "other"}})
        with (
            FaultServer(serve(*[lambda *_: reply(body)] * 2)) as server,
            make_client(kind, server.url, through=through) as client,
        ):
            for _ in range(2):
                assert client.execute_function("get_weather") == {"function_name": "other"}
        assert server.connections == 1


class TestTheKey:
    """The header Idempotency-Key of a response."""

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            ("200 OK", '{"ok": true, "result": 1}'),
            ("200 OK", '{"ok": true, "function_name": "get_weather", "result": 1}'),
            ("200 OK", '{"ok": false, "details": "no"}'),
            ("200 OK", "not JSON"),
            ("404 No", '{"error": "no", "available_functions": []}'),
            ("503 Busy", '{"error": "busy"}'),
            ("302 Found", ""),
        ],
    )
    def test_a_response_with_another_key_is_refused(
        self, kind: str, through: str, status: str, body: str
    ) -> None:
        def respond(*_: str) -> bytes:
            return reply(body, "Idempotency-Key: another", "Retry-After: 0", status=status)

        with (
            FaultServer(serve(None, respond)) as server,
            make_client(kind, server.url, through=through) as client,
        ):
            client.execute_function("get_weather")
            error = refused(client)
            assert str(error) == (
                "The response belongs to another call: its Idempotency-Key is not the one that was sent. "
                "The connection was closed."
            )
            client.execute_function("get_weather")
        assert (server.connections, len(server.arrived)) == (2, 3)

    def test_a_response_with_our_key_is_accepted(self, kind: str, through: str) -> None:
        with (
            FaultServer(
                serve(*[lambda name, key: done(name, f"Idempotency-Key: {key}", result=1)] * 3)
            ) as server,
            make_client(kind, server.url, through=through) as client,
        ):
            assert client.execute_function("get_weather") == 1
            assert client.execute_function("get_weather", idempotency_key="mine") == 1
        assert server.connections == 1

    def test_other_operations_have_no_key(self, kind: str, through: str) -> None:
        def treat(peer: Peer) -> None:
            while peer.request() is not None:
                peer.send(reply('{"items": [], "function_name": "other"}', "Idempotency-Key: another"))

        with FaultServer(treat) as server, make_client(kind, server.url, through=through) as client:
            for _ in range(2):
                assert client.list_functions().error is None
        assert server.connections == 1


class TestATransportThatWasPassedIn:
    """A mock with a fixed response cannot know the name: a warning is logged."""

    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            ({"ok": True, "function_name": "other", "result": 1}, {}),
            ({"ok": True, "result": 1}, {"Idempotency-Key": "k"}),
        ],
    )
    def test_the_result_is_returned_with_a_warning(
        self, kind: str, through: str, body: Any, headers: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        httpx = pytest.importorskip("httpx" if through == "default" else "httpx2")
        backend = Backend(answer(body, headers=headers))
        transport = httpx.MockTransport(
            lambda request: httpx.Response(200, headers=headers, content=backend(request).content)
        )
        with caplog.at_level(logging.WARNING), make_client(kind, BASE, transport=transport) as client:
            assert client.execute_function("get_weather") == 1
        (record,) = caplog.records
        assert (record.name, record.levelname) == ("navai_client", "WARNING")
        assert record.getMessage().startswith("The response belongs to another call: ")
        assert "Idempotency-Key" in record.getMessage() or "'other'" in record.getMessage()

    def test_errors_stay_what_they_are(
        self, kind: str, through: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        httpx = pytest.importorskip("httpx" if through == "default" else "httpx2")
        for response, error in (
            ({"ok": False, "function_name": "other", "details": "no"}, FunctionFailedError),
            ({"error": "no", "function_name": "other"}, NavaiHTTPError),
        ):
            transport = httpx.MockTransport(
                lambda _, body=response: httpx.Response(200 if "ok" in body else 400, json=body)
            )
            with make_client(kind, BASE, transport=transport) as client, pytest.raises(error):
                client.execute_function("get_weather")
        assert len(caplog.records) == 2

"""Whatever a peer does, a check ends, reports what came, and shows no secret."""

import itertools
import json
import threading
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given, settings, strategies as st

from navai_client.conformance import Report, check, requirements
from navai_client.transports import Call
from navai_client.wire._values import Request, Response, TransportFailure
from tests.faults.server import FAULTS, FaultServer
from tests.ports import reserved_port
from tests.waiting import SHORT_S

ACTS: dict[str, Any] = {
    "mint": True,
    "speak": "Hello.",
    "execute": ("f", None),
    "execute_failing": ("g", None),
}


@frozen
class Answering:
    """A transport with the same outcome for every request."""

    answer: Response | TransportFailure

    def send(self, request: Request, call: Call) -> Response | TransportFailure:
        return self.answer

    def close(self) -> None:
        pass


def check_with(answer: Response | TransportFailure, **given: Any) -> Report:
    return check("http://navai.test", transport=Answering(answer), **ACTS, **given)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_peer_that_misbehaves_is_a_finding(fault: str) -> None:
    with FaultServer(FAULTS[fault]) as server:
        report = check(server.url, timeout=0.3, **ACTS)

    assert len(report.findings) == len(requirements())
    assert report.exit_status in (1, 3)
    assert "failed" in (report["LIST-01"].verdict, report["LIST-02"].verdict)


def test_a_backend_that_is_down_is_reported_and_not_probed_further() -> None:
    with reserved_port() as port:
        report = check(f"http://127.0.0.1:{port}")

    assert not report.reached
    assert report["LIST-01"].came.startswith("no response: ConnectError")
    assert {finding.reason for finding in report if finding.id != "LIST-01"} == {
        "the backend gave no response"
    }
    assert report.exit_status == 3
    text = report.to_text(width=999)
    assert f"The backend gave no response, so nothing was checked: {report.failure}.\n" in text
    assert len(text.splitlines()) == 3
    assert "EXEC-01" in report.to_text(verbose=True)


def test_a_backend_that_is_down_is_not_a_success_for_a_single_group() -> None:
    with reserved_port() as port:
        report = check(f"http://127.0.0.1:{port}", groups=["cors"])

    assert report.exit_status == report.exit_status_at("should") == 3


MEMBERS = [
    *("items", "name", "description", "source", "parameters", "warnings", "ok", "function_name", "result"),
    *("error", "details", "available_functions", "value", "expires_at", "speech", "provider", "mimeType"),
    "audioBase64",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(MEMBERS), inner),
    max_leaves=20,
)
RECORDS = st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, JSON | st.lists(JSON)))
BODIES = st.binary() | (JSON | RECORDS).map(lambda value: json.dumps(value).encode())
HEADERS = st.dictionaries(
    st.sampled_from(
        ["content-type", "etag", "date", "allow", "location", "vary", "access-control-allow-origin"]
    ),
    st.text(st.characters(max_codepoint=255)),
)


@settings(max_examples=40)
@given(BODIES, st.sampled_from([200, 204, 301, 304, 400, 401, 404, 405, 415, 500, 999]), HEADERS)
def test_any_response_becomes_a_report(body: bytes, status: int, headers: dict[str, str]) -> None:
    report = check_with(Response(status, headers, body))

    assert [finding.requirement for finding in report] == list(requirements())
    for text in (report.to_text(), report.to_text(verbose=True), report.to_json()):
        assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("number", ["1e400", "-1e400", "1" + "0" * 400, "-1" + "0" * 4000, "1" * 5000, "0.0"])
def test_numbers_of_any_size_are_read_and_judged(number: str) -> None:
    report = check_with(Response(200, {}, b'{"value": "x", "expires_at": %b}' % number.encode()))

    assert report["SECRET-04"].verdict == "passed"
    assert report["SECRET-05"].came.startswith("expires_at is ")


def test_a_failure_without_a_message_is_reported() -> None:
    report = check_with(TransportFailure(""))

    assert (report.reached, report.failure) == (False, "no reason was given")


def test_a_body_over_the_limit_is_reported_as_such() -> None:
    report = check_with(Response(200, {"content-type": "application/json"}, b"[" * 5000, truncated=True))

    assert report["LIST-02"].came.startswith("HTTP 200 (application/json) with more than 5,000 bytes: [[[")


def test_a_redirect_names_its_target_without_its_query() -> None:
    report = check_with(Response(308, {"location": "https://other.test/navai?key=abc#x"}, b""))

    assert report["LIST-01"].came == "HTTP 308 to https://other.test/navai: (empty)"


def test_control_sequences_are_escaped() -> None:
    report = check_with(Response(500, {"content-type": "a\x1b[2J"}, b"\x1b]0;title\x07\x9b31m"))

    assert "\x1b" not in report.to_text()
    assert "\\x1b]0;title\\x07" in report["LIST-01"].came


@pytest.mark.parametrize(
    ("text", "is_trace"),
    [
        ('Traceback (most recent call last):\n  File "a.py", line 3, in f', True),
        ("TypeError: f is not a function\n    at handle (/srv/app/index.js:10:5)", True),
        ("TypeError: no\n    at async node:internal/main:10:5", True),
        ('Exception in thread "main"\n\tat com.shop.Cart.add(Cart.java:42)', True),
        ("Failed.\n   at Shop.Cart.Add() in C:\\src\\Cart.cs:line 42", True),
        ("Uncaught Error\n#0 /srv/app/Cart.php(42): add()\n#1 {main}", True),
        ("undefined method in app/models/cart.rb:42:in `add'", True),
        ("goroutine 1 [running]:\nmain.main()\n\t/srv/main.go:42 +0x1d", True),
        ("The shop opens\n at 10:30, and closes at 18:00.", False),
        ("Ask at https://shop.test:8443/help", False),
        ("See rule #3 (2)", False),
        ("There is no file notes.py", False),
    ],
)
def test_stack_traces_are_distinguished_from_other_texts(text: str, is_trace: bool) -> None:
    for body in (text.encode(), json.dumps({"error": text}).encode()):
        finding = check_with(Response(500, {}, body), groups=["errors"])["ERR-08"]

        assert (finding.verdict == "warned") == is_trace


def test_an_interrupted_check_sends_no_more_probes() -> None:
    numbers = itertools.count(1)  # counts for several threads

    class Interrupted(Answering):
        def send(self, request: Request, call: Call) -> Response | TransportFailure:
            number = next(numbers)
            if number == 2:
                raise KeyboardInterrupt
            if number > 2:  # as with peers that never respond
                threading.Event().wait(call.remaining())
            return self.answer

    with pytest.raises(KeyboardInterrupt):
        check("http://navai.test", transport=Interrupted(Response(200, {}, b"{}")), timeout=SHORT_S)

    assert next(numbers) - 1 < sum(not each.acts for each in requirements()) / 2


class TestSecrets:
    """What no report shows."""

    KEY = "very-secret-token-0123456789"
    MINTED = "minted+secret/0123456789"

    def shown_by(self, answer: Response, **given: Any) -> str:
        report = check_with(answer, **given)
        return report.to_text(verbose=True) + report.to_json() + repr(report)

    def test_given_headers_that_a_backend_echoes_are_masked(self) -> None:
        echo = Response(500, {"content-type": self.KEY, "location": self.KEY}, f"no {self.KEY} here".encode())
        for headers in ({"Authorization": f"Bearer {self.KEY}"}, {"X-Api-Key": self.KEY}):
            shown = self.shown_by(echo, headers=headers)

            assert "no *** here" in shown
            assert self.KEY not in shown

    def test_client_secrets_are_masked_however_deep_and_wherever_they_are_echoed(self) -> None:
        body = json.dumps({"data": {"value": [self.MINTED]}, "expires_at": "later"}).encode()
        shown = self.shown_by(Response(200, {}, body))

        assert self.MINTED not in shown
        assert json.dumps(self.MINTED)[1:-1] not in shown
        assert '{\\"data\\": an object, \\"expires_at\\": a string of 5 characters}' in shown

    def test_client_secrets_outside_json_are_not_shown(self) -> None:
        class Leaking(Answering):
            def send(self, request: Request, call: Call) -> Response:
                minting = request.endpoint.url.endswith("/client-secret")
                return Response(200, {}, f"value={TestSecrets.MINTED}".encode() if minting else b"{}")

        report = check("http://navai.test", transport=Leaking(TransportFailure("unused")), **ACTS)

        assert self.MINTED not in report.to_text() + report.to_json()
        assert report["SECRET-03"].came.endswith("a body of 30 bytes, not shown because it may hold a secret")

    @pytest.mark.parametrize("key", ["sk-proj-abcdef123456", "ek_abcdef123456", "Bearer abcdef123456"])
    def test_what_looks_like_a_key_is_masked(self, key: str) -> None:
        shown = self.shown_by(Response(502, {}, f"OpenAI refused {key}.".encode()))

        assert "abcdef123456" not in shown
        assert "OpenAI refused" in shown

    @pytest.mark.parametrize("word", ["task_management", "disk-cleanup", "risk_assessment_v2"])
    def test_a_name_that_contains_what_keys_begin_with_is_shown(self, word: str) -> None:
        assert f"{word} failed" in self.shown_by(Response(500, {}, f"{word} failed".encode()))

"""What an operator finds a call by: request ids, the facts on errors, their notes, and the log."""

import contextlib
import copy
import logging
import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from navai_client import (
    FunctionFailedError,
    InvalidResponseError,
    NavaiError,
    NavaiHTTPError,
    NavaiTimeoutError,
    NavaiTransportError,
    _ids,
)
from tests.backends import BASE, OPERATIONS, RAISING, Backend, Clients, answer, call
from tests.clients import THROUGH, make_client
from tests.faults.server import OK, FaultServer, Peer, answer as reply
from tests.ports import reserved_port

EXECUTE = f"{BASE}/navai/functions/execute"
PAGE = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"


def error_of(clients: Clients, *answers: Any, **options: Any) -> Any:
    """Return the error of a call of get_weather that gets *answers*, and the requests."""
    backend = Backend(*answers)
    with pytest.raises(NavaiError) as caught:
        clients.make(backend, BASE, **options).execute_function("get_weather", {"city": "Lima"})
    return caught.value, backend.requests


class TestRequestIds:
    """The header X-Request-ID."""

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_each_call_sends_an_id_of_its_own(self, clients: Clients, operation: str) -> None:
        backend = Backend(answer(b"", 418))
        client = clients.make(backend, BASE)
        for _ in range(2):
            if operation in RAISING:
                with pytest.raises(NavaiHTTPError):
                    call(client, operation)
            else:
                call(client, operation)
        ids = [request.headers.get_list("X-Request-ID") for request in backend.requests]
        assert [len(each) for each in ids] == [1, 1]
        assert ids[0] != ids[1]

    def test_all_attempts_of_a_call_have_the_same_id(self, clients: Clients) -> None:
        again = answer(b"", 503, {"Retry-After": "0"})
        backend = Backend(again, again, answer({"ok": True, "result": 1}))
        assert clients.make(backend, BASE).execute_function("get_weather") == 1
        assert len(backend.requests) == 3
        assert len({request.headers["X-Request-ID"] for request in backend.requests}) == 1

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork()")
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_ids_are_unique_across_threads_and_processes(self) -> None:
        backend = Backend(answer({"items": []}))
        client = make_client("sync", BASE, transport=httpx.MockTransport(backend))

        def sent(count: int) -> list[str]:
            for _ in range(count):
                client.list_functions()
            return [request.headers["X-Request-ID"] for request in backend.requests]

        sent(1)
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            try:
                os.write(writing, "\n".join(sent(10)[1:]).encode())
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        os.close(writing)
        with os.fdopen(reading) as pipe:
            of_the_child = pipe.read().split("\n")
        threads = [threading.Thread(target=sent, args=(50,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        ids = sent(0)
        assert (len(of_the_child), len(ids)) == (10, 201)
        assert len({*ids, *of_the_child}) == 211

    def test_a_child_of_fork_has_digits_of_its_own(self) -> None:
        before = _ids.new_request_id().partition("-")[0]
        _ids._start_anew()
        assert _ids.new_request_id().partition("-")[0] != before

    def test_the_id_of_the_callers_headers_is_sent_instead(self, clients: Clients) -> None:
        error, requests = error_of(clients, answer(b"", 500), headers={"x-request-id": "trace-7"})
        assert requests[0].headers.get_list("X-Request-ID") == ["trace-7"]
        assert error.request_id == "trace-7"


class TestErrors:
    """The attributes of errors."""

    def test_an_http_error_has_the_headers_of_the_response(self, clients: Clients) -> None:
        error, requests = error_of(clients, answer({"error": "no"}, 500, {"X-Powered-By": "tea", "Via": "a"}))
        assert error.headers["x-powered-by"] == error.headers["X-Powered-By"] == "tea"
        assert error.request_id == requests[0].headers["X-Request-ID"]
        assert error.retry_after is None

    @pytest.mark.parametrize(
        ("headers", "expected"),
        [({"Retry-After": "7"}, 7.0), ({"Retry-After": "0.5"}, 0.5), ({"retry-after-ms": "250"}, 0.25)],
    )
    def test_an_http_error_says_when_to_call_again(
        self, clients: Clients, headers: dict[str, str], expected: float
    ) -> None:
        error, _ = error_of(clients, answer(b"", 429, headers), max_retries=0)
        assert error.retry_after == expected
        error, _ = error_of(clients, answer(b"", 402, headers))
        assert error.retry_after == expected

    def test_the_id_of_the_response_takes_precedence(self, clients: Clients) -> None:
        error, requests = error_of(clients, answer(b"", 500, {"X-Request-ID": "gateway-1"}))
        assert error.request_id == "gateway-1"
        assert f"request id gateway-1 (sent: {requests[0].headers['X-Request-ID']})" in error.__notes__[0]

    @pytest.mark.parametrize("value", ["", "two words", "x" * 300])
    def test_an_id_that_no_log_could_show_is_ignored(self, clients: Clients, value: str) -> None:
        error, requests = error_of(clients, answer(b"", 500, {"X-Request-ID": value}))
        assert error.request_id == requests[0].headers["X-Request-ID"]

    def test_headers_that_repeat_a_secret_do_not_show_it(self, clients: Clients) -> None:
        headers = {"X-Debug": "got Bearer a-secret-of-ours", "X-Request-ID": "a-secret-of-ours"}
        error, _ = error_of(
            clients, answer(b"", 500, headers), headers={"Authorization": "Bearer a-secret-of-ours"}
        )
        shown = "".join(traceback.format_exception(error)) + str(dict(error.headers)) + error.request_id
        assert error.headers["x-debug"] == "got ***"
        assert "a-secret-of-ours" not in shown

    @pytest.mark.parametrize(
        ("body", "kind"),
        [({"ok": False, "details": "no rain"}, FunctionFailedError), (b"not JSON", InvalidResponseError)],
    )
    def test_errors_of_a_2xx_response_have_the_request_id(
        self, clients: Clients, body: Any, kind: type[NavaiError]
    ) -> None:
        error, requests = error_of(clients, answer(body))
        assert type(error) is kind
        assert error.request_id == requests[0].headers["X-Request-ID"]

    @pytest.mark.parametrize("through", THROUGH)
    def test_transport_errors_have_the_request_id(self, kind: str, through: str) -> None:
        with (
            FaultServer(Peer.request) as server,
            make_client(kind, server.url, through=through) as client,
            pytest.raises(NavaiTransportError) as caught,
        ):
            client.execute_function("get_weather")
        head = server.arrived[0][1].decode()
        assert caught.value.request_id is not None
        assert f"X-Request-ID: {caught.value.request_id}".lower() in head.lower()

    @pytest.mark.parametrize("through", THROUGH)
    def test_timeouts_have_the_request_id(self, kind: str, through: str) -> None:
        with (
            FaultServer(Peer.silence) as server,
            make_client(kind, server.url, through=through, timeout=0.2) as client,
            pytest.raises(NavaiTimeoutError) as caught,
        ):
            client.execute_function("get_weather")
        assert caught.value.request_id
        (note,) = caught.value.__notes__
        assert note.startswith(f"POST {server.url}/navai/functions/execute ('get_weather'): no response, ")
        assert note.endswith(f"1 attempt, request id {caught.value.request_id}")

    def test_an_error_of_a_call_can_be_copied_and_pickled(self, clients: Clients) -> None:
        error, _ = error_of(clients, answer({"error": "no"}, 500, {"X-Powered-By": "tea"}))
        for same in (copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
            assert vars(same) == vars(error)
            assert str(same) == str(error)
            assert same.headers["X-POWERED-BY"] == "tea"


class TestNotes:
    """The notes of errors, which tracebacks show."""

    def test_a_note_tells_request_status_attempts_and_id(self, clients: Clients) -> None:
        refusal = answer({"error": "Missing or wrong access token."}, 503, {"Retry-After": "0"})
        error, requests = error_of(clients, refusal)
        assert len(requests) == 3
        assert error.__notes__ == [
            f"POST {EXECUTE} ('get_weather'): HTTP 503, 3 attempts, request id {error.request_id}"
        ]
        assert error.__notes__[0] in "".join(traceback.format_exception(error))

    def test_a_note_has_no_query(self, clients: Clients) -> None:
        error, _ = error_of(clients, answer(b"", 500), functions_execute_path="/run?key=a-secret")
        assert error.__notes__[0].startswith(f"POST {BASE}/run ('get_weather'): HTTP 500")
        assert "a-secret" not in "".join(traceback.format_exception(error))

    def test_a_note_shows_the_start_of_a_long_name_and_no_secret(self, clients: Clients) -> None:
        client = clients.make(Backend(answer(b"", 500)), BASE, access_token="a-long-secret")
        for name, shown in (("a-long-secret", "'***'"), ("x" * 10_000, repr("x" * 100))):
            with pytest.raises(NavaiHTTPError) as caught:
                client.execute_function(name)
            assert caught.value.__notes__[0].startswith(f"POST {EXECUTE} ({shown}): HTTP 500")

    @pytest.mark.parametrize("operation", RAISING)
    def test_every_operation_has_notes(self, clients: Clients, operation: str) -> None:
        with pytest.raises(NavaiHTTPError) as caught:
            call(clients.make(Backend(answer({"error": "no"}, 400)), BASE), operation)
        assert len(caught.value.__notes__) == 1

    def test_the_error_of_a_list_has_notes(self, clients: Clients) -> None:
        error = clients.make(Backend(answer({"error": "no"}, 400)), BASE).list_functions().error
        assert error.__notes__ == [
            f"GET {BASE}/navai/functions: HTTP 400, 1 attempt, request id {error.request_id}"
        ]

    @pytest.mark.parametrize("status", [200, 404, 502])
    @pytest.mark.parametrize(
        "page", [PAGE, b"\xef\xbb\xbf\n <html lang=en>", b"<?xml version='1.0'?><Error/>"]
    )
    def test_a_page_is_recognized(self, clients: Clients, status: int, page: bytes) -> None:
        error, _ = error_of(clients, answer(page, status))
        assert error.__notes__[1] == (
            "The response is a page, as gateways, logins, other services and failed applications send it. "
            "Check base_url and functions_execute_path."
        )

    @pytest.mark.parametrize("body", [b'{"detail":"Not Found"}', b"404 page not found", b"[]", b""])
    def test_another_service_is_recognized_by_its_404(self, clients: Clients, body: bytes) -> None:
        error, _ = error_of(clients, answer(body, 404))
        assert "not that of a Navai backend" in error.__notes__[1]

    @pytest.mark.parametrize(("status", "body"), [(404, {"error": "Not found."}), (500, {"message": "no"})])
    def test_the_refusal_of_a_navai_backend_gets_no_hint(
        self, clients: Clients, status: int, body: Any
    ) -> None:
        error, _ = error_of(clients, answer(body, status))
        assert len(error.__notes__) == 1


class TestLongTexts:
    """The size of messages."""

    @pytest.mark.parametrize(
        "response",
        [
            answer(PAGE + b"x" * 3_000_000, 502),
            answer({"ok": False, "details": "x" * 3_000_000}),
            answer({"ok": False, "error": "x" * 3_000_000}),
            answer({"error": "no", "available_functions": ["x" * 3_000_000]}, 404),
        ],
        ids=["page", "details", "error", "unknown function"],
    )
    def test_a_message_is_cut_and_says_so(self, clients: Clients, response: httpx.Response) -> None:
        error, _ = error_of(clients, response)
        assert len(str(error)) == 8192
        assert str(error).endswith("characters]")
        assert "[cut; it has 3,000,0" in str(error)
        assert len("".join(traceback.format_exception(error))) < 20_000

    def test_an_error_keeps_4_mib_of_a_response(self, clients: Clients) -> None:
        key = {"Authorization": "Bearer a-secret-of-ours"}
        across = b"x" * (4 * 2**20 - 31) + b"a-secret-of-ours "
        long = b'{"error": "a-secret-of-ours ' + across * 2 + b'"}'
        for headers in (None, key):
            error, _ = error_of(clients, answer(long, 500), headers=headers)
            assert (error.error, error.details) == (None, None)
            if headers is None:
                assert error.body == long[: 4 * 2**20].decode()
            else:
                assert error.body.rstrip("*").rstrip("x") == '{"error": "*** '
                assert len(error.body) < 4 * 2**20

    def test_the_whole_text_stays_where_it_is_asked_for(self, clients: Clients) -> None:
        error, _ = error_of(clients, answer(PAGE + b"x" * 3_000_000, 502))
        assert len(error.body) == len(PAGE) + 3_000_000
        error, _ = error_of(clients, answer({"ok": False, "details": "x" * 3_000_000}))
        assert len(error.details) == 3_000_000

    def test_a_warning_of_a_list_is_cut_as_well(self, clients: Clients) -> None:
        client = clients.make(Backend(answer(b"", 302, {"Location": "/" + "x" * 60_000})), BASE)
        assert len(client.list_functions().warnings[0]) < 10_000

    def test_a_message_of_8_kib_is_not_cut(self, clients: Clients) -> None:
        error, _ = error_of(clients, answer(b"x" * 8192, 500))
        assert str(error) == "x" * 8192


class TestTheLog:
    """The logger navai_client at DEBUG: one line for each request."""

    @pytest.fixture(autouse=True)
    def debug(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.DEBUG, "navai_client")

    def lines(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno == logging.DEBUG]

    def test_each_request_is_one_line(self, clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
        again = answer(b"", 503, {"Retry-After": "0"})
        backend = Backend(again, answer({"ok": True, "result": 1}))
        client = clients.make(backend, BASE, functions_execute_path="/run?key=a-secret")
        client.execute_function("get_weather")
        request_id = backend.requests[0].headers["X-Request-ID"]
        lines = self.lines(caplog)
        assert len(lines) == 2
        for number, (line, status) in enumerate(zip(lines, (503, 200), strict=True), 1):
            start, rest = line.split(" in ")
            assert start == f"POST {BASE}/run: HTTP {status}"
            milliseconds, rest = rest.split(" ms, ")
            assert float(milliseconds) >= 0.0
            assert rest == f"attempt {number}, request id {request_id}"

    def test_a_failed_request_is_a_line_too(self, kind: str, caplog: pytest.LogCaptureFixture) -> None:
        with FaultServer(Peer.request) as server, make_client(kind, server.url, max_retries=0) as client:
            client.list_functions()
        (line,) = self.lines(caplog)
        assert line.startswith(f"GET {server.url}/navai/functions: ")
        assert "attempt 1, request id " in line

    def test_no_line_has_a_secret(self, clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
        client = clients.make(
            Backend(answer({"ok": True, "result": 1})), BASE, headers={"Authorization": "Bearer a-secret"}
        )
        client.execute_function("get_weather", {"password": "a-secret"})
        assert self.lines(caplog)
        assert "a-secret" not in caplog.text

    def test_nothing_is_logged_above_debug(self, clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "navai_client")
        clients.make(Backend(answer({"ok": True, "result": 1})), BASE).execute_function("get_weather")
        assert not caplog.records


class TestAFailedList:
    """A list that fails raises nothing: the log says so, and ``raise_for_error`` raises."""

    @pytest.mark.parametrize(
        ("response", "reason"),
        [
            (answer({"error": "Missing or wrong access token."}, 401), '{"error": "Missing or wrong'),
            (answer(b"", 404), "HTTP 404"),
            (answer(PAGE.replace(b"><", b">\r\n\t<") + b"x" * 3_000_000, 502), "<!DOCTYPE html> <html>"),
            (answer(b"not JSON"), "[navai] Failed to parse backend functions response."),
            (httpx.ReadError("reset"), "No response from"),
            (answer(b"", 308, {"Location": "/navai/functions/"}), "HTTP 308: the redirect to"),
        ],
        ids=["refused", "not found", "page", "not JSON", "reset", "redirect"],
    )
    def test_it_is_one_warning_with_the_url(
        self, kind: str, response: Any, reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with contextlib.closing(Clients(kind)) as clients:
            listed = clients.make(Backend(response), BASE).list_functions()
        (record,) = (each for each in caplog.records if each.levelno >= logging.WARNING)
        assert (record.name, record.levelname) == ("navai_client", "WARNING")
        line = record.getMessage()
        assert line.startswith(f"list_functions: {reason}")
        assert f"GET {BASE}/navai/functions: " in line
        assert f"request id {listed.error.request_id}" in line
        assert "\n" not in line
        assert len(line) < 2000

    @pytest.mark.parametrize("through", THROUGH)
    def test_a_closed_port_is_not_silent(
        self, kind: str, through: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with (
            reserved_port() as port,
            make_client(kind, f"http://127.0.0.1:{port}", through=through) as client,
        ):
            assert list(client.list_functions()) == []
        (record,) = caplog.records
        assert f"GET http://127.0.0.1:{port}/navai/functions" in record.getMessage()

    def test_a_secret_is_not_logged(self, clients: Clients, caplog: pytest.LogCaptureFixture) -> None:
        headers = {"Authorization": "Bearer a-secret-of-ours"}
        refusal = answer({"error": "Wrong: a-secret-of-ours, or sk-0123456789abcdef"}, 401)
        clients.make(Backend(refusal), BASE, headers=headers).list_functions()
        assert "Wrong: ***, or ***" in caplog.text
        assert "a-secret-of-ours" not in caplog.text

    def test_a_list_that_is_fine_is_not_logged(
        self, clients: Clients, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = clients.make(Backend(answer({"items": [{"name": "f"}], "warnings": ["odd"]})), BASE)
        assert client.list_functions().raise_for_error()["f"].name == "f"
        assert not caplog.records

    def test_raise_for_error_raises_the_reason(self, clients: Clients) -> None:
        listed = clients.make(Backend(answer({"error": "no"}, 401)), BASE).list_functions()
        for _ in range(2):
            with pytest.raises(NavaiHTTPError, match="no") as caught:
                listed.raise_for_error()
            assert caught.value is listed.error
            assert len(traceback.extract_tb(caught.value.__traceback__)) == 2


class TestTheLogOfAProgram:
    """NAVAI_LOG, in a program that does or does not set up logging."""

    PLAIN = """
from navai_client import NavaiBackendClient
for _ in range(2):
    with NavaiBackendClient() as client:
        assert client.execute_function("get_weather") == "done"
"""
    WITH_A_HANDLER = f"import logging; logging.basicConfig(format='mine: %(message)s')\n{PLAIN}"

    def run(self, program: str, level: str | None, url: str) -> list[str]:
        """Run *program* with NAVAI_LOG as *level*; return the lines of its standard error."""
        environment = {name: value for name, value in os.environ.items() if name != "NAVAI_LOG"}
        environment |= {"NAVAI_API_URL": url} | ({} if level is None else {"NAVAI_LOG": level})
        finished = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True, timeout=60
        )
        assert not finished.stdout
        return finished.stderr.decode().splitlines()

    @pytest.fixture(name="url")
    def _url(self) -> Iterator[str]:
        def treat(peer: Peer) -> None:
            while peer.request() is not None:
                peer.send(reply(OK))

        with FaultServer(treat) as server:
            yield server.url

    @pytest.mark.parametrize("level", ["debug", " DEBUG "])
    def test_navai_log_shows_each_request(self, url: str, level: str) -> None:
        lines = self.run(self.PLAIN, level, url)
        assert len(lines) == 2
        for line in lines:
            assert f" DEBUG navai_client: POST {url}/navai/functions/execute: HTTP 200 in " in line

    @pytest.mark.parametrize("level", [None, "", "info", "warning", "error"])
    def test_without_debug_there_is_no_line(self, url: str, level: str | None) -> None:
        assert self.run(self.PLAIN, level, url) == []

    def test_a_level_that_does_not_exist_is_a_warning(self, url: str) -> None:
        assert self.run(self.PLAIN, "verbose", url) == [
            "NAVAI_LOG must be one of debug, info, warning, error; it is 'verbose'."
        ]

    def test_the_handlers_of_a_program_are_used(self, url: str) -> None:
        lines = self.run(self.WITH_A_HANDLER, "debug", url)
        assert [line[:11] for line in lines] == ["mine: POST "] * 2

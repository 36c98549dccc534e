"""What a function says of its progress, as a stream of events over real sockets, and who gets none."""

import asyncio
import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from navai_client.server import FunctionContext, SQLiteStore, _events
from navai_client.testing import LiveServer
from tests.server.test_disconnects import CANCEL
from tests.server.test_outcomes import EXECUTE, server_process
from tests.serving import NO_TLS
from tests.waiting import PATIENCE_S, until

STREAM: Final = {"accept": "text/event-stream"}


def read(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """Yield the events of a stream, and ``("", comment)`` for comments."""
    name = ""
    for line in lines:
        if line.startswith(":"):
            yield "", line[1:].strip()
        elif line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


class Stream:
    """A response under way.

    Attributes:
        response: Its status and headers.
        events: Its events, as they arrive.
    """

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.events = read(response.iter_lines())

    def next(self) -> tuple[str, Any]:
        return next(self.events)


@contextlib.contextmanager
def streaming(url: str, name: str, payload: Any = None, **headers: str) -> Iterator[Stream]:
    body = {"function_name": name, "payload": payload}
    given = {**STREAM, **headers}
    with (
        httpx.Client(trust_env=False, timeout=PATIENCE_S) as client,
        client.stream("POST", url + EXECUTE, json=body, headers=given) as response,
    ):
        yield Stream(response)


def messages(events: Iterator[tuple[str, Any]]) -> list[str]:
    return [data["message"] for name, data in events if name == "progress"]


class Trips:
    """A function that goes on when the test lets it."""

    def __init__(self) -> None:
        self.go, self.ended = threading.Event(), threading.Event()
        self.was_cancelled = False
        self.calls = 0

    def plan_trip(self, context: FunctionContext) -> str:
        """Plan a trip."""
        self.calls += 1
        context.progress("Looking at March")
        while not (self.go.is_set() or context.cancelled.is_set()):
            context.cancelled.wait(0.01)
        self.was_cancelled = context.cancelled.is_set()
        context.progress("Looking at May")
        self.ended.set()
        return "12 March"


@pytest.fixture(autouse=True)
def _silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send no comments to keep a connection alive, however long a busy machine takes."""
    monkeypatch.setattr(_events, "_KEEP_ALIVE_S", PATIENCE_S)


@pytest.fixture(name="trips")
def _trips() -> Trips:
    return Trips()


@pytest.fixture(name="server")
def _server(trips: Trips) -> Iterator[LiveServer]:
    with LiveServer(function_timeout=None) as server:  # what is cancelled has not met its limit
        server.function(trips.plan_trip)
        yield server


def test_messages_come_while_the_function_runs_and_the_response_comes_last(
    server: LiveServer, trips: Trips
) -> None:
    with streaming(
        server.url, "plan_trip", None, **{"x-request-id": "id-1", "origin": "http://localhost"}
    ) as stream:
        headers = stream.response.headers
        assert stream.response.status_code == 200
        assert headers["content-type"] == "text/event-stream"
        assert (headers["cache-control"], headers["x-accel-buffering"]) == ("no-cache", "no")
        assert (headers["x-request-id"], headers["access-control-allow-origin"]) == (
            "id-1",
            "http://localhost",
        )
        assert "content-length" not in headers
        assert stream.next() == ("progress", {"message": "Looking at March"})
        assert not trips.ended.is_set()
        trips.go.set()
        assert list(stream.events) == [
            ("progress", {"message": "Looking at May"}),
            ("response", {"status": 200, "body": plain(server, "plan_trip").json()}),
        ]


def plain(server: LiveServer, name: str, payload: Any = None, **headers: str) -> httpx.Response:
    body = {"function_name": name, "payload": payload}
    url = server.url + EXECUTE
    return httpx.post(url, json=body, headers=headers, timeout=PATIENCE_S, trust_env=False, verify=NO_TLS)


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("text/event-stream", True),
        ("Text/Event-Stream ; q=0.5", True),
        ("application/json;q=0.9, text/event-stream;charset=utf-8;q=1", True),
        ("application/json", False),
        ("*/*", False),
        ("text/*", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream; q=0.000, */*", False),
        ("text/event-streams", False),
        ('application/json;profile="text/event-stream"', False),
    ],
)
def test_only_who_names_the_type_gets_a_stream(
    server: LiveServer, trips: Trips, accept: str, streams: bool
) -> None:
    trips.go.set()
    answer = plain(server, "plan_trip", accept=accept)
    assert (answer.headers["content-type"] == "text/event-stream") == streams
    if not streams:
        assert answer.json()["result"] == "12 March"


def test_what_is_known_at_once_is_a_plain_response(server: LiveServer) -> None:
    server.function(lambda: "quick", name="quick")
    server.function(lambda number: number + 1, name="number")
    assert plain(server, "quick", **STREAM).json()["result"] == "quick"
    assert plain(server, "missing", **STREAM).status_code == 404
    assert plain(server, " ", **STREAM).status_code == 400
    assert plain(server, "quick", **{**STREAM, "idempotency-key": "k" * 300}).status_code == 400
    assert plain(server, "number", {"other": 1}, **STREAM).json()["ok"] is False
    assert plain(server, "quick", **STREAM).headers["content-type"].startswith("application/json")
    other = httpx.post(
        server.url + EXECUTE,
        content=b"x",
        headers={**STREAM, "content-type": "text/plain"},
        timeout=PATIENCE_S,
    )
    assert other.status_code == 415


def test_a_call_that_waits_for_approval_is_a_plain_response(trips: Trips) -> None:
    with LiveServer(inspector_token="i", inspector=True) as server:
        server.function(trips.plan_trip, approval=True)
        answer = plain(server, "plan_trip", **STREAM)
    assert (answer.status_code, answer.json()["pending_approval"]) == (202, True)
    assert trips.calls == 0


def test_a_copy_hears_of_the_progress_and_a_later_one_gets_the_outcome(
    server: LiveServer, trips: Trips
) -> None:
    key = {"idempotency-key": "k"}
    with (
        streaming(server.url, "plan_trip", **key) as first,
        streaming(server.url, "plan_trip", **key) as copy,
    ):
        assert first.response.headers["idempotency-key"] == "k"
        assert first.next() == copy.next() == ("progress", {"message": "Looking at March"})
        trips.go.set()
        name, last = list(copy.events)[-1]
    assert (name, last["headers"]) == ("response", {"idempotent-replayed": "true"})
    later = plain(server, "plan_trip", **STREAM, **key)
    assert (later.json(), later.headers["idempotent-replayed"]) == (last["body"], "true")
    assert trips.calls == 1


def test_a_copy_at_another_process_gets_the_outcome(tmp_path: Path, trips: Trips) -> None:
    def replica() -> LiveServer:
        options: Any = {"store": SQLiteStore(tmp_path / "keys.sqlite")}
        return LiveServer(**options)

    key = {"idempotency-key": "k"}
    with replica() as one, replica() as other, ThreadPoolExecutor() as threads:
        one.function(trips.plan_trip)
        other.function(trips.plan_trip)
        with streaming(one.url, "plan_trip", **key) as stream:
            assert stream.next() == ("progress", {"message": "Looking at March"})
            copy = threads.submit(plain, other, "plan_trip", **STREAM, **key)
            until(lambda: other._app.invoker.running == 1)
            trips.go.set()
            assert [name for name, _ in stream.events] == ["progress", "response"]
        assert copy.result(PATIENCE_S).json()["result"] == "12 March"
    assert trips.calls == 1


def test_a_silent_function_keeps_the_connection_alive(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_events, "_KEEP_ALIVE_S", 0.05)
    release = asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    @server.function
    async def silent() -> str:
        loops.append(asyncio.get_running_loop())
        await release.wait()
        return "line\nbreak"

    with streaming(server.url, "silent") as stream:
        assert [stream.next(), stream.next()] == [("", "keep-alive")] * 2
        loops[0].call_soon_threadsafe(release.set)
        *_, (name, last) = stream.events
    assert (name, last["body"]["result"]) == ("response", "line\nbreak")


def test_a_flood_is_cut_down_to_the_latest_and_holds_up_nobody(server: LiveServer) -> None:
    @server.function
    def flood(context: FunctionContext) -> str:
        for number in range(100_000):
            context.progress(f"{number} {'x' * 2000}")
        context.progress(" \n")
        return "done"

    @server.function
    async def flood_async(context: FunctionContext) -> str:
        for number in range(1000):
            context.progress(f"{number} {'x' * 2000}")
        return "done"

    for name, last in (("flood", "99999 "), ("flood_async", "999 ")):
        began = time.monotonic()
        with streaming(server.url, name) as stream:
            *said, (kind, end) = stream.events
        passed = time.monotonic() - began
        texts = messages(iter(said))
        assert (kind, end["body"]["result"]) == ("response", "done")
        assert texts[-1].startswith(last)
        assert len(texts) <= (10 * passed + 2) * 16  # ten times a second, the latest 16
        assert {len(text) for text in texts} == {1000}


def test_a_reader_that_does_not_read_misses_messages_but_not_the_outcome(server: LiveServer) -> None:
    said = threading.Event()

    @server.function
    def talk(context: FunctionContext) -> str:
        until_then = time.monotonic() + 1
        while time.monotonic() < until_then:
            context.progress("x" * 1000)
        context.progress("the last")
        said.set()
        return "y" * 1_000_000

    with streaming(server.url, "talk") as stream:
        assert said.wait(PATIENCE_S)
        *before, (name, data), (end, response) = stream.events
    assert (name, data["message"]) == ("progress", "the last")
    assert (end, len(response["body"]["result"])) == ("response", 1_000_000)
    assert before


def test_messages_are_redacted_and_may_be_of_any_kind(trips: Trips) -> None:
    with LiveServer(access_token="hunter2hunter2") as server:

        @server.function
        def talk(context: FunctionContext) -> str:
            speak: Any = context.progress
            speak("the token is hunter2hunter2, the key sk-proj-abcdefghijklmnopqrstuvwxyz0123")
            speak(7)
            speak("half of a pair: \ud83d")
            return "done"

        with streaming(server.url, "talk", authorization="Bearer hunter2hunter2") as stream:
            first, *others = messages(stream.events)
    assert "hunter2" not in first
    assert "sk-proj-abcdef" not in first
    assert others == ["7", "half of a pair: \ud83d"]


def test_a_client_that_leaves_cancels_a_call_without_a_key(server: LiveServer, trips: Trips) -> None:
    with streaming(server.url, "plan_trip") as stream:
        stream.next()
    assert trips.ended.wait(PATIENCE_S)
    assert trips.was_cancelled


def test_a_call_with_a_key_goes_on_without_its_client(server: LiveServer, trips: Trips) -> None:
    with streaming(server.url, "plan_trip", **{"idempotency-key": "k"}) as stream:
        stream.next()
    with streaming(server.url, "plan_trip", **{"idempotency-key": "k"}) as again:
        assert again.next() == ("progress", {"message": "Looking at March"})  # it is told what was said
        trips.go.set()
        *_, (_, last) = again.events
    assert last["body"]["result"] == "12 March"
    assert not trips.was_cancelled


def test_one_that_only_reads_is_dropped_with_its_only_client(server: LiveServer, trips: Trips) -> None:
    server.function(trips.plan_trip, name="look", effect="read")
    with streaming(server.url, "look", **{"idempotency-key": "k"}) as stream:
        stream.next()
    assert trips.ended.wait(PATIENCE_S)
    trips.go.set()
    with streaming(server.url, "look", **{"idempotency-key": "k"}) as again:
        *_, (_, last) = again.events
    assert "headers" not in last  # it ran anew
    assert trips.calls == 2


def test_a_call_that_is_cancelled_ends_its_stream(server: LiveServer, trips: Trips) -> None:
    with streaming(server.url, "plan_trip", **{"idempotency-key": "k"}) as stream:
        stream.next()
        httpx.post(server.url + CANCEL, headers={"idempotency-key": "k"}, timeout=PATIENCE_S, trust_env=False)
        *_, (name, last) = stream.events
    assert (name, last["status"]) == ("response", 200)
    assert last["body"]["may_have_executed"] is True


def test_a_call_that_never_begins_says_so_in_its_stream(
    trips: Trips, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_events, "_KEEP_ALIVE_S", 0.02)
    with LiveServer(threads=1) as server:
        server.function(trips.plan_trip)
        server.function(lambda: "never", name="never", timeout=3)  # after it has been silent for long
        with streaming(server.url, "plan_trip") as first:
            first.next()
            with streaming(server.url, "never") as second:
                assert second.next() == ("", "keep-alive")
                *_, (name, last) = second.events
            trips.go.set()
    assert (name, last["status"], last["headers"]) == ("response", 503, {"retry-after": "1"})


def say_elsewhere(context: FunctionContext) -> str:
    """Say something in a process of its own."""
    context.progress("unheard")
    return "done"


def test_in_another_process_it_does_nothing() -> None:
    with LiveServer() as server:
        server.function(say_elsewhere, runs_in="process")
        with streaming(server.url, "say_elsewhere") as stream:
            stream.response.read()
            assert stream.response.json()["result"] == "done"


def test_a_message_after_the_end_of_the_call_or_of_the_server_does_nothing(trips: Trips) -> None:
    contexts: list[FunctionContext] = []
    with LiveServer() as server:

        @server.function
        def keep(context: FunctionContext) -> str:
            contexts.append(context)
            return "done"

        assert plain(server, "keep", **STREAM).json()["result"] == "done"
        contexts[0].progress("too late")
    (progress,) = (each.progress for each in contexts)
    assert isinstance(progress, _events.Progress)
    progress.listeners = (asyncio.Event(),)  # a stream that the end of the loop has left behind
    progress("much too late")


class TestAServerInAProcess:
    """``python -m navai_client.server``, its log, its metrics, and its stop."""

    FUNCTION = (
        "import pathlib, time\n"
        "def wait(context, mark: str) -> str:\n"
        "    context.progress('waiting')\n"
        "    while not pathlib.Path(mark).exists() and not context.cancelled.wait(0.01): pass\n"
        "    return 'done'\n"
    )

    @pytest.fixture(name="base")
    def _base(self, tmp_path: Path) -> Path:
        folder = tmp_path / "src" / "ai" / "functions-modules"
        folder.mkdir(parents=True)
        (folder / "waiting.py").write_text(self.FUNCTION)
        return tmp_path

    def test_cuts_a_stream_off_with_an_outcome_when_it_stops(self, base: Path) -> None:
        options = ("--grace", "1", "--drain-delay", "0")
        with server_process(base, *options) as (process, url):
            with streaming(url, "wait", {"mark": str(base / "never")}) as stream:
                assert stream.next() == ("progress", {"message": "waiting"})
                process.send_signal(signal.SIGTERM)
                *_, (name, last) = stream.events
            assert (name, last["status"]) == ("response", 409)
            assert last["body"]["may_have_executed"] is True
            assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM)

    def test_finishes_a_stream_within_its_grace(self, base: Path) -> None:
        with server_process(base, "--grace", "20", "--drain-delay", "0") as (process, url):
            mark = base / "mark"
            with streaming(url, "wait", {"mark": str(mark)}) as stream:
                stream.next()
                process.send_signal(signal.SIGTERM)
                mark.touch()
                *_, (_, last) = stream.events
            assert last["body"]["result"] == "done"
            assert process.wait(PATIENCE_S) in (0, -signal.SIGTERM)

    def test_counts_and_logs_the_outcome_and_499_for_who_leaves(self, base: Path) -> None:
        mark = base / "mark"
        with server_process(base, "--metrics") as (process, url):
            with streaming(url, "wait", {"mark": str(mark)}) as stream:
                stream.next()
            until(
                lambda: (
                    'status="499"' in httpx.get(f"{url}/metrics", timeout=PATIENCE_S, trust_env=False).text
                )
            )
            with streaming(url, "wait", {"mark": str(mark)}, **{"x-request-id": "id-2"}) as stream:
                stream.next()
                mark.touch()
                *_, (name, _) = stream.events
            assert name == "response"
            counted = httpx.get(f"{url}/metrics", timeout=PATIENCE_S, trust_env=False).text
            process.terminate()
            assert process.stderr is not None
            log = process.stderr.read()
        lines = [line for line in log.splitlines() if "function=wait" in line or "status=499" in line]
        assert [line.partition("status=")[2][:3] for line in lines] == ["499", "200"]
        assert "request_id=id-2" in lines[1]
        assert 'status="200"' in counted
        assert "Traceback" not in log

"""Clients of the mcp package, over each transport, call the functions of a real backend."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import httpx2
import jsonschema
import mcp_types as types
import pytest
from mcp import Client, MCPError, StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

from navai_client import AsyncNavaiBackendClient, NavaiBackendClient, NavaiConfigError
from navai_client.integrations import mcp
from navai_client.integrations.mcp import build_mcp_server, serve_http, serve_stdio
from navai_client.integrations.routes import NavaiRoute
from navai_client.server import FunctionContext
from navai_client.server._serving import url_of
from tests.integrations.live_backend import LiveBackend, live_backend
from tests.integrations.loop import in_a_loop
from tests.waiting import pass_time

IN_PROCESS = ["memory", "memory, legacy", "http", "http, legacy"]
WAYS = [*IN_PROCESS, "stdio"]  # there a process of its own, which takes time
STDIO = """
import asyncio, json, sys
from navai_client import AsyncNavaiBackendClient
from navai_client.integrations import mcp
from navai_client.integrations.mcp import serve_stdio

async def main():
    async with AsyncNavaiBackendClient(sys.argv[1]) as client:
        await serve_stdio(client, functions=[print], **json.loads(sys.argv[2]))

asyncio.run(main())
"""


@asynccontextmanager
async def served_over_http(backend: AsyncNavaiBackendClient, **options: Any) -> AsyncIterator[str]:
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve_http(backend, port=0, on_listening=listening.set_result, **options))
    either: list[asyncio.Future[Any]] = [serving, listening]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    try:
        yield listening.result()
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        # The package for event streams keeps a task that waits for the end of the process, one for each loop.
        watchers = [task for task in asyncio.all_tasks() if "_shutdown_watcher" in repr(task.get_coro())]
        for watcher in watchers:
            watcher.cancel()
        await asyncio.gather(*watchers, return_exceptions=True)


@asynccontextmanager
async def connected(
    way: str,
    backend: AsyncNavaiBackendClient,
    *,
    handler: Any = None,
    elicitation: Any = None,
    **options: Any,
) -> AsyncIterator[Client]:
    """Connect a host to *backend* in one *way*."""
    how, _, era = way.partition(", ")
    given: Any = {"mode": era or "auto", "message_handler": handler, "elicitation_callback": elicitation}
    if how == "memory":
        async with Client(build_mcp_server(backend, **options), **given) as host:
            yield host
    elif how == "http":
        async with served_over_http(backend, **options) as url, Client(url, **given) as host:
            yield host
    else:
        url = repr(backend).split("'")[1]
        arguments = ["-c", STDIO, url, json.dumps(options)]
        command = StdioServerParameters(command=sys.executable, args=arguments, env={**os.environ})
        async with Client(stdio_client(command), **given) as host:
            yield host


@asynccontextmanager
async def served() -> AsyncIterator[tuple[LiveBackend, AsyncNavaiBackendClient]]:
    async with live_backend() as live, AsyncNavaiBackendClient(live.url) as client:
        yield live, client


def text(result: types.CallToolResult) -> str:
    (content,) = result.content
    assert isinstance(content, types.TextContent)
    return content.text


class TestAnApproval:
    """The host asks its user before anything is sent."""

    @pytest.mark.parametrize("way", [way for way in WAYS if not way.startswith("stdio")])
    @pytest.mark.parametrize("action", ["accept", "decline", "cancel"])
    @in_a_loop
    async def test_is_asked_for_by_an_elicitation(self, way: str, action: Any) -> None:
        asked: list[str] = []

        async def elicit(_: Any, params: types.ElicitRequestParams) -> types.ElicitResult:
            asked.append(params.message)
            return types.ElicitResult(action=action, content={} if action == "accept" else None)

        async with served() as (live, backend):
            live.release.set()
            async with connected(way, backend, approval=["book_table"], elicitation=elicit) as host:
                result = await host.call_tool("book_table", {"name": "Ada"})
                assert not (await host.call_tool("get_weather", {"location": "Lima"})).is_error
            assert asked == ['Allow book_table with {"name": "Ada"}?']
            assert live.booked == (["Ada"] if action == "accept" else [])
        assert result.is_error == (action != "accept")

    @pytest.mark.parametrize("way", [way for way in WAYS if way.startswith("memory")])
    @in_a_loop
    async def test_is_not_given_by_a_host_that_cannot_ask(self, way: str) -> None:
        async with served() as (live, backend):
            live.release.set()
            async with connected(way, backend, approval=["book_table"]) as host:
                result = await host.call_tool("book_table", {"name": "Ada"})
        assert "nobody could be asked" in text(result)
        assert live.booked == []

    @in_a_loop
    async def test_is_for_the_arguments_that_the_user_saw(self) -> None:
        async with served() as (live, backend):
            live.release.set()
            accepted = {"approval": types.ElicitResult(action="accept", content={})}
            async with connected("memory", backend, approval=["book_table"], elicitation=_never) as host:
                asked = await host.session.call_tool("book_table", {"name": "Ada"}, allow_input_required=True)
                assert isinstance(asked, types.InputRequiredResult)
                given: Any = {"input_responses": accepted, "request_state": asked.request_state}
                again = await host.session.call_tool(
                    "book_table", {"name": "Eve"}, allow_input_required=True, **given
                )
                assert isinstance(again, types.InputRequiredResult)
                assert live.booked == []
                await host.session.call_tool("book_table", {"name": "Ada"}, **given)
        assert live.booked == ["Ada"]


@pytest.mark.parametrize("way", [way for way in WAYS if not way.startswith("stdio")])
@pytest.mark.usefixtures("asked_often")
@in_a_loop
async def test_a_host_that_calls_again_gets_what_came_of_a_call_that_waited_for_approval(way: str) -> None:
    async with served() as (live, backend), connected(way, backend) as host:
        live.offer_refund()
        for decision in ("approve", "reject"):
            result = await host.call_tool("refund", {"order": decision})
            for _ in range(2):  # one request for approval, as decide() checks
                assert result.is_error
                assert "Call the tool again later, with the same arguments" in text(result)
                result = await host.call_tool("refund", {"order": decision})
            await live.decide(decision)
            while "pending" in text(result):
                result = await host.call_tool("refund", {"order": decision})
            said = "refunded approve" if decision == "approve" else "A person rejected the call."
            assert said in text(result)
        assert "pending" in text(await host.call_tool("refund", {"order": "approve"}))  # another call
    assert live.refunded == ["approve"]


@pytest.mark.usefixtures("asked_often")
@in_a_loop
async def test_no_more_calls_are_kept_than_a_toolset_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcp, "_MAX_WAITING", 1)
    async with served() as (live, backend), connected("memory", backend) as host:
        live.offer_refund()
        for order in ("a", "b"):
            await host.call_tool("refund", {"order": order})
        assert "pending" in text(await host.call_tool("refund", {"order": "a"}))  # a request of its own
        assert live.refunded == []


async def _never(*_: Any) -> types.ElicitResult:
    raise AssertionError


class TestACall:
    """What a host gets."""

    @pytest.mark.parametrize("way", IN_PROCESS)
    @in_a_loop
    async def test_that_takes_long_reports_what_the_function_declares_to_say(self, way: str) -> None:
        reported: list[str | None] = []

        async with served() as (live, backend):
            live.backend.function(
                live.book_table, name="reserve", say_while_waiting="I am asking.", typical_seconds=9
            )

            async def report(progress: float, total: float | None, message: str | None) -> None:
                assert (progress, total) == (1, None)
                reported.append(message)
                live.release.set()

            async with connected(way, backend) as host:
                result = await host.call_tool("reserve", {"name": "Ada"}, progress_callback=report)
        assert not result.is_error
        assert reported == ["I am asking."]

    @pytest.mark.parametrize("way", IN_PROCESS)
    @in_a_loop
    async def test_reports_what_the_function_does_and_that_it_still_runs(self, way: str) -> None:
        heard: asyncio.Queue[tuple[float, float | None, str | None]] = asyncio.Queue()
        go_on, end = asyncio.Event(), asyncio.Event()

        async def count(context: FunctionContext) -> str:
            context.progress("Looking at March")
            context.progress("Looking at April")
            await go_on.wait()
            context.progress("Looking at May")
            await end.wait()
            return "done"

        async def report(progress: float, total: float | None, message: str | None) -> None:
            await heard.put((progress, total, message))

        async with served() as (live, backend):
            options: Any = {"functions": [count], "slow_after": 0.01}
            async with connected(way, backend, **options) as host:
                call = asyncio.create_task(host.call_tool("count", progress_callback=report))
                assert await heard.get() == (1, None, "Looking at March")
                assert await heard.get() == (2, None, "Looking at April")
                go_on.set()
                number, _, message = await heard.get()
                while message != "Looking at May":
                    assert message == "Looking at April"  # it still runs
                    last, (number, _, message) = number, await heard.get()
                    assert number > last
                end.set()
                assert not (await call).is_error
                booking = asyncio.create_task(
                    host.call_tool("book_table", {"name": "A"}, progress_callback=report)
                )
                while not re.search(r"book_table has been running for \d+ s", str((await heard.get())[2])):
                    pass
                live.release.set()
                assert not (await booking).is_error
                assert not (await host.call_tool("count")).is_error  # without anybody who listens

    @pytest.mark.parametrize("way", WAYS)
    @in_a_loop
    async def test_runs_the_function_and_gives_its_result(self, way: str) -> None:
        async with served() as (_, backend), connected(way, backend) as host:
            result = await host.call_tool("get_weather", {"location": "Bogotá"})
        assert not result.is_error
        assert result.structured_content == {
            "ok": True,
            "function_name": "get_weather",
            "source": "tests.integrations.live_backend#get_weather",
            "result": {"location": "Bogotá", "temperature": 21},
        }
        assert json.loads(text(result)) == result.structured_content

    @pytest.mark.parametrize("way", WAYS)
    @in_a_loop
    async def test_that_fails_returns_one_error_and_the_session_goes_on(self, way: str) -> None:
        async with served() as (_, backend), connected(way, backend) as host:
            for name, arguments, said in (
                ("break_down", {}, "failed"),
                ("get_weather", {}, "location"),
                ("get_weather", {"location": 7}, "location"),
                ("nowhere", {}, "get_weather"),
            ):
                result = await host.call_tool(name, arguments)
                assert result.is_error
                assert result.structured_content is not None
                assert result.structured_content["ok"] is False
                assert said in text(result)
            assert not (await host.call_tool("get_weather", {"location": "Lima"})).is_error

    @pytest.mark.parametrize("way", IN_PROCESS)
    @in_a_loop
    async def test_that_exceeds_its_limit_says_that_it_may_have_run(self, way: str) -> None:
        async with (
            served() as (live, backend),
            connected(way, backend, timeouts={"book_table": 10.0}) as host,
        ):
            calling = asyncio.create_task(host.call_tool("book_table", {"name": "Ada"}))
            await live.waiting.wait()
            pass_time(11)
            result = await calling
            live.release.set()
        assert result.is_error
        assert json.loads(text(result))["may_have_executed"] is True

    @pytest.mark.parametrize("way", IN_PROCESS)
    @in_a_loop
    async def test_runs_concurrently_with_nine_others(self, way: str) -> None:
        async with served() as (_, backend), connected(way, backend) as host:
            guests = range(10)
            results = await asyncio.gather(*(host.call_tool("meet", {"guest": guest}) for guest in guests))
        assert [json.loads(text(result))["result"] for result in results] == [*guests]

    @pytest.mark.parametrize("way", ["memory", "memory, legacy", "http, legacy", "http, a user"])
    @in_a_loop
    async def test_that_changes_something_waits_for_one_that_does(self, way: str) -> None:
        options: Any = {"identity": lambda _: {"X-User": "ada"}} if way == "http, a user" else {}
        async with served() as (live, backend):
            live.backend.function(live.book_table, name="reserve", effect="write")
            async with connected(way.removesuffix(", a user"), backend, **options) as host:
                first = asyncio.create_task(host.call_tool("reserve", {"name": "Ada"}))
                await live.waiting.wait()
                second = asyncio.create_task(host.call_tool("reserve", {"name": "Bea"}))
                live.waiting.clear()
                assert not (await host.call_tool("get_weather", {"location": "Lima"})).is_error
                assert not live.waiting.is_set()
                live.release.set()
                assert not (await first).is_error
                assert not (await second).is_error
        assert live.booked == ["Ada", "Bea"]

    @in_a_loop
    async def test_over_http_does_not_wait_for_those_of_other_hosts(self) -> None:
        async with served() as (live, backend):
            entered: asyncio.Queue[None] = asyncio.Queue()

            @live.backend.function(effect="write")
            async def reserve() -> None:
                """Reserve."""
                await entered.put(None)
                await live.release.wait()

            async with served_over_http(backend) as url, AsyncExitStack() as stack:
                hosts = [
                    await stack.enter_async_context(Client(url, mode=era))
                    for era in ("auto", "auto", "legacy", "legacy")
                ]
                calls = [asyncio.create_task(host.call_tool("reserve")) for host in hosts]
                for _ in hosts:
                    await entered.get()
                live.release.set()
                assert not any([(await call).is_error for call in calls])

    @pytest.mark.parametrize("way", WAYS)
    @in_a_loop
    async def test_that_is_cancelled_runs_to_its_end_and_the_session_goes_on(self, way: str) -> None:
        async with served() as (live, backend), connected(way, backend) as host:
            task = asyncio.create_task(host.call_tool("book_table", {"name": "Ada"}))
            await live.waiting.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not (await host.call_tool("get_weather", {"location": "Lima"})).is_error
            live.release.set()
            await live.done.wait()
        assert live.booked == ["Ada"]

    @pytest.mark.parametrize("way", ["memory", "memory, legacy", "http, legacy", "http, a user"])
    @pytest.mark.parametrize("when", ["while it runs", "afterwards", "much later"])
    @in_a_loop
    async def test_that_is_made_again_after_it_was_cancelled_gets_what_came_of_it(
        self, way: str, when: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if when == "much later":
            monkeypatch.setattr(mcp, "_RETRIED_WITHIN", 0.0)
        options: Any = {"identity": lambda _: {"X-User": "ada"}} if way == "http, a user" else {}
        async with (
            served() as (live, backend),
            connected(way.removesuffix(", a user"), backend, **options) as host,
        ):
            first = asyncio.create_task(host.call_tool("book_table", {"name": "Ada"}))
            await live.waiting.wait()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            if when != "while it runs":
                await host.call_tool("get_weather", {"location": "Lima"})  # after the host's cancellation
                live.release.set()
                await live.done.wait()
            again = asyncio.create_task(host.call_tool("book_table", {"name": "Ada"}))
            if when == "while it runs":
                live.waiting.clear()
                await host.call_tool("get_weather", {"location": "Lima"})
                assert not live.waiting.is_set()
                live.release.set()
            assert json.loads(text(await again))["result"] == "booked for Ada"
            assert live.booked == ["Ada"] * (2 if when == "much later" else 1)
            await host.call_tool("book_table", {"name": "Ada"})  # another call
            await host.call_tool("book_table", {"name": "Eve"})
        assert live.booked == ["Ada"] * (3 if when == "much later" else 2) + ["Eve"]

    @pytest.mark.parametrize("asks", ["again", "only then"])
    @pytest.mark.parametrize("way", ["memory", "memory, legacy", "http, legacy"])
    @in_a_loop
    async def test_that_is_made_again_while_it_runs_reports_to_the_second_request(
        self, way: str, asks: str
    ) -> None:
        heard: asyncio.Queue[str | None] = asyncio.Queue()
        begun, go_on, end = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def count(context: FunctionContext) -> str:
            context.progress("Looking at March")
            begun.set()
            await go_on.wait()
            context.progress("Looking at April")
            await end.wait()
            return "done"

        async def report(progress: float, total: float | None, message: str | None) -> None:
            await heard.put(message)

        async with served() as (live, backend):
            live.backend.function(count)
            async with connected(way, backend, slow_after=None) as host:
                callback = report if asks == "again" else None
                first = asyncio.create_task(host.call_tool("count", progress_callback=callback))
                await begun.wait()
                if asks == "again":
                    assert await heard.get() == "Looking at March"
                first.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await first
                again = asyncio.create_task(host.call_tool("count", progress_callback=report))
                await host.call_tool("get_weather", {"location": "Lima"})
                go_on.set()
                said = await asyncio.wait_for(heard.get(), 10)
                if asks == "only then" and said == "Looking at March":  # the first request was quick to go
                    said = await asyncio.wait_for(heard.get(), 10)
                assert said == "Looking at April"
                end.set()
                assert json.loads(text(await again))["result"] == "done"

    @in_a_loop
    async def test_that_was_cancelled_is_no_concern_of_other_hosts(self) -> None:
        async with (
            served() as (live, backend),
            served_over_http(backend) as url,
            Client(url) as host,
            Client(url) as other,
        ):
            first = asyncio.create_task(host.call_tool("book_table", {"name": "Ada"}))
            await live.waiting.wait()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            live.release.set()
            await live.done.wait()
            assert not (await other.call_tool("book_table", {"name": "Ada"})).is_error
        assert live.booked == ["Ada", "Ada"]

    @in_a_loop
    async def test_no_more_cancelled_calls_are_remembered_than_calls_wait(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mcp, "_MAX_WAITING", 1)
        async with served() as (live, backend), connected("memory", backend) as host:
            for name in ("Ada", "Eve"):
                call = asyncio.create_task(host.call_tool("book_table", {"name": name}))
                await live.waiting.wait()
                live.waiting.clear()
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
            live.release.set()
            for name in ("Ada", "Eve"):
                assert not (await host.call_tool("book_table", {"name": name})).is_error
        assert sorted(live.booked) == ["Ada", "Ada", "Eve"]

    @in_a_loop
    async def test_whose_request_is_sent_again_runs_once(self) -> None:
        headers = {"Accept": "application/json, text/event-stream", "MCP-Protocol-Version": "2025-11-25"}
        client_info = {"name": "raw", "version": "1"}
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client_info}
        call = {"name": "book_table", "arguments": {"name": "Ada"}}

        def message(method: str, **fields: Any) -> dict[str, Any]:
            return {"jsonrpc": "2.0", "method": method, **fields}

        async with (
            served() as (live, backend),
            served_over_http(backend) as url,
            httpx2.AsyncClient(headers=headers, trust_env=False) as http,
        ):
            opened = await http.post(url, json=message("initialize", id=1, params=hello))
            http.headers["Mcp-Session-Id"] = opened.headers["mcp-session-id"]
            await http.post(url, json=message("notifications/initialized"))
            request = message("tools/call", id=2, params=call)
            async with http.stream("POST", url, json=request):
                await live.waiting.wait()  # then the connection is lost
            async with http.stream("POST", url, json=request) as again:
                live.release.set()
                body = await again.aread()
        assert b"booked for Ada" in body
        assert live.booked == ["Ada"]

    @pytest.mark.parametrize("way", ["memory", "http, legacy", "stdio"])
    @in_a_loop
    async def test_of_a_host_that_disconnects_runs_to_its_end(self, way: str) -> None:
        async with served() as (live, backend):
            async with connected(way, backend) as host:
                task = asyncio.create_task(host.call_tool("book_table", {"name": "Ada"}))
                await live.waiting.wait()
                asyncio.get_running_loop().call_later(0.1, live.release.set)
            await asyncio.wait([task])
            await live.done.wait()
        assert live.booked == ["Ada"]

    @pytest.mark.parametrize("way", ["stdio"])
    @in_a_loop
    async def test_that_prints_does_not_disturb_the_protocol(self, way: str) -> None:
        async with served() as (_, backend), connected(way, backend) as host:
            result = await host.call_tool("print", {"args": ["hello"]})
            assert json.loads(text(result))["result"] is None
            assert not (await host.call_tool("get_weather", {"location": "Lima"})).is_error

    @in_a_loop
    async def test_works_with_a_synchronous_client(self) -> None:
        async with live_backend() as live:
            with NavaiBackendClient(live.url) as backend:
                async with Client(build_mcp_server(backend)) as host:
                    result = await host.call_tool("get_weather", {"location": "Lima"})
        assert not result.is_error


class TestTheUserOfAHost:
    """Each user calls the backend by themselves."""

    @pytest.mark.parametrize(("era", "kept"), [("", 1000), ("legacy", 1000), ("", 1)])
    @in_a_loop
    async def test_has_their_own_tools_and_calls(
        self, era: Any, kept: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mcp, "_MAX_SESSIONS", kept)
        shown: list[tuple[str, str]] = []

        async def backend(request: httpx.Request) -> httpx.Response:
            user = request.headers["authorization"]
            if request.method == "GET":
                names = {"Bearer ada": ["all", "of_ada"], "Bearer own": ["all"]}.get(user, ["pay"])
                return httpx.Response(200, json={"items": [{"name": name} for name in names], "warnings": []})
            name = json.loads(request.content)["function_name"]
            shown.append((name, user))
            if name == "pay":
                waits = {"ok": False, "pending_approval": True, "approval": {"id": user}}
                key = {"Idempotency-Key": request.headers["Idempotency-Key"]}
                return httpx.Response(202, json=waits, headers=key)
            return httpx.Response(200, json={"ok": True, "function_name": name, "result": user})

        def identity(headers: Mapping[str, str]) -> dict[str, str]:
            return {"Authorization": f"Bearer {headers['X-User']}"}

        async with (
            AsyncNavaiBackendClient(
                "http://backend.example", env={}, access_token="own", transport=backend
            ) as client,
            served_over_http(client, max_age=0.0, identity=identity) as url,
        ):

            @asynccontextmanager
            async def host(headers: dict[str, str]) -> AsyncIterator[Client]:
                async with (
                    httpx2.AsyncClient(headers=headers, trust_env=False) as http,
                    Client(streamable_http_client(url, http_client=http), mode=era or "auto") as connected,
                ):
                    yield connected

            async with host({"X-User": "ada"}) as ada, host({"X-User": "bea"}) as bea:
                assert [tool.name for tool in (await ada.list_tools()).tools] == ["all", "of_ada"]
                assert [tool.name for tool in (await bea.list_tools()).tools] == ["pay"]
                results = await asyncio.gather(*(ada.call_tool("of_ada", {"n": n}) for n in range(5)))
                assert {json.loads(text(each))["result"] for each in results} == {"Bearer ada"}
                assert (await bea.call_tool("of_ada")).is_error
            async with host({"X-User": "bea"}) as bea, host({"X-User": "cy"}) as cy:
                for user in (bea, bea, cy):  # the second is told that the first waits
                    assert "waits for the approval" in text(await user.call_tool("pay"))
            async with host({}) as nobody:
                with pytest.raises(MCPError, match="user of the host is not known"):
                    await nobody.list_tools()
        assert shown[:5] == [("of_ada", "Bearer ada")] * 5
        assert shown[5:7] == [("pay", "Bearer bea"), ("pay", "Bearer cy")]


class TestTheTools:
    """What a host sees."""

    @pytest.mark.parametrize("way", IN_PROCESS)
    @in_a_loop
    async def test_are_those_of_the_backend(self, way: str) -> None:
        async with served() as (_, backend), connected(way, backend, read_only=["get_weather"]) as host:
            listed = await host.list_tools()
        tools = {tool.name: tool for tool in listed.tools}
        assert set(tools) - {"print"} == {"get_weather", "book_table", "break_down", "meet"}
        assert tools["get_weather"].description == "Get the current weather of a place."
        assert tools["get_weather"].input_schema == {
            "type": "object",
            "properties": {"location": {"type": "string", "description": "City or region."}},
            "required": ["location"],
            "additionalProperties": False,
        }
        assert tools["get_weather"].annotations is not None
        assert tools["get_weather"].annotations.read_only_hint is True
        assert tools["book_table"].annotations is None

    @pytest.mark.parametrize(
        ("effect", "hints"),
        [
            ("read", {"readOnlyHint": True}),
            ("write", {"readOnlyHint": False, "destructiveHint": False}),
            ("dangerous", {"readOnlyHint": False, "destructiveHint": True}),
        ],
    )
    @in_a_loop
    async def test_have_hints_by_their_declared_effects(self, effect: Any, hints: dict[str, Any]) -> None:
        async with served() as (live, backend):
            live.backend.function(lambda: None, name="act", effect=effect)
            async with connected("memory", backend) as host:
                (tool,) = [each for each in (await host.list_tools()).tools if each.name == "act"]
        assert tool.annotations is not None
        assert tool.annotations.model_dump(by_alias=True, exclude_none=True) == hints

    @in_a_loop
    async def test_have_names_that_hosts_accept(self) -> None:
        """Other backends than the bundled one allow any name."""
        executed: list[Any] = []

        def backend(request: httpx.Request) -> httpx.Response:
            if request.method == "GET":
                return httpx.Response(200, json={"items": [{"name": "compra de té"}], "warnings": []})
            executed.append(json.loads(request.content))
            return httpx.Response(200, json={"ok": True, "function_name": "compra de té", "result": "té"})

        async with (
            AsyncNavaiBackendClient("http://backend.example", env={}, transport=backend) as client,
            Client(build_mcp_server(client)) as host,
        ):
            (tool,) = (await host.list_tools()).tools
            result = await host.call_tool(tool.name, {"cups": 2})
        assert tool.name == "compra_de_te"
        assert executed == [{"function_name": "compra de té", "payload": {"cups": 2}}]
        assert result.structured_content["result"] == "té"

    @pytest.mark.parametrize("way", ["memory", "memory, legacy"])
    @in_a_loop
    async def test_say_what_every_outcome_looks_like(self, way: str) -> None:
        def much() -> list[str]:
            return ["x" * 100] * 1000

        options: Any = {
            "functions": [much],
            "navigate": print,
            "routes": [NavaiRoute(name="home", path="/")],
            "approval": ["book_table"],
            "show_details": True,
            "timeouts": {"meet": 0.2},
        }
        async with served() as (live, backend):
            live.offer_refund()
            async with connected(way, backend, **options) as host:
                schemas = [tool.output_schema for tool in (await host.list_tools()).tools]
                results = [
                    await host.call_tool(name, arguments)
                    for name, arguments in (
                        ("get_weather", {"location": "Lima"}),
                        ("get_weather", {}),
                        ("much", {}),
                        ("navigate_to", {"target": "home"}),
                        ("book_table", {"name": "Ada"}),
                        ("refund", {"order": "7"}),
                        ("break_down", {}),
                        ("meet", {"guest": 1}),
                        ("nowhere", {}),
                    )
                ]
        assert None not in schemas
        (schema,) = {json.dumps(schema) for schema in schemas}
        closed = {**json.loads(schema), "additionalProperties": False}
        for result in results:
            jsonschema.validate(result.structured_content, closed)
        assert [result.is_error for result in results] == [False, True, False, False] + [True] * 5

    @in_a_loop
    async def test_have_warnings_that_are_logged_once_each(self, caplog: pytest.LogCaptureFixture) -> None:
        names = ["compra de té"]

        def backend(_: httpx.Request) -> httpx.Response:
            return httpx.Response(200, json={"items": [{"name": name} for name in names], "warnings": []})

        async with (
            AsyncNavaiBackendClient("http://backend.example", env={}, transport=backend) as client,
            Client(build_mcp_server(client, max_age=0.0)) as host,
        ):
            await host.list_tools()
            names.append("venta de té")
            await host.list_tools()
            await host.list_tools()
        logged = [record.getMessage() for record in caplog.records]
        assert [sum(f'"{name}"' in each for each in logged) for name in names] == [1, 1]

    @pytest.mark.parametrize("way", IN_PROCESS)
    @in_a_loop
    async def test_are_on_one_page(self, way: str) -> None:
        async with served() as (_, backend), connected(way, backend) as host:
            assert (await host.list_tools()).next_cursor is None
            with pytest.raises(MCPError, match="no such page"):
                await host.list_tools(cursor="2")

    @pytest.mark.parametrize("way", IN_PROCESS)
    @in_a_loop
    async def test_are_listed_again_after_max_age(self, way: str) -> None:
        async with served() as (live, backend), connected(way, backend, max_age=0.0) as host:
            before = {tool.name for tool in (await host.list_tools()).tools}

            @live.backend.function
            def sing() -> str:
                return "la"

            after = {tool.name for tool in (await host.list_tools()).tools}
        assert after - before == {"sing"}

    @pytest.mark.parametrize("way", IN_PROCESS)
    @in_a_loop
    async def test_are_not_listed_again_before_max_age(self, way: str) -> None:
        async with served() as (live, backend), connected(way, backend, max_age=3600.0, poll=None) as host:
            before = await host.list_tools()

            @live.backend.function
            def sing() -> str:
                return "la"

            assert (await host.list_tools()).tools == before.tools

    @pytest.mark.parametrize("way", ["memory, legacy", "stdio, legacy"])
    @in_a_loop
    async def test_that_changed_are_announced_to_hosts_of_the_older_protocol(self, way: str) -> None:
        notified = asyncio.Event()

        async def handler(message: object) -> None:
            assert isinstance(message, types.ToolListChangedNotification)
            notified.set()

        async with (
            served() as (live, backend),
            connected(way, backend, handler=handler, poll=0.01) as host,
        ):
            assert host.server_capabilities.tools == types.ToolsCapability(list_changed=True)
            await host.list_tools()

            @live.backend.function
            def sing() -> str:
                return "la"

            await notified.wait()
            assert "sing" in {tool.name for tool in (await host.list_tools()).tools}

    @in_a_loop
    async def test_that_changed_are_announced_to_the_others_after_a_host_disconnected(self) -> None:
        notified = asyncio.Event()

        async def handler(message: object) -> None:
            notified.set()

        async with served() as (live, backend):
            server = build_mcp_server(backend, poll=0.01)
            async with Client(server, mode="legacy", message_handler=handler) as stays:
                async with Client(server, mode="legacy") as goes:
                    await goes.list_tools()
                await stays.list_tools()

                @live.backend.function
                def sing() -> str:
                    return "la"

                await notified.wait()

    @in_a_loop
    async def test_that_changed_do_not_wait_for_a_host_that_does_not_read(self) -> None:
        async def reads_no_more(message: object) -> None:
            await asyncio.Event().wait()

        async with served() as (live, backend):
            server = build_mcp_server(backend, max_age=0.0, poll=None)
            async with (
                Client(server, mode="legacy", message_handler=reads_no_more) as deaf,
                Client(server, mode="legacy") as host,
            ):
                await deaf.list_tools()
                for number in range(3):
                    live.backend.function(name=f"sing_{number}")(lambda: "la")
                    assert len((await host.list_tools()).tools) == 5 + number

    @in_a_loop
    async def test_that_changed_are_announced_to_the_hosts_that_listed_them_last(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("navai_client.integrations.mcp._MAX_SESSIONS", 1)
        notified: list[str] = []
        done = asyncio.Event()

        async def first(message: object) -> None:
            notified.append("first")

        async def last(message: object) -> None:
            notified.append("last")
            done.set()

        async with served() as (live, backend):
            server = build_mcp_server(backend, poll=0.01)
            async with (
                Client(server, mode="legacy", message_handler=first) as early,
                Client(server, mode="legacy", message_handler=last) as late,
            ):
                await early.list_tools()
                await late.list_tools()

                @live.backend.function
                def sing() -> str:
                    return "la"

                await done.wait()
                await early.list_tools()
        assert notified == ["last"]

    @in_a_loop
    async def test_include_navigation(self) -> None:
        opened: list[str] = []
        routes = iter([NavaiRoute(name="help", path="/help")])
        async with served() as (_, backend):
            server = build_mcp_server(backend, routes=routes, navigate=opened.append)
            for _ in range(2):
                async with Client(server) as host:
                    assert not (await host.call_tool("navigate_to", {"target": "help"})).is_error
        assert opened == ["/help", "/help"]

    @pytest.mark.parametrize("way", ["memory", "http", "stdio"])
    @in_a_loop
    async def test_that_changed_are_announced_to_subscribers(self, way: str) -> None:
        async with served() as (live, backend), connected(way, backend, poll=0.01) as host:
            await host.list_tools()
            async with host.listen(tools_list_changed=True) as changes:

                @live.backend.function
                def sing() -> str:
                    return "la"

                async for _ in changes:
                    break
            assert "sing" in {tool.name for tool in (await host.list_tools()).tools}

    @pytest.mark.parametrize("way", IN_PROCESS)
    @in_a_loop
    async def test_are_missing_while_the_backend_is_down(
        self, way: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with AsyncExitStack() as stack:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.1", 0))  # nothing listens there yet, and nobody else can
            client = AsyncNavaiBackendClient(url_of(listener), max_retries=0)
            backend = await stack.enter_async_context(client)
            host = await stack.enter_async_context(connected(way, backend, max_age=0.0))
            assert (await host.list_tools()).tools == []
            assert "Failed to load backend functions" in caplog.text
            result = await host.call_tool("get_weather", {"location": "Lima"})
            assert result.is_error
            async with live_backend(listener):
                assert len((await host.list_tools()).tools) == 4

    def test_with_invalid_options_are_refused_at_construction(self) -> None:
        with NavaiBackendClient() as client, pytest.raises(NavaiConfigError, match="timeout"):
            build_mcp_server(client, timeout=-1)


class TestTheServerOverStdio:
    """How it ends."""

    def test_is_ended_by_ctrl_c_while_it_reads(self) -> None:
        hello = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"},
        }
        request = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        command = [sys.executable, "-c", STDIO, "http://127.0.0.1:9", "{}"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["result"]["serverInfo"]["name"] == "navai"
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == -signal.SIGINT

    def test_can_serve_in_a_thread(self) -> None:
        ended = threading.Event()

        async def serve() -> None:
            async with AsyncNavaiBackendClient() as client:
                await serve_stdio(client, poll=None)
            ended.set()

        with Path(os.devnull).open() as nothing, pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", nothing)
            thread = threading.Thread(target=asyncio.run, args=[serve()])
            thread.start()
            thread.join(60)
        assert ended.is_set()


class TestTheHttpServer:
    """Which requests are admitted."""

    @in_a_loop
    async def test_refuses_other_host_names_and_origins(self) -> None:
        async with served() as (_, backend), served_over_http(backend) as url, httpx2.AsyncClient() as web:
            answer = await web.post(url, json={}, headers={"Host": "evil.example"})
            assert answer.status_code == 421
            answer = await web.post(url, json={}, headers={"Origin": "https://evil.example"})
            assert answer.status_code == 403

    @in_a_loop
    async def test_admits_its_allowed_hosts(self) -> None:
        async with (
            served() as (_, backend),
            served_over_http(backend, host="0.0.0.0", allowed_hosts=["mcp.example"]) as url,
            httpx2.AsyncClient() as web,
        ):
            local = url.replace("0.0.0.0", "127.0.0.1")
            statuses = [
                (await web.post(local, json={}, headers={"Host": name})).status_code
                for name in ("evil.example", "mcp.example", "mcp.example:8443", "localhost:1")
            ]
        assert statuses == [421, 400, 400, 400]

    @in_a_loop
    async def test_requires_allowed_hosts_to_listen_to_other_machines(self) -> None:
        async with AsyncNavaiBackendClient() as client:
            with pytest.raises(NavaiConfigError, match="allowed_hosts"):
                await serve_http(client, host="0.0.0.0")

    @in_a_loop
    async def test_admits_only_requests_with_the_token(self) -> None:
        async with (
            served() as (_, backend),
            served_over_http(backend, access_token="sesame") as url,
            httpx2.AsyncClient() as web,
        ):
            statuses = [
                (await web.post(url, json={}, headers=httpx2.Headers(headers, "latin-1"))).status_code
                for headers in ({}, {"Authorization": "Bearer \xff"}, {"Authorization": "Bearer sesame"})
            ]
        assert statuses == [401, 401, 400]

    @in_a_loop
    async def test_listens_on_ipv6_too(self) -> None:
        async with (
            served() as (_, backend),
            served_over_http(backend, host="::1") as url,
            Client(url) as host,
        ):
            assert url.startswith("http://[::1]:")
            assert not (await host.call_tool("get_weather", {"location": "Lima"})).is_error


def test_a_missing_extra_is_one_line() -> None:
    code = (
        "import sys\n"
        "sys.modules['mcp'] = None\n"
        "try: import navai_client.integrations.mcp\n"
        "except ImportError as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "mcp is not installed; run: pip install 'navai-client[mcp]'\n"


@in_a_loop
async def test_a_host_is_not_told_twice_what_a_function_has_just_reported() -> None:
    told: list[tuple[float, str]] = []

    class Session:
        """Keeps what a host is told."""

        async def report_progress(self, number: float, *, message: str) -> None:
            told.append((number, message))

    session: Any = Session()
    reports: Any = mcp._Reports(session)
    progress = SimpleNamespace(call=SimpleNamespace(function_name="f"), seconds=2.0, message=None)
    await reports.report("Looking at March")
    await reports.tell(progress)
    await reports.tell(progress)
    assert told == [(1, "Looking at March"), (2, "f has been running for 2 s.")]

"""What a function declares of itself travels from the decorator to the tools of an agent."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from navai_client import AsyncNavaiBackendClient, FunctionList, NavaiConfigError
from navai_client.integrations.toolset import Toolset
from navai_client.server import NavaiBackend, function
from tests.integrations.live_backend import LiveBackend, live_backend
from tests.integrations.loop import in_a_loop
from tests.serving import serving_app
from tests.waiting import pass_time


def nothing() -> str:
    """Do nothing."""
    return "done"


DECLARED: dict[str, dict[str, Any]] = {
    "look": {"effect": "read", "typical_seconds": 12, "say_while_waiting": "I am looking."},
    "book": {"effect": "write", "timeout": 45},
    "erase": {"effect": "dangerous"},
    "pay": {"effect": "dangerous", "approval": True},
    "plain": {"timeout": 0},
}


@asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[LiveBackend, Toolset]]:
    async with live_backend() as live:
        for name, declared in DECLARED.items():
            live.backend.function(nothing, name=name, **declared)
        async with (
            AsyncNavaiBackendClient(live.url, env={}) as client,
            Toolset.load(client, only=DECLARED, **options) as toolset,
        ):
            yield live, toolset


@in_a_loop
async def test_the_list_says_what_was_declared_and_nothing_else() -> None:
    async with (
        served() as (live, _),
        httpx.AsyncClient(base_url=live.url, timeout=60, trust_env=False) as http,
    ):
        items = (await http.get("/navai/functions")).json()["items"]
    assert {each["name"]: each.get("metadata") for each in items if each["name"] in DECLARED} == {
        "look": {"effect": "read", "typical_seconds": 12, "say_while_waiting": "I am looking."},
        "book": {"effect": "write", "timeout_seconds": 45},
        "erase": {"effect": "dangerous"},
        "pay": {"effect": "dangerous", "requires_approval": True},
        "plain": None,
    }


@in_a_loop
async def test_the_client_and_the_tools_have_it() -> None:
    async with served() as (live, toolset), AsyncNavaiBackendClient(live.url, env={}) as client:
        look = (await client.list_functions())["look"]
        tools = {tool.name: tool for tool in toolset.tools}
    assert (look.effect, look.typical_seconds, look.say_while_waiting) == ("read", 12, "I am looking.")
    tool = tools["look"]
    assert (tool.effect, tool.typical_seconds, tool.say_while_waiting) == ("read", 12, "I am looking.")
    assert {name: each.read_only for name, each in tools.items()} == {name: name == "look" for name in tools}
    assert [tools["book"].timeout, tools["plain"].timeout] == [45, 20]


@in_a_loop
async def test_a_dangerous_call_asks_the_person_unless_one_is_asked_at_the_backend() -> None:
    asked: list[str] = []

    def approve(call: Any) -> bool:
        asked.append(call.function_name)
        return False

    async with served(direct_tools=False) as (_, toolset):
        tools = {tool.name: tool.approval for tool in toolset.tools}
        refused = await toolset.call("erase", approve=approve)
        nobody = await toolset.call("erase")
        waits = await toolset.call("pay", approve=approve)
        done = await toolset.call("book", approve=approve)
    assert tools == {"execute_app_function": False, "erase": True}
    assert asked == ["erase"]
    assert (refused.error_type, nobody.error_type, waits.pending, done.ok) == (
        "refused",
        "refused",
        True,
        True,
    )


@in_a_loop
async def test_options_override_it() -> None:
    options = {"read_only": ["erase"], "approval": ["look"], "timeouts": {"book": 3}}
    async with served(**options) as (_, toolset):
        tools = {tool.name: tool for tool in toolset.tools}
        unasked = await toolset.call("erase")
    assert (tools["erase"].effect, tools["erase"].approval, unasked.ok) == ("read", False, True)
    assert (tools["look"].effect, tools["look"].approval) == ("read", True)
    assert tools["book"].timeout == 3


@in_a_loop
async def test_local_functions_declare_the_same() -> None:
    @function(effect="dangerous", typical_seconds=0.5, say_while_waiting="Wait.")
    def wipe() -> None:
        """Wipe it."""

    async with served(functions=[wipe]) as (_, toolset):
        (tool,) = [tool for tool in toolset.tools if tool.name == "wipe"]
        outcome = await toolset.call("wipe")
    assert (tool.effect, tool.typical_seconds, tool.say_while_waiting) == ("dangerous", 0.5, "Wait.")
    assert tool.approval
    assert outcome.error_type == "refused"


class TestATypicalTimeThatIsLongerThanTheLimit:
    """A call may take twice as long as it does as a rule, unless a limit of the function itself is given."""

    @in_a_loop
    async def test_raises_the_limits_of_the_backend_and_of_the_toolset(self) -> None:
        async def search() -> str:
            await asyncio.sleep(0.2)  # longer than both limits
            return "found"

        backend = NavaiBackend(env={}, function_timeout=0.05)
        backend.function(search, typical_seconds=10)
        with serving_app(backend) as url:
            async with AsyncNavaiBackendClient(url, env={}) as client:
                local = function(name="local_search", typical_seconds=10)(search)
                async with Toolset.load(client, functions=[local], timeout=0.1) as toolset:
                    assert {tool.name: tool.timeout for tool in toolset.tools} == {
                        "search": 20,
                        "local_search": 20,
                    }
                    assert (await toolset.call("search")).result == "found"
                    assert (await toolset.call("local_search")).result == "found"

    @pytest.mark.parametrize(
        ("declared", "options", "expected"),
        [
            ({"typical_seconds": 9}, {}, 20),
            ({"typical_seconds": 15}, {}, 30),
            ({"typical_seconds": 15}, {"timeout": None}, None),
            ({"typical_seconds": 15}, {"timeouts": {"look": 8}}, 8),
            ({"typical_seconds": 15, "timeout": 16}, {}, 16),
            ({"typical_seconds": 15, "timeout": 0}, {}, None),
            ({"typical_seconds": 10**9}, {}, None),
        ],
    )
    def test_raises_the_limit_that_is_not_of_the_function(
        self, declared: Any, options: Any, expected: float | None
    ) -> None:
        local = function(name="look", **declared)(lambda: None)
        client = AsyncNavaiBackendClient("https://navai.test", env={})
        (tool,) = Toolset(client, FunctionList(), functions=[local], **options).tools
        assert tool.timeout == expected

    @pytest.mark.parametrize("said", ["typical_seconds", "timeout_seconds"])
    @in_a_loop
    async def test_of_any_size_ends_no_call(self, said: str) -> None:
        def respond(request: httpx.Request) -> httpx.Response:
            item = {"name": "look", "metadata": {said: 10**400}}
            listed = {"items": [item]} if request.method == "GET" else {"ok": True, "result": "seen"}
            return httpx.Response(200, json=listed)

        async with (
            AsyncNavaiBackendClient("https://navai.test", env={}, transport=respond) as client,
            Toolset.load(client) as toolset,
        ):
            assert (await toolset.call("look")).result == "seen"


class TestWhatIsSaidDuringALongCall:
    """It is said once for calls that run at the same time in one conversation."""

    @pytest.mark.parametrize(
        ("seconds", "slow_after"), [(None, 0.01), (1, 0.01), (61, 60)], ids=["late", "either", "at once"]
    )
    @in_a_loop
    async def test_it_is_what_the_function_declares(self, seconds: float | None, slow_after: float) -> None:
        said: asyncio.Queue[str] = asyncio.Queue()
        async with live_backend() as live, AsyncNavaiBackendClient(live.url, env={}) as client:
            live.backend.function(
                live.book_table, name="reserve", say_while_waiting="Wait.", typical_seconds=seconds
            )
            async with Toolset.load(client, slow_after=slow_after) as toolset:
                session = object()
                calls = [
                    asyncio.create_task(
                        toolset.call("reserve", {"name": name}, session=session, say=said.put)
                    )
                    for name in ("Ada", "Bea")
                ]
                assert await said.get() == "Wait."
                elsewhere = asyncio.create_task(
                    toolset.call("reserve", {"name": "Cy"}, session=object(), say=said.put)
                )
                assert await said.get() == "Wait."
                live.release.set()
                outcomes = await asyncio.gather(*calls, elsewhere)
        assert all(outcome.ok for outcome in outcomes)
        assert said.empty()

    @pytest.mark.parametrize(
        ("declared", "options"),
        [
            ({"say_while_waiting": "Wait."}, {"slow_after": 60}),
            ({"say_while_waiting": "Wait.", "typical_seconds": 9}, {"slow_after": None}),
            ({"typical_seconds": 9}, {"slow_after": 0.01}),
        ],
        ids=["quick", "never", "nothing declared"],
    )
    @in_a_loop
    async def test_else_nothing_is_said(self, declared: dict[str, Any], options: dict[str, Any]) -> None:
        said: list[str] = []
        async with live_backend() as live, AsyncNavaiBackendClient(live.url, env={}) as client:
            live.backend.function(live.book_table, name="reserve", **declared)
            slow = asyncio.Event()
            async with Toolset.load(client, slow=lambda _: slow.set(), **options) as toolset:
                call = asyncio.create_task(toolset.call("reserve", {"name": "Ada"}, say=said.append))
                await live.waiting.wait()
                if options["slow_after"] == 0.01:
                    await slow.wait()
                live.release.set()
                assert (await call).ok
        assert said == []


class Turns:
    """Functions of a backend that say when they begin, and end when the test lets them."""

    def __init__(self, backend: NavaiBackend, **effects: str | None) -> None:
        self.running: list[str] = []
        self.order: list[str] = []
        self.changed = asyncio.Condition()
        self.may_end: dict[str, asyncio.Event] = {}
        for name, effect in effects.items():
            self.may_end[name] = asyncio.Event()
            given: Any = {} if effect is None else {"effect": effect}
            backend.function(self._made(name), name=name, **given)

    def _made(self, name: str) -> Callable[[], Any]:
        async def run() -> str:
            """Run until the test ends it."""
            async with self.changed:
                self.running.append(name)
                self.order.append(name)
                self.changed.notify_all()
            await self.may_end[name].wait()
            async with self.changed:
                self.running.remove(name)
                self.changed.notify_all()
            return name

        return run

    async def are(self, *names: str) -> None:
        """Wait until the functions *names* run, and no others."""
        async with self.changed:
            await self.changed.wait_for(lambda: sorted(self.running) == sorted(names))


@asynccontextmanager
async def turns(
    effects: dict[str, str | None], **options: Any
) -> AsyncIterator[tuple[Turns, Toolset, Callable[..., "asyncio.Task[Any]"]]]:
    async with live_backend() as live, AsyncNavaiBackendClient(live.url, env={}) as client:
        made = Turns(live.backend, **effects)
        async with Toolset.load(client, **options) as toolset:

            def start(name: str, **given: Any) -> "asyncio.Task[Any]":
                return asyncio.create_task(toolset.call(name, **{"approve": lambda _: True, **given}))

            try:
                yield made, toolset, start
            finally:
                for event in made.may_end.values():
                    event.set()


EFFECTS: dict[str, str | None] = {
    "look": "read",
    "find": "read",
    "book": "write",
    "move": "write",
    "pay": "dangerous",
    "erase": "dangerous",
    "plain": None,
}


class TestCallsAtTheSameTime:
    """Calls that change something take their turn within one conversation; the others run beside them."""

    @in_a_loop
    async def test_what_changes_something_runs_in_the_order_of_the_calls_and_reads_meanwhile(self) -> None:
        async with turns(EFFECTS) as (functions, _, start):
            calls = [start(name, session="one") for name in ("book", "look", "move", "find", "plain", "book")]
            await functions.are("book", "look", "find", "plain")
            functions.may_end["book"].set()
            assert (await calls[0]).ok
            await functions.are("look", "find", "move", "plain")
            functions.may_end["move"].set()
            assert (await calls[2]).ok
            assert (await calls[5]).ok
            assert [name for name in functions.order if name in ("book", "move")] == ["book", "move", "book"]

    @in_a_loop
    async def test_what_is_dangerous_runs_once_the_person_has_approved_it_and_nothing_else_changes(
        self,
    ) -> None:
        approved = asyncio.Event()

        async def approve(_: Any) -> bool:
            await approved.wait()
            return True

        async with turns(EFFECTS) as (functions, _, start):
            pay = start("pay", approve=approve)
            book = start("book")
            await functions.are("book")  # it does not wait for the person
            erase = start("erase")
            approved.set()
            look = start("look")
            await functions.are("book", "look")
            functions.may_end["book"].set()
            assert (await book).ok
            await functions.are("look", "pay")
            functions.may_end["pay"].set()
            assert (await pay).ok
            await functions.are("look", "erase")
            functions.may_end["erase"].set()
            functions.may_end["look"].set()
            assert all([(await call).ok for call in (erase, look)])

    @in_a_loop
    async def test_waiting_takes_no_time_of_the_call(self) -> None:
        @function(effect="write", timeout=10)
        async def note() -> str:
            """Note it."""
            return "noted"

        async with turns(EFFECTS, functions=[note], timeout=None) as (functions, _, start):
            book, noted = start("book"), start("note")
            await functions.are("book")
            pass_time(20)
            done, _ = await asyncio.wait([noted], timeout=0.1)
            assert not done
            functions.may_end["book"].set()
            assert (await book).ok
            assert (await noted).ok

    @in_a_loop
    async def test_a_call_whose_time_is_over_holds_up_no_other(self) -> None:
        async with turns(EFFECTS, timeouts={"book": 10}) as (functions, _, start):
            book, pay = start("book"), start("pay")
            await functions.are("book")
            pass_time(11)
            outcome = await book
            assert (outcome.error_type, outcome.may_have_executed) == ("timeout", True)
            functions.may_end["pay"].set()
            assert (await pay).ok

    @in_a_loop
    async def test_a_caller_that_leaves_before_its_turn_takes_the_call_with_it(self) -> None:
        async with turns(EFFECTS) as (functions, _, start):
            book, pay, erase = start("book"), start("pay"), start("erase")
            await functions.are("book")
            pay.cancel()
            for event in functions.may_end.values():
                event.set()
            assert all([(await call).ok for call in (book, erase)])
        assert functions.order == ["book", "erase"]

    @in_a_loop
    async def test_conversations_do_not_wait_for_each_other(self) -> None:
        async with turns(EFFECTS) as (functions, toolset, start):
            other = asyncio.create_task(toolset.as_user(access_token="eve").call("book"))
            calls = [start("book", session=session) for session in ("one", "two")]
            await functions.are("book", "book", "book")
            functions.may_end["book"].set()
            assert all([(await call).ok for call in (*calls, other)])

    @pytest.mark.parametrize("direct", [True, False], ids=["own tools", "generic tool"])
    @in_a_loop
    async def test_an_option_overrides_it(self, direct: bool) -> None:
        options = {"parallel": {"Book": True, "plain": False, "nowhere": True}, "direct_tools": direct}
        async with turns({"book": "write", "plain": None}, **options) as (functions, toolset, _):

            def start(name: str) -> "asyncio.Task[Any]":
                if direct:
                    return asyncio.create_task(toolset.call(name))
                given = {"function_name": name, "payload": {}}
                return asyncio.create_task(toolset.call("execute_app_function", given))

            calls = [start(name) for name in ("book", "plain", "book", "plain")]
            await functions.are("book", "plain", "book")
            for event in functions.may_end.values():
                event.set()
            assert all([(await call).ok for call in calls])
            parallel = {tool.name: tool.parallel for tool in toolset.tools}
            assert '"nowhere"' in " ".join(toolset.warnings)
        assert parallel.items() >= ({"book": True, "plain": False} if direct else {}).items()
        assert direct or parallel == {"execute_app_function": False}

    @pytest.mark.parametrize("kind", ["in the loop", "in a thread"])
    @in_a_loop
    async def test_a_function_that_calls_another_does_not_wait_for_itself(self, kind: str) -> None:
        toolset: Toolset
        loop = asyncio.get_running_loop()

        @function(effect="write")
        async def rebook() -> str:
            """Book again."""
            return str((await toolset.call("book")).result)

        @function(effect="write", name="rebook")
        def rebook_in_a_thread() -> str:
            """Book again."""
            return str(asyncio.run_coroutine_threadsafe(toolset.call("book"), loop).result().result)

        local = rebook if kind == "in the loop" else rebook_in_a_thread
        async with turns(EFFECTS, functions=[local]) as (functions, made, start):
            toolset = made
            functions.may_end["book"].set()
            assert (await start("rebook")).result == "book"


@pytest.mark.parametrize("declare", [function, NavaiBackend(env={}, discover=False).function])
@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"effect": "harmless"}, r"effect must be one of read, write, dangerous\. Received: 'harmless'"),
        ({"effect": ["read"]}, "effect must be one of"),
        ({"timeout": -1}, r"timeout \(seconds\) must be a number above 0; it is -1"),
        ({"typical_seconds": 0}, r"typical_seconds must be a positive number\. Received: 0"),
        ({"typical_seconds": float("inf")}, "typical_seconds must be a positive number"),
        ({"typical_seconds": True}, "typical_seconds must be a positive number"),
        (
            {"typical_seconds": 60, "timeout": 20},
            r"a call takes 60 seconds as a rule \(typical_seconds\), and may take 20 \(timeout\)",
        ),
        ({"say_while_waiting": " "}, "say_while_waiting must be a text"),
        ({"say_while_waiting": 5}, "say_while_waiting must be a text"),
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(
    declare: Callable[..., Any], said: dict[str, Any], message: str
) -> None:
    with pytest.raises(NavaiConfigError, match=message):
        declare(**said)(nothing)

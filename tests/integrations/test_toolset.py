"""The tools of an agent, and the outcomes of their calls."""

import asyncio
import inspect
import json
import re
import subprocess
import sys
import threading
from typing import Any

import attrs
import pytest

from navai_client import (
    AsyncNavaiBackendClient,
    BackendFunction,
    FunctionFailedError,
    FunctionList,
    InvalidResponseError,
    NavaiBackendClient,
    NavaiConfigError,
    NavaiHTTPError,
    NavaiPayloadError,
    NavaiStateError,
    NavaiTimeoutError,
    NavaiTransportError,
    OutcomeUnknownError,
    UnknownFunctionError,
)
from navai_client.integrations.routes import NavaiRoute
from navai_client.integrations.tools import ToolCall
from navai_client.integrations.toolset import Toolset, ToolsetOptions
from navai_client.server import FunctionContext
from navai_client.testing import FakeBackend
from tests.integrations.clock import in_virtual_time
from tests.integrations.loop import in_a_loop
from tests.ports import reserved_port
from tests.waiting import pass_time

ROUTES = [NavaiRoute(name="Café", path="/cafe", synonyms=["bar"])]


def backend_with_functions() -> FakeBackend:
    backend = FakeBackend()

    @backend.function
    def get_weather(location: str, unit: str = "celsius") -> dict[str, Any]:
        """Get the weather."""
        return {"location": location, "unit": unit}

    @backend.function
    def fails() -> None:
        """Fail."""
        raise ValueError("the database is away")

    return backend


def local_time(zone: str = "utc") -> str:
    """Tell the time.

    Args:
        zone: The time zone.
    """
    return f"noon in {zone}"


def client_of(kind: str, backend: FakeBackend) -> Any:
    if kind == "sync":
        return NavaiBackendClient("https://navai.test", transport=backend.transport)
    return AsyncNavaiBackendClient("https://navai.test", transport=backend.async_transport)


@pytest.mark.parametrize("kind", ["sync", "async"])
@in_a_loop
async def test_a_backends_functions_are_tools_of_either_client(kind: str) -> None:
    went: list[str] = []
    with backend_with_functions() as backend:
        client = client_of(kind, backend)
        options: Any = {"functions": [local_time], "routes": ROUTES, "navigate": went.append}
        async with await Toolset.load(client, **options) as toolset:
            assert [tool.name for tool in toolset.tools] == [
                "navigate_to",
                "local_time",
                "get_weather",
                "fails",
            ]
            assert toolset.warnings == ()
            outcome = await toolset.call("get_weather", '{"location": "Bogotá"}')
            assert json.loads(outcome.to_json()) == {
                "ok": True,
                "function_name": "get_weather",
                "source": toolset.tools[2].source,
                "result": {"location": "Bogotá", "unit": "celsius"},
            }
            failed = await toolset.call("fails")
            assert failed.as_dict() == {
                "ok": False,
                "function_name": "fails",
                "error": "Function execution failed.",
            }
            assert failed.details == "the database is away"
            assert (await toolset.call("local_time", {"zone": "cet"})).result == "noon in cet"
            gone = await toolset.call("navigate_to", {"target": "open the CAFÉ"})
            assert (gone.as_dict(), went) == ({"ok": True, "path": "/cafe"}, ["/cafe"])
        if kind == "sync":
            client.close()
        else:
            await client.close()


class Scripted:
    """A client whose functions are coroutines of the test; it records the calls."""

    def __init__(self, **functions: Any) -> None:
        self.functions = functions
        self.listed = FunctionList(functions=tuple(BackendFunction(name=name) for name in functions))
        self.asked: list[tuple[str, Any, str | None, float | None]] = []

    def with_options(self, **_: Any) -> "Scripted":
        return self

    async def list_functions(self) -> FunctionList:
        return self.listed

    async def execute_function(
        self,
        function_name: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        self.asked.append((function_name, payload, idempotency_key, timeout))
        result = self.functions[function_name]
        if isinstance(result, BaseException):
            raise result
        return await result() if callable(result) else result


def load(client: Any, **options: Any) -> Any:
    return Toolset.load(client, **options)


@pytest.mark.parametrize(
    ("error", "expected", "error_type"),
    [
        (
            FunctionFailedError("no table left", function_name="f", details="no table left"),
            {"error": "Function execution failed."},
            "failed",
        ),
        (NavaiHTTPError("gone wrong", status_code=500), {"error": "Function execution failed."}, "failed"),
        (NavaiHTTPError("who are you", status_code=401), {"error": "Function execution failed."}, "failed"),
        (
            FunctionFailedError("no table", function_name="f", details="no table", details_for_model=True),
            {"error": "no table"},
            "failed",
        ),
        (InvalidResponseError("Invalid."), {"error": "Function execution failed."}, "failed"),
        (
            UnknownFunctionError("no", function_name="f", available_functions=("g",)),
            {"error": "Unknown or disallowed function.", "available_functions": ["g"]},
            "unknown_function",
        ),
        (
            NavaiTimeoutError("late"),
            {
                "error": "The function did not respond in time. It may have been executed: "
                "do not repeat it before you have checked.",
                "may_have_executed": True,
            },
            "timeout",
        ),
        (
            NavaiTransportError("refused", may_have_executed=False),
            {"error": "The backend did not respond. It was not executed."},
            "unavailable",
        ),
        *(
            (
                unknown,
                {
                    "error": "The function has not returned a result. It may have been executed: "
                    "do not repeat it before you have checked.",
                    "may_have_executed": True,
                },
                "unavailable",
            )
            for unknown in (
                OutcomeUnknownError("cut off", function_name="f"),
                FunctionFailedError("not in time", function_name="f", may_have_executed=True),
            )
        ),
        (NavaiPayloadError("x is a set"), {"error": "Invalid arguments: x is a set"}, "invalid_arguments"),
        (NavaiStateError("closed"), {"error": "Function execution failed."}, "unavailable"),
    ],
    ids=lambda value: type(value).__name__,
)
@in_a_loop
async def test_each_failure_of_a_backend_is_an_outcome(
    error: Exception, expected: Any, error_type: str
) -> None:
    async with await load(Scripted(f=error)) as toolset:
        outcome = await toolset.call("f", {"a": 1}, call_id="c1")
        assert outcome.as_dict() == {"ok": False, "function_name": "f", **expected}
        assert (outcome.error_type, outcome.details, outcome.call_id) == (error_type, str(error), "c1")
        detailed = await load(Scripted(f=error), show_details=True)
        read = json.loads((await detailed.call("f")).to_json())
        assert read.get("details", read["error"]) == str(error)  # once, if it was written for the model


@in_a_loop
async def test_a_local_function_that_fails_is_an_outcome_and_not_an_exception() -> None:
    def fails() -> None:
        raise TimeoutError("of its own")

    async def navigate(_: str) -> None:
        raise NavaiStateError("nowhere")

    routes = [NavaiRoute(name="a", path="/a")]
    async with await load(Scripted(), functions=[fails], routes=routes, navigate=navigate) as toolset:
        outcome = await toolset.call("fails")
        assert (outcome.error, outcome.details) == ("Function execution failed.", "of its own")
        assert (outcome.error_type, outcome.may_have_executed) == ("failed", True)
        assert not (await toolset.call("navigate_to", {"target": "a"})).ok


@pytest.mark.parametrize("local", [True, False])
@in_a_loop
async def test_the_details_of_a_failure_hold_no_key(local: bool, caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise ValueError("refused: Bearer abcdef0123456789")

    error = FunctionFailedError("refused: Bearer abcdef0123456789", function_name="fails")
    client, functions = (Scripted(), [fails]) if local else (Scripted(fails=error), [])
    async with await load(client, functions=functions, show_details=True) as toolset:
        outcome = await toolset.call("fails")
    assert outcome.details == "refused: Bearer ***"
    assert [record.message for record in caplog.records if "***" in record.message] == [
        "fails: Function execution failed. refused: Bearer ***"
    ]


@in_a_loop
async def test_a_function_that_raises_stop_iteration_has_failed() -> None:
    def fails() -> None:
        raise StopIteration

    async with await load(Scripted(), functions=[fails]) as toolset:
        assert (await toolset.call("fails")).error_type == "failed"


@in_a_loop
async def test_an_exception_without_a_message_is_named() -> None:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise ValueError

    def fails() -> None:
        raise UnprintableError

    async with await load(Scripted(), functions=[fails]) as toolset:
        assert (await toolset.call("fails")).details == "UnprintableError"


@in_a_loop
async def test_ten_calls_of_a_blocking_client_run_concurrently() -> None:
    barrier = threading.Barrier(10)
    with FakeBackend() as backend:

        @backend.function
        def meet() -> str:
            barrier.wait(60)
            return "met"

        with NavaiBackendClient("https://navai.test", transport=backend.transport) as client:
            async with await Toolset.load(client) as toolset:
                outcomes = await asyncio.gather(*(toolset.call("meet") for _ in range(10)))
                assert [outcome.result for outcome in outcomes] == ["met"] * 10


@in_a_loop
async def test_names_are_normalized_and_reserved_names_need_the_generic_tool() -> None:
    client = Scripted(get_x=1, navigate_to=2, execute_app_function=3, mañana=4)
    async with await load(client) as toolset:
        assert [tool.name for tool in toolset.tools] == ["execute_app_function", "get_x"]
        only = "is available only via execute_app_function because its name"
        assert toolset.warnings == (
            f'[navai] Function "navigate_to" {only} conflicts with a built-in tool.',
            f'[navai] Function "execute_app_function" {only} conflicts with a built-in tool.',
            f'[navai] Function "mañana" {only} is not a valid tool id.',
        )
        assert (await toolset.call(" Get_X ")).result == 1
        for name, result in (("navigate_to", 2), ("EXECUTE_APP_FUNCTION", 3), ("Mañana", 4)):
            asked = {"function_name": name, "payload": '{"a": 1}'}
            assert (await toolset.call("execute_app_function", asked)).result == result
        assert (await toolset.call("navigate_to", {"target": "x"})).error_type == "unknown_function"
        assert client.asked[-1][:2] == ("mañana", {"a": 1})


@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        ("execute_app_function", None, 'missing "function_name"'),
        ("execute_app_function", {"function_name": ""}, 'function_name: "" does not satisfy "minLength": 1'),
        (
            "execute_app_function",
            {"function_name": "f.2", "payload": [1]},
            "an object is required, not an array",
        ),
        ("execute_app_function", "7", "an object is required, not a number"),
        ("execute_app_function", '"text"', "an object is required, not a string"),
        ("navigate_to", {"target": 7}, 'target: 7 does not satisfy "type": "string"'),
        ("navigate_to", "{", "they are not JSON"),
        ("f", '{"a": 1e999}', "1e999 is too large"),
        ("local", '{"a": 1e999}', "1e999 is too large"),
        ("f", '{"a": NaN}', "NaN is not a JSON value"),
        ("f", b'{"a": ', "they are not JSON"),
        ("f", 7, "an object is required, not a number"),
    ],
    ids=str,
)
@in_a_loop
async def test_arguments_that_are_not_valid_are_refused_with_the_reason(
    tool: str, arguments: Any, problem: str
) -> None:
    def local(a: Any) -> str:
        return repr(a)

    client = Scripted(**{"f": 1, "f.2": 1})
    async with await load(client, functions=[local], navigate=lambda _: None) as toolset:
        outcome = await toolset.call(tool, arguments)
        assert outcome.error_type == "invalid_arguments"
        assert problem in (outcome.error or "")
        assert client.asked == []


@in_a_loop
async def test_missing_arguments_are_a_missing_payload_and_an_unknown_route_is_not_opened() -> None:
    client = Scripted(f=1)
    async with await load(client, navigate=client.functions.get) as toolset:
        for arguments in (None, "", b" ", "null"):
            await toolset.call("f", arguments)
        assert [payload for _, payload, *_ in client.asked] == [None] * 4
        assert (await toolset.call("navigate_to", {"target": "x"})).as_dict() == {
            "ok": False,
            "error": "Unknown or disallowed route.",
        }


@in_a_loop
async def test_the_generic_tool_reaches_no_function_that_has_a_tool_of_its_own() -> None:
    """A framework that asks a person before cancel_order runs would not ask before execute_app_function."""
    client = Scripted(**{"cancel_order": 1, "a b": 2})
    async with await load(client) as toolset:
        asked = {"function_name": " Cancel_Order ", "payload": None}
        outcome = await toolset.call("execute_app_function", asked)
        assert (outcome.error, outcome.error_type, outcome.function_name) == (
            "cancel_order has a tool of its own: call cancel_order.",
            "refused",
            "cancel_order",
        )
        assert client.asked == []


@in_a_loop
async def test_there_is_no_generic_tool_if_each_function_has_a_tool_of_its_own() -> None:
    client = Scripted(cancel_order=1)
    async with await load(client) as toolset:
        assert [tool.name for tool in toolset.tools] == ["cancel_order"]
        assert "execute_app_function" not in toolset.instructions()
        asked = {"function_name": "cancel_order", "payload": None}
        outcome = await toolset.call("execute_app_function", asked)
        assert (outcome.error_type, outcome.available_functions) == ("unknown_function", ("cancel_order",))
        assert client.asked == []


@pytest.mark.parametrize(
    ("schemas", "lines"),
    [
        ([None, None], ["pass arguments using payload.args (array)."]),
        ([{}, {}], ["pass arguments by their names in payload."]),
        (
            [None, {}],
            ["pass arguments of functions whose parameters are not described using payload.args (array)."],
        ),
    ],
)
@in_a_loop
async def test_instructions_say_one_way_to_pass_arguments(schemas: list[Any], lines: list[str]) -> None:
    client = Scripted()
    client.listed = FunctionList(
        functions=tuple(
            BackendFunction(name=f"f {number}", parameters=schema) for number, schema in enumerate(schemas)
        )
    )
    async with await load(client) as toolset:
        found = [line for line in toolset.instructions().splitlines() if "pass arguments" in line]
        assert found == [f"- For execute_app_function, {line}" for line in lines]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a b", "a_b"),
        ("mañana", "manana"),
        ("shop.buy/tea", "shop_buy_tea"),
        ("日本", "_cf2abf0c"),
        ("a_c", "a_c"),
        ("a c", "a_c_a9573e0e"),
        ("x" * 70, "x" * 55 + "_c71bd109"),
    ],
)
@in_a_loop
async def test_without_a_generic_tool_a_function_whose_name_models_refuse_has_a_tool_of_another_name(
    given: str, name: str
) -> None:
    client = Scripted(**{given: 1, "a_c": 2})
    async with await load(client, generic_tool=False) as toolset:
        found = next(tool.name for tool in toolset.tools if tool.name != "a_c" or given == "a_c")
        assert found == name
        assert (await toolset.call(name, {"x": 1}, call_id="c")).function_name == given
        assert f"- {name}: " in toolset.instructions()
        renamed = (
            f'[navai] Function "{given}" is offered as "{name}" because its name is not a valid tool id.'
        )
        assert toolset.warnings == (() if given == "a_c" else (renamed,))
        await toolset.refresh()
        assert found in [tool.name for tool in toolset.tools]


@in_a_loop
async def test_without_a_generic_tool_a_function_with_a_reserved_name_is_not_available() -> None:
    async with await load(Scripted(navigate_to=1), generic_tool=False) as toolset:
        assert toolset.tools == ()
        (warning,) = toolset.warnings
        reason = "is not available because its name conflicts with a built-in tool."
        assert warning == f'[navai] Function "navigate_to" {reason}'
        assert "execute_app_function" not in toolset.instructions()
        assert (await toolset.call("execute_app_function", {"function_name": "navigate_to"})).error_type == (
            "unknown_function"
        )


@in_a_loop
async def test_the_generic_tool_describes_functions_that_have_no_tool_of_their_own() -> None:
    client = Scripted(**{"a b": 1, "c": 2})
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}}
    client.listed = FunctionList(
        functions=(BackendFunction(name="a b", parameters=schema), BackendFunction(name="c d"))
    )
    async with await load(client) as toolset:
        (tool,) = toolset.tools
        assert tool.description.endswith(f" a b takes {json.dumps(schema)}.")


class TestHooks:
    """They are called before, during a long call, and after."""

    @in_a_loop
    async def test_a_call_is_refused_with_the_string_that_before_returns(self) -> None:
        ended: list[Any] = []
        client = Scripted(pay=1, look=2)

        async def before(call: ToolCall) -> str | None:
            return "Ask the person to confirm first." if not call.read_only else None

        options = {"before": before, "after": lambda call, outcome: ended.append((call, outcome))}
        async with await load(client, read_only=["LOOK"], **options) as toolset:
            refused = await toolset.call("pay", {"a": 1}, call_id="c1")
            assert refused.as_dict() == {
                "ok": False,
                "function_name": "pay",
                "error": "Ask the person to confirm first.",
            }
            assert (await toolset.call("look")).result == 2
            assert [name for name, *_ in client.asked] == ["look"]
            await toolset.call("nothing")
        assert [(call.function_name, outcome.error_type) for call, outcome in ended] == [
            ("pay", "refused"),
            ("look", None),
            ("nothing", "unknown_function"),
        ]
        assert ended[0][0] == ToolCall(
            call_id="c1",
            tool_name="pay",
            function_name="pay",
            arguments={"a": 1},
            source="backend",
            kind="backend",
            read_only=False,
        )

    @in_a_loop
    async def test_a_failing_before_hook_refuses_and_other_hooks_change_nothing(self) -> None:
        def fails(*_: Any) -> None:
            raise ValueError("a hook of mine")

        client = Scripted(f=lambda: asyncio.sleep(0.05, 1))
        async with await load(client, before=fails) as toolset:
            outcome = await toolset.call("f")
            assert (outcome.error_type, outcome.may_have_executed, client.asked) == ("refused", False, [])
        async with await load(client, slow=fails, slow_after=0.001, after=fails) as toolset:
            assert (await toolset.call("f")).result == 1

    @in_a_loop
    async def test_a_before_hook_has_the_time_limit_of_the_call(self) -> None:
        client = Scripted(f=1)

        async def before(_: ToolCall) -> None:
            await asyncio.Event().wait()

        async with await load(client, before=before, timeout=0.01) as toolset:
            outcome = await toolset.call("f")
            assert outcome.error == "The function did not respond in time. It was not executed."
            assert client.asked == []

    @in_a_loop
    async def test_slow_is_called_once_while_the_call_runs(self) -> None:
        called = asyncio.Event()
        names: list[str] = []

        async def slow(call: ToolCall) -> None:
            names.append(call.function_name)
            called.set()

        client = Scripted(f=called.wait, quick=1)
        async with await load(client, slow=slow, slow_after=0.001, timeout=None) as toolset:
            assert (await toolset.call("f")).result is True
            assert client.asked[0][3] is None
        async with await load(client, slow=slow, slow_after=30) as toolset:
            await toolset.call("quick")
        assert names == ["f"]


class TestTime:
    """Each call ends within its limit; a call that has begun goes on."""

    @in_virtual_time
    async def test_a_function_has_its_own_limit_and_a_call_may_have_another(self) -> None:
        client = Scripted(f=1, g=2)
        async with await load(client, timeout=30, timeouts={"G": 5, "h": 1}) as toolset:
            assert [tool.timeout for tool in toolset.tools] == [30, 5]
            assert toolset.warnings == ('[navai] An option names "h", but there is no such function.',)
            await toolset.call("f")
            await toolset.call("g")
            await toolset.call("g", timeout=3)
        limits = [limit for *_, limit in client.asked]
        assert [round(limit or 0) for limit in limits] == [30, 5, 3]

    @in_virtual_time
    async def test_a_call_past_its_limit_goes_on_and_its_result_is_dropped(self) -> None:
        go_on = asyncio.Event()
        ended: list[str] = []

        async def works() -> None:
            await go_on.wait()
            ended.append("works")

        async def fails() -> None:
            await go_on.wait()
            ended.append("fails")
            raise ValueError

        async with await load(Scripted(), functions=[works, fails], timeout=0.01) as toolset:
            for name in ("works", "fails"):
                outcome = await toolset.call(name)
                assert (outcome.error_type, outcome.may_have_executed) == ("timeout", True)
            go_on.set()
        assert sorted(ended) == ["fails", "works"]

    @in_a_loop
    async def test_closing_cancels_calls_and_their_callers_get_an_outcome(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("navai_client.integrations.toolset._GRACE", 0.01)
        entered = asyncio.Event()

        async def never() -> None:
            entered.set()
            await asyncio.Event().wait()

        toolset = await load(Scripted(), functions=[never], timeout=None)
        calling = asyncio.create_task(toolset.call("never"))
        await entered.wait()
        await toolset.close()
        outcome = await calling
        assert (outcome.error_type, outcome.may_have_executed) == ("cancelled", True)
        await toolset.close()

    def test_a_function_that_never_returns_does_not_keep_the_process_alive(self) -> None:
        code = (
            "import asyncio, threading\n"
            "from navai_client import AsyncNavaiBackendClient, FunctionList\n"
            "from navai_client.integrations import toolset\n"
            "toolset._GRACE = 0.01\n"
            "def hangs(): threading.Event().wait()\n"
            "async def main():\n"
            "    client = AsyncNavaiBackendClient()\n"
            "    tools = toolset.Toolset(client, FunctionList(), functions=[hangs], timeout=0.01)\n"
            "    async with tools:\n"
            "        print((await tools.call('hangs')).error_type)\n"
            "asyncio.run(main())\n"
        )
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout == "timeout\n"

    @in_a_loop
    async def test_a_function_that_cancels_itself_has_an_outcome(self) -> None:
        async def cancels() -> None:
            raise asyncio.CancelledError

        async with await load(Scripted(), functions=[cancels]) as toolset:
            assert (await toolset.call("cancels")).error_type == "cancelled"


class TestRepeatedCalls:
    """A call joins the same call while it runs, or until its outcome was delivered."""

    @in_a_loop
    async def test_a_call_whose_caller_left_finishes_and_runs_once(self) -> None:
        entered, go_on = asyncio.Event(), asyncio.Event()

        async def book() -> str:
            entered.set()
            await go_on.wait()
            return "booked"

        client = Scripted(book=book)
        async with await load(client) as toolset:
            calling = asyncio.create_task(toolset.call("book", {"table": 7}, call_id="c1"))
            await entered.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            again = asyncio.create_task(toolset.call("book", {"table": 7}, call_id="c1"))
            go_on.set()
            assert (await again).result == "booked"
            assert len(client.asked) == 1

    @in_a_loop
    async def test_an_outcome_waits_for_the_caller_that_left(self) -> None:
        entered = asyncio.Event()

        async def book() -> str:
            entered.set()
            return "booked"

        client = Scripted(book=book)
        ended = asyncio.Event()
        async with await load(client, after=lambda *_: ended.set()) as toolset:
            calling = asyncio.create_task(toolset.call("book", call_id="c1"))
            await entered.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await ended.wait()
            await asyncio.sleep(0)
            assert (await toolset.call("book", call_id="c1")).result == "booked"
            assert len(client.asked) == 1
            assert (await toolset.call("book", call_id="c1")).result == "booked"  # a new turn: a new call
            assert len(client.asked) == 2

    @in_a_loop
    async def test_an_id_is_free_once_its_outcome_was_delivered(self) -> None:
        """Several models count the ids of calls anew in each turn."""
        results = iter(["Oslo", "Rome"])

        async def search() -> str:
            return next(results)

        client = Scripted(search=search)
        async with await load(client) as toolset:
            first = await toolset.call("search", {"a": 1}, call_id="search:0")
            second = await toolset.call("search", {"a": 1}, call_id="search:0")
            assert (first.result, second.result) == ("Oslo", "Rome")
            assert len({key for _, _, key, _ in client.asked}) == 2

    @in_a_loop
    async def test_other_arguments_are_another_call(self) -> None:
        go_on = asyncio.Event()
        client = Scripted(book=go_on.wait)
        async with await load(client) as toolset:
            given = [{"table": 7}, {"table": 8}, {"table": True}, {"table": 1}, None]
            calls = [asyncio.create_task(toolset.call("book", each, call_id="c1")) for each in given]
            await asyncio.sleep(0)
            go_on.set()
            assert all(outcome.ok for outcome in await asyncio.gather(*calls))
            assert len(client.asked) == len(given)

    @in_a_loop
    async def test_arguments_that_cannot_be_compared_are_another_call(self) -> None:
        deep: Any = {}
        for _ in range(100_000):  # Python 3.13 shows 5,000 levels
            deep = {"a": deep}
        go_on = asyncio.Event()
        client = Scripted(book=go_on.wait)
        async with await load(client) as toolset:
            calls = [asyncio.create_task(toolset.call("book", deep, call_id="c1")) for _ in range(2)]
            await asyncio.sleep(0)
            go_on.set()
            assert all(outcome.ok for outcome in await asyncio.gather(*calls))
            assert len(client.asked) == 2

    @in_a_loop
    async def test_the_ids_of_two_sessions_never_meet(self) -> None:
        entered = asyncio.Semaphore(0)
        go_on = asyncio.Event()
        results = iter(["the first caller's", "the second caller's"])

        async def account() -> str:
            entered.release()
            result = next(results)
            await go_on.wait()
            return result

        client = Scripted(account=account)
        async with await load(client) as toolset:
            first, second = (
                asyncio.create_task(toolset.call("account", call_id="account:0", session=each))
                for each in (object(), object())
            )
            await entered.acquire()
            await entered.acquire()
            go_on.set()
            assert (await first).result == "the first caller's"
            assert (await second).result == "the second caller's"

    @pytest.mark.parametrize("error", [NavaiTransportError("no", may_have_executed=False), ValueError("no")])
    @in_a_loop
    async def test_a_failure_is_not_replayed(self, error: Exception) -> None:
        client = Scripted(f=error)
        async with await load(client) as toolset:
            assert not (await toolset.call("f", call_id="c1")).ok
            client.functions["f"] = 1
            assert (await toolset.call("f", call_id="c1")).ok
            assert len({key for _, _, key, _ in client.asked}) == 2

    @in_a_loop
    async def test_an_unknown_outcome_waits_for_the_caller_that_left(self) -> None:
        """A second run could do it twice."""
        entered, ended = asyncio.Event(), asyncio.Event()

        async def book() -> None:
            entered.set()
            raise NavaiTransportError("lost", may_have_executed=True)

        client = Scripted(book=book)
        async with await load(client, after=lambda *_: ended.set()) as toolset:
            calling = asyncio.create_task(toolset.call("book", call_id="c1"))
            await entered.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await ended.wait()
            await asyncio.sleep(0)
            assert (await toolset.call("book", call_id="c1")).may_have_executed
            assert len(client.asked) == 1

    @in_a_loop
    async def test_a_caller_that_leaves_before_the_call_has_begun_cancels_it(self) -> None:
        asked = asyncio.Event()
        client = Scripted(f=1)

        async def before(_: ToolCall) -> None:
            asked.set()
            await asyncio.Event().wait()

        async with await load(client, before=before) as toolset:
            calling = asyncio.create_task(toolset.call("f", call_id="c1"))
            await asked.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
        assert client.asked == []

    @in_a_loop
    async def test_a_limited_number_of_outcomes_waits_and_calls_that_run_are_not_forgotten(self) -> None:
        entered, may_end, go_on = asyncio.Semaphore(0), asyncio.Event(), asyncio.Event()

        async def f() -> int:
            entered.release()
            await may_end.wait()
            return 1

        client = Scripted(slow=go_on.wait, f=f)
        ended = asyncio.Semaphore(0)
        async with await load(client, after=lambda *_: ended.release()) as toolset:
            slow = asyncio.create_task(toolset.call("slow", call_id="slow"))
            calls = [asyncio.create_task(toolset.call("f", call_id=f"c{number}")) for number in range(200)]
            for call in calls:
                await entered.acquire()
                call.cancel()
            await asyncio.wait(calls)
            may_end.set()
            for _ in calls:
                await ended.acquire()
            await toolset.call("f", call_id="c199")
            assert len(client.asked) == 201
            await toolset.call("f", call_id="c0")
            assert len(client.asked) == 202
            again = asyncio.create_task(toolset.call("slow", call_id="slow"))
            go_on.set()
            assert (await slow).ok
            assert (await again).ok
        assert [name for name, *_ in client.asked].count("slow") == 1

    @in_a_loop
    async def test_a_call_that_is_cancelled_before_its_first_step_can_be_made_again(self) -> None:
        client = Scripted(f=1)
        before = asyncio.all_tasks()

        def cancel() -> None:  # as asyncio.run() does at its end
            (made,) = asyncio.all_tasks() - before - {calling}
            made.cancel()

        async with await load(client) as toolset:
            calling = asyncio.create_task(toolset.call("f", call_id="c1"))
            asyncio.get_running_loop().call_soon(cancel)
            with pytest.raises(asyncio.CancelledError):
                await calling
            assert client.asked == []
            assert (await toolset.call("f", call_id="c1")).ok


class TestRefreshing:
    """The tools follow the backend; a failing backend changes nothing."""

    @in_a_loop
    async def test_changes_are_returned(self) -> None:
        client = Scripted(a=1, b=2)
        async with await load(client) as toolset:
            assert not await toolset.refresh()
            specialist = toolset.derive("Food", only=["b"], direct_tools=False)
            client.listed = FunctionList(
                functions=(BackendFunction(name="b", description="New."), BackendFunction(name="c")),
                warnings=("[navai] Something is odd.",),
            )
            changes = await toolset.refresh()
            assert (changes.added, changes.removed, changes.changed) == (("c",), ("a",), ("b",))
            assert [tool.name for tool in toolset.tools] == ["b", "c"]
            assert toolset.warnings == ("[navai] Something is odd.",)
            assert specialist.function_lines == ["- b: New."]

    @in_a_loop
    async def test_a_failing_backend_removes_no_tool(self) -> None:
        client = Scripted(a=1)
        async with await load(client) as toolset:
            client.listed = FunctionList(
                warnings=("[navai] Failed to load backend functions (503).",),
                error=NavaiHTTPError("Unavailable", status_code=503),
            )
            assert not await toolset.refresh()
            assert [tool.name for tool in toolset.tools] == ["a"]
            assert toolset.warnings == ("[navai] Failed to load backend functions (503).",)
            client.listed = FunctionList(warnings=("[navai] Failed to load src/functions/a.py: gone",))
            assert (await toolset.refresh()).removed == ("a",)
            assert toolset.function_lines == ["- none"]

    @pytest.mark.parametrize("name", ["get_weather", "execute_app_function"])
    @in_a_loop
    async def test_a_model_is_told_that_the_backend_cannot_be_reached(self, name: str) -> None:
        with reserved_port() as port:
            client = AsyncNavaiBackendClient(f"http://127.0.0.1:{port}", max_retries=0)
            async with client, Toolset.load(client, functions=[local_time]) as toolset:
                outcome = await toolset.call(name, {"function_name": "get_weather", "payload": None})
                assert outcome.error == (
                    "The backend cannot be reached, so its functions are not available. It was not executed."
                )
                assert (outcome.error_type, outcome.may_have_executed) == ("unavailable", False)
                assert outcome.available_functions == ("local_time",)
                assert "No response from GET " in (outcome.details or "")
                assert (await toolset.call("local_time")).result == "noon in utc"
                specialist = toolset.derive("Food")
                assert (await specialist.call("order")).error_type == "unavailable"

    @in_a_loop
    async def test_a_backend_that_comes_back_is_no_longer_unavailable(self) -> None:
        client = Scripted(a=1)
        listed, client.listed = client.listed, FunctionList(error=NavaiHTTPError("no", status_code=503))
        async with await load(client) as toolset:
            assert (await toolset.call("a")).error_type == "unavailable"
            client.listed = listed
            assert (await toolset.refresh()).added == ("a",)
            assert (await toolset.call("a")).ok
            assert (await toolset.call("b")).error == "Unknown or disallowed function."
            client.listed = FunctionList(error=NavaiHTTPError("no", status_code=503))
            await toolset.refresh()
            assert (await toolset.call("b")).error_type == "unknown_function"

    @pytest.mark.parametrize("kind", ["sync", "async"])
    @in_a_loop
    async def test_required_functions_that_cannot_be_listed_are_an_error(self, kind: str) -> None:
        with backend_with_functions() as backend:
            backend.fail_next(401, error="Wrong token.", operation="list_functions")
            client = client_of(kind, backend)
            with pytest.raises(NavaiHTTPError, match=r"Wrong token\."):
                await Toolset.load(client, required=True)
            async with Toolset.load(client, required=True) as toolset:
                assert (await toolset.call("get_weather", {"location": "Oslo"})).ok

    @in_a_loop
    async def test_warnings_include_those_of_derived_toolsets(self) -> None:
        def b() -> None: ...

        async with await load(Scripted(a=1, b=2)) as toolset:
            toolset.derive("Food", functions=[b])
            (warning,) = toolset.warnings
            assert warning == '[navai] Ignored backend function "b": name conflicts with a frontend function.'


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_result_chars": 10}, "max_result_chars must be 200 or more; it is 10."),
        ({"timeout": -1}, "timeout"),
        ({"only": "abc"}, "Expected a collection of names, not the string 'abc'."),
        ({"read_only": "abc"}, "Expected a collection of names, not the string 'abc'."),
    ],
    ids=str,
)
@in_a_loop
async def test_an_invalid_option_is_refused_at_load(options: Any, message: str) -> None:
    class NeverAsked(Scripted):
        async def list_functions(self) -> FunctionList:
            raise AssertionError

    with pytest.raises(NavaiConfigError, match=message):
        await load(NeverAsked(), **options)


def test_help_documents_each_option() -> None:
    for documented in (Toolset.load, ToolsetOptions):
        text = inspect.getdoc(documented) or ""
        for option in ToolsetOptions.__annotations__:
            described = re.findall(
                rf"\n    {option}(?: \(.+\))?:\s", text
            )  # with its type in the help of load
            assert len(described) == 1, option


@in_a_loop
async def test_an_option_that_does_not_exist_is_a_programming_error() -> None:
    with pytest.raises(TypeError, match="A toolset has no option 'time_out'"):
        await load(Scripted(), time_out=3)


@in_a_loop
async def test_a_derived_toolset_can_have_hooks_of_its_own() -> None:
    def refuse(_: ToolCall) -> str:
        return "Not in this agent."

    async with await load(Scripted(f=1)) as toolset:
        derived = toolset.derive("Food", before=refuse)
        assert (await derived.call("f")).error == "Not in this agent."
        assert (await toolset.call("f")).ok


class TestLoading:
    """``Toolset.load`` can be awaited and entered."""

    @in_a_loop
    async def test_it_can_be_entered_without_await(self) -> None:
        entered = asyncio.Event()

        async def book() -> str:
            entered.set()
            return "booked"

        async with load(Scripted(book=book)) as toolset:
            assert [tool.name for tool in toolset.tools] == ["book"]
            calling = asyncio.create_task(toolset.call("book"))
            await entered.wait()
        assert calling.done()  # leaving it closes the toolset

    @in_a_loop
    async def test_the_repr_says_what_it_holds(self) -> None:
        client = Scripted(**{f"function_{number}": 1 for number in range(20)})
        client.listed = attrs.evolve(client.listed, warnings=("[navai] Odd.",))
        toolset = await load(client)
        shown = ", ".join(f"function_{number}" for number in range(8))
        assert repr(toolset) == f"<Toolset of 20 tools: {shown}, ...; 1 warnings>"

    @in_a_loop
    async def test_an_option_that_cannot_work_fails_before_it_is_awaited(self) -> None:
        with pytest.raises(NavaiConfigError):
            load(Scripted(), max_result_chars=1)


class TestForeignCode:
    """Hooks and local functions can raise anything, and hang."""

    @pytest.mark.parametrize("code", [0, "no"])
    @pytest.mark.parametrize("is_async", [False, True])
    @in_a_loop
    async def test_a_function_that_exits_ends_no_conversation(self, code: int | str, is_async: bool) -> None:
        def exits() -> None:
            sys.exit(code)

        async def exits_later() -> None:
            sys.exit(code)

        async with await load(Scripted(), functions={"f": exits_later if is_async else exits}) as toolset:
            outcome = await toolset.call("f")
        assert (outcome.error_type, outcome.details) == ("failed", f"The function called sys.exit({code!r}).")

    @in_a_loop
    async def test_a_hook_that_exits_refuses_the_call(self) -> None:
        client = Scripted(f=1)

        def leave(*_: Any) -> None:
            sys.exit(1)

        async with await load(client, before=leave, after=leave) as toolset:
            assert (await toolset.call("f")).error_type == "refused"
        assert client.asked == []

    @pytest.mark.parametrize("returned", [True, False, 7])
    @in_a_loop
    async def test_a_before_hook_that_returns_no_text_refuses_the_call(self, returned: Any) -> None:
        """True may mean that the call is allowed, or that it is refused."""
        client = Scripted(f=1)
        async with await load(client, before=lambda _: returned) as toolset:
            outcome = await toolset.call("f")
        assert (outcome.error, outcome.error_type) == ("Function execution failed.", "refused")
        assert outcome.details is not None
        assert outcome.details.startswith(f"The before hook returned {type(returned).__name__}, not None or")
        assert client.asked == []

    @in_a_loop
    async def test_a_call_that_never_got_a_thread_was_not_executed(self) -> None:
        begun, may_end = threading.Semaphore(0), threading.Event()

        def wait() -> None:
            begun.release()
            may_end.wait(60)

        async with await load(Scripted(), functions={"f": wait}, timeout=10) as toolset:
            calls = [asyncio.create_task(toolset.call("f")) for _ in range(66)]
            for _ in range(64):
                assert await asyncio.to_thread(begun.acquire, timeout=60)
            pass_time(11)
            outcomes = await asyncio.gather(*calls)
            calls = [asyncio.create_task(toolset.call("f"))]
            await asyncio.sleep(0.01)
            pass_time(11)
            outcomes += await asyncio.gather(*calls)
            may_end.set()
        assert [outcome.may_have_executed for outcome in outcomes] == [True] * 64 + [False] * 3
        assert outcomes[-1].error == "The function did not respond in time. It was not executed."


class TestApproval:
    """A person is asked before anything is sent; no call goes around them."""

    @pytest.mark.parametrize(("answer", "runs"), [(True, True), (False, False), ("no", False), (None, False)])
    @in_a_loop
    async def test_only_a_yes_lets_the_call_run(self, answer: Any, runs: bool) -> None:
        client = Scripted(cancel_order=1, look=2)
        seen: list[ToolCall] = []

        async def approve(call: ToolCall) -> Any:
            seen.append(call)
            assert client.asked == []
            return answer

        async with await load(client, approval=["Cancel_Order"], approve=approve) as toolset:
            (tool,) = (each for each in toolset.tools if each.approval)
            assert tool.name == "cancel_order"
            outcome = await toolset.call("cancel_order", {"id": 7})
            assert outcome.ok == runs
            assert (await toolset.call("look")).ok
        assert [call.arguments for call in seen] == [{"id": 7}]
        if not runs:
            assert outcome.error == "The person did not approve the call. It was not executed."
            assert outcome.error_type == "refused"
            assert [name for name, *_ in client.asked] == ["look"]

    @in_a_loop
    async def test_where_nobody_can_be_asked_the_call_is_refused(self) -> None:
        client = Scripted(cancel_order=1)
        async with await load(client, approval=["cancel_order"]) as toolset:
            outcome = await toolset.call("cancel_order")
            assert (outcome.error_type, client.asked) == ("refused", [])
            assert outcome.error == (
                "The call needs the approval of a person, and nobody could be asked. It was not executed."
            )
            assert "approve=" in (outcome.details or "")
            assert (await toolset.call("cancel_order", approve=lambda _: True)).ok

    @pytest.mark.parametrize("error", [ValueError("no line"), SystemExit(1)])
    @in_a_loop
    async def test_a_question_that_fails_is_no_approval(self, error: BaseException) -> None:
        client = Scripted(cancel_order=1)

        def approve(_: ToolCall) -> bool:
            raise error

        async with await load(client, approval=["cancel_order"], approve=approve) as toolset:
            assert (await toolset.call("cancel_order")).error_type == "refused"
        assert client.asked == []

    @pytest.mark.parametrize("options", [{}, {"direct_tools": False}])
    @in_a_loop
    async def test_the_generic_tool_reaches_no_such_function(self, options: Any) -> None:
        client = Scripted(**{"cancel_order": 1, "a b": 2})
        given = {"approval": ["cancel_order", "a b"], **options}
        async with await load(client, **given) as toolset:
            for name in ("cancel_order", "a b"):
                asked = {"function_name": name, "payload": None}
                assert (await toolset.call("execute_app_function", asked)).error_type == "refused"
        assert client.asked == []

    @in_virtual_time
    async def test_waiting_for_the_person_takes_no_time_of_the_call(self) -> None:
        client = Scripted(cancel_order=1)

        async def approve(_: ToolCall) -> bool:
            await asyncio.sleep(0.3)  # longer than the whole call may take
            return True

        async with await load(client, approval=["cancel_order"], approve=approve, timeout=0.2) as toolset:
            assert (await toolset.call("cancel_order")).ok
        assert 0.1 < (client.asked[0][3] or 0) <= 0.2

    @in_a_loop
    async def test_a_call_without_a_limit_is_asked_about_too(self) -> None:
        client = Scripted(cancel_order=1)
        options = {"approval": ["cancel_order"], "approve": lambda _: True, "timeout": None}
        async with await load(client, **options) as toolset:
            assert (await toolset.call("cancel_order")).ok
        assert client.asked[0][3] is None

    @in_a_loop
    async def test_a_caller_that_leaves_withdraws_the_question(self) -> None:
        client = Scripted(cancel_order=1)
        asked = asyncio.Event()

        async def approve(_: ToolCall) -> bool:
            asked.set()
            await asyncio.Event().wait()
            return True

        async with await load(client, approval=["cancel_order"], approve=approve) as toolset:
            calling = asyncio.create_task(toolset.call("cancel_order", call_id="c1"))
            await asked.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
        assert client.asked == []


class TestUsers:
    """``as_user``: one process talks with many people, each with credentials of its own."""

    @pytest.mark.parametrize("kind", ["sync", "async"])
    @in_a_loop
    async def test_each_call_carries_its_own_users_credentials(self, kind: str) -> None:
        with FakeBackend() as backend:

            @backend.function
            async def who(context: FunctionContext, asked: int) -> tuple[str | None, int]:
                await asyncio.sleep(0)  # others come between
                return context.request.headers.get("authorization"), asked

            client = client_of(kind, backend)
            async with await Toolset.load(client) as toolset:
                users = [toolset.as_user(access_token=f"user-{number}") for number in range(100)]

                async def talk(number: int, user: Toolset) -> None:
                    for turn in range(10):  # many models count the ids of calls anew in each turn
                        outcome = await user.call("who", {"asked": turn}, call_id="search:0")
                        assert outcome.result == [f"Bearer user-{number}", turn]

                await asyncio.gather(*(talk(number, user) for number, user in enumerate(users)))
                assert (await toolset.call("who", {"asked": 0})).result == [None, 0]
            closing = client.close()
            if closing is not None:
                await closing

    @in_a_loop
    async def test_the_same_id_of_two_users_never_joins(self) -> None:
        go_on = asyncio.Event()
        arrived = asyncio.Semaphore(0)
        with FakeBackend() as backend:

            @backend.function
            async def mine(context: FunctionContext) -> str | None:
                arrived.release()
                await go_on.wait()
                return context.request.headers.get("x-user")

            async with (
                AsyncNavaiBackendClient("https://navai.test", transport=backend.async_transport) as client,
                await Toolset.load(client) as toolset,
            ):
                users = [toolset.as_user(headers={"X-User": name}) for name in ("ana", "ben")]
                calls = [asyncio.create_task(user.call("mine", call_id="c1")) for user in users]
                await arrived.acquire()
                await arrived.acquire()
                go_on.set()
                assert [(await call).result for call in calls] == ["ana", "ben"]

    @in_a_loop
    async def test_a_user_sees_what_it_may_call_after_a_refresh(self) -> None:
        tokens = ["main=all-of-it", "guest=guest-token"]
        with FakeBackend(access_tokens=tokens) as backend:
            backend.function(local_time)
            client = AsyncNavaiBackendClient(
                "https://navai.test", transport=backend.async_transport, access_token="all-of-it"
            )
            async with client, await Toolset.load(client) as toolset:
                user = toolset.as_user(access_token="unknown")
                assert (await user.call("local_time")).error_type == "failed"
                assert not await user.refresh()
                assert "401" in user.warnings[0]
                assert toolset.warnings == ()  # another user's problem

    @in_a_loop
    async def test_a_toolset_that_closes_waits_for_the_calls_of_its_users(self) -> None:
        go_on, begun = asyncio.Event(), asyncio.Event()

        async def book() -> str:
            begun.set()
            await go_on.wait()
            return "booked"

        toolset = await load(Scripted(book=book))
        call = asyncio.create_task(toolset.as_user(access_token="t").call("book"))
        await begun.wait()
        closing = asyncio.create_task(toolset.close())
        await asyncio.sleep(0)
        assert not closing.done()
        go_on.set()
        assert (await call).result == "booked"
        await closing

    @in_a_loop
    async def test_two_credentials_are_refused(self) -> None:
        async with await load(Scripted(book=1)) as toolset:
            with pytest.raises(NavaiConfigError, match="both given"):
                toolset.as_user(access_token="t", headers={"authorization": "Basic x"})

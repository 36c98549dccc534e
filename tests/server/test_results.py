"""Results that are large, or whose encoding runs the owner's code: what they cost the other callers."""

import asyncio
import gc
import sys
import threading
from collections import UserDict, UserString, deque
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import attrs
import httpx
import msgspec
import pytest

from navai_client.functions._results import MAX_RESULT_BYTES, ResultError, encode_result, jsonable
from navai_client.integrations._results import compact
from navai_client.testing import LiveServer
from tests.server.test_outcomes import post, posted
from tests.waiting import PATIENCE_S, until

T = TypeVar("T")


class Dumped:
    """Encodes itself when it is let."""

    began, release = threading.Event(), threading.Event()

    def model_dump(self, *, mode: str) -> Any:
        """Wait, as a model does that asks a database."""
        return self._wait()

    @classmethod
    def _wait(cls) -> dict[str, int]:
        cls.began.set()
        assert cls.release.wait(PATIENCE_S)
        return {"a": 1}


class Iterated(Dumped):
    """Is an iterator, and a mapping by ``items``."""

    model_dump = None  # type: ignore[assignment]

    def __iter__(self) -> Iterator[Any]:
        """Wait for an item."""
        return self

    def __next__(self) -> Any:
        if self.release.is_set():
            raise StopIteration
        return self._wait()


class Mapped(dict[str, int]):
    """A dict of another class."""

    def items(self) -> Any:
        """Wait for the items."""
        return Dumped._wait().items()


@pytest.fixture(autouse=True)
def _again() -> None:
    Dumped.began.clear()
    Dumped.release.clear()


@pytest.mark.parametrize(
    ("result", "expected"), [(Dumped, {"a": 1}), (Iterated, [{"a": 1}]), (Mapped, {"a": 1})]
)
@pytest.mark.parametrize("is_async", [True, False])
def test_the_owners_code_in_a_result_holds_up_no_other_request(
    result: Any, expected: Any, is_async: bool
) -> None:
    with LiveServer() as server:

        async def give_async() -> Any:
            return {"inner": result()}

        def give() -> Any:
            return {"inner": result()}

        server.function(name="give")(give_async if is_async else give)
        call = posted(server, "give")
        assert Dumped.began.wait(PATIENCE_S)
        assert httpx.get(f"{server.url}/health", timeout=PATIENCE_S, trust_env=False).json() == {"ok": True}
        assert not call.done()
        Dumped.release.set()
        assert call.result().json()["result"] == {"inner": expected}


def endless() -> Iterator[dict[str, int]]:
    """Yield for ever."""
    while True:
        yield {"n": 1}


@pytest.mark.parametrize(
    "result",
    [
        pytest.param(lambda: "x" * 2000, id="text"),
        pytest.param(lambda: b"x" * 2000, id="bytes"),
        pytest.param(lambda: [1] * 1000, id="small list"),
        pytest.param(lambda: [[1] * 100_000], id="large list"),
        pytest.param(lambda: {"a": {"b": "x" * 100_000}}, id="large dict"),
        pytest.param(endless, id="endless"),
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
def test_a_result_over_the_limit_is_refused_while_it_is_encoded(result: Any, is_async: bool) -> None:
    with LiveServer(max_result_bytes=1000) as server:

        async def give_async() -> Any:
            return result()

        def give() -> Any:
            return result()

        server.function(name="give")(give_async if is_async else give)
        server.function(name="fits")(lambda: "x" * 998)
        answer = post(server, "give").json()
        assert answer["details"] == "The result is larger than 1000 bytes."
        assert answer["may_have_executed"] is True
        assert post(server, "fits").json()["ok"] is True


def test_a_result_that_is_encoded_after_its_time_limit_is_kept_for_its_key() -> None:
    with LiveServer(function_timeout=0.2, threads_per_function=1) as server:

        @server.function
        async def give() -> Any:
            return Dumped()

        late = [posted(server, "give", key="k"), posted(server, "give")]
        for call in late:
            answer = call.result().json()
            assert (answer["ok"], answer["may_have_executed"]) == (False, True)
        Dumped.release.set()
        until(lambda: server._app.invoker.running == 0)
        again = post(server, "give", key="k")
        assert (again.json()["result"], again.headers["idempotent-replayed"]) == ({"a": 1}, "true")


def test_a_function_that_is_cancelled_may_return_what_takes_time_to_encode(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "navai_client.server._execution._GRACE_S", 60.0
    )  # a thread may have to wait for its turn
    with LiveServer(function_timeout=0.1) as server:

        @server.function
        async def stubborn() -> Any:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                return (n for n in range(3))

        assert post(server, "stubborn").json()["result"] == [0, 1, 2]


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        pytest.param("\ud800", "\ud800", id="lone surrogate"),
        pytest.param(UserString("x" * 100_000), "x" * 100_000, id="large text of another class"),
        pytest.param({"a": UserString("x")}, {"a": "x"}, id="small text of another class"),
        pytest.param({"a": [b"x", UserString("x")] * 9999}, {"a": ["eA==", "x"] * 9999}, id="many of them"),
        pytest.param(nested(300), nested(300), id="many levels"),
    ],
)
def test_an_async_function_may_return_what_only_a_thread_encodes(result: Any, expected: Any) -> None:
    with LiveServer() as server:

        @server.function
        async def give() -> Any:
            return result

        assert post(server, "give").json()["result"] == expected


def test_an_async_function_that_returns_too_many_levels_fails() -> None:
    with LiveServer() as server:

        @server.function
        async def give() -> Any:
            return nested(2000)

        answer = post(server, "give").json()
        assert answer["details"] == "The result is nested too deeply, or contains itself."


class Garbage:
    """Is collected only as garbage, and then needs a few frames of the stack."""

    def __init__(self, collected: list[bool]) -> None:
        self.itself = self
        self.collected = collected

    def __del__(self) -> None:
        self._note()

    def _note(self) -> None:
        self.collected.append(True)


class Endless(Mapping[str, Any]):
    """Contains itself, and makes garbage wherever it is read."""

    def __init__(self, collected: list[bool]) -> None:
        self.collected = collected

    def __getitem__(self, key: str) -> Any:
        Garbage(self.collected)
        return self

    def __iter__(self) -> Iterator[str]:
        return iter("a")

    def __len__(self) -> int:
        return 1


def deeper(levels: int, work: Callable[[], T]) -> T:
    return deeper(levels - 1, work) if levels else work()


@attrs.frozen
class Box:
    """A value of a class."""

    n: int


CONVERSIONS = pytest.mark.parametrize(
    "convert",
    [encode_result, partial(encode_result, limit=MAX_RESULT_BYTES), jsonable],
    ids=["at once", "in pieces", "for a model"],
)


@CONVERSIONS
@pytest.mark.parametrize("kind", [list, deque])
def test_a_result_may_have_350_levels(convert: Callable[[Any], Any], kind: type[Any]) -> None:
    def nested(levels: int, value: Any) -> Any:
        for _ in range(levels):
            value = kind([value])
        return value

    for inner, written in (1, "1"), ("x" * 50_000, f'"{"x" * 50_000}"'), (Box(1), '{"n":1}'):
        levels = 350 - isinstance(inner, Box)
        converted = convert(nested(levels, inner))
        text = converted.decode() if isinstance(converted, bytes) else compact(converted)
        assert text == "[" * levels + written + "]" * levels
        with pytest.raises(ResultError, match="nested too deeply"):
            convert(nested(levels + 1, inner))


def test_a_model_that_encodes_itself_without_end_is_nested_too_deeply() -> None:
    class Endless:
        def model_dump(self, *, mode: str) -> Any:
            return self.model_dump(mode=mode)

    with pytest.raises(ResultError, match="nested too deeply"):
        encode_result(Endless())


class Struct(msgspec.Struct):
    """A value of another library."""

    child: Any


@CONVERSIONS
@pytest.mark.parametrize("around", [UserDict, deque, list], ids=lambda each: each.__name__)
def test_a_cycle_through_a_msgspec_struct_ends(convert: Callable[[Any], Any], around: type[Any]) -> None:
    struct = Struct(None)
    struct.child = around({"a": struct} if around is UserDict else [struct])
    with pytest.raises(ResultError):
        convert(struct)
    struct.child = around({"a": Struct(UserDict(a="\ud800"))} if around is UserDict else [UserString("x")])
    assert convert(struct)


@CONVERSIONS
def test_a_result_leaves_enough_of_the_stack_for_finalizers(
    convert: Callable[[Any], Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.unraisablehook", sys.__unraisablehook__)  # which needs none of the stack itself
    collected: list[bool] = []
    thresholds = gc.get_threshold()
    gc.set_threshold(20)
    try:
        for levels in range(60):  # so that each place of the code has been the deepest one
            with pytest.raises(ResultError, match="nested too deeply, or contains itself"):
                deeper(levels, lambda: convert(Endless(collected)))
    finally:
        gc.set_threshold(*thresholds)
    assert collected
    assert not capsys.readouterr().err

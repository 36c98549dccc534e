"""The default transport where it differs from others: other threads work for it, lanes are thrown away."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from navai_client import NavaiBackendClient, NavaiTimeoutError
from navai_client.transports import _default, _httpx
from tests.faults.server import FaultServer, Peer
from tests.transports.conftest import waiting

FAST: dict[str, Any] = {"timeout": 5.0, "max_retries": 0}


class Stop(BaseException):
    """Stands for KeyboardInterrupt."""


def test_an_interrupted_call_leaves_no_connection_behind(
    backend: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with NavaiBackendClient(backend.url, **FAST) as client:
        client.execute_function("f", 1)
        transport: Any = client._transport
        lane = transport._lanes.idle._waiting[""][0]

        def interrupted(*_: object, **__: object) -> bytes:
            raise Stop

        lane.trace.tap._read = interrupted
        with pytest.raises(Stop):
            client.execute_function("f", 2)
        assert not waiting(transport)
        assert lane.trace.tap._get_extra_info("socket").fileno() == -1
        assert client.execute_function("f", 3) == 3
        assert backend.connections == 2
        assert all(transport._slots.acquire(blocking=False) for _ in range(100))
        for _ in range(100):
            transport._slots.release()


@pytest.mark.parametrize("connected", [True, False])
def test_a_call_interrupted_while_another_thread_works_for_it_is_cut_off(
    connected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, gone, may_look_up = threading.Event(), threading.Event(), threading.Event()

    def never(peer: Peer) -> None:
        if peer.request() is not None:
            arrived.set()
        peer.silence()
        gone.set()

    def run_within(timeout: float | None, work: Callable[[], Any]) -> Any:
        def at_last() -> None:
            if not connected:
                may_look_up.wait()
            work()

        thread = threading.Thread(target=at_last)
        thread.start()
        threads.append(thread)
        if connected:
            arrived.wait()
        raise Stop

    threads: list[threading.Thread] = []
    monkeypatch.setattr(_default, "run_within", run_within)
    with FaultServer(never) as server, NavaiBackendClient(server.url, timeout=None) as client:
        with pytest.raises(Stop):
            client.execute_function("f")
        may_look_up.set()
        threads[0].join()  # although there is no deadline, and no answer
        gone.wait()
        assert server.count("execute") == connected
        assert not waiting(client._transport)


def test_a_name_that_is_looked_up_too_slowly_sends_nothing_when_it_is_found(
    backend: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, looked_up = threading.Event(), threading.Event()
    original = _httpx.send

    def slow(*args: Any) -> Any:
        found.wait()
        try:
            return original(*args)
        finally:
            looked_up.set()

    monkeypatch.setattr(_default, "send", slow)
    with NavaiBackendClient(backend.url, timeout=0.05, max_retries=0) as client:
        with pytest.raises(NavaiTimeoutError) as caught:
            client.execute_function("f")
        assert not caught.value.may_have_executed
        found.set()
        looked_up.wait()
    assert backend.count("execute") == 0

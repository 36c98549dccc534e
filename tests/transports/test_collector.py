"""Large responses are parsed without Python's garbage collector, which stays as the program set it."""

import gc
from collections.abc import Iterator
from typing import Final

import pytest

from navai_client import InvalidResponseError
from tests.clients import KINDS, THROUGH, make_client
from tests.faults.server import FaultServer, Peer, answer

LISTS: Final = 50_000  # in a result: 70 times as many as begin a collection
WHOLE: Final = b'{"ok": true, "result": [' + b"[]," * (LISTS - 1) + b"[]]}"


@pytest.fixture(scope="module")
def backend() -> Iterator[FaultServer]:
    """A backend whose function ``cut`` gives a text that is no JSON, and any other one many lists."""

    def treat(peer: Peer) -> None:
        while (body := peer.request()) is not None:
            peer.send(answer(WHOLE[:-1] if b"cut" in body else WHOLE))

    with FaultServer(treat) as server:
        yield server


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    """Python's own thresholds, and a collector that is switched on, whatever this process has."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    assert gc.isenabled()
    yield
    gc.enable()
    gc.set_threshold(*before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("through", THROUGH)
def test_a_large_result_begins_few_collections(backend: FaultServer, kind: str, through: str) -> None:
    with make_client(kind, backend.url, through=through) as client:
        for _ in range(2):  # the first large response is parsed by the standard library
            began: list[int] = []

            def note(phase: str, info: dict[str, int], began: list[int] = began) -> None:
                if phase == "start":
                    began.append(info["generation"])

            gc.callbacks.append(note)
            try:
                result = client.execute_function("lists")
            finally:
                gc.callbacks.remove(note)
            assert len(result) == LISTS
            assert len(began) < 10
            assert gc.isenabled()


@pytest.mark.parametrize("through", THROUGH)
def test_it_is_switched_on_again_after_a_response_that_cannot_be_read(
    backend: FaultServer, through: str
) -> None:
    with make_client("sync", backend.url, through=through) as client:
        with pytest.raises(InvalidResponseError):
            client.execute_function("cut")
        assert gc.isenabled()


@pytest.mark.parametrize("through", THROUGH)
def test_a_program_that_has_switched_it_off_keeps_it_off(backend: FaultServer, through: str) -> None:
    gc.disable()
    with make_client("sync", backend.url, through=through) as client:
        assert len(client.execute_function("lists")) == LISTS
    assert not gc.isenabled()

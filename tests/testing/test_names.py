"""The public names of the testing package: all there, loaded when they are asked for."""

import subprocess
import sys

import pytest

from navai_client import testing


@pytest.mark.parametrize("name", testing.__all__)
def test_every_name_can_be_had(name: str) -> None:
    assert getattr(testing, name).__name__ == name
    assert name in dir(testing)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(
        AttributeError, match=r"^module 'navai_client\.testing' has no attribute 'MockBackend'$"
    ):
        _ = testing.MockBackend


def test_a_backend_in_memory_loads_neither_a_server_nor_an_http_library() -> None:
    code = "import sys\nfrom navai_client.testing import FakeBackend\nFakeBackend()\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)

    assert {"httpx", "httpx2", "starlette", "uvicorn", "pytest"}.isdisjoint(run.stdout.split())

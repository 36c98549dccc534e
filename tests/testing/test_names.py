"""The public names of the testing package: all there, loaded when they are asked for."""

import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

from navai_client import testing

MODULES = sorted(f"navai_client.testing.{each.name}" for each in pkgutil.iter_modules(testing.__path__))


@pytest.mark.parametrize("name", testing.__all__)
def test_every_name_can_be_had(name: str) -> None:
    assert getattr(testing, name).__name__ == name
    assert name in dir(testing)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(
        AttributeError, match=r"^module 'navai_client\.testing' has no attribute 'MockBackend'$"
    ):
        _ = testing.MockBackend


@pytest.mark.parametrize("name", MODULES)
def test_what_a_module_lists_is_there_and_described(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    for public in module.__all__:
        member = getattr(module, public)
        assert member.__doc__ or not (inspect.isclass(member) or inspect.isfunction(member))


def test_a_backend_in_memory_loads_neither_a_server_nor_an_http_library() -> None:
    code = "import sys\nfrom navai_client.testing import FakeBackend\nFakeBackend()\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)

    assert {"httpx", "httpx2", "starlette", "uvicorn", "pytest"}.isdisjoint(run.stdout.split())

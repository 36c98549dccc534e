"""The backend against schemathesis, which generates requests from its OpenAPI description."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from navai_client.server import NavaiBackend
from navai_client.server._demo import DemoServices
from tests.serving import serving_app

TOKEN = "let-me-in"


def make_backend() -> NavaiBackend:
    backend = NavaiBackend(
        env={}, discover=False, services=DemoServices(), access_token="another", inspector_token=TOKEN
    )

    @backend.function
    def add(a: int, b: int = 1) -> int:
        return a + b

    @backend.function
    async def echo(**values: Any) -> dict[str, Any]:
        return values

    @backend.function
    def fail(reason: str = "") -> None:
        raise LookupError(reason)

    @backend.function(approval=True)
    def pay(cents: int) -> int:
        return cents

    @backend.function
    class Counter:
        def __init__(self, start: int = 0) -> None:
            self.start = start

        def step(self, by: float) -> float:
            return self.start + by

    return backend


@pytest.fixture(name="url")
def _url() -> Iterator[str]:
    with serving_app(make_backend()) as url:
        yield url


def test_schemathesis_finds_no_defect(url: str, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("schemathesis")),
        "run",
        f"{url}/navai/openapi.json",
        "--checks",
        "all",
        "--seed",
        "2026",
    ]
    command += ["--max-examples", "20", "--header", f"Authorization: Bearer {TOKEN}", "--no-color"]
    command += ["--generation-database", "none"]
    command += ["--suppress-health-check", "too_slow"]  # of a slow machine
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "9 selected / 9 total" in ended.stdout

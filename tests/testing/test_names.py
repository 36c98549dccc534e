"""What importing from the testing package loads."""

import subprocess
import sys


def test_a_backend_in_memory_loads_neither_a_server_nor_an_http_library() -> None:
    code = "import sys\nfrom navai_client.testing import FakeBackend\nFakeBackend()\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)

    assert {"httpx", "httpx2", "starlette", "uvicorn", "pytest"}.isdisjoint(run.stdout.split())

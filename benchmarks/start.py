"""What it takes to start: importing the package, and making a client."""

import statistics
import subprocess
import sys

__all__ = ["measure_start"]

STATEMENTS = {
    "import navai_client": "import navai_client",
    "import httpx": "import httpx",
    "the first client": "from navai_client import NavaiBackendClient; NavaiBackendClient",
    "a further client": "from navai_client import NavaiBackendClient; NavaiBackendClient()",
    "a further httpx.Client": "import httpx; httpx.Client()",
}
TIMED = {
    "the first client": "NavaiBackendClient()",
    "a further client": "NavaiBackendClient()",
    "a further httpx.Client": "httpx.Client()",
}


def measure_start(rounds: int) -> dict[str, float]:
    """Return milliseconds, the median of *rounds* fresh processes, by what was done."""
    return {
        what: statistics.median(_milliseconds(statement, TIMED.get(what)) for _ in range(rounds))
        for what, statement in STATEMENTS.items()
    }


def _milliseconds(statement: str, timed: str | None) -> float:
    before, measured = ("pass", statement) if timed is None else (statement, timed)
    program = (
        "import time, sys\n"
        f"{before}\n"
        "began = time.perf_counter()\n"
        f"{measured}\n"
        "print((time.perf_counter() - began) * 1000)"
    )
    return float(
        subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    )

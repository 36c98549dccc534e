"""Run all measurements and print their tables in Markdown."""

import asyncio
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.client import measure_async, measure_sync, row, versions
from benchmarks.start import measure_start


@contextmanager
def fixed_server() -> Iterator[str]:
    """Run the fixed server in a process of its own and give its URL."""
    command = [sys.executable, "-m", "benchmarks.fixed_server"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


def main() -> None:
    print(f"Python {platform.python_version()}, {versions()}\n")
    print("| start | ms |\n| --- | --- |")
    for what, milliseconds in measure_start(rounds=7).items():
        print(f"| {what} | {milliseconds:.2f} |")
    print("\n| execute, small result | contender | calls/s, median | min-max | ratio to httpx by hand |")
    print("| --- | --- | --- | --- | --- |")
    with fixed_server() as url:
        print(*row("sync, sequential", measure_sync(url, calls=500, rounds=9)), sep="\n")
        for concurrency in (1, 8, 32, 128):
            rates = asyncio.run(measure_async(url, concurrency=concurrency, calls=1024, rounds=5))
            print(*row(f"async, {concurrency} at once", rates), sep="\n", flush=True)


if __name__ == "__main__":
    main()

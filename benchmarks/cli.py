"""``navai functions`` as a complete command, compared with a minimal script on httpx."""

import statistics
import subprocess
import sys
import time
from pathlib import Path

BARE = """
import sys
import httpx
listed = httpx.get(sys.argv[1] + "/navai/functions", headers={"accept": "application/json"}).json()
for item in listed["items"]:
    print(item["name"], item["parameters"], item["description"], sep="\\t")
"""
ROUNDS = 21


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return time.perf_counter() - began


def main() -> None:
    serve = [sys.executable, "-m", "navai_client.server", "--demo", "--port", "0"]
    with subprocess.Popen(serve, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().split()[-1]
            contenders = {
                "bare script with httpx": [sys.executable, "-c", BARE, url],
                "navai functions": [str(Path(sys.executable).with_name("navai")), "functions", "--url", url],
            }
            taken: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(ROUNDS):  # in turns: a machine that slows down slows both
                for name, command in contenders.items():
                    taken[name].append(seconds(command))
        finally:
            server.terminate()
    base = taken["bare script with httpx"]
    print("| whole command | median ms | min-max | ratio, median of pairs |")
    print("| --- | --- | --- | --- |")
    for name, measured in taken.items():
        ratio = statistics.median(one / other for one, other in zip(measured, base, strict=True))
        low, middle, high = (1000 * f(measured) for f in (min, statistics.median, max))
        print(f"| {name} | {middle:.0f} | {low:.0f}-{high:.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()

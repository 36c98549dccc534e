"""The machine of a run: processor, interpreter and versions, printed with the figures."""

import json
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from benchmarks.load import tool
from benchmarks.process import CORES
from tests.interop.peers import HERE, install

__all__ = ["cpu_of_others", "describe"]

PACKAGES = ("httpx", "httpx2", "aiohttp", "attrs", "pydantic", "uvicorn", "uvloop", "httptools", "msgspec")
PEERS = ("@navai/voice-frontend", "@navai/voice-backend", "express")


def describe() -> dict[str, Any]:
    """Return the machine and the versions, by name."""
    node = subprocess.run([install(), "--version"], capture_output=True, text=True, check=True).stdout.strip()
    pinned = "each process on one core" if CORES[0] else "no process is pinned to a core"
    return {
        "processor": f"{processor()}, {os.cpu_count()} cores, {pinned}",
        "system": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Node.js": node,
        "Python packages": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "npm packages": ", ".join(f"{name} {installed(name)}" for name in PEERS),
        "load tool": tool(),
    }


def cpu_of_others() -> float:
    """Return the CPU seconds that other processes, and other guests of the host, have used."""
    every = psutil.cpu_times()
    idle = every.idle + getattr(every, "iowait", 0.0)
    twice = getattr(every, "guest", 0.0) + getattr(every, "guest_nice", 0.0)  # part of user and nice
    own = os.times()
    return sum(every) - idle - twice - (own.user + own.system + own.children_user + own.children_system)


def processor() -> str:
    """Return the processor's name."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def installed(name: str) -> str:
    """Return the version of the npm package *name*."""
    package = HERE / "node_modules" / name / "package.json"
    found: str = json.loads(package.read_text(encoding="utf-8"))["version"]
    return found

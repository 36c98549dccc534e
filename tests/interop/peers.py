"""The published npm packages: installed once, into the folder of this file. The benchmarks need them too."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final

__all__ = ["HERE", "PeersMissingError", "install"]

HERE: Final = Path(__file__).parent
_STAMP: Final = HERE / "node_modules" / ".installed"
_OLDEST_NODE: Final = 20
_INSTALL: Final = (
    "install",
    "--no-package-lock",
    "--no-audit",
    "--no-fund",
    "--ignore-scripts",
    "--fetch-retries=10",
    "--loglevel=error",
)


class PeersMissingError(Exception):
    """The peers cannot be run here; the message says why."""


def install() -> str:
    """Install the packages pinned in package.json, unless they are installed, and return the path of Node.js.

    Raises:
        PeersMissingError: Node.js or npm is missing or too old, or npm could not install.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise PeersMissingError(
            "Node.js and npm are needed to run the published peers; they are not installed."
        )
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.strip().lstrip("v").partition(".")[0]) < _OLDEST_NODE:
        raise PeersMissingError(
            f"The published peers need Node.js {_OLDEST_NODE} or newer; this is {version.strip()}."
        )
    wanted = hashlib.sha256((HERE / "package.json").read_bytes()).hexdigest()
    with (HERE / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the processes of a parallel run install once; released by closing
        if not _STAMP.is_file() or _STAMP.read_text(encoding="ascii") != wanted:
            done = subprocess.run([npm, *_INSTALL], cwd=HERE, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise PeersMissingError(
                    f"npm could not install the published peers: {done.stderr.strip()[-500:]}"
                )
            _STAMP.write_text(wanted, encoding="ascii")
    return node

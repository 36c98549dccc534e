"""What examples/deploy ships, run without a container: nginx, and what kubernetes.yaml says of its Pods."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.ports import reserved_port
from tests.waiting import PATIENCE_S, until

DEPLOY = Path(__file__).parents[1] / "examples" / "deploy"
REDIS = shutil.which("redis-server")
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
SECRET = {"openai": "sk-test", "access-token": "let-me-in", "store-password": "0123456789abcdef"}


def kubernetes(kind: str, name: str | None = None) -> Any:
    """Return the one object of a kind, and of a name, in kubernetes.yaml."""
    objects = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    (found,) = (each for each in objects if each["kind"] == kind and name in (None, each["metadata"]["name"]))
    return found


def container_of(kind: str) -> Any:
    """Return the container of the one object of a kind."""
    (container,) = kubernetes(kind)["spec"]["template"]["spec"]["containers"]
    return container


def environment(container: Any) -> dict[str, str]:
    """Return the environment that Kubernetes gives to a container: ``$(NAME)`` is a variable before it."""
    env: dict[str, str] = {}
    for each in container["env"]:
        if "valueFrom" in each:
            env[each["name"]] = SECRET[each["valueFrom"]["secretKeyRef"]["key"]]
        else:
            env[each["name"]] = re.sub(r"\$\((\w+)\)", lambda name: env[name[1]], each["value"])
    return env


class Nginx:
    """nginx with the configuration of the example, except for the ports."""

    def __init__(self, folder: Path, port: int, marks: int) -> None:
        assert NGINX is not None
        self._folder = folder
        self._file = folder / "nginx.conf"
        self._command = [NGINX, "-c", str(self._file), "-p", str(folder), "-e", str(folder / "error.log")]
        self._ports = port, marks
        self._loaded = 0
        self.url = f"http://127.0.0.1:{port}"

    def send_to(self, *servers: str) -> None:
        """Send requests to *servers*, which are URLs, from now on."""
        port, marks = self._ports
        self._loaded += 1
        text = (DEPLOY / "nginx.conf").read_text()
        lines = "".join(f"server {url.removeprefix('http://')};" for url in servers)
        text = text.replace("server 127.0.0.1:3000;", lines).replace(
            "listen 8080", f"listen 127.0.0.1:{port}"
        )
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = "".join(f"{kind}_temp_path {self._folder / kind};\n" for kind in kinds)
        mark = f"server {{ listen 127.0.0.1:{marks}; return 200 {self._loaded}; }}\n"
        self._file.write_text(
            f"pid {self._folder}/pid; error_log {self._folder}/error.log;\n"
            f"events {{}}\nhttp {{ access_log off;\n{temporary}{mark}{text} }}\n"
        )
        # At first, it goes into the background once it listens; later, new processes take over from old ones.
        subprocess.run([*self._command, *(["-s", "reload"] if self._loaded > 1 else [])], check=True)
        until(self._has_loaded)

    def _has_loaded(self) -> bool:
        url = f"http://127.0.0.1:{self._ports[1]}"
        with contextlib.suppress(httpx.TransportError):  # an old process that ends has accepted it
            return httpx.get(url, timeout=PATIENCE_S, trust_env=False).text == str(self._loaded)
        return False

    def stop(self) -> None:
        subprocess.run([*self._command, "-s", "stop"], check=True)


@contextlib.contextmanager
def valkey(folder: Path) -> Iterator[str]:
    """Run the command of the StatefulSet, with Redis in the place of Valkey, and give its host and port."""
    if REDIS is None:
        if os.environ.get("CI") == "true":
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    container = container_of("StatefulSet")
    (script,) = container["args"]
    with (
        reserved_port() as port,
        (folder / "store.log").open("w") as log,
        subprocess.Popen(
            [
                *container["command"],
                script.replace("valkey-server -", f"{REDIS} - --bind 127.0.0.1 --port {port}"),
            ],
            cwd=folder,
            env={**os.environ, **environment(container)},
            stdout=log,
        ) as process,
    ):
        try:
            until(lambda: "Ready to accept connections" in (folder / "store.log").read_text())
            yield f"127.0.0.1:{port}"
        finally:
            process.terminate()


@contextlib.contextmanager
def nginx(folder: Path, *servers: str) -> Iterator[Nginx]:
    """Run nginx in front of *servers*, or skip the test where it is not installed."""
    if NGINX is None:
        if os.environ.get("CI") == "true":
            pytest.fail("nginx is not installed")
        pytest.skip("nginx is not installed")
    with reserved_port() as port, reserved_port() as marks:
        front = Nginx(folder, port, marks)
        front.send_to(*servers)
        try:
            yield front
        finally:
            front.stop()

"""What examples/deploy/Dockerfile says, done in a virtual environment. Run by .ci/run: ``... WHEEL``."""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import httpx

DOCKERFILE = Path(__file__).parents[1] / "examples" / "deploy" / "Dockerfile"


def main(wheel: str) -> None:
    """Install *wheel* as the image does, start its command, and call a function."""
    lines = DOCKERFILE.read_text(encoding="utf-8").splitlines()
    instructions = dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    with tempfile.TemporaryDirectory() as base:
        image, app = Path(base, "image"), Path(base, "app")
        venv.create(image, with_pip=True)
        pip, _, *options, package = shlex.split(instructions["RUN"])
        name, bracket, extras = package.partition("[")
        if (pip, name, instructions["COPY"]) != ("pip", "navai-client", "src ./src"):
            sys.exit(f"container: unexpected instructions: {instructions}")
        python = str(image / "bin" / "python")
        subprocess.run([python, "-m", pip, "install", "-q", *options, wheel + bracket + extras], check=True)
        modules = app / "src" / "ai" / "functions-modules"
        modules.mkdir(parents=True)
        (modules / "greeting.py").write_text("def greet(name: str) -> str:\n    return f'Hello, {name}'\n")
        variable, _, value = instructions["ENV"].partition("=")
        env = {
            "PATH": f"{image / 'bin'}{os.pathsep}{os.environ['PATH']}",
            variable: value,
            "OPENAI_API_KEY": "sk-test",
            "NAVAI_ACCESS_TOKEN": "let-me-in",
            "NAVAI_STORE_URL": "redis://127.0.0.1:1/0",  # which nothing serves
            "NAVAI_DRAIN_DELAY": "0",
        }
        # Nobody else is to reach it, and the port of the image may be taken here.
        command = [*json.loads(instructions["CMD"]), "--host", "127.0.0.1", "--port", "0"]
        with subprocess.Popen(command, cwd=app, env=env, stdout=subprocess.PIPE, text=True) as server:
            try:
                check(str(server.stdout and server.stdout.readline().split()[-1]))
            finally:
                server.terminate()
    print("container: the image's commands serve a function")


def check(url: str) -> None:
    """Call the function at *url*, with a token and without, and ask whether the store can be used."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        execute = {"function_name": "greet", "payload": {"name": "Ana"}}
        refused = client.post("/navai/functions/execute", json=execute)
        token = {"authorization": "Bearer let-me-in"}
        greeted = client.post("/navai/functions/execute", json=execute, headers=token)
        keyed = client.post(
            "/navai/functions/execute", json=execute, headers={**token, "idempotency-key": "k"}
        )
        found = (refused.status_code, greeted.json().get("result"), keyed.status_code)
        ready = client.get("/ready").status_code
    if (*found, ready) != (401, "Hello, Ana", 503, 503):
        sys.exit(f"container: {found}, /ready {ready}")


if __name__ == "__main__":
    main(*sys.argv[1:])

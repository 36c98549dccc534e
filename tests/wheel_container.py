"""What examples/deploy/Dockerfile says, done in virtual environments. Run by .ci/run."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
DOCKERFILE = ROOT / "examples" / "deploy" / "Dockerfile"


def main() -> None:
    """Build the image, start its command with a function on top, and call that."""
    with tempfile.TemporaryDirectory() as base:
        command, env = build(Path(base))
        app = Path(base, "app")
        modules = app / "src" / "ai" / "functions-modules"
        modules.mkdir(parents=True)
        (modules / "greeting.py").write_text("def greet(name: str) -> str:\n    return f'Hello, {name}'\n")
        env |= {
            "OPENAI_API_KEY": "sk-test",
            "NAVAI_ACCESS_TOKEN": "let-me-in",
            "NAVAI_STORE_URL": "redis://127.0.0.1:1/0",  # which nothing serves
            "NAVAI_DRAIN_DELAY": "0",
        }
        # Nobody else is to reach it, and the port of the image may be taken here.
        command += ["--host", "127.0.0.1", "--port", "0"]
        with subprocess.Popen(command, cwd=app, env=env, stdout=subprocess.PIPE, text=True) as server:
            try:
                check(str(server.stdout and server.stdout.readline().split()[-1]))
            finally:
                server.terminate()
    print("container: the image's commands build the package and serve a function")


def build(base: Path) -> tuple[list[str], dict[str, str]]:
    """Follow the instructions in folders of *base*; return the command and its environment."""
    env: dict[str, str] = {}
    here, command = base, [""]
    for line in DOCKERFILE.read_text(encoding="utf-8").splitlines():
        instruction, _, value = line.partition(" ")
        match instruction:
            case "FROM":  # a new stage: another interpreter
                stage = base / f"stage-{len(list(base.glob('stage-*')))}"
                venv.create(stage, with_pip=True)
                env = {"PATH": f"{stage / 'bin'}{os.pathsep}{os.environ['PATH']}"}
            case "WORKDIR":
                here = base / value.lstrip("/")
                here.mkdir()
            case "COPY" if not value.startswith("--from=build "):  # folders of stages are the same here
                *sources, target = value.split()
                for source in sources:
                    copy = shutil.copytree if (ROOT / source).is_dir() else shutil.copy
                    copy(ROOT / source, here / target if copy is shutil.copytree else here)
            case "RUN":
                run = value.replace("/wheels", str(base / "wheels"))
                subprocess.run(["sh", "-c", run], cwd=here, env={**os.environ, **env}, check=True)
            case "ENV":
                name, _, env[name] = value.partition("=")
            case "CMD":
                command = json.loads(value)
            case "" | "#" | "COPY" | "USER" | "EXPOSE":
                pass
            case _:
                sys.exit(f"container: an instruction that is not followed: {line}")
    return command, env


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
    main()

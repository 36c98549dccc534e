"""A smoke test of the installed wheel. Run by .ci/run in an environment of its own, away from the sources."""

import subprocess
import sys

import httpx

import navai_client
from navai_client import NavaiBackendClient


def check(condition: object, what: str) -> None:
    """Stop if *condition* does not hold; unlike assert, under any option of the interpreter."""
    if not condition:
        sys.exit(f"wheel smoke test: {what}")


def bare() -> None:
    """The client alone, with nothing but what the wheel asks for."""
    check("site-packages" in navai_client.__file__, f"imported from {navai_client.__file__}")
    answer = httpx.Response(200, json={"ok": True, "result": 42})
    with NavaiBackendClient("http://navai.test", transport=httpx.MockTransport(lambda _: answer)) as client:
        check(client.execute_function("f") == 42, "execute_function over a mock transport")
    finished = subprocess.run(
        [sys.executable, "-I", "-m", "navai_client.server"], capture_output=True, text=True, check=False
    )
    check("navai-client[server]" in finished.stderr, f"the missing extra is named: {finished.stderr!r}")
    check("Traceback" not in finished.stderr, "a missing extra shows no traceback")


def server() -> None:
    """The bundled server, with its extra."""
    command = [sys.executable, "-I", "-m", "navai_client.server", "--demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            with NavaiBackendClient(line.split()[-1]) as client:
                check(client.create_client_secret().value.startswith("ek_demo_"), "a demo secret")
                check("get_weather" in client.list_functions(), "the demo functions")
                check(client.execute_function("get_weather", {"location": "Paris"}), "a function that runs")
        finally:
            process.terminate()


if __name__ == "__main__":
    {"bare": bare, "server": server}[sys.argv[1]]()
    print(f"wheel smoke test: {sys.argv[1]} passed")

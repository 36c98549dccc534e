"""A smoke test of the installed wheel. Run by .ci/run in an environment of its own, away from the sources."""

import subprocess
import sys
from pathlib import Path

import httpx

import navai_client
from navai_client import NavaiBackendClient


def check(condition: object, what: str) -> None:
    """Stop if *condition* does not hold; unlike assert, under any option of the interpreter."""
    if not condition:
        sys.exit(f"wheel smoke test: {what}")


def bare() -> None:
    """The client alone, with only the wheel's dependencies."""
    check("site-packages" in navai_client.__file__, f"imported from {navai_client.__file__}")
    answer = httpx.Response(200, json={"ok": True, "result": 42})
    with NavaiBackendClient("http://navai.test", transport=httpx.MockTransport(lambda _: answer)) as client:
        check(client.execute_function("f") == 42, "execute_function over a mock transport")
    finished = subprocess.run(
        [sys.executable, "-I", "-m", "navai_client.server"], capture_output=True, text=True, check=False
    )
    check("navai-client[server]" in finished.stderr, f"the missing extra is named: {finished.stderr!r}")
    check("Traceback" not in finished.stderr, "a missing extra shows no traceback")
    navai = subprocess.run(
        [Path(sys.executable).with_name("navai"), "functions"], capture_output=True, text=True, check=False
    )
    check(navai.returncode == 2, "the command without its extra ends with status 2")
    check(
        "navai-client[cli]" in navai.stderr and navai.stderr.count("\n") == 1,
        f"it is named: {navai.stderr!r}",
    )


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
            for file in ("", "inspector.js", "inspector.css"):
                check(httpx.get(f"{line.split()[-1]}/navai/{file}").status_code == 200, f"inspector: {file}")
        finally:
            process.terminate()


def cli() -> None:
    """The installed command, with its extra: each command once, with valid and invalid input."""
    navai = str(Path(sys.executable).with_name("navai"))

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([navai, *arguments], capture_output=True, text=True, check=False, timeout=60)

    with subprocess.Popen(
        [navai, "serve", "--demo", "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            url = ("--url", line.split()[-1])
            check("get_weather" in run("functions", *url).stdout, "navai functions")
            check("119.0" in run("call", "calculator_add_tax", "-p", "amount=100", *url).stdout, "navai call")
            check("ek_***" in run("secret", *url).stdout, "navai secret masks")
            check(run("speak", "hello", "--out", "hello.wav", *url).returncode == 0, "navai speak")
            check(run("doctor", *url).returncode == 0, "navai doctor")
            check(run("check", *url).returncode == 0, "navai check")
            check("get_weather?" in run("call", "get_wether", *url).stderr, "an unknown function")
        finally:
            process.terminate()
    nobody = run("functions", *url)
    check(nobody.returncode == 3 and nobody.stderr.count("\n") == 1, f"nobody there: {nobody.stderr!r}")
    check(run("bogus").returncode == 2, "an unknown command")


if __name__ == "__main__":
    {"bare": bare, "server": server, "cli": cli}[sys.argv[1]]()
    print(f"wheel smoke test: {sys.argv[1]} passed")

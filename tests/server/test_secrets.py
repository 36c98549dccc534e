"""Secrets of the backend in its log and in what it responds, and what callers learn of errors."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from navai_client.server import NavaiBackend, ToolError
from tests.server.conftest import Ask, Stub
from tests.serving import NO_TLS, Serve

LIST, EXECUTE, SECRET = "/navai/functions", "/navai/functions/execute", "/navai/realtime/client-secret"
OPENAI_KEY, TOKEN = "correct-horse-battery-staple", "tr0ub4dor-and-three"  # which look like no secret
# Assembled, so that no scanner takes this file for a leak.
JWT = "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0NTY3ODkwIn0" + ".dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P"
AWS, GITHUB = "AKIA" + "IOSFODNN7EXAMPLE", "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"
SECRETS = {
    "own key": OPENAI_KEY,
    "access token": TOKEN,
    "database": "hunter2-and-more",
    "aws": AWS,
    "github": GITHUB,
    "jwt": JWT,
}
SAID = f"{OPENAI_KEY} {TOKEN} postgres://app:hunter2-and-more@db.internal/shop {AWS} {GITHUB} {JWT}"
ENVIRONMENT = {"OPENAI_API_KEY": OPENAI_KEY, "NAVAI_ACCESS_TOKEN": TOKEN}
AUTHORIZED = {"authorization": f"Bearer {TOKEN}"}


def none_of_them(text: str) -> None:
    """Assert that *text* has no secret, and no half of one."""
    for name, secret in SECRETS.items():
        for part in (secret[: len(secret) // 2 + 2], secret[-len(secret) // 2 - 2 :]):
            assert part not in text, name


def call(url: str, name: str, payload: Any = None, **headers: str) -> Any:
    body = {"function_name": name, "payload": payload}
    headers = AUTHORIZED | headers
    return httpx.post(url + EXECUTE, json=body, headers=headers, timeout=60, verify=NO_TLS).json()


def test_no_secret_is_in_a_traceback_the_list_a_path_or_a_response(serve: Serve, write: Any) -> None:
    write(
        "src/a.py",
        "from pydantic import BaseModel, field_validator\n"
        f"SAID = {SAID!r}\n"
        "def fails(): raise ValueError(SAID)\n"
        "async def fails_too():\n"
        "    try: fails()\n"
        "    except ValueError as error: raise RuntimeError('again: ' + SAID) from error\n"
        "def unencodable(): return {1: SAID, '1': SAID}\n"
        "class Given(BaseModel):\n"
        "    x: int\n"
        "    @field_validator('x')\n"
        "    def check(cls, value): raise ValueError(SAID)\n"
        "def checks(given: Given): ...\n",
    )
    write("src/broken.py", f"raise RuntimeError({SAID!r})\n")
    server = serve("--functions-folders", "src", **ENVIRONMENT)
    shown = [httpx.get(server.url + LIST, headers=AUTHORIZED, timeout=60).text]
    assert "broken.py" in shown[0]
    for name, payload in (("fails", None), ("fails_too", None), ("unencodable", None), ("checks", {"x": 1})):
        answer = call(server.url, name, payload)
        assert answer["ok"] is False
        shown.append(json.dumps(answer))
    for secret in (*(SECRETS[name] for name in SECRETS if name != "database"), "x://a:hunter2-and-more@b"):
        assert httpx.get(f"{server.url}/v1/{secret}/x", headers=AUTHORIZED, timeout=60).status_code == 404
    log = server.stop()
    for text in (*shown, log):
        none_of_them(text)
    assert "ValueError: *** *** postgres://app:***@db.internal/shop *** *** ***" in log
    assert "RuntimeError: again: *** ***" in log
    assert "Traceback (most recent call last)" in log
    assert 'path="/v1/***/x" status=404' in log
    assert f'path="{EXECUTE}" status=200' in log


@pytest.mark.parametrize("before", [8192 - 1, 8192 - 4, 8192 - len(TOKEN) + 1, 200, 199])
def test_a_text_is_masked_before_it_is_cut(ask: Ask, before: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="navai_client.server.access")
    backend = NavaiBackend(env={}, discover=False, access_token=TOKEN)

    @backend.function
    def fails() -> None:
        raise ValueError("x" * before + TOKEN)

    body = {"function_name": "fails"}
    details = ask(backend, "POST", EXECUTE, json=body, headers=AUTHORIZED).json()["details"]
    if before + len(TOKEN) <= 8192:
        assert details == "x" * before + "***"
    else:
        assert details == f"{'x' * (8192 - 34)}... [cut; it has {before + len(TOKEN):,} characters]"
    path = "/" + "y" * (min(before, 200) - 1) + TOKEN
    assert ask(backend, "GET", path).status_code == 404
    line = caplog.records[-1].getMessage()
    assert "tr0" not in line
    fields: Any = caplog.records[-1].navai  # type: ignore[attr-defined]
    assert fields["path"] == path.replace(TOKEN, "***")[:200]


def test_what_upstream_says_of_the_key_is_masked_in_response_and_log(serve: Serve, stub: Stub) -> None:
    stub.status, stub.answer = 401, f"no such key: {SAID.replace(TOKEN, '')}"
    server = serve(**ENVIRONMENT, OPENAI_BASE_URL=stub.url)
    answer = httpx.post(server.url + SECRET, json={}, headers=AUTHORIZED, timeout=60)
    assert answer.json()["error"].startswith("OpenAI client_secrets failed (401): no such key: *** ")
    none_of_them(answer.text)
    none_of_them(server.stop())


def test_the_log_that_a_client_asks_for_is_masked() -> None:
    script = (
        "import logging, navai_client\n"
        "navai_client.NavaiBackendClient()\n"
        f"logging.getLogger('navai_client').warning('%s', {SAID!r})\n"
        "try: 1 / 0\n"
        f"except ZeroDivisionError: logging.getLogger('mine').exception({JWT!r})\n"
    )
    written = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"NAVAI_LOG": "debug"},
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert "postgres://app:***@db.internal/shop" in written
    assert "ZeroDivisionError" in written
    for name in ("database", "aws", "github", "jwt"):
        assert SECRETS[name] not in written


HIDDEN = "The function failed. Request id: r-1"
MODULE = (
    "from navai_client.server import ToolError\n"
    "def raises(): raise LookupError('row 7 of table orders')\n"
    "async def raises_too(): raise SystemExit('row 7 of table orders')\n"
    "def returns(): return {1: 'row 7 of table orders', '1': 2}\n"
    f"def refuses(): raise ToolError('There is no order 7: ' + {JWT!r})\n"
    "class Refused(ToolError): ...\n"
    "async def refuses_too(): raise Refused('The shop is closed.')\n"
    "def takes(count: int): ...\n"
)


def test_without_exposed_errors_callers_get_those_that_are_meant_for_them(
    serve: Serve, write: Any, stub: Stub
) -> None:
    write("src/a.py", MODULE)
    write("src/broken.py", "raise RuntimeError('row 8 of table orders')\n")
    stub.status, stub.answer = 429, "quota of org-internal"
    server = serve(
        "--functions-folders", "src", "--no-expose-errors", **ENVIRONMENT, OPENAI_BASE_URL=stub.url
    )
    told = {
        name: call(server.url, name, payload, **{"x-request-id": "r-1"})["details"]
        for name, payload in {
            **dict.fromkeys(("raises", "raises_too", "returns", "refuses", "refuses_too")),
            "takes": {"count": "x"},
        }.items()
    }
    assert told.pop("takes").startswith("Invalid arguments: count")
    assert told == {
        "raises": HIDDEN,
        "raises_too": HIDDEN,
        "returns": HIDDEN,
        "refuses": "There is no order 7: ***",
        "refuses_too": "The shop is closed.",
    }
    listed = httpx.get(server.url + LIST, headers=AUTHORIZED, timeout=60).json()
    assert listed["warnings"] == ["[navai] Failed to load src/broken.py: the log has the reason."]
    refused = httpx.post(server.url + SECRET, json={}, headers=AUTHORIZED, timeout=60)
    assert (refused.status_code, refused.json()) == (429, {"error": "OpenAI client_secrets failed (429)."})
    log = server.stop()
    assert "Function raises failed (request r-1)." in log
    assert "LookupError: row 7 of table orders" in log
    assert "SystemExit: row 7 of table orders" in log
    assert "Function returns returned a result without a form in JSON (request r-1): " in log
    assert "Function refuses failed (request r-1): There is no order 7: ***" in log
    assert "row 8 of table orders" in log
    assert "OpenAI client_secrets failed (429): quota of org-internal" in log


def test_an_upstream_that_cannot_be_reached_is_not_described_without_exposed_errors(ask: Ask) -> None:
    env = {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://127.0.0.1:1", "NAVAI_EXPOSE_ERRORS": "off"}
    answer = ask(NavaiBackend(env=env, discover=False), "POST", SECRET, json={})
    assert (answer.status_code, answer.json()) == (502, {"error": "OpenAI could not be reached."})


def test_by_default_callers_get_the_message(ask: Ask, execute: Callable[..., Any]) -> None:
    backend = NavaiBackend(env={}, discover=False)

    @backend.function
    def raises() -> None:
        raise LookupError("There is no order 7.")

    @backend.function
    def refuses() -> None:
        raise ToolError("There is no order 8.\nReally.")

    assert execute(backend, "raises")["details"] == "There is no order 7."
    assert execute(backend, "refuses")["details"] == "There is no order 8.\nReally."


def test_a_start_for_others_names_the_setting_that_hides_errors(serve: Serve) -> None:
    server = serve("--demo", "--host", "0.0.0.0")
    assert server.stop().count("NAVAI_EXPOSE_ERRORS=false") == 1
    server = serve("--demo", "--host", "0.0.0.0", NAVAI_EXPOSE_ERRORS="false")
    assert "NAVAI_EXPOSE_ERRORS" not in server.stop()
    server = serve("--demo")
    assert "NAVAI_EXPOSE_ERRORS" not in server.stop()


def test_what_is_shipped_for_production_exposes_no_errors() -> None:
    deploy = Path(__file__).parents[2] / "examples" / "deploy"
    assert "ENV NAVAI_EXPOSE_ERRORS=false\n" in (deploy / "Dockerfile").read_text()
    assert '- {name: NAVAI_EXPOSE_ERRORS, value: "false"}\n' in (deploy / "kubernetes.yaml").read_text()
    assert "NAVAI_EXPOSE_ERRORS=false" in (deploy / "nginx.conf").read_text()

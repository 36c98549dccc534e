"""The pages about the contract and the check are correct; their examples are responses of our server."""

import asyncio
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from attrs import frozen

import navai_client.conformance
from navai_client.conformance import PROFILES, check, requirements
from navai_client.server import NavaiBackend
from navai_client.server._demo import DemoServices
from tests import parity
from tests.conformance.in_memory import Asked, InMemory, Reply
from tests.conformance.table import CONTRACT, PAGE, page

IDS = {each.id for each in requirements()}
TEXT = CONTRACT.read_text(encoding="utf-8")


@frozen
class Message:
    """A request or a response, as a page shows it."""

    first: str
    headers: dict[str, str]
    body: str


def messages() -> Iterator[Message]:
    for block in re.findall(r"```http\n(.*?)```", TEXT, re.DOTALL):
        head, _, body = block.partition("\n\n")
        first, *lines = head.strip().split("\n")
        yield Message(first, dict(line.split(": ", 1) for line in lines), body.strip())


def exchanges() -> list[tuple[Message, Message]]:
    shown = list(messages())
    return list(zip(shown[::2], shown[1::2], strict=True))


def get_weather(location: str) -> dict[str, Any]:
    """Get the current weather of a place."""
    if location == "Atlantis":
        raise LookupError("There is no weather in Atlantis.")
    return {"temperature": 21, "condition": "sunny"}


def fits(shown: Any, came: Any) -> bool:
    """Return whether *came* matches *shown*, in which a text that ends in dots is a prefix."""
    if isinstance(shown, dict) and isinstance(came, dict):
        return list(shown) == list(came) and all(fits(shown[name], came[name]) for name in shown)
    if isinstance(shown, list) and isinstance(came, list):
        return len(shown) == len(came) and all(map(fits, shown, came))
    if isinstance(shown, str) and shown.endswith("..."):
        return isinstance(came, str) and came.startswith(shown[:-3])
    if isinstance(shown, str) and shown.startswith("weather.py#"):
        return isinstance(came, str) and came.endswith("#get_weather")
    if shown == 1_800_000_000:  # some time
        return isinstance(came, int)
    return type(shown) is type(came) and bool(shown == came)


@pytest.mark.parametrize(("asked", "shown"), exchanges(), ids=lambda each: each.body[:40])
def test_our_server_responds_as_the_contract_shows(asked: Message, shown: Message) -> None:
    backend = NavaiBackend(env={}, discover=False, services=DemoServices())
    backend.function(get_weather)
    method, path, version = asked.first.split()
    assert version == "HTTP/1.1"

    async def send() -> httpx.Response:
        transport: Any = httpx.ASGITransport(app=backend)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, headers=asked.headers, content=asked.body)

    came = asyncio.run(send())
    asyncio.run(backend.aclose())
    assert shown.first.split(" ", 2)[1] == str(came.status_code)
    for name, value in shown.headers.items():
        assert came.headers[name].removesuffix("; charset=utf-8") == value
    assert fits(json.loads(shown.body), came.json()) if shown.body else not came.content


def test_the_example_of_the_check_runs(demo_server: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (example,) = re.findall(
        r"```python\n(from navai_client.conformance import check\n.*?)```", text, re.DOTALL
    )
    exec(example.replace("http://localhost:3000", demo_server), {})
    assert "client-secret: 11 passed" in capsys.readouterr().out


SHOWN = re.findall(
    r"^(?:    - |      - run: )?((?:NAVAI_API_URL=\S+ )?(?:navai check|pytest) .*)$",
    PAGE.read_text(encoding="utf-8"),
    re.MULTILINE,
)
COMMANDS = sorted({line.replace("http://backend:3000", "http://localhost:3000") for line in SHOWN})
MODULE_OF = {"navai": "navai_client.cli", "pytest": "pytest"}


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_runs(line: str, demo_server: str, tmp_path: Path) -> None:
    words = shlex.split(line.replace("http://localhost:3000", demo_server))
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the other plugins take seconds to load
    if "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        env[name] = value
    command = [sys.executable, "-m", MODULE_OF[words[0]], *words[1:]]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done
    if "--junitxml=navai.xml" in words:
        assert (tmp_path / "navai.xml").read_text(encoding="utf-8").count("<testcase ") == len(IDS)
    elif words[0] == "navai":
        assert done.stdout.startswith(f"Navai conformance of {demo_server} (profile: contract)")


def test_the_page_has_commands() -> None:
    assert (len(SHOWN), len(COMMANDS)) == (5, 4)


def test_the_report_on_the_page_is_a_real_one() -> None:
    def has_no_warnings(asked: Asked, reply: Reply) -> Reply:
        if (asked.method, asked.path, reply.status) == ("GET", "/navai/functions", 200):
            reply.record = {"items": reply.record["items"]}
        return reply

    backend = NavaiBackend(env={}, discover=False, services=DemoServices())
    backend.function(get_weather)
    with InMemory(backend, has_no_warnings) as transport:
        text = check("http://navai.test", transport=transport, groups=["list"]).to_text()

    (shown,) = re.findall(r"```text\n(list: .*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert shown in text


def test_the_contract_has_examples_of_all_endpoints() -> None:
    assert {asked.first.split()[1].rpartition("/")[2] for asked, _ in exchanges()} == {
        "functions", "execute", "client-secret", "synthesize",
    }  # fmt: skip


def test_the_contract_names_each_requirement_and_no_other() -> None:
    assert set(re.findall(r"[A-Z]+-\d\d", TEXT)) - {"UTF-8"} == IDS


def test_the_tables_are_up_to_date() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert text == page(text), "Run: python -m tests.conformance.table"


def test_an_outdated_table_is_detected() -> None:
    text = PAGE.read_text(encoding="utf-8")

    assert page(text.replace("| LIST-01 | must |", "| LIST-01 | should |")) == text


def test_ids_have_one_form_and_are_unique() -> None:
    ids = [each.id for each in requirements()]

    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"(LIST|EXEC|SECRET|ERR|CORS|LIMIT|SPEECH)-\d\d", id_) for id_ in ids)


def test_what_requirements_relate_to_and_need_exists() -> None:
    known = {each.id for each in parity.requirements()}
    before: set[str] = set()
    for each in requirements():
        assert set(each.relates) <= known
        assert set(each.needs) <= before
        before.add(each.id)


def test_every_deviation_is_of_a_requirement() -> None:
    for profile in PROFILES.values():
        assert set(profile.deviations) <= IDS


def test_sentences_are_sentences() -> None:
    for each in requirements():
        for text in (each.sentence, each.change):
            assert re.fullmatch(r"\S.*[.]", text)
            assert "  " not in text


def test_every_public_name_can_be_imported() -> None:
    for name in navai_client.conformance.__all__:
        assert getattr(navai_client.conformance, name) is not None


def test_every_argument_of_the_check_is_described_and_on_the_page() -> None:
    page_text, described = PAGE.read_text(encoding="utf-8"), inspect.getdoc(check) or ""
    for name in inspect.signature(check).parameters:
        assert f"\n    {name}: " in described
        assert f"`{name}`" in page_text


def test_a_check_imports_neither_pytest_nor_a_server() -> None:
    code = "import sys, navai_client.conformance; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())

    assert loaded.isdisjoint({"pytest", "httpx", "httpx2", "anyio", "starlette", "msgspec"})
    assert not {each for each in loaded if each.startswith(("navai_client.server", "navai_client.testing"))}

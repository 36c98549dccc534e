"""The options of all commands: URL, headers, timeout, certificates, proxies. No secret is shown."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from navai_client.cli._connection import Connection
from tests.cli.conftest import Navai, Result
from tests.faults.server import FaultServer
from tests.transports.test_tls_and_proxies import tls_server

TOKEN = "token-0123456789abcdef"
LIST = '{"items": [{"name": "f"}]}'


def test_an_option_takes_precedence_over_the_environment(
    navai: Navai, reply: Callable[..., FaultServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAVAI_API_URL", "http://127.0.0.1:1")
    assert navai("functions", "--url", f" {reply(LIST).url}/ ").out == "f\t\t\n"


def test_headers_are_sent_and_their_values_can_come_from_elsewhere(
    navai: Navai, reply: Callable[..., FaultServer], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TOKEN", f"{TOKEN}\n")
    file = tmp_path / "a key"
    file.write_text(f"{TOKEN}\n")
    server = reply(LIST)
    headers = [
        "-H",
        "Authorization: Bearer @env:TOKEN",
        "--header",
        f"X-Key: @file:{file}",
        "-H",
        "X-Mail: a@env:b",
    ]
    assert navai("functions", *headers, "--url", server.url).status == 0
    head = server.arrived[0][1].decode()
    assert f"Authorization: Bearer {TOKEN}\r\n" in head
    assert f"X-Key: {TOKEN}\r\n" in head
    assert "X-Mail: a@env:b" in head


@pytest.mark.parametrize(
    "command", ["functions", "call f", "secret", "speak hello --out -", "check", "doctor"]
)
def test_the_access_token_is_sent(
    command: str, navai: Navai, reply: Callable[..., FaultServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = reply(LIST)
    monkeypatch.setenv("TOKEN", f"{TOKEN}\n")
    navai(*command.split(), "--access-token", "@env:TOKEN", "--url", server.url)
    assert authorizations(server) == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("command", ["functions", "check", "doctor"])
def test_the_token_of_the_environment_is_sent_to_its_backend_alone(
    command: str, navai: Navai, reply: Callable[..., FaultServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, other = reply(LIST), reply(LIST)
    monkeypatch.setenv("NAVAI_API_URL", home.url)
    monkeypatch.setenv("NAVAI_ACCESS_TOKEN", TOKEN)
    navai(command)
    navai(command, "--url", other.url)
    assert authorizations(home) == {f"Bearer {TOKEN}"}
    assert authorizations(other) == set()
    assert other.arrived
    home.arrived.clear()
    navai(command, "-H", "authorization: Bearer other")
    assert authorizations(home) == {"Bearer other"}


def authorizations(server: FaultServer) -> set[str]:
    """Return the values of ``Authorization`` that *server* got. Preflights of the check have none."""
    heads = [head.decode() for _, head, _ in server.arrived]
    return {each for head in heads for each in re.findall(r"(?i)\r\nauthorization: (.*)\r", head)}


WRONG = [
    (["--header", TOKEN], "--header takes 'Name: value' in quotes (the argument is not shown)."),
    (["--header", f"{TOKEN} x: y"], "--header takes 'Name: value' in quotes"),
    (["--header", "Authorization:", "Bearer", TOKEN], "2 arguments too many (not shown)"),
    (["-H", "X-A: 1", "-H", f"x-a: {TOKEN}"], "--header x-a is given twice."),
    (
        ["-H", "X-A: @env:NOT_SET"],
        "--header X-A names the variable NOT_SET, which is empty or not set.",
    ),
    (["-H", "X-A: @file:/not/there"], "--header X-A names the file /not/there: No such file"),
    (
        ["-H", "X-A: @file:/dev/null"],
        "--header X-A names the file /dev/null, which is empty or not set.",
    ),
    (["-H", f"X-A: a\n{TOKEN}"], "The header X-A has a line break"),
    (["-H", f"Content-Type: {TOKEN}"], "--header must not set Content-Type"),
    (["--access-token", f"Bearer {TOKEN}"], "--access-token must be a token of ASCII characters"),
    (["--access-token", "@env:NOT_SET"], "--access-token names the variable NOT_SET, which is empty or not"),
    (
        ["--access-token", TOKEN, "-H", "Authorization: x"],
        "--access-token and a header Authorization were both given; send one of them.",
    ),
    (["--url", "localhost"], "--url must begin with http:// or https://; it is 'localhost'."),
    (["--url", f"http://me:{TOKEN}@x"], "--url has a user or password; send them with --header"),
    (["--proxy", f"://{TOKEN}"], "--proxy is not a proxy's URL"),
    (["--ca-file", "/not/there"], "'/not/there' does not exist"),
    (["--ca-file", "/dev/null"], "--ca-file='/dev/null'"),
    (["--timeout", "soon"], "'soon' is not a valid float"),
    (["--tiemout", "3"], "Did you mean '--timeout'?"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG)
@pytest.mark.parametrize("command", ["functions", "call f", "secret"])
def test_options_that_cannot_work_are_status_2_one_line_and_show_no_secret(
    command: str, arguments: list[str], said: str, navai: Navai
) -> None:
    check_refusal(navai(*command.split(), *arguments), said)


FOUND_BY_THE_DOCTOR = ("--url", "--proxy", "--ca-file")


@pytest.mark.parametrize(
    ("arguments", "said"), [each for each in WRONG if each[0][0] not in FOUND_BY_THE_DOCTOR]
)
def test_a_mistake_in_the_command_line_is_not_a_diagnosis(
    arguments: list[str], said: str, navai: Navai
) -> None:
    check_refusal(navai("doctor", *arguments), said)


def check_refusal(result: Result, said: str) -> None:
    assert (result.status, result.out) == (2, "")
    assert said in result.err
    assert result.err.count("\n") == 1
    assert TOKEN not in result.err


def test_a_header_file_that_is_not_text_is_refused(navai: Navai, tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\xff")
    result = navai("functions", "--header", f"X-A: @file:{file}")
    assert result.status == 2
    assert "the content is not UTF-8." in result.err


@pytest.mark.parametrize("name", ["Authorization", "X-Anything"])
def test_a_backend_that_repeats_our_headers_is_not_repeated(
    name: str, navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    server = reply(json.dumps({"error": f"Refused: {TOKEN}"}), status="403 Forbidden")
    result = navai("functions", "--header", f"{name}: Bearer {TOKEN}", "--url", server.url)
    assert result.status == 1
    assert TOKEN not in result.err
    assert "***" in result.err


def test_no_repr_of_a_connection_shows_a_header_or_a_proxy() -> None:
    connection = Connection(headers=(f"Authorization: {TOKEN}",), proxy=f"http://me:{TOKEN}@proxy")
    assert TOKEN not in repr(connection)


def test_a_private_authority_is_trusted_if_its_file_is_given(command: Navai, tmp_path: Path) -> None:
    authority = trustme.CA()
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    with tls_server(authority) as server:
        assert command("functions", "--url", server.url).status == 3
        assert command("functions", "--url", server.url, "--ca-file", str(file)).status == 0


def test_a_proxy_is_used(navai: Navai, reply: Callable[..., FaultServer]) -> None:
    proxy = reply(LIST)
    result = navai("functions", "--url", "http://backend.test", "--proxy", proxy.url)
    assert result.out == "f\t\t\n"
    assert proxy.arrived[0][0] == "http://backend.test/navai/functions"


@pytest.mark.parametrize(
    "words",
    [["functions", "-v"], ["functions", "--verbose"], ["-v", "functions"], ["--verbose", "functions"]],
)
def test_verbose_logs_each_request_to_standard_error(
    command: Navai, reply: Callable[..., FaultServer], words: list[str]
) -> None:
    server = reply(LIST)
    result = command(*words, "--url", server.url)
    assert (result.status, result.out) == (0, "f\t\t\n")
    (line,) = result.err.splitlines()
    assert f" DEBUG navai_client: GET {server.url}/navai/functions: HTTP 200 in " in line
    assert command("functions", "--url", server.url).err == ""

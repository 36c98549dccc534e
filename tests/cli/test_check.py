"""``navai check``: reports for people, scripts and CI, and how it ends."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Navai
from tests.faults.server import FaultServer
from tests.ports import reserved_port

TOKEN = "token-0123456789abcdef"
ALLOWED = ["--execute", "calculator_add_tax", "--payload", '{"amount": 1}', "--mint", "--speak", "hi"]
ALLOWED += ["--execute-failing", "cancel_order", "--failing-payload", '{"order_id": "1"}']


def test_our_own_server_keeps_the_contract(command: Navai, demo_server: str) -> None:
    result = command("check", demo_server, *ALLOWED)
    assert result.status == 0, result.out
    assert result.err == ""
    assert f"Navai conformance of {demo_server} (profile: contract)" in result.out
    assert "FAIL" not in result.out


def test_what_is_skipped_says_which_option_allows_it(navai: Navai, demo_server: str) -> None:
    printed = " ".join(navai("check", "--url", demo_server).out.split())
    assert "allow it with --execute NAME --payload JSON" in printed
    assert "allow it with --mint" in printed
    assert "mint=True" not in printed


def test_json_can_be_read(navai: Navai, demo_server: str) -> None:
    for arguments in (["--json"], ["--format", "json"]):
        report = json.loads(navai("check", demo_server, "--group", "list", *arguments).out)
        assert report["reached"] is True
        assert {finding["group"] for finding in report["findings"]} == {"list"}


def test_a_report_can_go_to_a_file_with_a_summary_for_the_log(
    navai: Navai, demo_server: str, tmp_path: Path
) -> None:
    for form in ("text", "json"):
        file = tmp_path / form
        result = navai("check", demo_server, "--group", "list", "--format", form, "--output", str(file))
        assert (result.status, result.out) == (0, "")
        assert "passed" in result.err
        assert result.err.count("\n") == 1
        assert demo_server in file.read_text()


def test_a_backend_that_breaks_what_must_be_is_status_1(
    navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    result = navai("check", reply('{"items": 1}').url, "--timeout", "60")
    assert result.status == 1
    assert "FAIL" in result.out
    assert result.err == ""


def test_warnings_can_be_made_to_count(navai: Navai, demo_server: str) -> None:
    strangers = ["--origin", "https://elsewhere.test"]  # our server correctly refuses such a request
    assert navai("check", demo_server, *strangers).status == 0
    assert navai("check", demo_server, *strangers, "--fail-on", "should").status == 1


def test_an_unreachable_backend_is_status_3(command: Navai) -> None:
    with reserved_port() as port:
        result = command("check", f"http://127.0.0.1:{port}")
    assert result.status == 3
    assert "The backend gave no response, so nothing was checked: ConnectError" in " ".join(
        result.out.split()
    )
    assert result.out.count("\n") <= 5
    assert "`navai doctor` says why." in result.err


def test_a_header_is_sent_and_not_shown(navai: Navai, reply: Callable[..., FaultServer]) -> None:
    server = reply(json.dumps({"error": TOKEN}), status="401 Unauthorized")
    result = navai("check", server.url, "-H", f"Authorization: Bearer {TOKEN}", "--verbose")
    assert result.status == 1
    assert any(TOKEN.encode() in head for _, head, _ in server.arrived)
    assert TOKEN not in result.out + result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["http://a", "--url", "http://b"], "URL and --url exclude each other."),
        (["--payload", "1"], "--payload is for --execute NAME, which is not given."),
        (["--failing-payload", "1"], "--failing-payload is for --execute-failing NAME, which is not given."),
        (["--execute", "f", "--payload", "{"], "--payload is not JSON"),
        (["--execute", " "], "execute must be the name of a function and a payload."),
        (["--profile", "rails"], "'rails' is not one of 'contract', 'express', 'wordpress'"),
        (["--group", "all"], "'all' is not one of 'list'"),
        (["--large-body", "5"], "large_body must be"),
        (["ftp://a"], "--url must begin with http:// or https://"),
        (["--functions-list-path", "a b"], "functions_list_path must have no white space"),
        (["--output", "/not/there/x"], "--output /not/there/x: the folder /not/there does not exist"),
        (["--timeout", "inf"], "timeout must be a number of seconds"),
    ],
)
def test_what_cannot_be_checked_is_status_2_and_one_line(
    arguments: list[str], said: str, navai: Navai
) -> None:
    result = navai("check", *arguments)
    assert (result.status, result.out) == (2, "")
    assert said in result.err
    assert result.err.count("\n") == 1


def test_a_report_that_cannot_be_written_is_reported(navai: Navai, demo_server: str) -> None:
    result = navai("check", demo_server, "--group", "list", "--output", "/dev/full")
    assert result.status == 1
    assert "/dev/full cannot be written: No space left on device." in result.err

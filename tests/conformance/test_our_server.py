"""Our own server meets the contract, over real connections."""

from typing import Any

import pytest

from navai_client import NavaiConfigError, NavaiPayloadError
from navai_client.conformance import GROUPS, Report, check, requirements

ACTS: dict[str, Any] = {
    "mint": True,
    "speak": "Hello.",
    "execute": ("get_weather", {"location": "Oslo"}),
    "execute_failing": ("cancel_order", {"order_id": "9"}),
}


def not_held(report: Report) -> dict[str, str]:
    return {finding.id: finding.reason or finding.came for finding in report if finding.verdict != "passed"}


def test_the_demo_keeps_all_of_the_contract(demo_server: str) -> None:
    report = check(demo_server, **ACTS)

    assert not_held(report) == {"ERR-09": "no credentials were given among the headers"}
    assert (report.exit_status, report.exit_status_at("should")) == (0, 0)


def test_a_server_with_a_token_and_other_paths_keeps_all_of_the_contract(guarded: dict[str, Any]) -> None:
    assert not_held(check(**guarded, **ACTS)) == {}


def test_without_the_token_only_its_absence_is_reported(guarded: dict[str, Any]) -> None:
    report = check(**{**guarded, "headers": None})

    assert report["LIST-01"].came.startswith("HTTP 401 ")
    assert report["CORS-04"].verdict == "passed"
    assert report.exit_status == 1


def test_a_list_on_another_path_is_reported_missing(demo_server: str) -> None:
    report = check(demo_server, functions_list_path="/elsewhere")

    broken = {finding.id for finding in report if finding.verdict in ("failed", "warned")}
    assert (broken, report.exit_status) == ({"LIST-01"}, 1)


def test_an_execute_route_on_another_path_is_reported_missing(demo_server: str) -> None:
    report = check(demo_server, functions_execute_path="/elsewhere")

    broken = {finding.id for finding in report if finding.verdict in ("failed", "warned")}
    assert broken == {"EXEC-01", "EXEC-04", "EXEC-05", "EXEC-06", "CORS-04"}
    assert report["EXEC-01"].came.startswith("the path seems not to exist: ")


def test_requirements_that_act_are_skipped_unless_allowed(demo_server: str) -> None:
    report = check(demo_server)

    skipped = {finding.id: finding.reason for finding in report if finding.verdict == "skipped"}
    acting = {each.id for each in requirements() if each.acts}
    assert set(skipped) == acting | {"ERR-09"}
    assert skipped["SECRET-02"] == "it acts on the backend; allow it with mint=True"
    assert skipped["EXEC-10"] == "it acts on the backend; allow it with execute=(name, payload)"


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_can_be_checked_alone(demo_server: str, group: str) -> None:
    report = check(demo_server, groups=[group])

    assert [finding.requirement for finding in report] == list(requirements([group]))
    assert {finding.verdict for finding in report} <= {"passed", "skipped"}
    assert "passed" in {finding.verdict for finding in report}


def test_the_base_url_is_read_from_the_environment(demo_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAVAI_API_URL", demo_server)

    assert check(groups="list").url == demo_server


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"profile": "rails"}, "profile is 'rails'; there are contract, express, wordpress."),
        ({"groups": ["lists"]}, "groups has 'lists'; the groups are list, execute, client-secret, errors"),
        ({"timeout": None}, "timeout must be a number of seconds"),
        ({"timeout": 0}, "timeout (seconds) must be a number above 0"),
        ({"large_body": 10}, "large_body must be 1,048,576 bytes or more; it is 10."),
        ({"execute": "get_weather"}, "execute must be the name of a function and a payload."),
        ({"execute_failing": (" ", None)}, "execute_failing must be the name of a function and a payload."),
        ({"url": "ftp://x"}, "base_url must begin with http:// or https://"),
        ({"speak": " "}, "speak must be a text that is not blank."),
        ({"verify": "/no/such/file"}, "verify names '/no/such/file', where there is no file"),
        ({"proxy": "no proxy"}, "proxy is not a proxy's URL"),
        ({"headers": {"X": "a\nb"}}, "The header X has a line break"),
    ],
)
def test_invalid_arguments_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(NavaiConfigError) as caught:
        check(**{"url": "http://127.0.0.1:9", **given})
    assert said in str(caught.value)


def test_a_payload_that_is_not_json_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(NavaiPayloadError, match="the payload of execute"):
        check("http://127.0.0.1:9", execute=("f", {1, 2}))

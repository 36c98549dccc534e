"""Upstream's plugin for WordPress behaves as its profile says, as far as its responses are scripted."""

from collections.abc import Iterator
from typing import Any, Final

import pytest

from navai_client.conformance import PROFILES, check
from tests.wordpress import BASIC, Plugin, Site, serving_site

ACTS: Final[dict[str, Any]] = {
    "headers": {"Authorization": BASIC},
    "mint": True,
    "execute": ("get_weather", {"city": "Oslo"}),
    "execute_failing": ("fail", {}),
}
UNSEEN: Final = {
    "LIST-09": "no function has parameters",
    "LIST-13": "the list has no ETag",
    "SECRET-06": "speech",
    "CORS-02": "it is judged only when CORS-01 holds",
    "SPEECH-01": "the backend does not speak",
    "SPEECH-02": "it acts on the backend; allow it with speak=text",
    "SPEECH-03": "it acts on the backend; allow it with speak=text",
    "SPEECH-04": "it acts on the backend; allow it with speak=text",
}


@pytest.fixture(name="site", scope="module")
def _site() -> Iterator[Site]:
    with serving_site() as site:
        yield site


@pytest.mark.parametrize("suffix", ["", "/wp-json/", "/wp-json/navai/v1"])
def test_the_plugin_does_what_its_profile_says(site: Site, suffix: str) -> None:
    site.plugin = Plugin()
    report = check(site.url + suffix, profile="wordpress", **ACTS)

    not_asked = {id_ for id_, each in PROFILES["wordpress"].deviations.items() if each.rule is None}
    assert {f.id: f.to_text() for f in report if f.verdict in ("failed", "warned")} == {}
    assert {finding.id for finding in report if finding.verdict == "skipped"} == not_asked | UNSEEN.keys()
    for id_, reason in UNSEEN.items():
        assert reason in report[id_].reason
    assert site.plugin.ran == ["get_weather"] * 3 + ["fail"]


def test_it_deviates_from_the_contract_where_its_profile_says_and_nowhere_else(site: Site) -> None:
    site.plugin = Plugin()
    root = "/wp-json/navai/v1"
    paths: dict[str, Any] = {
        "client_secret_path": f"{root}/realtime/client-secret",
        "functions_list_path": f"{root}/functions",
        "functions_execute_path": f"{root}/functions/execute",
    }
    report = check(site.url, **ACTS, **paths)

    broken = {finding.id for finding in report if finding.verdict in ("failed", "warned")}
    assert broken == set(PROFILES["wordpress"].deviations)
    failed = [finding.id for finding in report if finding.verdict == "failed"]
    assert failed == ["EXEC-04", "EXEC-05", "EXEC-06", "EXEC-14", "CORS-01"]


def test_a_path_of_ones_own_takes_precedence(site: Site) -> None:
    site.plugin = Plugin()
    report = check(
        site.url,
        profile="wordpress",
        groups="list",
        functions_list_path="/elsewhere",
        headers=ACTS["headers"],
    )
    assert report["LIST-01"].asked == "GET /elsewhere"

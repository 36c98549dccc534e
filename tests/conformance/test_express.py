"""The published Express backend behaves as its profile says, and the profile is up to date."""

import json
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest

from navai_client.conformance import PROFILES, check
from tests.interop.conftest import FUNCTIONS
from tests.interop.node import Node

ENV: Final = {
    "OPENAI_API_KEY": "sk-of-the-backend",
    "NAVAI_TTS_PROVIDER": "elevenlabs",
    "ELEVENLABS_API_KEY": "xi-of-the-backend",
    "ELEVENLABS_VOICE_ID": "voice-1",
}
ACTS: Final[dict[str, Any]] = {
    "mint": True,
    "speak": "Hello.",
    "execute": ("echo", {"args": [1]}),
    "execute_failing": ("fails", {"args": ["no such luck"]}),
}
UNSEEN: Final = {
    "LIST-09": "no function has parameters",
    "ERR-09": "no credentials were given among the headers",
    "CORS-05": "it is judged only when CORS-04 holds",
    "CORS-06": "it is judged only when CORS-04 holds",
    "CORS-07": "it is judged only when CORS-06 holds",
    "CORS-08": "it is judged only when CORS-06 holds",
}


@pytest.fixture(scope="module", name="express")
def _express() -> Iterator[str]:
    with Node() as node:
        minted = {"value": "ek_minted_by_the_stub", "expires_at": int(time.time()) + 600}
        node.ask("upstream", answer={"text": json.dumps(minted)})
        options = {"functionsBaseDir": str(FUNCTIONS), "functionsFolders": "src/tools"}
        yield node.ask("serve", options=options, env=ENV)


def test_express_does_what_its_profile_says(express: str) -> None:
    report = check(express, profile="express", **ACTS)

    not_held = {f.id: f.reason or f.came for f in report if f.verdict != "passed"}
    not_asked = {
        each: f"the profile express does not expect it: {deviation.sentence}"
        for each, deviation in PROFILES["express"].deviations.items()
        if deviation.rule is None
    }
    assert not_held == UNSEEN | not_asked
    assert report.exit_status_at("should") == 0


def test_express_deviates_from_the_contract_where_its_profile_says_and_nowhere_else(express: str) -> None:
    report = check(express, **ACTS)

    broken = {finding.id for finding in report if finding.verdict in ("failed", "warned")}
    # Without EXEC-14 the details cannot be judged.
    assert broken | {"EXEC-15"} == set(PROFILES["express"].deviations)
    assert report["EXEC-15"].reason == "it is judged only when EXEC-14 holds"
    assert [finding.id for finding in report if finding.verdict == "failed"] == ["EXEC-14"]

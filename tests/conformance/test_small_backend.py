"""A backend written from docs/contract.md, in any framework, meets all requirements."""

import httpx

from navai_client.conformance import check
from tests.conformance.small_backend import application


def test_a_backend_written_from_the_contract_passes_the_check() -> None:
    report = check(
        "http://navai.test",
        execute=("divide", {"args": [6, 3]}),
        execute_failing=("divide", {"args": [6, 0]}),
        mint=True,
        speak="Hello.",
        transport=httpx.WSGITransport(app=application),
    )

    not_held = {
        finding.id: finding.reason or finding.came for finding in report if finding.verdict != "passed"
    }
    assert not_held == {
        "LIST-09": "no function has parameters",
        "LIST-13": "the list has no ETag",
        "ERR-09": "no credentials were given among the headers",
        "SECRET-06": "the response has no speech",
    }

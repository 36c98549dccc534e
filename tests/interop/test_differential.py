"""The JavaScript client and ours get the same unusual responses, and must read them alike.

The seed is printed. ``NAVAI_INTEROP_SEED`` and ``NAVAI_INTEROP_CASES`` set it and the number of generated
cases; by default the seed is fixed, so that a failing run means a change and not bad luck.
"""

import base64
import binascii
import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pytest
from attrs import frozen

from navai_client import NavaiError
from navai_client.wire._decode import trim
from tests.clients import make_client
from tests.interop.generated import Case, examples, generated
from tests.interop.node import Node, revived
from tests.interop.scripted import Asked, ScriptedServer

SEED: Final = int(os.environ.get("NAVAI_INTEROP_SEED", "20261120"))
COUNT: Final = int(os.environ.get("NAVAI_INTEROP_CASES", "3000"))
LIMIT: Final = 256 * 1024
BATCH: Final = 50

Outcome = dict[str, Any]  # {"value": ...} or {"raised": message}


@frozen
class Difference:
    """A deliberate difference.

    Attributes:
        sentence: What it is.
        explains: Whether it is the only reason why two outcomes differ: the JavaScript one, then ours.
    """

    sentence: str
    explains: Callable[[Case, Outcome, Outcome], bool]


NOT_MADE: Final = {
    "createClientSecret": {"raised": "Invalid client-secret response."},
    "listFunctions": {
        "value": {"functions": [], "warnings": ["[navai] Failed to parse backend functions response."]}
    },
    "executeFunction": {"raised": "Invalid backend function response."},
    "synthesizeSpeech": {"raised": "Invalid speech synthesis response."},
}


def message(outcome: Outcome) -> str:
    """Return the message of *outcome*, if it is a failure."""
    if "raised" in outcome:
        return str(outcome["raised"])
    value = outcome["value"]
    warnings = value.get("warnings") if isinstance(value, dict) else None
    if isinstance(warnings, list) and len(warnings) == 1 and not value.get("functions"):
        return str(warnings[0]).removeprefix("[navai] Failed to load backend functions: ")
    return ""


def is_redirect(case: Case, ours: Outcome) -> bool:
    """Return whether *ours* is the error of a redirect, or the two warnings of a list."""
    advice = (
        f"HTTP {case.status}: the redirect to {case.location} was not followed; it leads to another page, "
        "such as a login: check the credentials in headers, and base_url."
    )
    warnings = [f"[navai] Failed to load backend functions ({case.status}).", f"[navai] {advice}"]
    return ours in ({"raised": advice}, {"value": {"functions": [], "warnings": warnings}})


DIFFERENCES: Final = {
    "empty-error": Difference(
        "The message of an error without text is HTTP {status}; in JavaScript it is empty.",
        lambda case, js, ours: js == {"raised": ""} and ours == {"raised": f"HTTP {case.status}"},
    ),
    "redirect": Difference(
        "Redirects are not followed, and the error names the target.",
        lambda case, js, ours: case.location is not None and is_redirect(case, ours),
    ),
    "failed": Difference(
        'The message of a 500 with "ok": false is the function\'s; in JavaScript it is the whole body.',
        lambda case, js, ours: (
            case.operation == "executeFunction" and case.status == 500 and ours == {"raised": "Why."}
        ),
    ),
    "pending": Difference(
        "A call that waits for approval says what the backend says of it; in JavaScript it is a failure.",
        lambda case, js, ours: (
            b'"pending_approval":true' in case.body and ours == {"raised": "Ask the boss."}
        ),
    ),
    "browser": Difference(
        "A result that is code for a browser is a failure outside of one.",
        lambda case, js, ours: (
            b'"client_js"' in case.body and message(ours).startswith("The function runs only in a browser")
        ),
    ),
    "wordpress": Difference(
        "A second warning says why WordPress does not list.",
        lambda case, js, ours: (
            b"rest_forbidden" in case.body
            and case.operation == "listFunctions"
            and ours["value"]["warnings"]
            == [*js["value"]["warnings"], "[navai] rest_forbidden: Not allowed."]
        ),
    ),
    "integers": Difference(
        "Integers keep their digits; in JavaScript they become the nearest double.",
        lambda case, js, ours: same(js, rounded(ours)),
    ),
    "deep": Difference(
        "JSON that is nested too deep for Python's parser counts as invalid.",
        lambda case, js, ours: b"[" * 1000 in case.body and same(ours, NOT_MADE[case.operation]),
    ),
    "base64": Difference(
        "Speech is returned as bytes, so that bad base64 is an invalid response.",
        lambda case, js, ours: (
            "value" in js
            and ours == NOT_MADE["synthesizeSpeech"]
            and decoded(js["value"]["audioBase64"]) is None
        ),
    ),
    "no-whole-answer": Difference(
        "A response that ends too early is a transport error, not a broken body.",
        lambda case, js, ours: case.framing == "short" and message(ours).startswith("No response from "),
    ),
    "damaged": Difference(
        "A body whose compression is damaged or ends too early is a transport error, too.",
        lambda case, js, ours: (
            case.encoding == "gzip"
            and message(ours).startswith("No response from ")
            and message(ours).endswith(": the response is compressed, and damaged or cut short.")
        ),
    ),
    "too-large": Difference(
        "The size of responses is limited.",
        lambda case, js, ours: (
            len(case.body) > LIMIT
            and message(ours).startswith("The response is larger than max_response_bytes")
        ),
    ),
    "stacked": Difference(
        "A body that was compressed more than once is not decoded: no request accepts that.",
        lambda case, js, ours: "," in (case.encoding or "") and same(ours, NOT_MADE[case.operation]),
    ),
    "secrets": Difference(
        "An error that repeats the key of its own request shows it masked.",
        lambda case, js, ours: (
            isinstance(key := (case.input or {}).get("apiKey"), str)
            and "***" in message(ours)
            and same({"raised": message(js).replace(key, "***")}, ours)
        ),
    ),
    "blank": Difference(
        "A blank function name or text is refused before anything is sent.",
        lambda case, js, ours: (
            trim((case.input or {}).get("functionName", (case.input or {}).get("text", "x"))) == ""
            and "that is not blank" in message(ours)
        ),
    ),
}


def same(one: Any, other: Any) -> bool:
    """Return whether both are the same JSON: true is not a number, 1 and 1.0 are equal."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return type(one) is type(other) and bool(one == other)


def rounded(value: Any) -> Any:
    """Return *value* with its integers rounded as in JavaScript."""
    if isinstance(value, dict):
        return {key: rounded(child) for key, child in value.items()}
    if isinstance(value, list):
        return [rounded(child) for child in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def decoded(text: str) -> bytes | None:
    """Return *text* decoded from base64, or None if it is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def by_javascript(outcome: Outcome, operation: str) -> Outcome:
    """Return an outcome of the JavaScript client with its base64 normalized."""
    outcome = {key: rounded(revived(value)) for key, value in outcome.items()}
    if operation == "synthesizeSpeech" and "value" in outcome:
        audio = decoded(outcome["value"]["audioBase64"])
        if audio is not None:
            outcome["value"]["audioBase64"] = base64.b64encode(audio).decode()
    return outcome


OURS: Final = {
    "voiceAccent": "voice_accent",
    "voiceTone": "voice_tone",
    "apiKey": "api_key",
}


def by_us(client: Any, case: Case) -> Outcome:
    """Make the call with one of our clients; return its outcome in the shape of the JavaScript client's."""
    try:
        match case.operation:
            case "createClientSecret":
                given = {OURS.get(name, name): value for name, value in case.input.items()}
                secret = client.create_client_secret(**given)
                speech = {"provider": secret.speech_provider}
                return {"value": {"value": secret.value, "expires_at": secret.expires_at, "speech": speech}}
            case "listFunctions":
                listed = client.list_functions()
                functions = [
                    {"name": each.name, "description": each.description, "source": each.source}
                    for each in listed
                ]
                return {"value": {"functions": functions, "warnings": list(listed.warnings)}}
            case "executeFunction":
                return {"value": client.execute_function(case.input["functionName"], case.input["payload"])}
            case _:
                audio = client.synthesize_speech(case.input["text"])
                encoded = base64.b64encode(audio.audio).decode()
                value = {"provider": audio.provider, "mimeType": audio.mime_type, "audioBase64": encoded}
                return {"value": value}
    except NavaiError as error:
        return {"raised": str(error)}


PATHS: Final = ("clientSecretPath", "functionsListPath", "functionsExecutePath", "speechSynthesizePath")
OUR_PATHS: Final = (
    "client_secret_path",
    "functions_list_path",
    "functions_execute_path",
    "speech_synthesize_path",
)


def ask_javascript(node: Node, server: ScriptedServer, cases: list[Case]) -> list[Outcome]:
    """Make the calls of all *cases* with the JavaScript client."""
    outcomes = []
    for start in range(0, len(cases), BATCH):
        calls = [
            {
                "options": {"apiBaseUrl": server.url, **{name: f"/case/{number}/{name}" for name in PATHS}},
                "method": case.operation,
                **({} if case.input is None else {"input": case.input}),
            }
            for number, case in enumerate(cases[start : start + BATCH], start)
        ]
        outcomes += node.ask("calls", calls=calls)
    return [by_javascript(outcome, case.operation) for outcome, case in zip(outcomes, cases, strict=True)]


def requests_differ(theirs: list[Asked], ours: list[Asked]) -> bool:
    """Return whether the first requests of the clients differ in a way that the contract covers."""
    if not theirs or not ours:
        return True
    one, other = theirs[0], ours[0]
    if (one.method, one.target.split("/")[3]) != (other.method, other.target.split("/")[3]):
        return True
    if not one.body and not other.body:
        return False
    if {each.headers.get("content-type") for each in (one, other)} != {"application/json"}:
        return True
    return not same(rounded(json.loads(one.body)), rounded(json.loads(other.body)))


@pytest.mark.covers(
    "read.success",
    "read.utf8",
    "read.json",
    "read.record",
    "read.numbers",
    "read.unknown-fields",
    "secret.request",
    "secret.result",
    "secret.invalid",
    "secret.http-error",
    "secret.speech-provider",
    "list.items",
    "list.warnings",
    "list.http-error",
    "list.invalid",
    "execute.request",
    "execute.result",
    "execute.http-error",
    "execute.invalid",
    "execute.failed",
    "speech.request",
    "speech.result",
    "speech.http-error",
    "speech.invalid",
    "error.empty-text",
    "error.redirect",
    "read.integers",
)
def test_both_clients_read_each_response_alike(node: Node, kind: str) -> None:
    print(f"seed {SEED}: NAVAI_INTEROP_SEED={SEED} NAVAI_INTEROP_CASES={COUNT}")  # noqa: T201 - shown when it fails
    cases = [*examples(), *generated(SEED, COUNT if kind == "sync" else COUNT // 10)]
    met: Counter[str] = Counter()
    wrong: list[str] = []
    with ScriptedServer() as server:
        ours_at = {ours: f"/case/now/{theirs}" for ours, theirs in zip(OUR_PATHS, PATHS, strict=True)}
        client = make_client(kind, base_url=server.url, max_retries=0, max_response_bytes=LIMIT, **ours_at)
        server.answers.update({number: case.answer() for number, case in enumerate(cases)})
        theirs = ask_javascript(node, server, cases)
        asked_by_javascript = dict(server.asked)
        server.asked.clear()
        for number, case in enumerate(cases):
            server.play(number)
            ours = by_us(client, case)
            js = theirs[number]
            if same(js, ours):
                names = []
            else:
                names = [name for name, each in DIFFERENCES.items() if each.explains(case, js, ours)]
                met.update(names)
                if not names:
                    wrong.append(f"case {number}: {case}\n  JavaScript: {js}\n  ours: {ours}")
            if "blank" not in names and requests_differ(
                asked_by_javascript.get(number, []), server.asked.get(number, [])
            ):
                wrong.append(
                    f"case {number} sends something else: {asked_by_javascript.get(number)}\n  "
                    f"ours: {server.asked.get(number)}"
                )
        client.close()
    assert not wrong, f"seed {SEED}: {len(wrong)} of {len(cases)} differ:\n" + "\n".join(
        text[:1500] for text in wrong[:10]
    )
    assert not DIFFERENCES.keys() - met.keys(), "these differences no longer exist; remove them from the list"

"""Backends that violate one requirement each: faults that are put before our own server.

A fault names the requirement that must find it, alone.
"""

from typing import Final

from attrs import frozen

from tests.conformance.edits import (
    EXECUTE,
    FORM,
    LIST,
    LOCAL,
    SECRET,
    SPEECH,
    When,
    answers,
    called,
    drops,
    is_json,
    is_unknown,
    listed,
    plainly_unknown,
    refuses,
    replaces,
    says,
    sized,
    where,
    with_headers,
    with_item,
    with_items,
    with_members,
    with_origin,
)
from tests.conformance.in_memory import Asked, Fault, Reply

__all__ = ["FAULTS", "Seeded"]


@frozen
class Seeded:
    """One fault.

    Attributes:
        requirement: The id of the requirement that it breaks.
        sentence: What the backend does.
        fault: Does it.
    """

    requirement: str
    sentence: str
    fault: Fault

    def __str__(self) -> str:
        return f"{self.requirement} {self.sentence}"


def renames(asked: Asked, reply: Reply) -> Reply:
    """Give a function a name that models refuse, wherever it occurs."""
    if (listed(asked) or is_unknown(asked)) and b"make_report" in reply.body:
        return replaces(b'"make_report"', b'"make-report"')(reply)
    return reply


def breaks_on_unknown(asked: Asked, reply: Reply) -> Reply:
    return refuses(500)(reply) if is_unknown(asked) and reply.status == 404 else reply


def without_name(asked: Asked) -> bool:
    return asked.path == EXECUTE and asked.body == b'{"payload":{}}'


class Shuffles:
    """Change the order in each response but the first."""

    def __init__(self) -> None:
        self._times = 0

    def __call__(self, asked: Asked, reply: Reply) -> Reply:
        if not listed(asked):
            return reply
        self._times += 1
        return with_items(lambda items: items[::-1])(reply) if self._times > 1 else reply


class Shrinks(Shuffles):
    """Drop the last function from each response but the first."""

    def __call__(self, asked: Asked, reply: Reply) -> Reply:
        if not listed(asked):
            return reply
        self._times += 1
        return with_items(lambda items: items[:-1])(reply) if self._times > 1 else reply


def replays_another(asked: Asked, reply: Reply) -> Reply:
    return with_members(result="another")(reply) if "idempotent-replayed" in reply.headers else reply


TRACE: Final = 'Traceback (most recent call last):\n  File "app.py", line 3, in handle\nKeyError: 3'
JS_TRACE: Final = "TypeError: x is not a function\n    at handle (/srv/app.js:10:5)"
PAGE: Final = b"<!DOCTYPE html><title>Error</title>"
RUNS: Final = called(EXECUTE, function_name="get_weather")
FAILS: Final = called(EXECUTE, function_name="cancel_order")
MINTS: Final = called(SECRET)
MADE: Final = {"value": "ek_of_the_tests", "expires_at": None}
SPEAKS: Final = called(SPEECH, text="Hello.")


def mints_for(body: bytes, content_type: str = "application/json") -> When:
    return lambda asked: MINTS(asked) and asked.body == body and asked.headers["content-type"] == content_type


def foreign(method: str, path: str) -> When:
    return with_origin(path, method, "https://navai-check.invalid")


FAULTS: Final = (
    Seeded("LIST-01", "is down", where(called(LIST, "GET"), refuses(503))),
    Seeded("LIST-01", "redirects", where(listed, answers(301, location="https://elsewhere.test/functions"))),
    Seeded("LIST-01", "ends the connection", where(listed, drops)),
    Seeded("LIST-02", "lists an array", where(listed, says(b"[]"))),
    Seeded("LIST-02", "lists a page", where(listed, says(PAGE))),
    Seeded("LIST-02", "lists NaN", where(listed, replaces(b'"warnings":[]', b'"warnings":[],"n":NaN'))),
    Seeded("LIST-03", "has no items", where(listed, with_members(items=Ellipsis))),
    Seeded("LIST-03", "has items by name", where(listed, with_members(items={}))),
    Seeded("LIST-04", "has a function without a name", where(listed, with_item(name=Ellipsis))),
    Seeded("LIST-04", "has a blank name", where(listed, with_item(name=" "))),
    Seeded("LIST-04", "has a name that is a number", where(listed, with_item(name=3))),
    Seeded("LIST-04", "lists names", where(listed, with_items(lambda items: [*items, "get_weather"]))),
    Seeded("LIST-05", "has a name twice", where(listed, with_items(lambda items: [*items, items[0]]))),
    Seeded("LIST-06", "has a name with a hyphen", renames),
    Seeded("LIST-07", "describes with a number", where(listed, with_item(description=3))),
    Seeded("LIST-07", "has null as a source", where(listed, with_item(source=None))),
    Seeded("LIST-08", "has no warnings", where(listed, with_members(warnings=Ellipsis))),
    Seeded("LIST-08", "warns with a text", where(listed, with_members(warnings="careful"))),
    Seeded("LIST-08", "warns with objects", where(listed, with_members(warnings=[{"text": "careful"}]))),
    Seeded("LIST-09", "has a list of parameters", where(listed, with_item(parameters=["location"]))),
    Seeded("LIST-09", "has parameters of no object", where(listed, with_item(parameters={"type": "string"}))),
    Seeded("LIST-10", "lists as text", where(listed, with_headers(content_type="text/plain"))),
    Seeded("LIST-10", "lists without a type", where(listed, with_headers(content_type=""))),
    Seeded(
        "LIST-11",
        "marks the byte order",
        where(listed, replaces(b'{"items":[{"name"', b'\xef\xbb\xbf{"items":[{"name"')),
    ),
    Seeded("LIST-11", "lists in Latin-1", where(listed, replaces(b"San Francisco", b"S\xe3o Paulo"))),
    Seeded("LIST-12", "shuffles", Shuffles()),
    Seeded("LIST-12", "forgets a function", Shrinks()),
    Seeded(
        "LIST-13",
        "does not compare ETags",
        where(lambda asked: "if-none-match" in asked.headers, answers(200, {"items": [], "warnings": []})),
    ),
    Seeded("EXEC-01", "answers 500 to an unknown function", breaks_on_unknown),
    Seeded("EXEC-02", "has another text", where(plainly_unknown, with_members(error="No such function."))),
    Seeded("EXEC-02", "answers with a page", where(plainly_unknown, says(PAGE))),
    Seeded("EXEC-03", "offers nothing", where(plainly_unknown, with_members(available_functions=Ellipsis))),
    Seeded(
        "EXEC-03", "offers objects", where(plainly_unknown, with_members(available_functions=[{"name": "x"}]))
    ),
    Seeded("EXEC-03", "offers too little", where(plainly_unknown, with_members(available_functions=[]))),
    Seeded("EXEC-03", "offers a text", where(plainly_unknown, with_members(available_functions="tell_time"))),
    Seeded("EXEC-03", "offers more", where(plainly_unknown, replaces(b'functions":[', b'functions":["x",'))),
    Seeded("EXEC-04", "answers 500 without a name", where(without_name, refuses(500))),
    Seeded("EXEC-04", "has another text", where(without_name, refuses(400))),
    Seeded("EXEC-05", "looks for an empty name", where(called(EXECUTE, function_name=""), refuses(404))),
    Seeded("EXEC-05", "looks for a blank name", where(called(EXECUTE, function_name=" \t "), refuses(404))),
    Seeded("EXEC-06", "breaks on null", where(called(EXECUTE, function_name=None), refuses(500))),
    Seeded("EXEC-06", "looks for 3", where(called(EXECUTE, function_name=3), refuses(404))),
    Seeded(
        "EXEC-06",
        "breaks on an array",
        where(lambda asked: isinstance(asked.record.get("function_name"), list), refuses(500)),
    ),
    Seeded("EXEC-07", "breaks on null", where(called(EXECUTE, payload=None), refuses(500))),
    Seeded("EXEC-07", "asks for an object", where(called(EXECUTE, payload=[1]), refuses(400))),
    Seeded(
        "EXEC-07",
        "asks for a payload",
        where(
            lambda asked: is_json(asked) and is_unknown(asked) and "payload" not in asked.record, refuses(400)
        ),
    ),
    Seeded(
        "EXEC-08",
        "compares the whole Content-Type",
        where(lambda asked: "charset" in asked.headers.get("content-type", ""), refuses(415)),
    ),
    Seeded("EXEC-09", "forbids members", where(called(EXECUTE, navai_check=True), refuses(400))),
    Seeded("EXEC-10", "has ok as a text", where(RUNS, with_members(ok="true"))),
    Seeded("EXEC-10", "has no ok", where(RUNS, with_members(ok=Ellipsis))),
    Seeded("EXEC-10", "answers 500 to a call that succeeds", where(RUNS, answers(500))),
    Seeded("EXEC-11", "calls the result data", where(RUNS, with_members(result=Ellipsis, data=1))),
    Seeded("EXEC-12", "does not say the source", where(RUNS, with_members(source=Ellipsis))),
    Seeded("EXEC-12", "has null as the source", where(RUNS, with_members(source=None))),
    Seeded("EXEC-12", "names another function", where(RUNS, with_members(function_name="x"))),
    Seeded(
        "EXEC-13",
        "takes names as they are",
        where(called(EXECUTE, function_name=" GET_WEATHER "), refuses(404)),
    ),
    Seeded("EXEC-14", "answers 500 to a failure", where(FAILS, answers(500))),
    Seeded("EXEC-14", "is fine with a failure", where(FAILS, with_members(ok=True))),
    Seeded("EXEC-15", "gives no details", where(FAILS, with_members(details=Ellipsis))),
    Seeded("EXEC-15", "gives details as an object", where(FAILS, with_members(details={}))),
    Seeded("EXEC-15", "has an empty error", where(FAILS, with_members(error=""))),
    Seeded("EXEC-16", "does not return the key", where(RUNS, with_headers(idempotency_key=""))),
    Seeded("EXEC-16", "returns another key", where(RUNS, with_headers(idempotency_key="another"))),
    Seeded("EXEC-17", "does not say that it replays", where(RUNS, with_headers(idempotent_replayed=""))),
    Seeded("EXEC-17", "replays another result", replays_another),
    Seeded("SECRET-01", "mints by GET", where(called(SECRET, "GET"), answers(200, MADE))),
    Seeded("SECRET-02", "is without a key", where(mints_for(b"{}"), refuses(401))),
    Seeded("SECRET-03", "has a secret of its own shape", where(mints_for(b"{}"), with_members(value={}))),
    Seeded("SECRET-03", "has an empty secret", where(mints_for(b"{}"), with_members(value=""))),
    Seeded("SECRET-04", "writes the time", where(mints_for(b"{}"), with_members(expires_at="2026-01-01"))),
    Seeded("SECRET-04", "has true as a time", where(mints_for(b"{}"), with_members(expires_at=True))),
    Seeded(
        "SECRET-05", "has milliseconds", where(mints_for(b"{}"), with_members(expires_at=1_900_000_000_000))
    ),
    Seeded("SECRET-05", "is of the past", where(mints_for(b"{}"), with_members(expires_at=1_000_000_000))),
    Seeded("SECRET-06", "speaks by another", where(mints_for(b"{}"), with_members(speech={"provider": "x"}))),
    Seeded("SECRET-06", "names who speaks", where(mints_for(b"{}"), with_members(speech="openai"))),
    Seeded("SECRET-07", "forbids members", where(mints_for(b'{"navaiCheck":true}'), refuses(400))),
    Seeded("SECRET-08", "mints for any type", where(mints_for(b'{"model":3}'), answers(200, MADE))),
    Seeded("SECRET-08", "does not name the member", where(mints_for(b'{"model":3}'), refuses(400))),
    Seeded("SECRET-09", "mints for no JSON", where(mints_for(b'{"model":'), answers(200, MADE))),
    Seeded("SECRET-10", "mints for an array", where(mints_for(b"[]"), answers(200, MADE))),
    Seeded("SECRET-11", "mints for a form", where(mints_for(b"", FORM), answers(200, MADE))),
    Seeded(
        "ERR-01",
        "breaks on no JSON",
        where(
            lambda asked: is_json(asked) and asked.body.endswith(b'function"') and asked.path == EXECUTE,
            refuses(500),
        ),
    ),
    Seeded(
        "ERR-02",
        "breaks on an array",
        where(lambda asked: asked.path == EXECUTE and asked.body == b"[]", refuses(500)),
    ),
    Seeded(
        "ERR-02",
        "refuses in words",
        where(lambda asked: asked.path == EXECUTE and asked.body == b"[]", says(b"No.")),
    ),
    Seeded(
        "ERR-03",
        "takes text for JSON",
        where(lambda asked: asked.headers.get("content-type") == "text/plain", refuses(404)),
    ),
    Seeded(
        "ERR-04",
        "takes forms",
        where(
            lambda asked: asked.path == EXECUTE and asked.headers.get("content-type") == FORM, refuses(404)
        ),
    ),
    Seeded("ERR-05", "breaks on bad UTF-8", where(lambda asked: b"\xff\xfe" in asked.body, refuses(500))),
    Seeded(
        "ERR-06",
        "has a page for unknown paths",
        where(lambda asked: asked.path.endswith("no-such-path"), says(PAGE)),
    ),
    Seeded(
        "ERR-06",
        "has an answer for every path",
        where(lambda asked: asked.path.endswith("no-such-path"), answers(200, {"error": "None."})),
    ),
    Seeded("ERR-07", "has no such path by DELETE", where(called(LIST, "DELETE"), refuses(404))),
    Seeded("ERR-07", "has no such path by GET", where(called(EXECUTE, "GET"), refuses(404))),
    Seeded("ERR-07", "refuses GET for speech as a bad request", where(called(SPEECH, "GET"), refuses(400))),
    Seeded("ERR-07", "has no such path for secrets", where(called(SECRET, "GET"), refuses(404))),
    Seeded("ERR-07", "does not say what it allows", where(called(EXECUTE, "GET"), with_headers(allow=""))),
    Seeded("ERR-08", "shows a trace of Python", where(FAILS, with_members(details=TRACE))),
    Seeded(
        "ERR-08", "shows a trace of JavaScript", where(called(LIST, "DELETE"), with_members(error=JS_TRACE))
    ),
    Seeded(
        "ERR-08",
        "shows a file and a line",
        where(plainly_unknown, with_members(where="/srv/app/controller.php:42")),
    ),
    Seeded(
        "ERR-09",
        "lets everybody in",
        where(
            lambda asked: called(LIST, "GET")(asked) and "authorization" not in asked.headers,
            answers(200, {"items": []}),
        ),
    ),
    *(
        Seeded(
            "CORS-01",
            f"lets all in with credentials, by {method}",
            where(
                foreign(method, path),
                with_headers(
                    access_control_allow_origin="https://navai-check.invalid",
                    access_control_allow_credentials="true",
                ),
            ),
        )
        for method, path in (("OPTIONS", EXECUTE), ("GET", LIST))
    ),
    *(
        Seeded(
            "CORS-02",
            f"lets all in, by {method}",
            where(foreign(method, path), with_headers(access_control_allow_origin="*")),
        )
        for method, path in (("OPTIONS", EXECUTE), ("GET", LIST))
    ),
    Seeded(
        "CORS-03",
        "lets null in",
        where(with_origin(LIST, "GET", "null"), with_headers(access_control_allow_origin="null")),
    ),
    Seeded(
        "CORS-04",
        "grants nothing",
        where(with_origin(EXECUTE, "OPTIONS", LOCAL), with_headers(access_control_allow_origin="")),
    ),
    Seeded(
        "CORS-04",
        "asks for credentials first",
        where(with_origin(EXECUTE, "OPTIONS", LOCAL), refuses(401)),
    ),
    Seeded(
        "CORS-05",
        "does not allow JSON",
        where(with_origin(EXECUTE, "OPTIONS", LOCAL), with_headers(access_control_allow_headers="")),
    ),
    Seeded(
        "CORS-05",
        "does not allow POST",
        where(with_origin(EXECUTE, "OPTIONS", LOCAL), with_headers(access_control_allow_methods="GET")),
    ),
    Seeded(
        "CORS-06",
        "grants preflights alone",
        where(with_origin(LIST, "GET", LOCAL), with_headers(access_control_allow_origin="")),
    ),
    Seeded(
        "CORS-07",
        "hides refusals",
        where(with_origin(EXECUTE, "POST", LOCAL), with_headers(access_control_allow_origin="")),
    ),
    Seeded("CORS-08", "does not vary", where(with_origin(LIST, "GET", LOCAL), with_headers(vary=""))),
    Seeded(
        "CORS-08",
        "varies by something else",
        where(with_origin(LIST, "GET", LOCAL), with_headers(vary="Accept-Encoding")),
    ),
    Seeded("LIMIT-01", "takes little", where(sized(60_000, 100_000), refuses(413))),
    Seeded("LIMIT-02", "takes less than others", where(sized(500_000, 600_000), refuses(413))),
    Seeded("LIMIT-03", "takes all", where(sized(2_000_000, 3_000_000), refuses(404))),
    Seeded("LIMIT-03", "breaks on much", where(sized(2_000_000, 3_000_000), refuses(500))),
    Seeded("LIMIT-04", "breaks on depth", where(sized(40_000, 50_000), refuses(500))),
    Seeded("LIMIT-04", "dies of depth", where(sized(40_000, 50_000), drops)),
    Seeded("SPEECH-01", "speaks nothing", where(called(SPEECH, text=" "), answers(200, {"provider": "x"}))),
    Seeded("SPEECH-01", "breaks on nothing", where(called(SPEECH, text=" "), refuses(500))),
    Seeded("SPEECH-02", "does not speak", where(SPEAKS, refuses(502))),
    Seeded("SPEECH-03", "has another voice", where(SPEAKS, with_members(provider="openai"))),
    Seeded("SPEECH-03", "does not say what it is", where(SPEAKS, with_members(mimeType=Ellipsis))),
    Seeded("SPEECH-03", "sends bytes", where(SPEAKS, with_members(audioBase64=[82, 73]))),
    Seeded("SPEECH-04", "has no base64", where(SPEAKS, with_members(audioBase64="a-b_"))),
    Seeded("SPEECH-04", "has no audio", where(SPEAKS, with_members(audioBase64="===="))),
)

"""The rules by which responses are judged, first those that groups share, then group by group. Pure.

A rule returns None if the response is correct, else a description of what came instead. ``Unseen`` says that
there was nothing to judge.
"""

import binascii
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import frozen

from navai_client.conformance._outcome import NOT_JSON, Outcome, kind_of
from navai_client.conformance._probes import FOREIGN_ORIGIN, Subject
from navai_client.wire._decode import http_date, trim

_CLIENT_ERRORS: Final = range(400, 500)
_ERRORS_FROM: Final = 400
_NOT_FOUND: Final = 404
_METHOD_NOT_ALLOWED: Final = 405
_NO_SPEECH: Final = (404, 405, 501)

_TRACE_CHARACTERS: Final = 65_536  # of a body, in which stack traces are looked for
_TRACE: Final = re.compile(
    r"Traceback \(most recent call last\)"  # Python
    # The stacks of JavaScript, Java and C#, where JSON escapes line breaks and tabs.
    r"|(?:\n|\\n)(?: |\t|\\t){0,20}at [^\n]{1,200}(?::\d+:\d+|\.(?:java|kt|scala):\d+|:line \d+)"
    r"|(?:\n|\\n)(?: |\t|\\t){0,20}#\d+ [^\n]{1,200}\(\d+\)"  # PHP
    r"|[/\\][\w.@-]+\.(?:py|js|mjs|cjs|ts|php|rb|go|java|cs|ex):\d+"  # a file and a line number
)

_PLAIN_NAME: Final = re.compile(r"[a-z0-9_]{1,64}")  # OpenAI's rule for the names of tools, in lower case
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"

_SHORTEST_TTL: Final = 10  # seconds; with the longest, the range that OpenAI accepts
_LONGEST_TTL: Final = 7200
_CLOCK_SLACK: Final = 120  # seconds, for slow responses and clocks that differ


@frozen(kw_only=True)
class Evidence:
    """The outcomes of all probes, for rules that compare several responses.

    Attributes:
        subject: What was checked.
        outcomes: By the name of their probe.
        asked: The request of each probe, for a person.
        now: The clock of this machine, in Unix seconds.
    """

    subject: Subject
    outcomes: Mapping[str, Outcome]
    asked: Mapping[str, str]
    now: float


@frozen
class Unseen:
    """The reason why there was nothing to judge, returned by a rule."""

    reason: str


Rule = Callable[[Outcome, Evidence], str | Unseen | None]

# Shared by several groups.


def is_string(value: Any) -> bool:
    return isinstance(value, str)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_array(value: Any) -> bool:
    return isinstance(value, list)


def is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def is_anything(_: Any) -> bool:
    """Return True: for a member that need only be present."""
    return True


def holds(is_right: Callable[[Outcome], bool]) -> Rule:
    """Require a response for which *is_right* holds."""
    return lambda outcome, _: None if is_right(outcome) else outcome.summary()


def status(*allowed: int) -> Rule:
    """Require one of the statuses *allowed*; without any, one of 200 to 299."""
    return holds(lambda outcome: outcome.status in allowed if allowed else outcome.success)


def refused(*allowed: int, text: str | None = None, mentions: str = "") -> Rule:
    """Require a status *allowed*, or any of 400 to 499, and ``{"error": ...}``.

    Args:
        allowed: The statuses; without any, 400 to 499.
        text: The required text of the error.
        mentions: What the error must contain.
    """

    def is_right(outcome: Outcome) -> bool:
        error = outcome.record.get("error")
        if outcome.status not in (allowed or _CLIENT_ERRORS) or not isinstance(error, str) or not error:
            return False
        return text in (None, error) and mentions in error

    return holds(is_right)


def member(name: str, is_right: Callable[[Any], bool], *, optional: bool = False) -> Rule:
    """Require a member *name* of the JSON object, for which *is_right* holds."""

    def rule(outcome: Outcome, _: Evidence) -> str | Unseen | None:
        value = outcome.record.get(name, NOT_JSON)
        if value is NOT_JSON:
            return Unseen(f"the response has no {name}") if optional else f"no {name}; {outcome.summary()}"
        return None if is_right(value) else f"{name} is {kind_of(value)}"

    return rule


def strings(*names: str, blank: bool = False) -> Rule:
    """Require members *names* that are strings, and, unless they may be *blank*, not empty."""

    def rule(outcome: Outcome, _: Evidence) -> str | None:
        for name in names:
            value = outcome.record.get(name)
            if not isinstance(value, str) or not (value or blank):
                return f"{name} is {kind_of(value)}" if name in outcome.record else f"no {name}"
        return None

    return rule


def method_not_allowed(outcome: Outcome, _: Evidence) -> str | None:
    """Require 405 with the methods that are allowed (RFC 9110, section 15.5.6)."""
    if outcome.status != _METHOD_NOT_ALLOWED:
        return outcome.summary()
    return None if outcome.header("allow") else f"HTTP {outcome.status} without the header Allow"


def leaks_no_trace(_: Outcome, evidence: Evidence) -> str | None:
    """Require errors without a stack trace: the response to any probe."""
    for name, outcome in evidence.outcomes.items():
        is_error = outcome.status >= _ERRORS_FROM or outcome.record.get("ok") is False
        if is_error and (found := _TRACE.search(outcome.text[:_TRACE_CHARACTERS])):
            return f"{evidence.asked[name]} got the response: {outcome.text[max(0, found.start() - 40) :]}"
    return None


# The list of functions.


is_object: Final = holds(lambda outcome: isinstance(outcome.json, dict))


def is_utf8(outcome: Outcome, _: Evidence) -> str | None:
    """Require UTF-8 without a byte order mark (RFC 8259, section 8.1)."""
    if outcome.content.startswith(_BYTE_ORDER_MARK):
        return "a body that begins with a byte order mark"
    try:
        outcome.content.decode()
    except UnicodeDecodeError as error:
        byte = outcome.content[error.start]
        return f"a body with the byte 0x{byte:02x} at {error.start}, which is not UTF-8"
    return None


def is_json_by_type(outcome: Outcome, _: Evidence) -> str | None:
    """Require the media type application/json."""
    given = outcome.header("content-type")
    if given.partition(";")[0].strip().lower() == "application/json":
        return None
    return f"Content-Type: {given}" if given else "no Content-Type"


def has_names(outcome: Outcome, _: Evidence) -> str | None:
    """Require a name in each item."""
    for number, item in enumerate(outcome.items()):
        if not isinstance(item, dict):
            return f"items[{number}] is {kind_of(item)}"
        name = item.get("name", NOT_JSON)
        if name is NOT_JSON:
            return f"items[{number}] has no name"
        if not is_string(name) or not trim(name):
            return f"items[{number}].name is {json.dumps(name)}"
    return None


def has_unique_names(outcome: Outcome, _: Evidence) -> str | None:
    """Require names that differ also after the lookup's trimming and lower case."""
    seen: dict[str, str] = {}
    for name in outcome.function_names():
        key = trim(name).lower()
        if key in seen:
            return f"{seen[key]!r} and {name!r} are looked up by the same name"
        seen[key] = name
    return None


def has_plain_names(outcome: Outcome, _: Evidence) -> str | None:
    """Require names that models accept."""
    return next(
        (
            f"the name {each!r}"
            for each in outcome.function_names()
            if trim(each) and not _PLAIN_NAME.fullmatch(each)
        ),
        None,
    )


def has_descriptions(outcome: Outcome, _: Evidence) -> str | None:
    """Require strings where description and source are given."""
    for number, item in outcome.functions():
        for key in ("description", "source"):
            if not is_string(item.get(key, "")):
                return f"items[{number}].{key} is {kind_of(item[key])}"
    return None


def has_warnings(outcome: Outcome, _: Evidence) -> str | None:
    """Require warnings, an array of strings."""
    if "warnings" not in outcome.record:
        return "no warnings"
    warnings = outcome.record["warnings"]
    if not isinstance(warnings, list):
        return f"warnings is {kind_of(warnings)}"
    for number, warning in enumerate(warnings):
        if not is_string(warning):
            return f"warnings[{number}] is {kind_of(warning)}"
    return None


def has_schemas(outcome: Outcome, _: Evidence) -> str | Unseen | None:
    """Require a schema of type object where parameters are given."""
    given = {n: each["parameters"] for n, each in outcome.functions() if "parameters" in each}
    if not given:
        return Unseen("no function has parameters")
    for number, schema in given.items():
        if not isinstance(schema, dict):
            return f"items[{number}].parameters is {kind_of(schema)}"
        if schema.get("type") != "object":
            return f"items[{number}].parameters has the type {json.dumps(schema.get('type'))}"
    return None


def is_the_same_list(outcome: Outcome, evidence: Evidence) -> str | None:
    """Require the names of the first list, in its order."""
    first, second = evidence.outcomes["list"].function_names(), outcome.function_names()
    if first == second:
        return None
    differ = [(one, other) for one, other in zip(first, second, strict=False) if one != other]
    if not differ:
        return f"{len(first)} functions, then {len(second)}"
    return f"{differ[0][0]!r}, and in its place {differ[0][1]!r} in the second list"


# The execution of functions.


def is_not_found(outcome: Outcome, evidence: Evidence) -> str | None:
    """Require 404, but not because the whole path is missing."""
    if outcome is not evidence.outcomes["no name"]:
        return None if outcome.status == _NOT_FOUND else outcome.summary()
    if outcome.status != _NOT_FOUND:
        return None
    return f"the path seems not to exist: a call without a name is not found either; {outcome.summary()}"


def offers_the_list(outcome: Outcome, evidence: Evidence) -> str | Unseen | None:
    """Require available_functions, the names of the list."""
    if not outcome.record:
        return Unseen("the response is not a JSON object")
    offered = outcome.record.get("available_functions")
    if not isinstance(offered, list):
        return f"available_functions is {kind_of(offered)}" if offered is not None else outcome.summary()
    names = set(evidence.outcomes["list"].function_names())
    if odd := [each for each in offered if not is_string(each)]:
        return f"available_functions has {kind_of(odd[0])}"
    if missing := sorted(names - set(offered)):
        return f"available_functions does not have {missing[0]!r}"
    if surplus := sorted(set(offered) - names):
        return f"available_functions has {surplus[0]!r}, which is not in the list"
    return None


is_ok: Final = holds(lambda outcome: outcome.success and outcome.record.get("ok") is True)
is_not_ok: Final = holds(lambda outcome: outcome.success and outcome.record.get("ok") is False)


def names_the_function(outcome: Outcome, evidence: Evidence) -> str | Unseen | None:
    """Require the function's name as it is looked up, and its source."""
    if problem := strings("function_name", "source", blank=True)(outcome, evidence):
        return problem
    called = evidence.subject.execute
    name = outcome.record["function_name"]
    return None if called is not None and name == trim(called[0]).lower() else f"function_name is {name!r}"


def returns_the_key(outcome: Outcome, evidence: Evidence) -> str | None:
    """Require the key that the request had."""
    key = outcome.header("idempotency-key")
    if key == evidence.subject.key:
        return None
    return f"Idempotency-Key is {key!r}" if key else "no Idempotency-Key"


def replays(outcome: Outcome, evidence: Evidence) -> str | None:
    """Require the first response again, and that it is marked as such."""
    if outcome.header("idempotent-replayed").lower() != "true":
        return "no Idempotent-Replayed: true"
    if outcome.record == evidence.outcomes["execute"].record:
        return None
    return f"another response than the first: {outcome.summary()}"


# Client secrets.


def expires_soon(outcome: Outcome, evidence: Evidence) -> str | None:
    """Require seconds, as far ahead as OpenAI allows, by the backend's own clock if it sends its time."""
    sent = http_date(outcome.header("date"))
    now = evidence.now if sent is None else sent
    expires_at: float = outcome.record["expires_at"]
    # It can be an integer that no double can hold, so only comparisons are safe.
    if now + _SHORTEST_TTL - _CLOCK_SLACK <= expires_at <= now + _LONGEST_TTL + _CLOCK_SLACK:
        return None
    return f"expires_at is {expires_at}; now it is {now:.0f}"


def has_speech_provider(outcome: Outcome, _: Evidence) -> str | Unseen | None:
    """Require a provider that clients know."""
    speech: Any = outcome.record.get("speech")
    if "speech" not in outcome.record:
        return Unseen("the response has no speech")
    if not isinstance(speech, dict):
        return f"speech is {kind_of(speech)}"
    provider = speech.get("provider")
    return None if provider in ("openai", "elevenlabs") else f"speech.provider is {kind_of(provider)}"


# CORS, as in the Fetch standard.


def _allowed_origin(outcome: Outcome) -> str:
    return outcome.header("access-control-allow-origin")


def _cors_summary(outcome: Outcome) -> str:
    names = ("allow-origin", "allow-credentials", "allow-methods", "allow-headers")
    sent = [f"Access-Control-{each.title()}: {outcome.header(f'access-control-{each}')}" for each in names]
    given = [each for each in sent if not each.endswith(": ")]
    return f"HTTP {outcome.status} with {'; '.join(given) or 'no Access-Control-Allow-Origin'}"


def _words(header: str) -> set[str]:
    return {each.strip().lower() for each in header.split(",")} - {""}


def denies_foreigners(outcome: Outcome, _: Evidence) -> str | None:
    """Ask that an unknown origin is not allowed."""
    return _cors_summary(outcome) if _allowed_origin(outcome) in ("*", FOREIGN_ORIGIN) else None


def denies_credentials_to_foreigners(outcome: Outcome, evidence: Evidence) -> str | None:
    """Ask that an unknown origin is not allowed to send credentials."""
    has_credentials = outcome.header("access-control-allow-credentials").lower() == "true"
    return denies_foreigners(outcome, evidence) if has_credentials else None


def denies_null(outcome: Outcome, _: Evidence) -> str | None:
    """Ask that the origin of sandboxed frames and files is not allowed."""
    return _cors_summary(outcome) if _allowed_origin(outcome) == "null" else None


def grants_origin(outcome: Outcome, evidence: Evidence) -> str | None:
    """Ask that the origin of the subject's pages is allowed."""
    return None if _allowed_origin(outcome) in ("*", evidence.subject.origin) else _cors_summary(outcome)


def grants_preflight(outcome: Outcome, evidence: Evidence) -> str | None:
    """Require the same, with a status of 200 to 299: browsers accept no other status."""
    return grants_origin(outcome, evidence) if outcome.success else _cors_summary(outcome)


def allows_what_clients_send(outcome: Outcome, _: Evidence) -> str | None:
    """Require POST, which needs no permission by the standard, and Content-Type, which with JSON does."""
    methods = _words(outcome.header("access-control-allow-methods"))
    headers = _words(outcome.header("access-control-allow-headers"))
    if methods and not {"post", "*"} & methods:
        return _cors_summary(outcome)
    return None if {"content-type", "*"} & headers else _cors_summary(outcome)


def varies_by_origin(outcome: Outcome, _: Evidence) -> str | None:
    """Require Vary: Origin where the response names one origin."""
    vary = outcome.header("vary")
    if _allowed_origin(outcome) == "*" or {"origin", "*"} & _words(vary):
        return None
    return f"{_cors_summary(outcome)} and {f'Vary: {vary}' if vary else 'no Vary'}"


# The synthesis of speech, where a backend has it.


def refuses_blank_text(outcome: Outcome, evidence: Evidence) -> str | Unseen | None:
    """Require 400 and an error, unless the backend has no speech."""
    if outcome.status in _NO_SPEECH:
        return Unseen("the backend does not speak")
    return refused(400)(outcome, evidence)


def is_audio(outcome: Outcome, evidence: Evidence) -> str | Unseen | None:
    """Require the provider, a media type and audio."""
    if outcome.record.get("provider") != "elevenlabs":
        return f"provider is {kind_of(outcome.record.get('provider'))}"
    return strings("mimeType", "audioBase64")(outcome, evidence)


def is_base64(outcome: Outcome, _: Evidence) -> str | None:
    """Require base64 that strict decoders accept."""
    try:
        audio = binascii.a2b_base64(outcome.record["audioBase64"], strict_mode=True)
    except ValueError as error:  # binascii.Error is one
        return f"audioBase64 is not base64: {error}"
    return None if audio else "no audio"

"""What is asked of the list of functions."""

import json
import re
from typing import Any, Final

from navai_client.conformance._outcome import NOT_JSON, Answer, kind_of
from navai_client.conformance._requirement import Evidence, Requirement, Unseen
from navai_client.conformance._rules import is_text, status
from navai_client.wire._decode import trim

_NAME: Final = re.compile(r"[a-z0-9_]{1,64}")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def _items(answer: Answer) -> list[Any]:
    items = answer.record.get("items")
    return items if isinstance(items, list) else []


def names_of(answer: Answer) -> list[str]:
    """Return the names in a list of functions, as far as they are texts."""
    return [each["name"] for each in _items(answer) if isinstance(each, dict) and is_text(each.get("name"))]


def _is_object(answer: Answer, _: Evidence) -> str | None:
    return None if isinstance(answer.json, dict) else answer.summary()


def _is_utf8(answer: Answer, _: Evidence) -> str | None:
    if answer.content.startswith(_BYTE_ORDER_MARK):
        return "a body that begins with a byte order mark"
    try:
        answer.content.decode()
    except UnicodeDecodeError as error:
        return f"a body with the byte 0x{answer.content[error.start]:02x} at {error.start}, which is no UTF-8"
    return None


def _has_items(answer: Answer, _: Evidence) -> str | None:
    if isinstance(answer.record.get("items"), list):
        return None
    if "items" in answer.record:
        return f"items is {kind_of(answer.record['items'])}"
    return f"no items; {answer.summary()}"


def _has_names(answer: Answer, _: Evidence) -> str | None:
    for number, item in enumerate(_items(answer)):
        if not isinstance(item, dict):
            return f"items[{number}] is {kind_of(item)}"
        name = item.get("name", NOT_JSON)
        if name is NOT_JSON:
            return f"items[{number}] has no name"
        if not is_text(name) or not trim(name):
            return f"items[{number}].name is {json.dumps(name)}"
    return None


def _is_unique(answer: Answer, _: Evidence) -> str | None:
    seen: dict[str, str] = {}
    for name in names_of(answer):
        called = trim(name).lower()
        if called in seen:
            return f"{seen[called]!r} and {name!r} are called by the same name"
        seen[called] = name
    return None


def _has_plain_names(answer: Answer, _: Evidence) -> str | None:
    return next(
        (f"the name {each!r}" for each in names_of(answer) if trim(each) and not _NAME.fullmatch(each)), None
    )


def _is_described_by_texts(answer: Answer, _: Evidence) -> str | None:
    for number, item in enumerate(_items(answer)):
        for key in ("description", "source"):
            if isinstance(item, dict) and not is_text(item.get(key, "")):
                return f"items[{number}].{key} is {kind_of(item[key])}"
    return None


def _has_warnings(answer: Answer, _: Evidence) -> str | None:
    warnings = answer.record.get("warnings", NOT_JSON)
    if warnings is NOT_JSON:
        return "no warnings"
    if not isinstance(warnings, list):
        return f"warnings is {kind_of(warnings)}"
    return next(
        (f"warnings[{n}] is {kind_of(each)}" for n, each in enumerate(warnings) if not is_text(each)), None
    )


def _has_schemas(answer: Answer, _: Evidence) -> str | Unseen | None:
    given = {
        n: each["parameters"]
        for n, each in enumerate(_items(answer))
        if isinstance(each, dict) and "parameters" in each
    }
    if not given:
        return Unseen("no function has parameters")
    for number, schema in given.items():
        if not isinstance(schema, dict):
            return f"items[{number}].parameters is {kind_of(schema)}"
        if schema.get("type") != "object":
            return f"items[{number}].parameters has the type {json.dumps(schema.get('type'))}"
    return None


def _is_json_by_its_type(answer: Answer, _: Evidence) -> str | None:
    kind = answer.header("content-type").partition(";")[0].strip().lower()
    if kind == "application/json":
        return None
    return f"Content-Type: {answer.header('content-type')}" if kind else "no Content-Type"


def _is_the_same(answer: Answer, evidence: Evidence) -> str | None:
    first, second = names_of(evidence.answers["list"]), names_of(answer)
    if first == second:
        return None
    differ = [(one, other) for one, other in zip(first, second, strict=False) if one != other]
    if not differ:
        return f"{len(first)} functions, then {len(second)}"
    return f"{differ[0][0]!r}, and in its place {differ[0][1]!r} when asked again"


LIST: Final = (
    Requirement(
        id="LIST-01",
        group="list",
        severity="must",
        sentence="The list of functions is answered with a status of 200 to 299.",
        change="Answer GET on this path with 200. If the backend is elsewhere, give its URL or path; if "
        "it asks "
        "for credentials, give the headers.",
        source="documents, published clients",
        relates=("list.request", "list.http-error"),
        probes=("list",),
        rule=status(),
    ),
    Requirement(
        id="LIST-02",
        group="list",
        severity="must",
        sentence="The list is a JSON object.",
        change='Answer {"items": [...], "warnings": [...]} in strict JSON: no NaN, no trailing commas, '
        "nothing "
        "before or after it.",
        source="documents, published clients",
        relates=("list.invalid", "read.json"),
        needs=("LIST-01",),
        probes=("list",),
        rule=_is_object,
    ),
    Requirement(
        id="LIST-03",
        group="list",
        severity="must",
        sentence="It has items, an array.",
        change="Put the functions into an array called items; an empty one when there are none.",
        source="documents, published clients",
        relates=("list.items", "server.list"),
        needs=("LIST-02",),
        probes=("list",),
        rule=_has_items,
    ),
    Requirement(
        id="LIST-04",
        group="list",
        severity="must",
        sentence="Each item is an object with a name, a text that is not blank.",
        change="Give each item a name; clients pass over items without one.",
        source="documents, published clients",
        relates=("list.items", "server.list"),
        needs=("LIST-03",),
        probes=("list",),
        rule=_has_names,
    ),
    Requirement(
        id="LIST-05",
        group="list",
        severity="must",
        sentence="No two functions are called by the same name, in whatever case.",
        change="Rename all but the first, for example with _2 at the end, and say so in warnings.",
        source="Express, published",
        relates=("server.names",),
        needs=("LIST-03",),
        probes=("list",),
        rule=_is_unique,
    ),
    Requirement(
        id="LIST-06",
        group="list",
        severity="should",
        sentence="Names are 1 to 64 small letters, digits and underscores.",
        change="Make names such as get_weather: calls are looked up in lower case, and models take no other "
        "characters in the names of tools.",
        source="Express, published; OpenAI's rule for tools",
        relates=("server.names",),
        needs=("LIST-03",),
        probes=("list",),
        rule=_has_plain_names,
    ),
    Requirement(
        id="LIST-07",
        group="list",
        severity="should",
        sentence="Description and source, where there are any, are texts.",
        change="Give a text, or leave the member out; clients drop anything else.",
        source="documents, published clients",
        relates=("list.items", "server.list"),
        needs=("LIST-03",),
        probes=("list",),
        rule=_is_described_by_texts,
    ),
    Requirement(
        id="LIST-08",
        group="list",
        severity="must",
        sentence="It has warnings, an array of texts.",
        change='Add "warnings": [] to the object; put in what people should know of the functions.',
        source="documents",
        relates=("list.warnings", "server.list"),
        needs=("LIST-02",),
        probes=("list",),
        rule=_has_warnings,
    ),
    Requirement(
        id="LIST-09",
        group="list",
        severity="should",
        sentence="Parameters, where there are any, are a JSON Schema of the type object.",
        change='Give {"type": "object", "properties": {...}}, or leave parameters out.',
        source="the reference server",
        relates=("server.list",),
        needs=("LIST-03",),
        probes=("list",),
        rule=_has_schemas,
    ),
    Requirement(
        id="LIST-10",
        group="list",
        severity="should",
        sentence="Its Content-Type is application/json.",
        change="Send the header Content-Type: application/json.",
        source="Express, published",
        relates=("server.list",),
        needs=("LIST-02",),
        probes=("list",),
        rule=_is_json_by_its_type,
    ),
    Requirement(
        id="LIST-11",
        group="list",
        severity="should",
        sentence="It is UTF-8, without a byte order mark.",
        change="Encode answers as UTF-8 and send no byte order mark: clients read UTF-8 whatever the "
        "charset says.",
        source="RFC 8259; published clients",
        relates=("read.utf8",),
        needs=("LIST-01",),
        probes=("list",),
        rule=_is_utf8,
    ),
    Requirement(
        id="LIST-12",
        group="list",
        severity="should",
        sentence="Asked again, it has the same functions in the same order.",
        change="Build the list once, or sort it, so that caches and prompts do not change with each request.",
        source="Express, published",
        relates=("server.list",),
        needs=("LIST-03",),
        probes=("list again",),
        rule=_is_the_same,
    ),
    Requirement(
        id="LIST-13",
        group="list",
        severity="should",
        sentence="If it has an ETag, it is answered with 304 to those who know it.",
        change="Compare If-None-Match with the ETag and answer 304 without a body, or send no ETag.",
        source="Express, published; RFC 9110",
        needs=("LIST-01",),
        probes=("list known",),
        unseen="the list has no ETag",
        rule=status(304),
    ),
)

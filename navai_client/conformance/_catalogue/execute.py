"""What is asked of the execution of functions."""

from typing import Any, Final

from navai_client.conformance._catalogue.listing import names_of
from navai_client.conformance._outcome import Answer, kind_of
from navai_client.conformance._requirement import Evidence, Requirement, Unseen
from navai_client.conformance._rules import is_text, member, refused, status
from navai_client.wire._decode import trim

_NAMELESS: Final = refused(400, text="function_name is required.")
_NOT_FOUND: Final = 404
_ASK_FOR_NAME: Final = 'Answer 400 and {"error": "function_name is required."} '


def _is_not_found(answer: Answer, evidence: Evidence) -> str | None:
    if answer is not evidence.answers["no name"]:
        return None if answer.status == _NOT_FOUND else answer.summary()
    if answer.status != _NOT_FOUND:
        return None
    return f"no path, it seems: a call without a name is not found either; {answer.summary()}"


def _offers_the_list(answer: Answer, evidence: Evidence) -> str | Unseen | None:
    if not answer.record:
        return Unseen("the answer is no JSON object")
    offered = answer.record.get("available_functions")
    if not isinstance(offered, list):
        return f"available_functions is {kind_of(offered)}" if offered is not None else answer.summary()
    names = set(names_of(evidence.answers["list"]))
    if odd := [each for each in offered if not is_text(each)]:
        return f"available_functions has {kind_of(odd[0])}"
    if missing := sorted(names - set(offered)):
        return f"available_functions is without {missing[0]!r}"
    if surplus := sorted(set(offered) - names):
        return f"available_functions has {surplus[0]!r}, which the list has not"
    return None


def _is_ok(answer: Answer, _: Evidence) -> str | None:
    return None if answer.success and answer.record.get("ok") is True else answer.summary()


def _is_not_ok(answer: Answer, _: Evidence) -> str | None:
    return None if answer.success and answer.record.get("ok") is False else answer.summary()


def _names_function(answer: Answer, evidence: Evidence) -> str | None:
    for key in ("function_name", "source"):
        if not is_text(value := answer.record.get(key)):
            return f"{key} is {kind_of(value)}" if key in answer.record else f"no {key}"
    called = evidence.subject.execute
    name = answer.record["function_name"]
    return None if called is not None and name == trim(called[0]).lower() else f"function_name is {name!r}"


def _explains(answer: Answer, _: Evidence) -> str | None:
    for key in ("error", "details"):
        if not is_text(value := answer.record.get(key)) or not value:
            return f"{key} is {kind_of(value)}" if key in answer.record else f"no {key}"
    return None


def _anything(_: Any) -> bool:
    return True


EXECUTE: Final = (
    Requirement(
        id="EXEC-01",
        group="execute",
        severity="must",
        sentence="A function that there is not is answered with 404.",
        change="Look the name up among the functions that are listed, and answer 404 when it is not there. "
        "If functions are executed on another path, give it.",
        source="documents, Express",
        relates=("server.statuses", "error.unknown-function"),
        probes=("unknown", "no name"),
        rule=_is_not_found,
    ),
    Requirement(
        id="EXEC-02",
        group="execute",
        severity="must",
        sentence="The error then reads: Unknown or disallowed function.",
        change='Answer {"error": "Unknown or disallowed function.", "available_functions": [...]}.',
        source="documents, Express",
        relates=("server.statuses", "error.unknown-function"),
        needs=("EXEC-01",),
        probes=("unknown",),
        rule=refused(text="Unknown or disallowed function."),
    ),
    Requirement(
        id="EXEC-03",
        group="execute",
        severity="must",
        sentence="It then says which functions there are: available_functions has the names of the list.",
        change="Add available_functions, an array of the names that GET lists, to the 404.",
        source="documents, Express",
        relates=("error.unknown-function",),
        needs=("EXEC-01", "LIST-04"),
        probes=("unknown",),
        rule=_offers_the_list,
    ),
    Requirement(
        id="EXEC-04",
        group="execute",
        severity="must",
        sentence="A call without function_name is answered with 400: function_name is required.",
        change=f"{_ASK_FOR_NAME}when the member is missing.",
        source="documents, Express",
        relates=("server.statuses",),
        probes=("no name",),
        rule=_NAMELESS,
    ),
    Requirement(
        id="EXEC-05",
        group="execute",
        severity="must",
        sentence="A function_name that is empty or blank is answered in the same way.",
        change=f"{_ASK_FOR_NAME}when nothing is left of the name after trimming it.",
        source="documents, Express",
        relates=("server.statuses",),
        probes=("empty name", "blank name"),
        rule=_NAMELESS,
    ),
    Requirement(
        id="EXEC-06",
        group="execute",
        severity="must",
        sentence="A function_name that is no text is answered in the same way.",
        change=f"{_ASK_FOR_NAME}when the name is null, a number, an array or an object.",
        source="Express, published",
        relates=("server.statuses",),
        probes=("null name", "number name", "array name"),
        rule=_NAMELESS,
    ),
    Requirement(
        id="EXEC-07",
        group="execute",
        severity="must",
        sentence="A payload that is null, missing or no object is no error by itself.",
        change="Take any JSON value as payload: clients send null when there is none.",
        source="published clients, Express",
        relates=("execute.request", "server.arguments"),
        needs=("EXEC-01",),
        probes=("null payload", "no payload", "array payload"),
        rule=status(404),
    ),
    Requirement(
        id="EXEC-08",
        group="execute",
        severity="must",
        sentence="application/json with a charset is JSON, too.",
        change="Compare the media type without its parameters.",
        source="RFC 9110, Express",
        relates=("server.execute",),
        needs=("EXEC-01",),
        probes=("charset",),
        rule=status(404),
    ),
    Requirement(
        id="EXEC-09",
        group="execute",
        severity="should",
        sentence="Members of the body that it does not know are ignored.",
        change="Read function_name and payload, and pass over the rest, so that newer clients can be served.",
        source="Express, published",
        relates=("read.unknown-fields",),
        needs=("EXEC-01",),
        probes=("unknown field",),
        rule=status(404),
    ),
    Requirement(
        id="EXEC-10",
        group="execute",
        severity="must",
        sentence="A call that succeeds is answered with a status of 200 to 299 and ok: true.",
        change='Answer 200 and {"ok": true, "function_name": ..., "source": ..., "result": ...}. If the '
        "function "
        "failed, check with another payload.",
        source="documents, published clients",
        relates=("execute.result", "server.execute"),
        acts="execute",
        probes=("execute",),
        rule=_is_ok,
    ),
    Requirement(
        id="EXEC-11",
        group="execute",
        severity="should",
        sentence="It then has a result, null when the function gave nothing.",
        change="Put what the function returned into result.",
        source="documents",
        relates=("execute.result", "server.execute"),
        needs=("EXEC-10",),
        acts="execute",
        probes=("execute",),
        rule=member("result", _anything),
    ),
    Requirement(
        id="EXEC-12",
        group="execute",
        severity="should",
        sentence="It then says which function ran: function_name as listed, and its source.",
        change="Add function_name and source to the answer, as the list has them.",
        source="documents, Express",
        relates=("server.execute",),
        needs=("EXEC-10",),
        acts="execute",
        probes=("execute",),
        rule=_names_function,
    ),
    Requirement(
        id="EXEC-13",
        group="execute",
        severity="must",
        sentence="The name may be in any case and have blanks around it.",
        change="Trim function_name and make it lower case before looking it up.",
        source="Express, published",
        relates=("server.execute",),
        needs=("EXEC-10",),
        acts="execute",
        probes=("execute padded",),
        rule=_is_ok,
    ),
    Requirement(
        id="EXEC-14",
        group="execute",
        severity="must",
        sentence="A function that fails is answered with a status of 200 to 299 and ok: false.",
        change='Catch what a function throws, and answer 200 and {"ok": false, "function_name": ..., '
        '"error": '
        '"Function execution failed.", "details": the message}.',
        source="documents",
        relates=("execute.failed", "server.statuses"),
        acts="execute_failing",
        probes=("execute failing",),
        rule=_is_not_ok,
    ),
    Requirement(
        id="EXEC-15",
        group="execute",
        severity="must",
        sentence="It then says why: error and details are texts.",
        change="Put what kind of failure it is into error, and the message of the function's own error into "
        "details; agents read them.",
        source="documents",
        relates=("execute.failed",),
        needs=("EXEC-14",),
        acts="execute_failing",
        probes=("execute failing",),
        rule=_explains,
    ),
)

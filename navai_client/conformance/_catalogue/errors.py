"""What is asked of refusals."""

from typing import Final

from navai_client.conformance._requirement import Requirement
from navai_client.conformance._rules import leaks_no_trace, method_not_allowed, refused, status

_OURS: Final = "the reference server"

ERRORS: Final = (
    Requirement(
        id="ERR-01",
        group="errors",
        severity="should",
        sentence="Malformed JSON is answered with 400 and a JSON error.",
        change='Answer 400 and {"error": ...} when the body cannot be parsed; it is the caller\'s mistake.',
        source=_OURS,
        relates=("server.statuses",),
        needs=("EXEC-01",),
        probes=("malformed",),
        rule=refused(400),
    ),
    Requirement(
        id="ERR-02",
        group="errors",
        severity="should",
        sentence="A body that is JSON but no object is answered with 400 and a JSON error.",
        change='Answer 400 and {"error": ...} when the body is an array, a text, a number or null.',
        source=_OURS,
        relates=("server.statuses",),
        needs=("EXEC-01",),
        probes=("array body",),
        rule=refused(400),
    ),
    Requirement(
        id="ERR-03",
        group="errors",
        severity="should",
        sentence="A body of the type text/plain is answered with 415 and a JSON error, JSON or not.",
        change='Answer 415 and {"error": ...} unless the Content-Type is application/json: a foreign '
        "page may "
        "send text/plain without a preflight.",
        source=_OURS,
        relates=("server.statuses",),
        needs=("EXEC-01",),
        probes=("text body",),
        rule=refused(415),
    ),
    Requirement(
        id="ERR-04",
        group="errors",
        severity="should",
        sentence="A form is answered with 415 and a JSON error.",
        change='Answer 415 and {"error": ...} unless the Content-Type is application/json: a foreign '
        "page may "
        "send a form without a preflight.",
        source=_OURS,
        relates=("server.statuses",),
        needs=("EXEC-01",),
        probes=("form body",),
        rule=refused(415),
    ),
    Requirement(
        id="ERR-05",
        group="errors",
        severity="should",
        sentence="A body that is no UTF-8 is answered with 400 to 499 and a JSON error.",
        change='Answer 400 and {"error": ...} when the body cannot be decoded.',
        source=_OURS,
        relates=("server.statuses",),
        needs=("EXEC-01",),
        probes=("bad utf-8",),
        rule=refused(),
    ),
    Requirement(
        id="ERR-06",
        group="errors",
        severity="should",
        sentence="A path that there is not is answered with 404 and a JSON error.",
        change='Answer 404 and {"error": ...}, not a page for people, below /navai.',
        source=_OURS,
        relates=("server.statuses",),
        probes=("unknown path",),
        rule=refused(404),
    ),
    Requirement(
        id="ERR-07",
        group="errors",
        severity="should",
        sentence="A method that a path does not have is answered with 405 and the header Allow.",
        change="Answer 405 with Allow: GET for the list, and Allow: POST for the rest.",
        source=f"{_OURS}; RFC 9110",
        relates=("server.statuses",),
        needs=("LIST-01", "EXEC-01", "SECRET-01"),
        probes=("list by DELETE", "execute by GET", "secret by GET"),
        rule=method_not_allowed,
    ),
    Requirement(
        id="ERR-08",
        group="errors",
        severity="should",
        sentence="No refusal shows a stack trace.",
        change="Answer with the message of an error alone, and log the rest; turn off the debug mode.",
        source=_OURS,
        relates=("server.statuses",),
        probes=("unknown",),
        rule=leaks_no_trace,
    ),
    Requirement(
        id="ERR-09",
        group="errors",
        severity="should",
        sentence="Without the credentials that were given, the list is answered with 401 or 403.",
        change="Ask for the credentials on every route, preflights aside; or check without them if they "
        "are for "
        "something else.",
        source=_OURS,
        needs=("LIST-01",),
        probes=("list anonymous",),
        unseen="no credentials were given among the headers",
        rule=status(401, 403),
    ),
)

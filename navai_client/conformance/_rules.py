"""Rules that many requirements share: statuses, refusals, fields of a JSON body. Pure."""

import re
from collections.abc import Callable
from typing import Any, Final

from navai_client.conformance._outcome import NOT_JSON, Answer, kind_of
from navai_client.conformance._requirement import Evidence, Rule, Unseen

_CLIENT_ERRORS: Final = range(400, 500)
_SERVER_ERRORS_FROM: Final = 400
_LOOKED_AT: Final = 65_536  # characters in which traces are looked for
_TRACE: Final = re.compile(
    r"Traceback \(most recent call last\)"  # Python
    # JavaScript, Java and their like; JSON writes line breaks and tabs out
    r"|(?:\n|\\n)(?: |\t|\\t){0,20}at [^\n]{1,200}(?::\d+:\d+|\.(?:java|kt|scala):\d+|:line \d+)"
    r"|(?:\n|\\n)(?: |\t|\\t){0,20}#\d+ [^\n]{1,200}\(\d+\)"  # PHP
    r"|[/\\][\w.@-]+\.(?:py|js|mjs|cjs|ts|php|rb|go|java|cs|ex):\d+"  # a file and its line
)


def is_text(value: Any) -> bool:
    """Return whether *value* is a JSON string."""
    return isinstance(value, str)


def is_number(value: Any) -> bool:
    """Return whether *value* is a JSON number; true is none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def status(*allowed: int) -> Rule:
    """Ask for one of the statuses *allowed*; without any, for a success."""

    def rule(answer: Answer, _: Evidence) -> str | None:
        fine = answer.status in allowed if allowed else answer.success
        return None if fine else answer.summary()

    return rule


def refused(*allowed: int, text: str | None = None, mentions: str | None = None) -> Rule:
    """Ask for a status *allowed*, or any of 400 to 499, and for ``{"error": ...}``.

    Args:
        allowed: The statuses; without any, 400 to 499.
        text: What the error must read.
        mentions: What the error must have in it.
    """

    def rule(answer: Answer, _: Evidence) -> str | None:
        error = answer.record.get("error")
        if answer.status not in (allowed or _CLIENT_ERRORS) or not isinstance(error, str) or not error:
            return answer.summary()
        fine = (text is None or error == text) and (mentions is None or mentions in error)
        return None if fine else answer.summary()

    return rule


def method_not_allowed(answer: Answer, _: Evidence) -> str | None:
    """Ask for 405 with the methods that there are."""
    if answer.status != 405:  # noqa: PLR2004 - Method Not Allowed
        return answer.summary()
    return None if answer.header("allow") else f"HTTP {answer.status} without the header Allow"


def member(name: str, is_right: Callable[[Any], bool], *, optional: bool = False) -> Rule:
    """Ask for a member *name* of the JSON object, for which *is_right* holds."""

    def rule(answer: Answer, _: Evidence) -> str | Unseen | None:
        value = answer.record.get(name, NOT_JSON)
        if value is NOT_JSON:
            return Unseen(f"the answer has no {name}") if optional else f"no {name}; {answer.summary()}"
        return None if is_right(value) else f"{name} is {kind_of(value)}"

    return rule


def leaks_no_trace(_: Answer, evidence: Evidence) -> str | None:
    """Ask for refusals without a stack trace: the answer to any probe."""
    for name, answer in evidence.answers.items():
        refusal = answer.status >= _SERVER_ERRORS_FROM or answer.record.get("ok") is False
        if refusal and (found := _TRACE.search(answer.text[:_LOOKED_AT])):
            return f"{evidence.asked[name]} was answered with: {answer.text[max(0, found.start() - 40) :]}"
    return None

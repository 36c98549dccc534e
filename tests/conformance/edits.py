"""Edits that make a backend misbehave: for which requests, and how their responses change."""

from collections.abc import Callable
from typing import Any, Final

from tests.conformance.in_memory import Asked, Fault, Reply

__all__ = [
    "EXECUTE",
    "FORM",
    "LIST",
    "LOCAL",
    "SECRET",
    "SPEECH",
    "Change",
    "Edit",
    "When",
    "answers",
    "called",
    "drops",
    "is_json",
    "is_unknown",
    "listed",
    "plainly_unknown",
    "refuses",
    "replaces",
    "says",
    "sized",
    "where",
    "with_headers",
    "with_item",
    "with_items",
    "with_members",
    "with_origin",
]

LIST: Final = "/navai/functions"
EXECUTE: Final = "/navai/functions/execute"
SECRET: Final = "/navai/realtime/client-secret"
SPEECH: Final = "/navai/speech/synthesize"
LOCAL: Final = "http://localhost:3000"
FORM: Final = "application/x-www-form-urlencoded"


When = Callable[[Asked], bool]
Change = Callable[[Reply], Reply | None]
Edit = Callable[[Reply], Reply]


def where(when: When, change: Change) -> Fault:
    return lambda asked, reply: change(reply) if when(asked) else reply


def called(path: str, method: str = "POST", **members: Any) -> When:
    """Match requests for *path* whose body has the *members*."""
    return lambda asked: (
        (asked.method, asked.path) == (method, path)
        and all(asked.record.get(name, Ellipsis) == value for name, value in members.items())
    )


def is_json(asked: Asked) -> bool:
    return asked.headers.get("content-type", "").startswith("application/json")


def listed(asked: Asked) -> bool:
    """Match GET requests for the list without ``If-None-Match``."""
    known = "if-none-match" in asked.headers
    return called(LIST, "GET")(asked) and "authorization" in asked.headers and not known


def sized(least: int, most: int) -> When:
    return lambda asked: asked.path == EXECUTE and least <= len(asked.body) < most


def with_origin(path: str, method: str, origin: str) -> When:
    return lambda asked: called(path, method)(asked) and asked.headers.get("origin") == origin


def is_unknown(asked: Asked) -> bool:
    """Match calls of the unknown function."""
    return asked.path == EXECUTE and str(asked.record.get("function_name")).startswith("navai_check")


def plainly_unknown(asked: Asked) -> bool:
    return is_unknown(asked) and asked.record == {
        "function_name": asked.record["function_name"],
        "payload": {},
    }


def answers(status: int, record: Any = None, **headers: str) -> Edit:
    """Respond with *status*, and with *record* if given."""

    def change(reply: Reply) -> Reply:
        reply.status = status
        reply.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        if record is not None:
            reply.record = record
        return reply

    return change


def refuses(status: int) -> Edit:
    return answers(status, {"error": "No."})


def says(text: bytes, status: int | None = None) -> Edit:
    def change(reply: Reply) -> Reply:
        reply.body = text
        reply.status = status or reply.status
        return reply

    return change


def replaces(old: bytes, new: bytes) -> Edit:
    def change(reply: Reply) -> Reply:
        if reply.status == 403:  # a page that is refused
            return reply
        assert old in reply.body
        reply.body = reply.body.replace(old, new)
        return reply

    return change


def with_members(**members: Any) -> Edit:
    """Set members of the body; one that is Ellipsis is left out."""

    def change(reply: Reply) -> Reply:
        if isinstance(record := reply.record, dict):
            record = {**record, **members}
            reply.record = {name: value for name, value in record.items() if value is not Ellipsis}
        return reply

    return change


def with_item(**members: Any) -> Edit:
    """Set members of the first function."""

    def change(reply: Reply) -> Reply:
        record = reply.record
        if "items" not in record:  # a refusal
            return reply
        record["items"][0] |= members
        record["items"][0] = {
            name: value for name, value in record["items"][0].items() if value is not Ellipsis
        }
        reply.record = record
        return reply

    return change


def with_items(change_items: Callable[[list[Any]], list[Any]]) -> Edit:
    def change(reply: Reply) -> Reply:
        if "items" in reply.record:
            reply.record = {**reply.record, "items": change_items(reply.record["items"])}
        return reply

    return change


def with_headers(**headers: str) -> Edit:
    """Set headers; one that is empty is left out."""

    def change(reply: Reply) -> Reply:
        reply.headers |= {name.replace("_", "-"): value for name, value in headers.items()}
        reply.headers = {name: value for name, value in reply.headers.items() if value}
        return reply

    return change


def drops(_: Reply) -> None:
    return None

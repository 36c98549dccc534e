"""Where our server deliberately responds differently from Express: for each call by name, how.

Each entry turns the response of Express into ours, so that it says exactly what differs. An entry whose
responses are equal, or whose call no longer exists, fails the tests.
"""

from collections.abc import Callable
from typing import Any, Final

from attrs import frozen

__all__ = ["DIFFERENCES", "Difference"]

DEFINED: Final = (
    "echo",
    "one",
    "two",
    "none",
    "later",
    "nothing",
    "kind_of",
)  # in arguments.py, in this order


@frozen
class Difference:
    """One difference.

    Attributes:
        sentence: What it is.
        ours: Turns the outcome of Express into ours.
    """

    sentence: str
    ours: Callable[[Any], Any]


def _by_definition(names: list[str]) -> list[str]:
    return [*DEFINED, *names[len(DEFINED) :]]


def _list(express: Any) -> Any:
    functions = {each["name"]: each for each in express["value"]["functions"]}
    ordered = [functions[name] for name in _by_definition(list(functions))]
    return {"value": {**express["value"], "functions": ordered}}


_SESSION: Final = "The session that OpenAI returns is sent, too; Express keeps it to itself."


def _with_session(express: Any) -> Any:
    return {**express, "body": {**express["body"], "session": {"ignored": True}}}


_PARAMETERS: Final = {
    "one": ("value",),
    "two": ("first", "second"),
    "later": ("value",),
    "fails": ("message",),
    "fails_later": ("message",),
    "calculator_add_to": ("amount",),
    "calculator_total": ("first", "second"),
    "units_to_miles": ("km",),
    "units_to_kilometres": ("miles",),
}


_METADATA: Final = {
    "nothing": {
        "metadata": {"effect": "read", "typical_seconds": 0.1, "say_while_waiting": "One moment."},
    }
}


def _parameters(name: str) -> dict[str, Any]:
    needed = _PARAMETERS.get(name, ())
    properties: dict[str, Any] = {each: {} for each in needed}
    if name.startswith("echo"):
        properties["args"] = {"type": "array", "items": {}}
    if name.startswith("calculator_"):
        start = {"default": 0}  # of the constructor
        properties["constructorArgs"] = {"type": "array", "prefixItems": [start], "minItems": 0}
    required = {"required": list(needed)} if needed else {}
    return {"type": "object", "properties": properties, **required, "additionalProperties": False}


def _raw_list(express: Any) -> Any:
    items = {each["name"]: each for each in express["body"]["items"]}
    names = _by_definition(list(items))
    return {
        **express,
        "body": {
            **express["body"],
            "items": [
                {**items[name], "parameters": _parameters(name), **_METADATA.get(name, {})} for name in names
            ],
        },
    }


def _available(body: Any) -> Any:
    return {**body, "available_functions": _by_definition(body["available_functions"])}


def _status(status: int) -> Callable[[Any], Any]:
    return lambda express: {**express, "status": status}


def _answer(status: int, body: Any) -> Callable[[Any], Any]:
    return lambda _: {"status": status, "type": "application/json; charset=utf-8", "body": body}


def _error(status: int, text: str) -> Callable[[Any], Any]:
    return _answer(status, {"error": text})


def _no_secret(express: Any) -> Any:
    return {**express, "raised": {"error": "The response of OpenAI has no client secret."}}


_ORDER: Final = "Functions are listed in the order of their definition; Express sorts a module's exports."
_FAILED: Final = (
    "For a function that fails, the response is 200 with ok: false, as documented; Express returns 500."
)
_TYPE: Final = (
    "Only JSON is accepted, so that forms of other pages are refused; Express reads them as empty bodies."
)
_STATUS: Final = "Failures have the documented statuses; Express returns 500 for all of them."
_ROUTES: Final = (
    "For unknown paths and methods, the response is JSON; for unsupported methods, the status is 405."
)
_NO_SECRET: Final = "The backend itself reports a response of OpenAI that contains no secret."
_DENIED: Final = "NAVAI_ALLOW_FRONTEND_API_KEY=false denies a request's key, also where the backend has none."

DIFFERENCES: Final = {
    "list": Difference(_ORDER, _list),
    "unknown": Difference(_ORDER, lambda express: {"raised": _available(express["raised"])}),
    "raw unknown": Difference(_ORDER, lambda express: {**express, "body": _available(express["body"])}),
    "raw list": Difference(f"{_ORDER} Ours have parameters.", _raw_list),
    "two by name": Difference(
        "A payload whose keys are the parameters' names is taken by name; Express passes it as a whole, with "
        "the context as the second argument.",
        lambda _: {"value": {"first": "a", "second": "b"}},
    ),
    "none surplus": Difference(
        "A function without parameters refuses names, as its schema says; Express ignores them.",
        lambda _: {"raised": "Invalid arguments: no parameter surplus."},
    ),
    "context given": Difference(
        "A parameter named context is always the context, and takes no argument.",
        lambda _: {"value": "context"},
    ),
    "throws": Difference(_FAILED, lambda express: {"raised": express["raised"]["error"]}),
    "rejects": Difference(_FAILED, lambda express: {"raised": express["raised"]["error"]}),
    "raw failure": Difference(
        _FAILED,
        _answer(
            200,
            {"ok": False, "function_name": "fails", "error": "Function execution failed.", "details": "no"},
        ),
    ),
    "secret, key denied": Difference(
        _DENIED,
        lambda _: {
            "raised": {
                "error": "Passing apiKey from request is disabled. "
                "Set allowApiKeyFromRequest=true to enable it."
            }
        },
    ),
    "secret, upstream without value": Difference(_NO_SECRET, _no_secret),
    "secret, upstream no JSON": Difference(_NO_SECRET, _no_secret),
    "raw no JSON": Difference(_STATUS, _error(400, "Request body is not valid JSON.")),
    "raw array": Difference(
        "The error says that a body is not an object.", _error(400, "Request body must be a JSON object.")
    ),
    "raw text": Difference(_TYPE, _error(415, "Content-Type must be application/json.")),
    "raw form": Difference(_TYPE, _error(415, "Content-Type must be application/json.")),
    "raw body of 200 KB": Difference(
        "Bodies may have 1 MiB; express.json() accepts 100 KiB by default.",
        _answer(
            200,
            {
                "ok": True,
                "function_name": "none",
                "source": "src/tools/arguments.js#none",
                "result": "nothing was needed",
            },
        ),
    ),
    "raw wrong method": Difference(_ROUTES, _error(405, "Method not allowed.")),
    "raw wrong path": Difference(_ROUTES, _error(404, "Not found.")),
    "raw health": Difference("Our server has a health check.", _answer(200, {"ok": True})),
    "raw secret": Difference(_SESSION, _with_session),
    "raw secret without body": Difference(_SESSION, _with_session),
    "raw secret, model of another type": Difference(
        "A field of the wrong type is refused, and the error names it; Express passes it on.",
        _error(400, "model must be a string."),
    ),
    "raw secret, upstream busy": Difference(_STATUS, _status(429)),
    "raw secret, no key": Difference(_STATUS, _status(401)),
    "raw speech": Difference(_STATUS, _status(400)),
}

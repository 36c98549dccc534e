"""The calls of the JavaScript client, and plain requests, that both Express and our server get."""

import json
from typing import Any, Final

from attrs import field, frozen

__all__ = ["CALLS", "MINTED", "Call"]

MINTED: Final = '{"value": "ek_minted", "expires_at": 1800000000, "session": {"ignored": true}}'
JSON: Final = {"content-type": "application/json"}
EXECUTE: Final = "/navai/functions/execute"
SECRET: Final = "/navai/realtime/client-secret"


@frozen(kw_only=True)
class Call:
    """One call.

    Attributes:
        name: Its name in the list of differences.
        method: A method of the JavaScript client, or ``fetch`` for a plain request.
        input: Its argument, or None.
        backend: ``keyed`` (with an API key), ``keyless``, or ``denying`` (without one, and accepts none).
        upstream: The response of OpenAI: status and text.
    """

    name: str
    method: str
    input: Any = None
    backend: str = "keyed"
    upstream: tuple[int, str] = field(default=(200, MINTED))


def _run(name: str, function: str, payload: Any) -> Call:
    given = {"functionName": function, "payload": payload}
    return Call(name=name, method="executeFunction", input=given)


def _mint(name: str, given: dict[str, Any] | None = None, **more: Any) -> Call:
    return Call(name=name, method="createClientSecret", input=given, **more)


def _fetch(name: str, method: str, path: str, body: Any = None, **more: Any) -> Call:
    headers = more.pop("headers", JSON if body is not None else {})
    init = {"method": method, "headers": headers}
    if body is not None:
        init["body"] = body if isinstance(body, str) else json.dumps(body)
    return Call(name=name, method="fetch", input={"path": path, "init": init}, **more)


CALLS: Final = (
    Call(name="list", method="listFunctions"),
    _run("args", "echo", {"args": [1, "zwei", None, [3], {"vier": 4.5}]}),
    _run("arguments", "echo", {"arguments": ["a", "b"]}),
    _run("args before arguments", "echo", {"args": ["wins"], "arguments": ["loses"]}),
    _run("args null", "echo", {"args": None, "arguments": [1]}),
    _run("args empty, value", "echo", {"args": [], "value": 7}),
    _run("args empty", "echo", {"args": []}),
    _run("value", "echo", {"value": {"deep": [True, False, None]}}),
    _run("value null", "echo", {"value": None}),
    _run("whole payload", "echo", {"city": "Málaga", "days": 3}),
    _run("payload empty", "echo", {}),
    _run("payload null", "echo", None),
    _run("payload array", "echo", [1, 2]),
    _run("payload text", "echo", "text is no record"),
    _run("odd text", "echo", {"value": "🦊 \ud800 \u2028 \x00"}),
    _run("numbers", "echo", {"args": [1.5, -0.0, 1e21, 9007199254740991, 5e-324]}),
    _run("one by value", "one", {"value": 1}),
    _run("one by args", "one", {"args": [[]]}),
    _run("one whole payload", "one", {"city": "Lugo"}),
    _run("one surplus", "one", {"args": [1, 2, 3]}),
    _run("two by args", "two", {"args": ["a", "b"]}),
    _run("two by name", "two", {"first": "a", "second": "b"}),
    _run("none", "none", None),
    _run("none surplus", "none", {"surplus": True}),
    _run("async", "later", {"args": ["soon"]}),
    _run("no result", "nothing", None),
    _run("context", "kind_of", None),
    _run("context given", "kind_of", {"value": "text"}),
    _run("name trimmed", "  EcHo\n", {"args": [1]}),
    _run("name taken", "echo_2", {"args": [1]}),
    _run("name split", "get_httpstatus2", None),
    _run("throws", "fails", {"args": ["no such luck"]}),
    _run("rejects", "fails_later", {"value": "no such luck"}),
    _run("class", "calculator_add_to", {"constructorArgs": [40], "methodArgs": [2]}),
    _run("class default", "calculator_add_to", {"methodArgs": [2]}),
    _run("class args", "calculator_add_to", {"constructorArgs": [1], "args": [2]}),
    _run("class async", "calculator_total", {"constructorArgs": [1], "methodArgs": [2, 3]}),
    _run("member", "units_to_miles", {"value": 10}),
    _run("member two", "units_to_kilometres", {"args": [2.5]}),
    _run("unknown", "no_such", {"args": [1]}),
    _run("name blank", "  ", None),
    _mint("secret"),
    _mint(
        "secret with all",
        {
            "model": "gpt-realtime-2",
            "voice": "cedar",
            "instructions": "  Be brief. ",
            "language": "Español",
            "voiceAccent": "Rioplatense",
            "voiceTone": " warm ",
            "apiKey": "sk-of-the-caller",
        },
    ),
    _mint("secret with blanks", {"language": " ", "voiceAccent": "", "voiceTone": "\ufeff"}),
    _mint("secret, key of the caller", {"apiKey": " sk-of-the-caller "}, backend="keyless"),
    _mint("secret, no key", backend="keyless"),
    _mint("secret, key blank", {"apiKey": "  "}, backend="keyless"),
    _mint("secret, key denied", {"apiKey": "sk-of-the-caller"}, backend="denying"),
    _mint("secret, no key, denied", backend="denying"),
    _mint("secret, upstream refuses", upstream=(401, '{"error": "no"}')),
    _mint("secret, upstream busy", upstream=(429, "slow down")),
    _mint("secret, upstream broken", upstream=(500, "oops")),
    _mint("secret, upstream without value", upstream=(200, '{"expires_at": 5}')),
    _mint("secret, upstream no JSON", upstream=(200, "<html>")),
    Call(name="speech", method="synthesizeSpeech", input={"text": "Hello."}),
    _fetch("raw list", "GET", "/navai/functions"),
    _fetch("raw execute", "POST", EXECUTE, {"function_name": "none"}),
    _fetch("raw failure", "POST", EXECUTE, {"function_name": "fails", "payload": {"value": "no"}}),
    _fetch("raw no name", "POST", EXECUTE, {"payload": {}}),
    _fetch("raw name of another type", "POST", EXECUTE, {"function_name": 5}),
    _fetch("raw unknown", "POST", EXECUTE, {"function_name": "no_such"}),
    _fetch("raw no JSON", "POST", EXECUTE, '{"function_name": '),
    _fetch("raw array", "POST", EXECUTE, "[]"),
    _fetch("raw text", "POST", EXECUTE, "function_name=echo", headers={"content-type": "text/plain"}),
    _fetch(
        "raw form",
        "POST",
        EXECUTE,
        "function_name=echo",
        headers={"content-type": "application/x-www-form-urlencoded"},
    ),
    _fetch("raw body of 200 KB", "POST", EXECUTE, {"function_name": "none", "extra": "x" * 200_000}),
    _fetch("raw wrong method", "GET", EXECUTE),
    _fetch("raw wrong path", "GET", "/no/such"),
    _fetch("raw health", "GET", "/health"),
    _fetch("raw secret", "POST", SECRET, {}),
    _fetch("raw secret without body", "POST", SECRET),
    _fetch("raw secret, model of another type", "POST", SECRET, {"model": 5}),
    _fetch("raw secret, upstream busy", "POST", SECRET, {}, upstream=(429, "slow down")),
    _fetch("raw secret, no key", "POST", SECRET, {}, backend="keyless"),
    _fetch("raw speech", "POST", "/navai/speech/synthesize", {"text": "Hello."}),
)

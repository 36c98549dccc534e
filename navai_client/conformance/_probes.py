"""What is sent to a backend: each probe by its name. No I/O, and nothing acts unless its user asks for it."""

import json
from collections.abc import Iterator
from typing import Any, Final, Literal

from attrs import field, frozen

from navai_client.config import ClientConfig
from navai_client.conformance._outcome import Answer
from navai_client.wire._encode import encode_json
from navai_client.wire._operations import join_url
from navai_client.wire._values import Endpoint, Request

Acts = Literal["", "execute", "execute_failing", "mint", "speak"]
Call = tuple[str, Any]

FOREIGN_ORIGIN: Final = "https://navai-check.invalid"  # a name that RFC 2606 gives to nobody
_NO_SUCH_FUNCTION: Final = "navai_check_no_such_function"
_NO_SUCH_PATH: Final = "/navai/navai-check-no-such-path"
_DEPTH: Final = 20_000
_JSON: Final = "application/json"
_SHOWN_BODY: Final = 100


@frozen(kw_only=True)
class Subject:
    """The backend under check, and what may be done to it.

    Attributes:
        config: Where it is, and the headers to send.
        execute: A function that may be called, and the payload that makes it succeed.
        execute_failing: A function that may be called, and a payload that makes it fail.
        mint: Whether client secrets may be minted.
        speak: A text that may be spoken.
        origin: The origin of pages that must be let in.
        large_body: How many bytes a body must have to be refused.
    """

    config: ClientConfig
    execute: Call | None = None
    execute_failing: Call | None = None
    mint: bool = False
    speak: str | None = None
    origin: str = "http://localhost:3000"
    large_body: int = 2 * 2**20

    def lets(self, acts: Acts) -> bool:
        """Return whether what *acts* names may be done."""
        return not acts or bool(getattr(self, acts))


@frozen(kw_only=True)
class Probe:
    """One request.

    Attributes:
        name: What rules call it.
        request: The request.
        shown: The request, for a person; without headers that its user gave.
        acts: What it does to the backend; empty when it does nothing.
        private: Whether a good answer holds a secret.
    """

    name: str
    request: Request = field(repr=False)
    shown: str
    acts: Acts = ""
    private: bool = False


@frozen
class _Maker:
    """Makes the probes of one subject."""

    subject: Subject

    def make(
        self,
        name: str,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        headers: dict[str, str] | None = None,
        acts: Acts = "",
        private: bool = False,
        anonymous: bool = False,
        note: str = "",
    ) -> Probe:
        """Make a probe; an *anonymous* one goes without the headers that the user gave."""
        config = self.subject.config
        ours = {"accept", "user-agent"}
        given = [(key, value) for key, value in config.headers if not anonymous or key.lower() in ours]
        own = dict(headers or {})
        if body is not None and "Content-Type" not in own:
            own["Content-Type"] = _JSON
        shown = f"{method} {path}"
        if body is not None:
            text = body[:_SHOWN_BODY].decode("utf-8", "replace")
            shown += f" {text}{'...' if len(body) > _SHOWN_BODY else ''}"
            if own["Content-Type"] != _JSON:
                shown += f" as {own['Content-Type']}"
        notes = [note, *(f"{key}: {value}" for key, value in own.items() if key != "Content-Type")]
        if any(notes):
            shown += f" ({', '.join(each for each in notes if each)})"
        request = Request(Endpoint(method, join_url(config.base_url, path)), (*given, *own.items()), body)
        return Probe(name=name, request=request, shown=shown, acts=acts, private=private)

    def execute(self, name: str, function: Any, payload: Any = None, **given: Any) -> Probe:
        """Make a call of *function*."""
        body = encode_json({"function_name": function, "payload": payload}, name="payload")
        return self.make(name, "POST", self.subject.config.paths.functions_execute, body, **given)


def first_probe(subject: Subject) -> Probe:
    """Return the probe that comes before all others: the list of functions."""
    return _Maker(subject).make("list", "GET", subject.config.paths.functions_list)


def further_probes(subject: Subject, listed: Answer) -> dict[str, Probe]:
    """Return all probes but the first, by name; *listed* is the answer to that."""
    maker = _Maker(subject)
    absent = _absent_name(listed)
    probes = [
        *_list_probes(maker, listed),
        *_execute_probes(maker, absent),
        *_error_probes(maker, absent),
        *_cors_probes(maker, absent),
        *_limit_probes(maker, absent),
        *_secret_probes(maker),
        *_speech_probes(maker),
    ]
    return {probe.name: probe for probe in probes}


def _absent_name(listed: Answer) -> str:
    """Return a function's name that the backend does not have."""
    items = listed.record.get("items")
    items = items if isinstance(items, list) else []
    names = {item["name"] for item in items if isinstance(item, dict) and isinstance(item.get("name"), str)}
    name = _NO_SUCH_FUNCTION
    while name in names:
        name += "_"
    return name


def _list_probes(maker: _Maker, listed: Answer) -> Iterator[Probe]:
    path = maker.subject.config.paths.functions_list
    yield maker.make("list again", "GET", path)
    if etag := listed.header("etag"):
        yield maker.make("list known", "GET", path, headers={"If-None-Match": etag})
    if maker.subject.config.secrets:
        note = "without the headers that were given"
        yield maker.make("list anonymous", "GET", path, anonymous=True, note=note)


def _execute_probes(maker: _Maker, absent: str) -> Iterator[Probe]:
    path = maker.subject.config.paths.functions_execute
    yield maker.execute("unknown", absent, {})
    yield maker.make("no name", "POST", path, b'{"payload":{}}')
    yield maker.execute("empty name", "", {})
    yield maker.execute("blank name", " \t ", {})
    yield maker.execute("null name", None, {})
    yield maker.execute("number name", 3, {})
    yield maker.execute("array name", [absent], {})
    yield maker.execute("null payload", absent)
    yield maker.execute("array payload", absent, [1])
    yield maker.make("no payload", "POST", path, encode_json({"function_name": absent}, name="body"))
    charset = {"Content-Type": "application/json; charset=utf-8"}
    yield maker.execute("charset", absent, {}, headers=charset)
    extra = encode_json({"function_name": absent, "payload": {}, "navai_check": True}, name="body")
    yield maker.make("unknown field", "POST", path, extra)
    if maker.subject.execute is not None:
        name, payload = maker.subject.execute
        yield maker.execute("execute", name, payload, acts="execute")
        padded = f" {name.upper() if name.isascii() else name} "
        yield maker.execute("execute padded", padded, payload, acts="execute")
    if maker.subject.execute_failing is not None:
        name, payload = maker.subject.execute_failing
        yield maker.execute("execute failing", name, payload, acts="execute_failing")


def _error_probes(maker: _Maker, absent: str) -> Iterator[Probe]:
    paths = maker.subject.config.paths
    path = paths.functions_execute
    whole = encode_json({"function_name": absent}, name="body")
    yield maker.make("malformed", "POST", path, whole[:-1])
    yield maker.make("array body", "POST", path, b"[]")
    yield maker.make("text body", "POST", path, whole, headers={"Content-Type": "text/plain"})
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    yield maker.make("form body", "POST", path, f"function_name={absent}".encode(), headers=form)
    yield maker.make("bad utf-8", "POST", path, whole[:-2] + b'\xff\xfe"}')
    yield maker.make("unknown path", "GET", _NO_SUCH_PATH)
    yield maker.make("list by DELETE", "DELETE", paths.functions_list)
    yield maker.make("execute by GET", "GET", path)


def _cors_probes(maker: _Maker, absent: str) -> Iterator[Probe]:
    paths = maker.subject.config.paths
    for name, origin in (("granted", maker.subject.origin), ("foreign", FOREIGN_ORIGIN)):
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        # A browser sends no credentials along with it.
        yield maker.make(
            f"preflight {name}", "OPTIONS", paths.functions_execute, headers=asked, anonymous=True
        )
        yield maker.make(f"list {name}", "GET", paths.functions_list, headers={"Origin": origin})
    yield maker.make("list null", "GET", paths.functions_list, headers={"Origin": "null"})
    yield maker.execute("unknown granted", absent, {}, headers={"Origin": maker.subject.origin})


def _limit_probes(maker: _Maker, absent: str) -> Iterator[Probe]:
    path = maker.subject.config.paths.functions_execute
    for name, size in (
        ("64 KiB", 64 * 2**10),
        ("512 KiB", 512 * 2**10),
        ("too large", maker.subject.large_body),
    ):
        body = encode_json({"function_name": absent, "payload": {"args": ["x" * size]}}, name="body")
        yield maker.make(name, "POST", path, body, note=f"{len(body):,} bytes")
    deep = b'{"function_name":%b,"payload":%b%b}' % (
        json.dumps(absent).encode(),
        b"[" * _DEPTH,
        b"]" * _DEPTH,
    )
    yield maker.make("deep", "POST", path, deep, note=f"nested {_DEPTH:,} deep")


def _secret_probes(maker: _Maker) -> Iterator[Probe]:
    path = maker.subject.config.paths.client_secret
    yield maker.make("secret by GET", "GET", path, private=True)
    if maker.subject.mint:
        # The bodies that must be refused may mint as well, on a backend that does not refuse them.
        for name, body in (
            ("mint", b"{}"),
            ("mint unknown field", b'{"navaiCheck":true}'),
            ("mint wrong type", b'{"model":3}'),
            ("mint array", b"[]"),
            ("mint malformed", b'{"model":'),
        ):
            yield maker.make(name, "POST", path, body, acts="mint", private=True)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        yield maker.make("mint form", "POST", path, b"", headers=form, acts="mint", private=True)


def _speech_probes(maker: _Maker) -> Iterator[Probe]:
    path = maker.subject.config.paths.speech_synthesize
    yield maker.make("speak nothing", "POST", path, b'{"text":" "}')
    if maker.subject.speak is not None:
        body = encode_json({"text": maker.subject.speak}, name="text")
        yield maker.make("speak", "POST", path, body, acts="speak")

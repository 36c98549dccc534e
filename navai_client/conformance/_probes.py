"""The requests that a check sends: the probes, by name. No I/O; a probe acts only where it is allowed."""

import json
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from attrs import field, frozen

from navai_client.config import ClientConfig
from navai_client.conformance._outcome import Outcome
from navai_client.wire._encode import encode_json
from navai_client.wire._operations import (
    CREATE_CLIENT_SECRET,
    EXECUTE_FUNCTION,
    LIST_FUNCTIONS,
    OPERATIONS,
    SYNTHESIZE_SPEECH,
    Operation,
    join_url,
)
from navai_client.wire._values import Endpoint, Request

Acts = Literal["", "execute", "execute_failing", "mint", "speak"]
Call = tuple[str, Any]

FOREIGN_ORIGIN: Final = "https://navai-check.invalid"  # a name that RFC 2606 reserves
_NO_SUCH_FUNCTION: Final = "navai_check_no_such_function"
_NO_SUCH_PATH: Final = "/navai/navai-check-no-such-path"
_DEPTH: Final = 20_000  # far beyond the depth at which recursive parsers overflow their stack
_JSON: Final = "application/json"
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded"}
_SHOWN_BODY: Final = 100  # bytes


@frozen(kw_only=True)
class Subject:
    """The backend under check, and what the check may do to it: the arguments of ``check``."""

    config: ClientConfig
    execute: Call | None = None
    execute_failing: Call | None = None
    mint: bool = False
    speak: str | None = None
    origin: str = "http://localhost:3000"
    large_body: int = 2 * 2**20
    key: str = field(factory=lambda: f"navai-check-{uuid.uuid4().hex}")


@frozen(kw_only=True)
class Probe:
    """One request.

    Attributes:
        name: Its name for the rules.
        request: The request.
        shown: The request, for a person; without the given headers.
        acts: What it does to the backend; empty when it does nothing.
        private: Whether a good response holds a secret.
        optional: Whether 404 is as good as any response, because a backend may lack the operation.
    """

    name: str
    request: Request = field(repr=False)
    shown: str
    acts: Acts = ""
    private: bool = False
    optional: bool = False


def wrong_method(operation: Operation[Any]) -> str:
    """Return a method that *operation* does not support, and that changes nothing if a backend accepts it."""
    return "DELETE" if operation.method == "GET" else "GET"


WRONG_METHODS: Final[Mapping[str, Operation[Any]]] = {
    f"{operation.name} by {wrong_method(operation)}": operation for operation in OPERATIONS
}
"""The probes that send each operation with a method that it does not support."""


@frozen
class _Builder:
    """Builds the probes of one subject; *absent* is the name of a function that it does not have."""

    subject: Subject
    absent: str = ""

    def probe(
        self,
        name: str,
        target: Operation[Any] | str,
        body: bytes | None = None,
        *,
        method: str = "",
        headers: dict[str, str] | None = None,
        acts: Acts = "",
        private: bool = False,
        optional: bool = False,
        anonymous: bool = False,
        note: str = "",
    ) -> Probe:
        """Build a probe of *target*, an operation or the path of a GET.

        An *anonymous* probe is sent without the given headers.
        """
        config = self.subject.config
        path = target if isinstance(target, str) else config.paths.path_of(target)
        method = method or ("GET" if isinstance(target, str) else target.method)
        ours = {"accept", "user-agent"}
        given = [(key, value) for key, value in config.headers.plain if not anonymous or key.lower() in ours]
        own = dict(headers or {})
        if body is not None:
            own.setdefault("Content-Type", _JSON)
        shown = f"{method} {path}"
        if body is not None:
            text = body[:_SHOWN_BODY].decode("utf-8", "replace")
            shown += f" {text}{'...' if len(body) > _SHOWN_BODY else ''}"
            if own["Content-Type"] != _JSON:
                shown += f" as {own['Content-Type']}"
        notes = [note] if note else []
        notes += [f"{key}: {value}" for key, value in own.items() if key != "Content-Type"]
        if notes:
            shown += f" ({', '.join(notes)})"
        request = Request(Endpoint(method, join_url(config.base_url, path)), (*given, *own.items()), body)
        return Probe(name=name, request=request, shown=shown, acts=acts, private=private, optional=optional)

    def execute(self, name: str, function: Any, payload: Any = None, **options: Any) -> Probe:
        body = encode_json({"function_name": function, "payload": payload}, name="payload")
        return self.probe(name, EXECUTE_FUNCTION, body, **options)


def first_probe(subject: Subject) -> Probe:
    """Return the probe that comes before all others: the list of functions."""
    return _Builder(subject).probe("list", LIST_FUNCTIONS)


def further_probes(subject: Subject, listed: Outcome) -> dict[str, Probe]:
    """Return all probes but the first, by name; *listed* is the outcome of that one."""
    build = _Builder(subject, _absent_name(listed))
    probes = [
        *_list_probes(build, listed.header("etag")),
        *_execute_probes(build),
        *_error_probes(build),
        *_cors_probes(build),
        *_limit_probes(build),
        *_secret_probes(build),
        *_speech_probes(build),
    ]
    return {probe.name: probe for probe in probes}


def _absent_name(listed: Outcome) -> str:
    """Return the name of a function that the backend does not have."""
    names = listed.function_names()
    name = _NO_SUCH_FUNCTION
    while name in names:
        name += "_"
    return name


def _list_probes(build: _Builder, etag: str) -> Iterator[Probe]:
    yield build.probe("list again", LIST_FUNCTIONS)
    if etag:
        yield build.probe("list known", LIST_FUNCTIONS, headers={"If-None-Match": etag})
    if build.subject.config.headers.secrets:
        yield build.probe(
            "list anonymous", LIST_FUNCTIONS, anonymous=True, note="without the headers that were given"
        )


def _execute_probes(build: _Builder) -> Iterator[Probe]:
    absent = build.absent
    yield build.execute("unknown", absent, {})
    yield build.probe("no name", EXECUTE_FUNCTION, b'{"payload":{}}')
    yield build.execute("empty name", "", {})
    yield build.execute("blank name", " \t ", {})
    yield build.execute("null name", None, {})
    yield build.execute("number name", 3, {})
    yield build.execute("array name", [absent], {})
    yield build.execute("null payload", absent)
    yield build.execute("array payload", absent, [1])
    yield build.probe("no payload", EXECUTE_FUNCTION, encode_json({"function_name": absent}, name="body"))
    charset = {"Content-Type": "application/json; charset=utf-8"}
    yield build.execute("charset", absent, {}, headers=charset)
    extra = encode_json({"function_name": absent, "payload": {}, "navai_check": True}, name="body")
    yield build.probe("unknown field", EXECUTE_FUNCTION, extra)
    if build.subject.execute is not None:
        name, payload = build.subject.execute
        keyed = {"Idempotency-Key": build.subject.key}
        yield build.execute("execute", name, payload, acts="execute", headers=keyed)
        yield build.execute("execute again", name, payload, acts="execute", headers=keyed)
        padded = f" {name.upper() if name.isascii() else name} "
        yield build.execute("execute padded", padded, payload, acts="execute")
    if build.subject.execute_failing is not None:
        name, payload = build.subject.execute_failing
        yield build.execute("execute failing", name, payload, acts="execute_failing")


def _error_probes(build: _Builder) -> Iterator[Probe]:
    whole = encode_json({"function_name": build.absent}, name="body")
    yield build.probe("malformed", EXECUTE_FUNCTION, whole[:-1])
    yield build.probe("array body", EXECUTE_FUNCTION, b"[]")
    yield build.probe("text body", EXECUTE_FUNCTION, whole, headers={"Content-Type": "text/plain"})
    yield build.probe("form body", EXECUTE_FUNCTION, f"function_name={build.absent}".encode(), headers=_FORM)
    yield build.probe("bad utf-8", EXECUTE_FUNCTION, whole[:-2] + b'\xff\xfe"}')
    yield build.probe("unknown path", _NO_SUCH_PATH)
    for name, operation in WRONG_METHODS.items():
        is_private = operation is CREATE_CLIENT_SECRET
        method = wrong_method(operation)
        yield build.probe(name, operation, method=method, private=is_private, optional=operation.optional)


def _cors_probes(build: _Builder) -> Iterator[Probe]:
    for name, origin in (("granted", build.subject.origin), ("foreign", FOREIGN_ORIGIN)):
        asked = {
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        # Browsers send preflights without credentials.
        yield build.probe(
            f"preflight {name}", EXECUTE_FUNCTION, method="OPTIONS", headers=asked, anonymous=True
        )
        yield build.probe(f"list {name}", LIST_FUNCTIONS, headers={"Origin": origin})
    yield build.probe("list null", LIST_FUNCTIONS, headers={"Origin": "null"})
    yield build.execute("unknown granted", build.absent, {}, headers={"Origin": build.subject.origin})


def _limit_probes(build: _Builder) -> Iterator[Probe]:
    for name, size in (
        ("64 KiB", 64 * 2**10),
        ("512 KiB", 512 * 2**10),
        ("too large", build.subject.large_body),
    ):
        payload = {"args": ["x" * size]}
        body = encode_json({"function_name": build.absent, "payload": payload}, name="body")
        yield build.probe(name, EXECUTE_FUNCTION, body, note=f"{len(body):,} bytes")
    nested = b"[" * _DEPTH + b"]" * _DEPTH
    deep = b'{"function_name":%b,"payload":%b}' % (json.dumps(build.absent).encode(), nested)
    yield build.probe("deep", EXECUTE_FUNCTION, deep, note=f"nested {_DEPTH:,} deep")


def _secret_probes(build: _Builder) -> Iterator[Probe]:
    if not build.subject.mint:
        return
    for name, body in (
        ("mint", b"{}"),
        ("mint unknown field", b'{"navaiCheck":true}'),
        # A backend that does not refuse these as it should mints as well.
        ("mint wrong type", b'{"model":3}'),
        ("mint array", b"[]"),
        ("mint malformed", b'{"model":'),
    ):
        yield build.probe(name, CREATE_CLIENT_SECRET, body, acts="mint", private=True)
    yield build.probe("mint form", CREATE_CLIENT_SECRET, b"", headers=_FORM, acts="mint", private=True)


def _speech_probes(build: _Builder) -> Iterator[Probe]:
    yield build.probe("speak nothing", SYNTHESIZE_SPEECH, b'{"text":" "}')
    if build.subject.speak is not None:
        body = encode_json({"text": build.subject.speak}, name="text")
        yield build.probe("speak", SYNTHESIZE_SPEECH, body, acts="speak")

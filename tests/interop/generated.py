"""Generated calls and invalid responses to them: unusual JSON, types, statuses, bytes."""

import gzip
import json
import random
import zlib
from collections.abc import Callable
from typing import Any, Final

from attrs import evolve, frozen

from tests.interop.scripted import Scripted

__all__ = ["Case", "examples", "generated"]

OPERATIONS: Final = ("createClientSecret", "listFunctions", "executeFunction", "synthesizeSpeech")


@frozen(kw_only=True)
class Case:
    """One call and the response to it.

    Attributes:
        operation: The JavaScript client's name for it.
        input: The arguments of that client; ours gets the same ones under its names.
        status: The status of the response.
        headers: Its headers, except for those that frame it.
        body: Its body, before it is encoded as ``content-encoding`` says.
        sent: Its body as it is sent.
        framing: ``length``, ``chunked``, ``close`` or, for a response that ends too early, ``short``.
    """

    operation: str
    input: Any = None
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    sent: bytes = b""
    framing: str = "length"

    @property
    def location(self) -> str | None:
        """The target of a redirect."""
        return dict(self.headers).get("Location")

    @property
    def encoding(self) -> str | None:
        """The ``Content-Encoding`` of the response."""
        return dict(self.headers).get("Content-Encoding")

    def answer(self) -> Scripted:
        """Return the bytes of the response."""
        framing, sent = self.framing, self.sent
        head = [f"HTTP/1.1 {self.status} Odd", *(f"{name}: {value}" for name, value in self.headers)]
        if self.status in {204, 304}:
            return Scripted("\r\n".join(head).encode() + b"\r\n\r\n")
        if framing == "chunked":
            head.append("Transfer-Encoding: chunked")
            middle = len(sent) // 2
            parts = [part for part in (sent[:middle], sent[middle:]) if part]
            sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        elif framing == "close":
            head.append("Connection: close")
        else:
            head.append(f"Content-Length: {len(sent) + (7 if framing == 'short' else 0)}")
        return Scripted("\r\n".join(head).encode() + b"\r\n\r\n" + sent, framing in {"close", "short"})


class _Deflate:
    """The two forms of ``deflate`` in use: with the zlib header, or raw."""

    @staticmethod
    def bare(data: bytes) -> bytes:
        compressor = zlib.compressobj(wbits=-15)
        return compressor.compress(data) + compressor.flush()


_STATUSES: Final = (
    *(
        201,
        202,
        203,
        204,
        205,
        206,
        226,
        299,
        300,
        301,
        302,
        303,
        304,
        305,
        307,
        308,
        399,
        400,
        401,
        403,
        404,
    ),
    *(405, 409, 410, 415, 418, 422, 425, 428, 429, 451, 499, 500, 501, 502, 503, 504, 507, 599, 600, 999),
)
_CONTENT_TYPES: Final = (
    "application/json",
    "application/json; charset=utf-8",
    "application/json; charset=iso-8859-1",
    "application/json; charset=utf-16",
    "text/html; charset=windows-1252",
    "text/plain",
    "application/problem+json",
    "odd",
)
_TEXTS: Final = (
    *(
        "",
        " ",
        "text",
        "\ufeff",
        "\u0085",
        "\u001f",
        "\u180e",
        "\u2028",
        "\u00a0x",
        "é🦊",
        "\ud800",
        "\udfff\ud800",
    ),
    *("\0", "openai", "elevenlabs", "ElevenLabs", "true", "null", "<b>&amp;", "a" * 300, "ek_1"),
)
_NUMBERS: Final = (
    *("0", "-0", "-0.0", "1", "-1", "1.0", "1.5", "1e3", "1E+3", "1e-7", "1e21", "1e400", "-1e400", "1e-400"),
    *("9007199254740991", "9007199254740993", "-9007199254740993", "18446744073709551616", "1800000000"),
    *("0.1", "123456789012345678901234567890", "1730000000.25", "5e-324", "1.7976931348623159e308"),
)
_NO_JSON: Final = (
    *(
        "NaN",
        "Infinity",
        "-Infinity",
        "-NaN",
        "undefined",
        "'a'",
        "01",
        "1.",
        ".5",
        "+1",
        "0x10",
        "1e",
        "- 1",
    ),
    *(
        "True",
        "None",
        "[1,]",
        '{"a":1,}',
        "{a:1}",
        '"\t"',
        '"\n"',
        '"\\x41"',
        '"\\u12"',
        "[1 2]",
        "/**/1",
        "1 //",
    ),
    *(
        "\ufeff1",
        "\u00a01",
        "\v1",
        "1\f",
        "{}{}",
        "[",
        "]",
        '{"value"',
        '"open',
        "\u0663",
        "1_000",
        "[,]",
        '{"a" 1}',
    ),
    *('{"ok": true', '{"value": "x"}]', '{"items": [}', '{"ok": true, "result": NaN}', '{"value": "\x01"}'),
)


class _Generator:
    """Makes unusual JSON from a random generator."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def text(self) -> str:
        text = self.chance.choice(_TEXTS)
        return json.dumps(text, ensure_ascii=self.chance.random() < 0.5 or not text.isprintable())

    def value(self, depth: int = 0) -> str:
        kind = self.chance.random()
        if kind < 0.3:
            return self.text()
        if kind < 0.5:
            return self.chance.choice(_NUMBERS)
        if kind < 0.7 or depth > 3:
            return self.chance.choice(("null", "true", "false"))
        if kind < 0.85:
            return self._joined("[]", [self.value(depth + 1) for _ in range(self.chance.randrange(4))])
        keys = ("name", "value", "ok", "length", "__proto__", "constructor", "toString", "0", "", "provider")
        return self.record(
            {self.chance.choice(keys): self.value(depth + 1) for _ in range(self.chance.randrange(4))}
        )

    def record(self, members: dict[str, str]) -> str:
        pairs = [f"{json.dumps(key)}{self._gap()}:{self._gap()}{value}" for key, value in members.items()]
        if pairs and self.chance.random() < 0.1:  # a key twice: the last one counts
            pairs.append(self.chance.choice(pairs).partition(":")[0] + ":" + self.value(3))
        self.chance.shuffle(pairs)
        return self._joined("{}", pairs)

    def mostly(self, good: str) -> str:
        return good if self.chance.random() < 0.7 else self.value()

    def fields(self, **good: str) -> str:
        """Return a record with most of the fields, most of them valid, and sometimes one more."""
        members = {name: self.mostly(value) for name, value in good.items() if self.chance.random() < 0.85}
        if self.chance.random() < 0.3:
            members[self.chance.choice(("extra", "__proto__", "value", "toJSON"))] = self.value()
        return self.record(members)

    def _gap(self) -> str:
        return self.chance.choice(("", "", " ", "\n", "\t \r\n"))

    def _joined(self, brackets: str, parts: list[str]) -> str:
        comma = f"{self._gap()},{self._gap()}"
        return brackets[0] + self._gap() + comma.join(parts) + brackets[1] + self._gap()


def _secret(generator: _Generator) -> str:
    provider = generator.chance.choice(('"elevenlabs"', '"openai"', '"other"'))
    return generator.fields(
        value=generator.text(),
        expires_at=generator.chance.choice(_NUMBERS),
        speech=generator.mostly(generator.fields(provider=provider)),
    )


def _list(generator: _Generator) -> str:
    items = [
        generator.mostly(
            generator.fields(
                name=generator.text(), description=generator.text(), source=generator.text(), parameters="{}"
            )
        )
        for _ in range(generator.chance.randrange(5))
    ]
    warnings = [generator.mostly(generator.text()) for _ in range(generator.chance.randrange(4))]
    return generator.fields(items=generator._joined("[]", items), warnings=generator._joined("[]", warnings))


def _result(generator: _Generator) -> str:
    ok = generator.chance.choice(("true", "true", "false", "1", '"true"', "null"))
    return generator.fields(ok=ok, result=generator.value(), error=generator.text(), details=generator.text())


def _speech(generator: _Generator) -> str:
    audio = generator.chance.choice(
        ("", "AAAA", "QUJD", "QQ==", "QR==", "QQ", "QQ=", "Q Q==", "Q-_=", "é", "====", "AA==")
    )
    return generator.fields(provider='"elevenlabs"', mimeType=generator.text(), audioBase64=json.dumps(audio))


_RECORDS: Final[dict[str, Callable[[_Generator], str]]] = dict(
    zip(OPERATIONS, (_secret, _list, _result, _speech), strict=True)
)


def _body(generator: _Generator, operation: str) -> bytes:
    chance = generator.chance
    kind = chance.random()
    if kind < 0.7:
        text = _RECORDS[operation](generator)
    elif kind < 0.8:
        text = generator.value()
    elif kind < 0.9:
        text = chance.choice(_NO_JSON)
    else:
        text = _RECORDS[operation](generator)
        text = text[: chance.randrange(len(text) + 1)]
    kind = chance.random()
    if kind < 0.8:
        return text.encode("utf-8", "surrogatepass")
    if kind < 0.84:
        return b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass")
    if kind < 0.88:
        return text.encode(chance.choice(("utf-16", "utf-16-le", "latin-1", "cp1252")), "replace")
    if kind < 0.96:
        data = bytearray(text.encode("utf-8", "surrogatepass"))
        for _ in range(chance.randrange(1, 4)):
            odd_bytes = chance.choice(
                (
                    b"\xff",
                    b"\xc3",
                    b"\x80",
                    b"\xed\xa0\x80",
                    b"\xf0\x9f\xa6",
                    b"\xc0\xaf",
                    b"\xf5\x80",
                    b"\xe2\x28\xa1",
                )
            )
            data[(where := chance.randrange(len(data) + 1)) : where] = odd_bytes
        return bytes(data)
    return chance.choice((b"", b" ", b"\r\n", b"\xef\xbb\xbf", b"\xef\xbb", b"\x00", b"<b>no</b>", b"\x80"))


def _input(generator: _Generator, operation: str) -> Any:
    chance = generator.chance
    if operation == "createClientSecret":
        names = ("model", "voice", "instructions", "language", "voiceAccent", "voiceTone", "apiKey")
        given = {name: chance.choice(_TEXTS) for name in names if chance.random() < 0.3}
        return {**given, "apiKey": "sk-of-the-caller"} if "apiKey" in given else given
    if operation == "executeFunction":
        name = chance.choice([text for text in _TEXTS if text not in {"", " ", "\ufeff", "\u2028"}])
        payload = json.loads(generator.value(), parse_float=lambda text: min(1e300, max(-1e300, float(text))))
        return {"functionName": name, "payload": chance.choice((None, {"args": [payload]}, payload))}
    if operation == "synthesizeSpeech":
        return {"text": "Hello. " + chance.choice(_TEXTS)}
    return None


def _compressed(chance: random.Random, case: Case) -> Case:
    name, compress = chance.choice(
        (
            ("gzip", gzip.compress),
            ("x-gzip", gzip.compress),
            ("GZIP", gzip.compress),
            ("deflate", zlib.compress),
            ("deflate", _Deflate.bare),
            ("identity", bytes),
            ("unknown", bytes),
        )
    )
    return evolve(case, headers=(*case.headers, ("Content-Encoding", name)), sent=compress(case.body))


def generated(seed: int, count: int) -> list[Case]:
    """Return *count* cases, the same ones for the same *seed*."""
    chance = random.Random(seed)
    generator = _Generator(chance)
    cases = []
    for _ in range(count):
        operation = chance.choice(OPERATIONS)
        status = 200 if chance.random() < 0.7 else chance.choice(_STATUSES)
        headers: tuple[tuple[str, str], ...] = (("Content-Type", chance.choice(_CONTENT_TYPES)),)
        if 300 <= status <= 399 and chance.random() < 0.5:
            headers += (("Location", "/elsewhere"),)
        body = _body(generator, operation)
        case = Case(
            operation=operation,
            input=_input(generator, operation),
            status=status,
            headers=headers,
            body=body,
            sent=body,
            framing=chance.choices(("length", "chunked", "close", "short"), (60, 30, 8, 2))[0],
        )
        cases.append(_compressed(chance, case) if chance.random() < 0.1 else case)
    return cases


def examples() -> list[Case]:
    """Return the cases of every run, so that each known difference occurs in it."""

    def each(status: int, body: bytes, **more: Any) -> list[Case]:
        inputs = (
            {"apiKey": "sk-of-the-caller"},
            None,
            {"functionName": "f", "payload": None},
            {"text": "Hello."},
        )
        more = {"headers": (), "sent": body, **more}
        return [
            Case(operation=operation, input=given, status=status, body=body, **more)
            for operation, given in zip(OPERATIONS, inputs, strict=True)
        ]

    good = (
        b'{"value": "v", "ok": true, "result": {"n": 9007199254740993}, "expires_at": 18446744073709551617,'
        b' "items": [{"name": "f"}], "provider": "elevenlabs", "mimeType": "a/b", "audioBase64": "QQ=="}'
    )
    squeezed = gzip.compress(good)
    gzipped = (("Content-Encoding", "gzip"),)
    deep = good[:-1] + b', "deep": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    return [
        *each(200, good),
        *each(200, good.replace(b"QQ==", b"no base64")),
        *each(500, b""),
        *each(500, b'{"ok":false,"function_name":"f","error":"Failed.","details":"Why."}'),
        *each(202, b'{"ok":false,"pending_approval":true,"message":"Ask the boss.","error":"Waits."}'),
        *each(200, b'{"ok":true,"result":{"execution_mode":"client_js","code":"alert(1)"}}'),
        *each(401, b'{"code":"rest_forbidden","message":"Not allowed.","data":{"status":401}}'),
        *each(500, b"the key sk-of-the-caller is wrong"),
        *each(302, b"over there", headers=(("Location", "/elsewhere"),)),
        *each(308, b"", headers=(("Location", "/elsewhere"),)),
        *each(200, good, framing="short"),
        *each(500, b"an error", framing="short"),
        *each(200, deep),
        *each(200, good.replace(b'"v"', b'"%b"' % (b"v" * 300_000))),
        *each(200, good, sent=squeezed[: len(squeezed) // 2], headers=gzipped),
        *each(500, b"an error", sent=gzip.compress(b"an error")[:-9], headers=gzipped),
        *each(200, good, sent=squeezed[:-1], headers=gzipped),
        *each(200, good, sent=squeezed + b"rest", headers=gzipped),
        *each(200, good, sent=gzip.compress(good[:20]) + gzip.compress(good[20:]), headers=gzipped),
        *each(200, good, sent=good, headers=gzipped),
        *each(500, b"an error", sent=b"an error", headers=gzipped),
        *each(200, good, sent=b"", headers=gzipped),
        *each(200, good, sent=gzip.compress(squeezed), headers=(("Content-Encoding", "gzip, gzip"),)),
        Case(operation="executeFunction", input={"functionName": " ", "payload": None}, body=good, sent=good),
        Case(operation="synthesizeSpeech", input={"text": "\ufeff"}, body=good, sent=good),
    ]

"""The fast decoder of JSON gives the values and errors of the standard one, whatever a response holds."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import example, given, strategies as st

from navai_client import NavaiError
from navai_client.transports import _fast_json
from navai_client.wire import _decode
from navai_client.wire._values import UNPARSED, Response
from tests.clients import make_client
from tests.faults.server import FaultServer, Peer, answer
from tests.properties import JSON, PROPERTY

# After the cases of JSONTestSuite (github.com/nst/JSONTestSuite): accepted, refused, and left to the parser.
ACCEPTED: Final = rb"""
[]|[[]]|[[]   ]|[""]|["a"]|[false]|[null, 1, "1", {}]|[null]|[1,null,null,null,2]|[2] |{}|{"":0}|{"a":[]}
{"a":"b","a":"c"}|{"a":"b","a":"b"}|{"asd":"sdf", "dfg":"fgh"}|{"asd":"sdf"}|{"foo\u0000bar": 42}
{"min": -1.0e+28, "max": 1.0e+28}|{"title":"\u041f\u043e\u043b\u0442\u043e\u0440\u0430"}|{"a":[{"b":[{}]}]}
[123e65]|[0e+1]|[0e1]|[ 4]
[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]|[20e1]|[-0]|[-123]|[-1]
[-0]|[-0.0]|[1E22]|[1E-2]|[1E+2]|[123e45]|[123.456e78]|[1e-2]|[1e+2]|[123]|[123.456789]
[18446744073709551615]|[18446744073709551616]|[-9223372036854775808]|[-9223372036854775809]
[9007199254740993]|[123456789012345678901234567890]|[-123123123123123123123123123123]|[1e-400]
[2.2250738585072014e-308]|[5e-324]|[1.7976931348623157e308]|[0.1]|[0.30000000000000004]
[179769313486231570814527423731704356798070567525844996598]|["\u0060\u012a\u12AB"]|["\uD801\udc37"]
["\ud83d\ude39\ud83d\udc8d"]|["\"\\\/\b\f\n\r\t"]|["\\u0000"]|["\""]|["a/*b*/c/*d//e"]|["\\a"]|["\\n"]
["\u0012"]|["\uFFFF"]|[ "asd"]|["\uDBFF\uDFFF"]|["new\u00A0line"]|["\u0000"]|["\u002c"]|["\uD834\uDd1e"]
["\u0821"]|["\u0123"]|["\u2028"]|["\u2029"]|["\u0061\u30af\u30EA\u30b9"]|["\u200B"]|["\u005C"]|["\u0022"]
["\uDBFF\uDFFE"]|["\uD83F\uDFFE"]|["\u2064"]|["\uFDD0"]|["\uFFFE"]|["\uA66D"]|[" "]|false|42|-0.1|null|"asd"
true|""|["a"]||[true]| []
""".replace(b"\n", b"|").split(b"|")
REFUSED: Final = rb"""
[1 true]|["": 1]|[""],|[,1]|[1,,2]|["x",,]|["x"]]|["",]|["x"|[x|[3[4]]|[1:2]|[,]|[-]|[   , ""]|["a",|[1,]
[1,,]|[*]|[""|[1,|[{}|[fals]|[nul]|[tru]|[++1234]|[+1]|[+Inf]|[-01]|[-1.0.]|[-2.]|[-NaN]|[.-1]|[.2e-3]
[0.1.2]|[0.3e+]|[0.3e]|[0.e1]|[0E+]|[0E]|[0e+]|[0e]|[1.0e+]|[1.0e-]|[1.0e]|[1 000.0]|[1eE2]|[2.e+3]|[2.e-3]
[2.e3]|[9.e+]|[Inf]|[NaN]|[1+2]|[0x1]|[0x42]|[Infinity]|[0e+-1]|[-123.123foo]|[-Infinity]|[-foo]|[- 1]
[-012]|[-.123]|[-1x]|[1ea]|[1.]|[.123]|[1.2a-3]|[1.8011670033376514H-308]|[012]|["x", truth]|{[: "x"}
{"x", null}|{"x"::"b"}|{"a":"a" 123}|{key: 'value'}|{"a" b}|{:"b"}|{"a"}|{1:1}|{9999E9999:1}
{null:null,null:null}|{"id":0,,,,,}|{'a':0}|{"id":0,}|{"a":"b"}/**/|{"a":"b"}#|{"a":"b",,"c":"d"}|{a: "b"}
{"a":"a|{ "foo" : "bar", "a" }|{"a":"b"}/|{"a":"b"}#{}|["\uD800\"]|["\uD800\u"]|["\uD800\u1"]|["\uD800\u1x"]
["\x00"]|["\a"]|["\00"]|["\"]|["\u00A"]|["\uD834\uDd"]|["\uD800\uD800\x"]|["\uqqqq"]|[\n]|[\u0020"asd"]
["\{]|["x|"|['single']|abc|["\|[1]]|[a|2@|{}}|{"":|{"a":/*c*/"b"}|{"a": true} "x"|['|{|}|]|[1]x|*
{"a":"b"}#{}|[\u000A""]|<null>|[<null>]|aNaN|[True]|1]|{"x": true,|[][]|1 2|.|01|--1|+1|1e|nan|undefined
{"a":undefined}|["a" "b"]|{"a":1 "b":2}|[1;2]|"a"x|tru|truex|nullx|0x1|1_000|[1_0]
""".replace(b"\n", b"|").split(b"|")
OTHER: Final = (
    b"[123.456e-789]",
    b"[0.4e00669999999999999999999999999]",
    b"[-1e+9999]",
    b"[1.5e+9999]",
    b"[1E400]",
    b"-1e400",
    b"[123123e100000]",
    b'["\\uDADA"]',
    b'["\\uD888\\u1234"]',
    b'["\\uDd1ea"]',
    b'["\\uD800\\n"]',
    b'["\\ud800abc"]',
    b'["\\uDd1e\\uD834"]',
    b'["\\uD800\\uD800"]',
    b'["\\uDFAA"]',
    b'{"\\uDFAA":0}',
    b'["\xe9"]',
    b'["\xed\xa0\x80"]',
    b'["\xff"]',
    b'["\xc0\xaf"]',
    b'["\xe0\x80\xaf"]',
    b'["\xf8\x88\x80\x80\x80"]',
    b'["\xf4\xbf\xbf\xbf"]',
    b'["\x81"]',
    b'["\xe6\x97\xa5\xd1\x88\xfa"]',
    b"\xef\xbb\xbf{}",
    b"\xef\xbb\xbf",
    b"\xff\xfe[\x00]\x00",
    b"[1]\xef\xbb\xbf",
    b"\xef\xbb\xbf\xef\xbb\xbf{}",
    b'["\xf0\x9f\x98\x80\xc2\x80\xe2\x80\xa8\xef\xbf\xbf"]',
    b'["\x7f"]',
    b'["\x1f"]',
    b'["a\x00a"]',
    b'["\n"]',
    b'["\t"]',
    b"[1\x00]",
    b"\x00",
    b"[\x0c]",
    b"\x0b1",
    b"\xc2\xa01",
    b"\xe2\x80\xa8[]",
    b" \t\n\r[1 , 2\r\n]\t ",
    b"",
    b" ",
    b"9" * 4300,
    b"9" * 4301,
    b"-" + b"9" * 5000,
    b"[" + b"9" * 400 + b".5]",
    b"1" + b"0" * 400 + b"e-400",
    b"0." + b"0" * 400 + b"1",
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"":' * 500 + b"[]" + b"}" * 500,
    b"[" * 900 + b"]" * 900,
    b'{"' + b"k" * 100_000 + b'":1}',
    b'"' + b"\\u00e9" * 9_000 + b'"',
    json.dumps(list(range(9_000))).encode(),
)
CORPUS: Final = [*(text for text in (*ACCEPTED, *REFUSED) if text), *OTHER]


@pytest.fixture(scope="module", autouse=True)
def loaded() -> None:
    """Load the decoder, as the first large response does."""
    _fast_json.decoder.load()
    assert _fast_json.decoder.loading is not None
    _fast_json.decoder.loading.join()
    assert _fast_json.decoder.decode is not None


def both(content: bytes) -> tuple[Any, Any]:
    """Return what the fast decoder, with what it leaves to the standard one, and the standard one give."""
    fast = Response(200, {}, content)
    _fast_json.parse(fast)
    return _decode.json_of(fast), _decode.json_of(Response(200, {}, content))


def check_same(fast: Any, standard: Any) -> None:
    """Compare more closely than ``==`` does, which takes 1, 1.0 and True for the same."""
    pairs = [(fast, standard)]
    while pairs:
        ours, theirs = pairs.pop()
        assert type(ours) is type(theirs)
        if isinstance(ours, dict):
            assert list(ours) == list(theirs)  # in the same order
            pairs += zip(ours.values(), theirs.values(), strict=True)
        elif isinstance(ours, list):
            assert len(ours) == len(theirs)
            pairs += zip(ours, theirs, strict=True)
        else:
            assert repr(ours) == repr(theirs)  # which tells 0.0 from -0.0


def shown(content: bytes) -> str:
    return repr(content[:40])


@pytest.mark.parametrize("content", CORPUS, ids=shown)
def test_each_case_is_read_as_the_standard_decoder_reads_it(content: bytes) -> None:
    check_same(*both(content))


def test_the_corpus_is_accepted_and_refused_as_it_says() -> None:
    accepted = [_fast_json_reads(text) for text in ACCEPTED if text]
    assert all(accepted)
    assert len(accepted) > 90
    refused = [_decode._parse(text.decode()) is _decode._INVALID for text in REFUSED if text]
    assert all(refused)
    assert len(refused) > 150


def _fast_json_reads(content: bytes) -> bool:
    response = Response(200, {}, content)
    _fast_json.parse(response)
    return response.parsed is not UNPARSED


@PROPERTY
@given(JSON, st.booleans())
def test_any_value_is_read_as_the_standard_decoder_reads_it(value: Any, ascii_only: bool) -> None:
    check_same(*both(json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")))


@PROPERTY
@given(
    st.text(st.sampled_from('{}[],:"\\u0123456789abcdefDE+-. \t\n/trueflsnNI\x00\x7fé€😀\ufeff'), max_size=20)
)
@example('"\\ud83d\\ude00\\ud83d"')
def test_any_text_is_read_as_the_standard_decoder_reads_it(text: str) -> None:
    check_same(*both(text.encode()))


@PROPERTY
@given(
    st.binary(max_size=12),
    st.sampled_from([b'{"a":[1,2.5,"x\\u00e9",null,true]}', b'["\xc3\xa9",-0.5e3]']),
    st.integers(0, 40),
)
def test_a_damaged_text_is_read_as_the_standard_decoder_reads_it(damage: bytes, text: bytes, at: int) -> None:
    check_same(*both(text[:at] + damage + text[at + len(damage) // 2 :]))


@PROPERTY
@given(st.from_regex(rb"\A-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,4})?\Z"))
def test_any_number_is_read_as_the_standard_decoder_reads_it(digits: bytes) -> None:
    check_same(*both(digits))


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_near_the_end_of_the_stack_it_reads_at_least_what_the_standard_decoder_reads(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    for depth in range(900, 1010):
        inner = b"" if opening == b"[" else b"1"
        fast, standard = both(opening * depth + inner + closing * depth)
        if standard is not _decode._INVALID:
            check_same(fast, standard)


@pytest.fixture(scope="module")
def backend() -> Iterator[FaultServer]:
    """A backend that responds with the case whose number is the payload, with status 200 or 400."""

    def treat(peer: Peer) -> None:
        while (body := peer.request()) is not None:
            number = json.loads(body)["payload"]
            status = "200 OK" if number % 2 else "400 Bad Request"
            peer.send(answer(WHOLE[number // 2], status=status))

    with FaultServer(treat) as server:
        yield server


WHOLE: Final = [
    *CORPUS,
    *(b'{"ok": true, "result": ' + text + b"}" for text in CORPUS if len(text) < 10_000),
    *(b'{"ok": false, "error": ' + text + b', "details": "x"}' for text in CORPUS if len(text) < 100),
]


def test_results_and_errors_of_calls_are_those_over_the_default_transport(
    kind: str, backend: FaultServer
) -> None:
    def outcomes(through: str) -> Iterator[Any]:
        with make_client(
            kind, through=through, base_url=backend.url, max_retries=0, headers={"X-Request-ID": "a"}
        ) as client:
            for number in range(2 * len(WHOLE)):
                try:
                    yield client.execute_function("f", number)
                except NavaiError as error:
                    yield [type(error).__name__, str(error), *vars(error).get("__notes__", [])]

    for fast, default in zip(outcomes("fast"), outcomes("default"), strict=True):
        check_same(fast, default)


def test_calls_are_decoded_by_it_once_a_large_response_has_loaded_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def echo(peer: Peer) -> None:
        while (body := peer.request()) is not None:
            peer.send(answer(body.replace(b'"function_name":"f","payload"', b'"ok":true,"result"')))

    fresh = _fast_json._Decoder()
    monkeypatch.setattr(_fast_json, "decoder", fresh)
    with FaultServer(echo) as server, make_client("sync", through="fast", base_url=server.url) as client:
        assert client.execute_function("f", "small") == "small"
        assert fresh.loading is None
        assert client.execute_function("f", "x" * 10_000) == "x" * 10_000
        assert fresh.loading is not None
        fresh.loading.join()
        monkeypatch.setattr(_decode, "_parse", None)  # the standard decoder is not called
        for payload in ("small", "x" * 10_000):
            assert client.execute_function("f", payload) == payload


def test_a_truncated_response_is_not_parsed() -> None:
    response = Response(200, {}, b"1", truncated=True)
    _fast_json.parse(response)
    assert response.parsed is UNPARSED


def test_where_msgspec_is_not_installed_the_standard_decoder_does_it_all() -> None:
    code = (
        "import sys; sys.modules['msgspec'] = None\n"
        "from navai_client.transports import _fast_json\n"
        "from navai_client.wire._values import UNPARSED, Response\n"
        "for _ in range(2):\n"
        "    response = Response(200, {}, b'1' * 10_000); _fast_json.parse(response)\n"
        "    _fast_json.decoder.loading.join()\n"
        "    assert response.parsed is UNPARSED\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""What is masked in texts that are shown, and what stays unchanged."""

import html
import json
import logging
import re
import struct
import time
from collections.abc import Callable
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import assume, given, strategies as st

from navai_client import _redaction
from navai_client._redaction import (
    LONGEST_ERROR,
    RedactingFormatter,
    Redactor,
    is_private,
    is_secret_header,
    mask,
    message_of,
    secrets_in,
    without_debug,
)
from tests.properties import JSON, PROPERTY

ANY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="\0*"), min_size=8, max_size=20)
KEY = "sk-proj-abcdefghij0123456789"


def masked_json(redactor: Redactor, value: Any) -> Any:
    return json.loads(redactor.content(json.dumps(value).encode()))


def known(*secrets: str) -> Redactor:
    return Redactor(secrets, patterns=False)


def lower_case_hex(url: str) -> str:
    return re.sub("%..", lambda match: match[0].lower(), url)


def html_number(character: str) -> str:
    number = f"&#{ord(character)};"
    return number if html.unescape(number) == character else character  # HTML has no control characters


def spellings(secret: str) -> list[str]:
    units = struct.unpack(f">{len(secret.encode('utf-16-be')) // 2}H", secret.encode("utf-16-be"))
    return [
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        "".join(f"\\u{unit:04X}" for unit in units),
        html.escape(secret),
        "".join(map(html_number, secret)),
        quote(secret),
        lower_case_hex(quote(secret, safe="")),
    ]


@PROPERTY
@given(SECRETS, ANY, ANY)
def test_a_known_secret_is_masked_in_every_spelling(secret: str, before: str, after: str) -> None:
    for spelling in spellings(secret):
        assert "\0***\0" in known(secret).text(f"{before}\0{spelling}\0{after}")


@PROPERTY
@given(SECRETS, ANY, ANY, st.booleans(), st.sampled_from([None, 0, " "]))
def test_a_known_secret_is_masked_in_json_which_stays_json(
    secret: str, before: str, after: str, ascii_only: bool, indent: Any
) -> None:
    value = {"a": [f"{before}\0{secret}\0{after}"], secret: 1}
    content = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    masked = json.loads(known(secret).content(content))
    assert "\0***\0" in masked["a"][0]
    assert (secret in masked["a"][0], secret in masked) == (False, False)


@PROPERTY
@given(st.text(), st.lists(SECRETS, max_size=3))
def test_a_text_without_secrets_stays_as_it_is(text: str, secrets: list[str]) -> None:
    assume(not any(secret[0] in text for secret in secrets) and not {"%", "\\", "&"} & set(text))
    assert known(*secrets).text(text) is text


@PROPERTY
@given(JSON, st.sampled_from([None, 1]))
def test_json_without_secrets_stays_as_it_is(value: Any, indent: int | None) -> None:
    content = json.dumps(value, indent=indent).encode()
    assert known(KEY).content(content) is content
    assert masked_json(known(KEY), value) == json.loads(content)


@PROPERTY
@given(st.binary(), st.lists(st.text(st.characters(), min_size=8), max_size=3))
def test_any_bytes_and_any_secrets_will_do(content: bytes, secrets: list[str]) -> None:
    assert isinstance(Redactor(secrets).content(content), bytes)


@PROPERTY
@given(SECRETS, ANY, st.integers(0, 60))
def test_no_cut_leaves_a_part_of_a_secret(secret: str, before: str, limit: int) -> None:
    assume(secret[0] not in before and not {"%", "\\", "&"} & set(secret + before))
    whole = f"{before}***{'x' * 60}"[:limit]
    assert whole.startswith(known(secret).text(f"{before}{secret}{'x' * 60}", limit)[: len(before) + 3])
    shown = known(secret).text(f"{before}{secret}", limit)
    assert f"{before}***".startswith(shown)


def test_a_secret_across_the_end_of_what_is_searched_is_not_shown_in_part() -> None:
    # Of these secrets, 36,000 characters are searched after the limit; 37 masks bring their end before it.
    redactor = known("x" * 1000, "opensesame")
    for length in range(985, 1005):
        text = f"{'x' * 37_000}{'y' * length}opensesame{'z' * 9000}"
        assert redactor.text(text, 2000, seconds=60.0) == "***" * 2


def test_only_what_begins_before_the_limit_is_shown_or_masked() -> None:
    assert known(KEY).text(f"{KEY} {KEY}", len(KEY) + 1) == "*** "


def test_secrets_that_overlap_are_masked_as_one() -> None:
    assert known("abcdefgh", "Bearer abcdefgh").text("Bearer abcdefgh, abcdefgh") == "***, ***"
    assert known("abcdefgh", "efghijkl").text("<abcdefghijkl>") == "<***>"


@pytest.mark.parametrize("short", ['"', "{", "openai", "1234567", ""])
def test_short_secrets_are_not_masked_in_the_texts_of_others(short: str) -> None:
    body = json.dumps({"error": f"no {short}", "details": "openai 1234567"}).encode()
    assert known(short).content(body) is body


def test_a_secret_that_looks_like_json_does_not_break_the_json_around_it() -> None:
    content = b'{"error":"wrong","details":["a \\"error\\": b", 12345678, true]}'
    assert known('"error":').content(content) == b'{"error":"wrong","details":["a *** b", 12345678, true]}'
    assert known("12345678").content(content).endswith(b'\\": b", "***", true]}')


def test_only_the_strings_with_a_secret_are_written_anew() -> None:
    content = (
        b'\xef\xbb\xbf{ "a": 1e400, "a": "\\ud800 \\u006b", "b":["'
        + KEY.encode()
        + b'"],"n":'
        + b"1" * 5000
        + b"}"
    )
    assert known(KEY).content(content) == content.replace(KEY.encode(), b"***")
    assert known(KEY).content(b'["\\ud800 %s"]' % KEY.encode()) == b'["\\ud800 ***"]'
    assert known(KEY).content(b'["\xff %s"]' % KEY.encode()) == b'["\xff ***"]'
    assert known(KEY).content(b"\xff %s" % KEY.encode()) == b"\xff ***"
    assert known(KEY).content(b"[" * 100_000 + KEY.encode()) == b"[" * 100_000 + b"***"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (f"Incorrect API key: {KEY}.", "Incorrect API key: ***."),
        (f"a\\n{KEY}", "a\\n***"),
        ("ek_68af296e8e408191a1120ab6383263c2", "***"),
        ("sk-proj-********wxyz and my_sk_live_abcdef123456", "*** and my_***"),
        ("rk_live_abc123 pk-test-abcdef xi-abc123abc", "*** *** ***"),
        ("host=db password=hunter2 user=x", "host=db password=*** user=x"),
        ("GET /x?api_key=abcdef&token=abc123&page=2", "GET /x?api_key=***&token=***&page=2"),
        ("Authorization: Bearer abcdefgh", "Authorization: Bearer ***"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic ***"),
        ("Bearer abc.def-123~x/y+z==, ok", "Bearer ***, ok"),
        ("bearer abc123def", "bearer ***"),
        ("Basic dXNlcjpwYXNz", "Basic ***"),
        ("postgres://user:p@ss@db:5432/shop?x=1", "postgres://user:***@db:5432/shop?x=1"),
        ("redis://:hunter2@cache/0, amqp://u:p@mq", "redis://:***@cache/0, amqp://u:***@mq"),
        ("AKIAIOSFODNN7EXAMPLE", "***"),
        ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "aws_secret_access_key = ***"),
        (f"ghp_{'a1' * 18} github_pat_{'A1_' * 10}", "*** ***"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc_d-e!", "***!"),
        ('cut {"password": "a\\"b', 'cut {"password": "***'),
        ('{"accessToken":"abc", "b', '{"accessToken":"***", "b'),
        ("%65k_abcdef123456 &#115;k-abcdef123456", "*** ***"),
        (f"github_pat_{'A1_' * 10}", "***"),
        (f"secretAccessKey: {'aB3/' * 10}/", "secretAccessKey: ***"),
        ("xi-api-key: 0123456789abcdef", "xi-api-key: ***"),
        ("{'X-API-Key': 'abcdef012', 'b': 1}", "{'X-API-Key': '***', 'b': 1}"),
        ("{'password': 'hunter2', \"cookie\": 'sid=1'}", "{'password': '***', \"cookie\": '***'}"),
        (
            "Settings(api_key='let me in', password=\"it's\", pwd=None)",
            "Settings(api_key='***', password=\"***\", pwd=None)",
        ),
        (repr(f"\xe9{KEY}".encode()), "b'\\xc3\\xa9***'"),
        (repr("\"{'token': 'abc'}\""), "'\"{\\'token\\': \\'***\\'}\"'"),
    ],
)
def test_what_looks_like_a_secret_is_masked(text: str, masked: str) -> None:
    assert Redactor().text(text) == masked
    assert known(KEY + "x").text(text) == text


def nested(value: Any, levels: int) -> str:
    return json.dumps(value if levels == 0 else {"e": nested(value, levels - 1)})


@pytest.mark.parametrize("levels", [0, 1, 2])
def test_a_private_member_is_masked_in_json_within_json_strings(levels: int) -> None:
    masked = nested({"password": "***"}, levels)
    assert Redactor().text(nested({"password": "hunter2"}, levels)) == masked
    assert Redactor().content(nested({"password": "hunter2"}, levels).encode()) == masked.encode()
    assert Redactor().text(quote(quote('{"password":"hunter2"}'))) == quote(
        quote('{"password":"***"}')
    ).replace("%252A", "*")


def test_a_member_with_an_escaped_private_name_is_masked() -> None:
    assert Redactor().content(b'{"p\\u0061ssword": ["x"]}') == b'{"p\\u0061ssword": ["***"]}'


@pytest.mark.parametrize(
    "text", [KEY, "{'password': 'hunter2'}", "Authorization: Bearer abcdefgh", quote(f"a: {KEY}", safe="")]
)
def test_a_secret_across_the_pieces_of_a_text_is_found_as_a_whole(text: str) -> None:
    masked = Redactor().text(f" {text} ")
    assert "***" in masked
    for length in range(65_536 - len(text) - 2, 65_538):
        # More time than by default: a machine with other work to do is no failure.
        shown = Redactor().text(f"{'.' * length} {text} {'.' * 9000}", seconds=60.0)
        assert shown == f"{'.' * length}{masked}{'.' * 9000}"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        # The next piece begins with the secret, and finds its end.
        (f"{'.' * 65_535} {KEY}{'x' * 9000} b", f"{'.' * 65_535} *** b"),
        # The first piece is searched with 8,192 characters after it: where they end, the secret does not.
        (f"{'%61' * 24_572}%20{KEY} b", f"{'%61' * 24_572}%20*** b"),
        # The second one is searched with 144 characters before it: there "sk-" is no beginning of a word.
        (f"{'.' * 65_389} task-management {'.' * 200}", f"{'.' * 65_389} task-management {'.' * 200}"),
        # Nor does it end where the second piece ends with the characters after it.
        (f"{'.' * 139_250} {KEY} b", f"{'.' * 139_250} *** b"),
        # What comes in the next piece does not end the search for other secrets in this one.
        (f"password=hunter2 {'.' * 65_530} {KEY}", f"password=*** {'.' * 65_530} ***"),
    ],
)
def test_the_pieces_of_a_text_are_searched_as_one(text: str, masked: str) -> None:
    assert Redactor().text(text, seconds=60.0) == masked


def test_a_secret_is_found_in_a_mixture_of_spellings() -> None:
    assert known("opensesame").text("open%73esam&#101;") == "***"
    assert known("opensesame").text("\\u006fpen%73esam&#101;") == "***"


def test_a_secret_whose_end_is_too_far_away_hides_the_rest_of_the_text() -> None:
    assert Redactor().text(f"a {KEY}{'x' * 100_000} b", seconds=60.0) == "a ***"


@pytest.mark.parametrize(
    "text",
    [
        "the task_management of task_manager: disk-usage-report, risk_score, desk_id_1234567",
        "pk_customer_id, rk-something, xi_squared_value, sk-SK-Wavenet-A1",
        "Bearer tokens are needed; the bearer certificate is missing; Bearer realm=shop",
        "Basic information and basic usage of basics, a basic understanding",
        "http://127.0.0.1:8000/a@b and https://example.com:443/x, mail a@b.example, 12:30 @ noon",
        "AKIAx, eyJ, ghp_, github_pat_x, secretary, tokenizer, max_tokens: 4096",
        '{"max_tokens": "4096", "token_count": "2", "author": "x", "secretary": "Ann"}',
        "aws/lambda/python@sha256:0123456789abcdef 0123456789abcdef0123456789abcdef01234567",
    ],
)
def test_ordinary_texts_stay_as_they_are(text: str) -> None:
    assert Redactor([KEY]).text(text) is text
    assert Redactor([KEY]).content(text.encode()) == text.encode()


def test_members_with_a_private_name_are_masked() -> None:
    value = {
        "api_key": "a",
        "userPassword": 1234,
        "credentials": {"user": "u", "more": [["v"], {"x": None}]},
        "secret": "",
        "token": None,
        "cookie": True,
        "after": ["plain", KEY],
    }
    assert masked_json(Redactor(), value) == {
        "api_key": "***",
        "userPassword": "***",
        "credentials": {"user": "***", "more": [["***"], {"x": None}]},
        "secret": "",
        "token": None,
        "cookie": True,
        "after": ["plain", "***"],
    }
    assert masked_json(known(KEY), {"api_key": "a"}) == {"api_key": "a"}


def test_names_are_judged_by_their_words() -> None:
    private = "password passwd X-API-Key apikey access_token authToken Authorization auth client_secret secrets Cookie access_tokens userAuth"  # noqa: E501
    ordinary = (
        "author authority tokens max_tokens token_count tokenizer secretary keyboard monkey name total_tokens"
    )
    assert [name for name in private.split() if not is_private(name)] == []
    assert [name for name in ordinary.split() if is_private(name)] == []
    assert is_secret_header("X-Session")
    assert not is_secret_header("Accept")


def test_the_parts_of_a_header_are_secrets_too() -> None:
    assert secrets_in(["Bearer abcdefgh", "sid=0123456789"]) == (
        "Bearer abcdefgh", "sid=0123456789", "0123456789", "abcdefgh",
    )  # fmt: skip


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "ab",
        "\\",
        "\\u0061",
        "%61",
        "&amp;",
        "%25",
        "sk-",
        "pk_",
        "eyJ",
        "://a:",
        '"',
        '"token',
        "bearer a",
        "basic A",
    ],
)
@pytest.mark.parametrize("secret", ["a" * 60 + "b", "\\" * 60 + "x", "&amp;" * 20 + "x", "%25" * 20 + "x"])
def test_the_cost_is_linear_in_the_text(unit: str, secret: str) -> None:
    def seconds(length: int) -> float:
        text = unit * (length // len(unit))
        started = time.thread_time()
        Redactor([secret]).text(text)
        return time.thread_time() - started

    # Quadratic code takes 16 times as long for a text four times as long.
    assert any(seconds(80_000) < 9 * seconds(20_000) + 0.02 for _ in range(3))


class Clock:
    """What ``time`` is for the redactor: *step* seconds pass whenever it looks."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self._step = step

    def monotonic(self) -> float:
        self.now += self._step
        return self.now


def test_all_searches_of_a_redactor_have_one_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0.0)
    monkeypatch.setattr(_redaction, "time", clock)
    clock.now = 100.0
    redactor = Redactor(seconds=5.0)
    clock.now = 105.0
    assert redactor.text(KEY, seconds=60.0) == "***"
    clock.now = 105.5
    for shown in (redactor.text(KEY, seconds=60.0), redactor.content(KEY.encode(), seconds=60.0).decode()):
        assert shown == "[not shown: the search for secrets in it took too long]"
    assert Redactor().text(KEY, seconds=0.0) == "***"


@pytest.mark.parametrize(
    "search",
    [
        # What is after the limit; a body in which no name can be private; its strings that are not private;
        # names, for a redactor without patterns; other forms, for one without secrets; one form twice.
        lambda: Redactor().error("word " * 2_000_000),
        lambda: Redactor().content(json.dumps([*range(10_000)]).encode()).decode(),
        lambda: Redactor().content(json.dumps({"token": "", "": [*map(str, range(500))]}).encode()).decode(),
        lambda: known(KEY).content(json.dumps({"token": [*range(10_000)]}).encode()).decode(),
        lambda: known().text("%61" * 10_000),
        lambda: known(KEY).text("%61" * 700),
    ],
)
def test_what_cannot_have_a_secret_is_not_searched(
    monkeypatch: pytest.MonkeyPatch, search: Callable[[], str]
) -> None:
    monkeypatch.setattr(_redaction, "time", Clock(0.001))  # a thousand looks take all the time there is
    assert not search().startswith("[not shown")


def test_a_deadline_stops_it_and_nothing_is_shown() -> None:
    text = f"{KEY} " + "\\u0061" * 100_000
    for shown in (
        known(KEY).text(text, seconds=0.0),
        known(KEY).content(text.encode(), seconds=0.0).decode(),
        known(KEY).content(json.dumps([KEY, "a"]).encode(), seconds=0.0).decode(),
    ):
        assert shown == "[not shown: the search for secrets in it took too long]"
    assert known(KEY).text(f"{KEY} %61", seconds=60.0) == "*** %61"


@pytest.mark.parametrize("unit", ["\\", "%61", '"token', "pk_", "&amp;"])
def test_a_deadline_stops_the_search_soon(unit: str) -> None:
    text = unit * (4_000_000 // len(unit))
    started = time.thread_time()
    Redactor([KEY]).text(text, seconds=0.05)
    Redactor([KEY]).content(text.encode(), seconds=0.05)
    assert time.thread_time() - started < 0.5


def test_lone_surrogates_do_no_harm() -> None:
    assert known("\ud800abcdefg").text("a\ud800abcdefgb") == "a***b"
    assert known(KEY).text("\udfff") == "\udfff"


def test_the_message_of_an_error_is_never_empty() -> None:
    class Broken(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise SystemExit

    assert [message_of(each) for each in (ValueError("x"), ValueError(), Broken())] == [
        "x",
        "ValueError",
        "Broken",
    ]


def test_paths_are_shortened_below_the_base_directory_and_elsewhere(tmp_path: Path) -> None:
    redactor = Redactor([KEY], base_dir=tmp_path)
    assert redactor.text(f"'{tmp_path}/src/a.py', '/etc/ssl/x.pem', {KEY}") == "'src/a.py', 'x.pem', ***"
    assert redactor.text("and/or, /nowhere-at-all/x, /etc") == "and/or, /nowhere-at-all/x, /etc"
    assert redactor.text("'/etc/hosts'; /etc is a folder of /nowhere-at-all") == "'hosts'; nowhere-at-all"
    assert Redactor(base_dir=Path("/")).text("'/etc/ssl/x.pem'") == "'etc/ssl/x.pem'"
    assert masked_json(redactor, {"details": f"{tmp_path}/a.py"}) == {"details": "a.py"}


def test_a_mask_for_a_repr_shows_little_of_a_long_secret_and_nothing_of_a_short_one() -> None:
    assert mask("ek_68af296e8e408191a1120ab6383263c2") == "ek_***63c2"
    assert mask("ek_68af296e8e408191a1120ab") == "***"


def test_what_is_below_a_private_name_is_hidden_and_what_comes_after_it_is_not() -> None:
    deep = {"x": {"y": "hidden-1", "z": ["hidden-2", {"w": "hidden-3"}]}, "v": "hidden-4"}
    value = {
        "a": [{"token": deep, "shown": "seen-1"}, "seen-2"],
        "b": {"c": "seen-3"},
        "d": "seen-4",
        "cookies": ["hidden-5"],
    }
    masked = json.dumps(masked_json(Redactor(()), value))
    assert re.findall(r"seen-\d", masked) == ["seen-1", "seen-2", "seen-3", "seen-4"]
    assert "hidden" not in masked


@pytest.mark.parametrize("value", [None, True, False, ""])
def test_a_private_name_hides_nothing_where_there_is_nothing(value: Any) -> None:
    assert masked_json(Redactor(()), {"token": value}) == {"token": value}


def test_private_names_are_found_after_a_mark_and_beside_long_numbers() -> None:
    content = b'\xef\xbb\xbf{"password": {"x": "opensesame"}, "n": ' + b"9" * 5000 + b"}"
    masked = Redactor(()).content(content)
    assert b"opensesame" not in masked
    assert masked.startswith(b"\xef\xbb\xbf{")
    assert masked.endswith(b"9" * 5000 + b"}")


def test_an_error_is_cut_to_exactly_what_it_may_have() -> None:
    assert Redactor(()).error("x " * 4096) == "x " * 4096
    cut = Redactor(()).error("x " * 4096 + "y")
    assert len(cut) == LONGEST_ERROR
    assert cut.endswith("x ... [cut; it has 8,193 characters]")


def test_a_mask_shows_the_ends_of_long_secrets_alone() -> None:
    assert mask("a" * 27) == mask("a")
    assert mask("abcd" * 7) == f"abc{mask('a')}abcd"


def test_a_line_of_the_log_is_masked_with_its_traceback() -> None:
    formatter = RedactingFormatter(logging.Formatter("%(levelname)s: %(message)s"), Redactor())
    failure = (ValueError, ValueError(f"not {KEY}"), None)
    record = logging.makeLogRecord({"levelname": "INFO", "msg": KEY, "exc_info": failure})
    assert formatter.format(record) == "INFO: ***\nValueError: not ***"


def test_a_logger_without_debug_logs_everything_else_where_the_shared_one_does() -> None:
    shared = logging.getLogger("tests.without_debug")
    handler = BufferingHandler(10)
    shared.setLevel(logging.DEBUG)
    shared.addHandler(handler)
    logger = without_debug("tests.without_debug")
    logger.debug("a header")
    logger.info("a line")
    assert [(line.name, line.msg) for line in handler.buffer] == [("tests.without_debug", "a line")]

"""What of a backend's text is not shown."""

import html
import json
import re
import struct
from urllib.parse import quote

from hypothesis import assume, given
from hypothesis import strategies as st

from navai_client.wire.redact import redact, redact_text
from tests.properties import PROPERTY

ANY = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=4, max_size=20).filter(
    lambda secret: "\\\\" not in secret
)


def lower_case_hex(url: str) -> str:
    return re.sub("%..", lambda match: match[0].lower(), url)


@PROPERTY
@given(SECRETS, ANY, ANY)
def test_a_secret_is_found_however_it_is_spelled(secret: str, before: str, after: str) -> None:
    spellings = [
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(secret)[1:-1].replace("/", "\\/"),
        html.escape(secret),
        quote(secret),
        lower_case_hex(quote(secret, safe="")),
        "".join(
            f"\\u{unit:04X}"
            for unit in struct.unpack(f">{len(secret.encode('utf-16-be')) // 2}H", secret.encode("utf-16-be"))
        ),
    ]
    for spelling in spellings:
        assert "\0***\0" in redact_text(f"{before}\0{spelling}\0{after}", (secret,))


@PROPERTY
@given(st.text(), st.lists(SECRETS, max_size=3).map(tuple))
def test_a_text_without_secrets_is_left_as_it_is(text: str, secrets: tuple[str, ...]) -> None:
    assume(not any(secret[0] in text for secret in secrets) and not {"%", "\\", "&"} & set(text))
    assert redact_text(text, secrets) == text


@PROPERTY
@given(st.binary(), st.lists(st.text(st.characters(), min_size=1), max_size=3).map(tuple))
def test_any_bytes_and_any_secrets_will_do(content: bytes, secrets: tuple[str, ...]) -> None:
    assert isinstance(redact(content, secrets), bytes)


def test_the_longer_secret_goes_first() -> None:
    assert redact_text("Bearer abcdefgh, abcd", ("abcd", "Bearer abcdefgh")) == "***, ***"


def test_a_secret_of_backslashes_is_found_and_does_not_take_for_ever() -> None:
    secret = "\\" * 40 + "x"
    text = "\\" * 10_000
    assert redact_text(text, (secret,)) == text
    assert redact_text(f"<{secret}>", (secret,)) == "<***>"
    assert redact_text(json.dumps(secret), (secret,)) == '"***"'


def test_lone_surrogates_do_no_harm() -> None:
    assert redact_text("a\ud800b", ("\ud800",)) == "a***b"
    assert redact_text("\udfff", ("key",)) == "\udfff"

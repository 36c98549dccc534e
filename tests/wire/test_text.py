"""Trimming as JavaScript does."""

import sys

from navai_client.wire.text import trim

# What ECMAScript 2026 calls WhiteSpace and LineTerminator.
JAVASCRIPT = {
    *range(0x09, 0x0E),
    0x20,
    0xA0,
    0x1680,
    *range(0x2000, 0x200B),
    0x2028,
    0x2029,
    0x202F,
    0x205F,
    0x3000,
    0xFEFF,
}


def test_exactly_the_white_space_of_javascript_is_trimmed() -> None:
    trimmed = {code for code in range(sys.maxunicode + 1) if trim(f"{chr(code)}x{chr(code)}") == "x"}
    assert trimmed == JAVASCRIPT


def test_what_stands_inside_stays() -> None:
    assert trim("\ufeff\n a \t b \u2028") == "a \t b"
    assert trim(" \n") == ""

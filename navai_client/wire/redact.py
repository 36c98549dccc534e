"""Taking our own secrets out of texts that a backend wrote, before a person sees them."""

import html
import json
import re

__all__ = ["redact", "redact_text"]


def redact(text: bytes, secrets: tuple[str, ...]) -> bytes:
    """Return *text* with ``***`` for each of the *secrets*, however JSON, HTML or a URL spells them."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may begin another
        text = re.sub(b"".join(map(_spellings, secret)), b"***", text)
        text = text.replace(secret.encode("utf-8", "surrogatepass"), b"***")  # see _spellings
    return text


def redact_text(text: str, secrets: tuple[str, ...]) -> str:
    """Return *text* with ``***`` for each of the *secrets*, as ``redact`` does."""
    return redact(text.encode("utf-8", "surrogatepass"), secrets).decode("utf-8", "surrogatepass")


def _spellings(character: str) -> bytes:
    """Return a pattern for all spellings of *character*, the longest first: one may begin another."""
    raw = character.encode("utf-8", "surrogatepass")
    units = character.encode("utf-16-be", "surrogatepass").hex()
    any_case = {
        "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4)).encode(),
        b"".join(b"%%%02x" % byte for byte in raw),
    }
    exact = {
        raw,
        json.dumps(character)[1:-1].encode(),
        html.escape(character).encode("utf-8", "surrogatepass"),
    }
    if character == "/":
        exact.add(b"\\/")
    patterns = [
        *((spelling, b"(?i:%b)" % re.escape(spelling)) for spelling in any_case),
        *((spelling, re.escape(spelling)) for spelling in exact),
    ]
    patterns.sort(key=lambda pair: len(pair[0]), reverse=True)
    # A backslash can be one or two. Among many, trying each split would take for ever: the first counts.
    group = b"(?>%b)" if character == "\\" else b"(?:%b)"
    return group % b"|".join(pattern for _, pattern in patterns)

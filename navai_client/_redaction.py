"""Redaction: finds secrets in a text and masks them.

Everything that shows a text from elsewhere uses a ``Redactor``: errors, warnings, logs, the inspector, the
conformance report, the messages of the test backends.

A redactor looks for two things. *Known secrets* are values that this process holds, such as an API key or the
value of an Authorization header. They are found as they are and in the spellings of ``_ESCAPES``. *Patterns*
find what looks like a secret: the table ``_PATTERNS``, and JSON members with a name such as ``password``.

Both are searched for in the text and in its decoded forms, and masked in place; everything else stays as it
is. A text is masked first and cut afterwards, because half a secret matches nothing.

The cost is linear in the text: a pattern begins where no run of its characters can have been scanned before,
or its scan is bounded. A text is searched piece by piece, so that a deadline can stop the search.
"""

import functools
import html
import json
import logging
import math
import os
import re
import time
from ast import literal_eval
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

MASK: Final = "***"
SHORTEST_SECRET: Final = 8  # characters; masking a shorter value would destroy texts and hide little
LONGEST_ERROR: Final = 8192  # characters of an error in a response: what HTTP servers allow for all headers

_NOT_SHOWN: Final = "[not shown: the search for secrets in it took too long]"
_SECONDS: Final = 1.0  # for one text; only many megabytes that are made for it take longer
_PIECE: Final = 65_536  # characters; all patterns together take a few milliseconds for them
_LEVELS: Final = 3  # of escapes within escapes, as in JSON within a JSON string within a JSON string
_LONGEST_ESCAPE: Final = 36  # characters: %F0%9F%98%80, or a surrogate pair in JSON, escaped twice more
_LOOKBEHIND: Final = 4 * _LONGEST_ESCAPE  # no pattern looks at more than 3 characters before it
_LOOKAHEAD: Final = 8192  # characters after a piece or a cut, in which a match that begins before it can end
_SHOWN_BY_MASK: Final = 7  # characters: the first three and the last four

_PRIVATE_NAME: Final = (
    r"passw(?:or)?d|passphrase|secret(?!ar)|authorization|credential|cookie|(?<![a-z])(?:auth|bearer)(?![a-z])"
    r"|(?:api|access|private)[_-]?key|(?:access|refresh|auth|api)[_-]?tokens"
    r"|token(?!s|i|_?(?:count|limit|type|usage))"
)
_PRIVATE_WORDS: Final = "passw passphrase secret auth bearer credential cookie key token"
_PARAMETER: Final = r"passw(?:or)?d|pwd|api[_-]?key|(?:access|auth|refresh|[?&])[_-]?token|client[_-]?secret"
_QUOTED: Final = r"""(?:"((?:[^"\\]++|\\.)++)|'((?:[^'\\]++|\\.)++))"""
# Each pattern matches a secret, or a text in which its last group is the secret. It is looked for only where
# one of the words before it occurs, in any case: that is fast, and most texts have none of them. To add one,
# add a line here and examples of what it must and must not match to tests/test_redaction.py.
_PATTERNS: Final = (
    # OpenAI, Stripe, ElevenLabs. The prefixes also begin words: sk-SK is a locale, pk_customer a column.
    ("sk- sk_ ek- ek_", r"(?<![A-Za-z0-9])[es]k[-_](?!SK\b)[A-Za-z0-9*_-]{6,}"),
    (
        "pk- pk_ rk- rk_ xi- xi_",
        r"(?<![A-Za-z0-9])(?:[pr]k|xi)[-_](?=(?:live|test)[-_]|[A-Za-z*_-]{0,64}[0-9])[A-Za-z0-9*_-]{6,}",
    ),
    # RFC 9110, section 11.6.2. Without the name of the header, "bearer" and "basic" are also English words.
    (
        "authorization",
        r"""(?i:authorization["']?\s?[:=]\s?["']?(?:bearer|basic)\s)([A-Za-z0-9._~+/=-]{6,})""",
    ),
    (
        "bearer",
        r"\bB(?:earer|EARER) (?!(?i:token|realm|error|scope|auth|scheme|header))([A-Za-z0-9._~+/=-]{6,})",
    ),
    ("bearer", r"\bbearer (?=[a-z]{0,64}[^a-z\s])([A-Za-z0-9._~+/=-]{8,})"),
    ("basic", r"(?i:\bbasic )(?=[A-Za-z][a-z]{0,64}[A-Z0-9+/=])([A-Za-z0-9+/]{6,}={0,2})"),
    # Headers for API keys, such as those of ElevenLabs and Azure.
    (
        "api-key",
        r"""\b(?i:xi?-)?(?i:api-key)["']?:\s?["']?(?=[A-Za-z_-]{0,64}[0-9])([A-Za-z0-9._~+/=-]{8,})""",
    ),
    # URLs with a password, such as those of databases (RFC 3986, section 3.2.1).
    ("://", r"""(?<=://)[^\s/?#@:"'<>]{0,128}:([^\s/?#"'<>]{1,256})@"""),
    # Parameters of URLs and of connection strings, and arguments in a repr.
    (
        "passw pwd key token secret",
        rf"""(?i:{_PARAMETER})=(?!None\b)(?:"([^"\n]{{4,256}})"|'([^'\n]{{4,256}})'|([^\s&;,"'<>)]{{4,256}}))""",
    ),
    # AWS, GitHub, JSON Web Tokens (RFC 7519; they begin with '{"' in base64url).
    ("akia asia", r"(?<![A-Za-z0-9])A[KS]IA[A-Z0-9]{16}(?![A-Za-z0-9])"),
    ("key", r"""(?i:secret_?access_?key)["'\s:=]{1,8}([A-Za-z0-9/+]{40,})"""),
    (
        "ghp_ gho_ ghr_ ghs_ ghu_ github_pat_",
        r"(?<![A-Za-z0-9_])(?:gh[oprsu]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,})",
    ),
    ("eyj", r"(?<![A-Za-z0-9._-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"),
    # A private member of JSON that cannot be parsed or stands in another text, and of a Python dict's repr.
    (
        _PRIVATE_WORDS,
        rf"""(["'])[^"'\\]{{0,64}}(?i:{_PRIVATE_NAME})[^"'\\]{{0,64}}\1\s{{0,8}}:\s{{0,8}}{_QUOTED}""",
    ),
)
_SECRET_HEADER: Final = r"auth|cookie|credential|key|nonce|pass|secret|session|signature|token"  # noqa: S105 - names
_HEADER_PARTS: Final = r'[\s;,="]+'  # what separates the parts of a header's value

# Of JSON and of a repr in Python, of URLs, of HTML.
_ESCAPES: Final = {
    "\\": r"\\(?:u[Dd][89ABab][0-9A-Fa-f]{2}\\u[Dd][C-Fc-f][0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|x[0-9a-f]{2}"
    r"""|["'\\/bfnrt])""",
    "%": r"%[0-7][0-9A-Fa-f]|%[C-Fc-f][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){1,3}",
    "&": r"&(?:amp|lt|gt|quot|apos|#[0-9]{1,7}|#[Xx][0-9A-Fa-f]{1,6});",
}
# Of JSON: a string and whether it is a member's name, an opening or closing bracket, a number or constant.
_TOKENS: Final = r'("(?:[^"\\]++|\\.)*+")(\s*+:)?|([{\[])|([}\]])|[^\s"{}\[\],:]++'
_PATH: Final = (
    r"""(?<![\w.~/\\])(?:(?:file://|(?<!:)|(?!//))/(?=[^\s/'"`<>|:*?,;()\[\]{}])|[A-Za-z]:[\\/])"""
    r"""[^\n'"`<>|:*?,;()\[\]{}]*"""
)

_compiled = functools.cache(re.compile)


class _DeadlinePassedError(Exception):
    pass


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise _DeadlinePassedError


# The names of the modules in functions folders begin with the base directory, in hexadecimal digits.
_LOADED_MODULES: Final = r"navai_client\.functions\._loaded\.[^.\s]+\."


class Redactor:
    """Masks secrets in texts, bodies and JSON values.

    The search for secrets in a text stops after a second, and a note is returned that says so.

    Args:
        secrets: The known secrets. Those of fewer than ``SHORTEST_SECRET`` characters are ignored.
        patterns: Whether to mask what looks like a secret, too.
        base_dir: If given, paths below it become relative, and of other paths only the last part stays.
        seconds: If given, how long all searches of this redactor may take together, from now on.
    """

    def __init__(
        self,
        secrets: Iterable[str] = (),
        *,
        patterns: bool = True,
        base_dir: Path | None = None,
        seconds: float | None = None,
    ) -> None:
        self._secrets = tuple(secrets)
        self._patterns = patterns
        self._deadline = math.inf if seconds is None else time.monotonic() + seconds
        self._base: re.Pattern[str] | None = None
        if base_dir is not None:
            root = re.escape(str(base_dir).rstrip(os.sep) + os.sep)
            self._base = re.compile(rf"(?<![\w.~-])(?:{root}|{_LOADED_MODULES})")

    # Both are made when something is redacted: a client makes a redactor for every response.

    @functools.cached_property
    def _known(self) -> tuple[str, ...]:
        known = {secret for secret in self._secrets if len(secret) >= SHORTEST_SECRET}
        return tuple(sorted(known, key=len, reverse=True))

    @functools.cached_property
    def _lookahead(self) -> int:
        return max([_LOOKAHEAD, *(_LONGEST_ESCAPE * len(secret) for secret in self._known)])

    def text(self, text: str, limit: int | None = None, *, seconds: float = _SECONDS) -> str:
        """Return *text* masked, then cut to *limit* characters."""
        deadline = min(self._deadline, time.monotonic() + seconds)
        end = len(text) if limit is None else limit
        try:
            return self._fit(text[: end + self._lookahead], deadline, end)[:limit]
        except _DeadlinePassedError:
            return _NOT_SHOWN

    def error(self, text: str) -> str:
        """Return *text*, an error, masked; one over 8 KiB is cut, and says so."""
        return shortened(self.text(text, LONGEST_ERROR), len(text))

    def content(self, content: bytes, *, seconds: float = _SECONDS) -> bytes:
        """Return *content*, a body, masked: the strings of JSON one by one, anything else as text."""
        deadline = min(self._deadline, time.monotonic() + seconds)
        text = content.decode(errors="surrogateescape")
        try:
            masked = self._fit(text, deadline)
            if (masked != text or (self._patterns and _can_have_private_names(text))) and _is_json(text):
                masked = self._fit_json(text, deadline, only_private=masked == text)
        except _DeadlinePassedError:
            return _NOT_SHOWN.encode()
        return content if masked == text else masked.encode(errors="surrogateescape")

    def _fit(self, text: str, deadline: float, end: int | None = None) -> str:
        """Return *text* up to *end*, masked, paths shortened. A secret across *end* is masked as a whole."""
        end = len(text) if end is None else end
        pieces, done = [], 0
        for start, stop in _merged(self._matches(text, deadline)):
            if start >= end:
                break
            pieces += [text[done:start], MASK]
            done = stop
        masked = "".join([*pieces, text[done:end]])
        if self._base is None:
            return masked
        return _compiled(_PATH).sub(_last_part, self._base.sub("", masked))

    def _matches(self, text: str, deadline: float) -> Iterator[tuple[int, int]]:
        """Yield where secrets are, piece by piece. Each is searched with the text around it."""
        size = max(_PIECE, self._lookahead)
        for start in range(0, len(text), size):
            offset = max(start - _LOOKBEHIND, 0)
            around = text[offset : start + size + self._lookahead]
            for form, position in self._forms(around, deadline):
                first = bisect_left(range(len(form)), start - offset, key=position)
                last = bisect_left(range(len(form)), start - offset + size, key=position)
                for begin, end in self._matches_in(form, first, last, deadline):
                    if end == len(form) and offset + len(around) < len(text):
                        yield offset + position(begin), len(text)  # too long to look for its end
                        return
                    yield offset + position(begin), offset + position(end)

    def _forms(self, text: str, deadline: float) -> Iterator[tuple[str, Callable[[int], int]]]:
        """Yield *text* and its decoded forms, each with a function from its positions to those of *text*."""
        yield text, int
        escapes = [escape for sign, escape in _ESCAPES.items() if sign in text]
        if len(escapes) > 1:
            escapes.append("|".join(escapes))  # one secret can be spelled in several ways
        for escape in escapes if self._known or self._patterns else ():
            form = text
            position: Callable[[int], int] = int
            for _ in range(_LEVELS):
                if _compiled(escape).search(form) is None:
                    break
                form, position = _decode(form, position, escape, deadline)
                yield form, position

    def _matches_in(self, text: str, first: int, last: int, deadline: float) -> Iterator[tuple[int, int]]:
        """Yield the secrets whose matches begin from *first* to *last*; known ones before that, too."""
        for secret in self._known:
            start = text.find(secret)
            while 0 <= start < last:
                _check(deadline)
                yield start, start + len(secret)
                start = text.find(secret, start + len(secret))
        if not self._patterns:
            return
        lowered = text.lower()
        for words, pattern in _PATTERNS:
            _check(deadline)
            if _has_word(lowered, words):
                for match in _compiled(pattern).finditer(text, first):
                    if match.start() >= last:
                        break
                    yield match.span(match.lastindex or 0)

    def _fit_json(self, text: str, deadline: float, *, only_private: bool) -> str:
        """Return the JSON *text* with its values and names masked in place; the rest stays as it is.

        With *only_private*, only the values of private members are masked.
        """
        pieces, done = [], 0
        is_next_private = False
        inside = 0  # of how many arrays and objects: the value of a private member, and those in it
        for token in _compiled(_TOKENS).finditer(text):
            _check(deadline)
            string, colon, opening, closing = token.groups()
            if opening:
                inside += is_next_private or inside > 0
            elif closing:
                inside -= inside > 0
            else:
                written = string or token[0]
                hidden = not colon and (is_next_private or inside > 0)
                if hidden or not only_private:
                    pieces += [text[done : token.start()], self._fit_value(written, deadline, hidden=hidden)]
                    done = token.start() + len(written)
            is_next_private = bool(colon) and self._patterns and is_private(json.loads(string))
        return "".join([*pieces, text[done:]])

    def _fit_value(self, written: str, deadline: float, *, hidden: bool) -> str:
        if written in {"null", "true", "false", '""'}:
            return written
        if hidden:
            return f'"{MASK}"'
        value = json.loads(written) if written.startswith('"') else written
        shown = self._fit(value, deadline)
        return written if shown == value else json.dumps(shown, ensure_ascii="\\u" in written)


class RedactingFormatter(logging.Formatter):
    """Masks secrets in what another formatter makes of a record, its traceback included.

    Args:
        formatter: Makes the text.
        redactor: Finds the secrets.
    """

    def __init__(self, formatter: logging.Formatter, redactor: Redactor) -> None:
        super().__init__()
        self._formatter = formatter
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of *record*, masked."""
        return self._redactor.text(self._formatter.format(record))


def without_debug(name: str) -> logging.Logger:
    """Return a logger below *name* that nothing lets log at DEBUG, where websockets logs secret headers."""
    logger = logging.Logger(name, logging.INFO)  # noqa: LOG001 - anybody can change the level of the shared one
    logger.parent = logging.getLogger(name)
    return logger


def shortened(text: str, length: int) -> str:
    """Return the beginning of a *text* of *length* characters, if that is too long for an error."""
    if length <= LONGEST_ERROR:
        return text
    end = f"... [cut; it has {length:,} characters]"
    return text[: LONGEST_ERROR - len(end)] + end


def _has_word(text: str, words: str) -> bool:
    return any(word in text for word in words.split())


def _can_have_private_names(text: str) -> bool:
    return "\\" in text or _has_word(text.lower(), _PRIVATE_WORDS)


def _is_json(text: str) -> bool:
    try:
        json.loads(text.removeprefix("\ufeff"), parse_int=float)  # as an int, long digits are an error
    except (ValueError, RecursionError):
        return False
    return True


def _merged(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield *spans* in order; those that overlap become one."""
    start = stop = 0
    for begin, end in sorted(spans):
        if begin < stop:
            stop = max(stop, end)
            continue
        if stop:
            yield start, stop
        start, stop = begin, end
    if stop:
        yield start, stop


def _decode(
    text: str, outer: Callable[[int], int], escape: str, deadline: float
) -> tuple[str, Callable[[int], int]]:
    """Return *text* with each *escape* decoded, and a function from positions in it to those of *outer*."""
    pieces, done, length = [], 0, 0
    decoded_at, written_at = [0], [0]  # where each run of characters and each escape begins
    for match in _compiled(escape).finditer(text):
        _check(deadline)
        start, stop = match.span()
        character = _decoded(match[0])
        pieces += [text[done:start], character]
        begins = length + start - done
        length = begins + len(character)
        decoded_at += [begins, length]
        written_at += [start, stop]
        done = stop

    def position(decoded: int) -> int:
        run = bisect_right(decoded_at, decoded) - 1
        return outer(written_at[run] + decoded - decoded_at[run])

    return "".join([*pieces, text[done:]]), position


@functools.lru_cache(maxsize=4096)
def _decoded(escape: str) -> str:
    if escape.startswith(("\\x", "\\'")):
        return str(literal_eval(f'"{escape}"'))
    if escape.startswith("\\"):
        return str(json.loads(f'"{escape}"'))
    if escape.startswith("%"):
        return bytes.fromhex(escape.replace("%", "")).decode("utf-8", "replace")
    return html.unescape(escape)


def _last_part(found: "re.Match[str]") -> str:
    path = found[0]
    parts = [part for part in re.split(r"[\\/]", path) if part]
    # A lone "/word" is as often a choice ("and/or") or a route as a file: a path is one that exists.
    if path.startswith("/") and not Path("/" + parts[0].split()[0]).exists():
        return path
    return parts[-1] if len(parts) > 1 else path


def is_private(name: str) -> bool:
    """Return whether the value of the JSON member *name* is a secret, to judge by the name."""
    words = _compiled(r"(?<=[a-z0-9])(?=[A-Z])").sub("_", name)  # accessToken
    return _compiled(_PRIVATE_NAME, re.IGNORECASE).search(words) is not None


def is_secret_header(name: str) -> bool:
    """Return whether the value of the header *name* is a secret, to judge by the name."""
    return _compiled(_SECRET_HEADER, re.IGNORECASE).search(name) is not None


def secrets_in(header_values: Iterable[str]) -> tuple[str, ...]:
    """Return *header_values* and their parts (the token of ``Bearer ...``, each cookie), longest first."""
    values = tuple(header_values)
    parts = {part for value in values for part in (value, *value.split(), *re.split(_HEADER_PARTS, value))}
    long = [part for part in parts if len(part) >= SHORTEST_SECRET]
    return tuple(sorted(long, key=lambda part: (-len(part), part)))


def mask(secret: str) -> str:
    """Return *secret* for a repr: its first three and last four characters, or none if it is short."""
    if len(secret) < 4 * _SHOWN_BY_MASK:
        return MASK
    return f"{secret[:3]}{MASK}{secret[-4:]}"


def message_of(error: BaseException) -> str:
    """Return the message of *error*, or the name of its type if it has none or ``str`` fails."""
    try:
        return str(error) or type(error).__name__
    # A boundary: __str__ of an exception is foreign code.
    except BaseException:  # noqa: BLE001
        return type(error).__name__

"""How JavaScript reads text, where that differs from Python: both sides of the contract trim as it does."""

from typing import Final

__all__ = ["trim"]

# ECMAScript's WhiteSpace and LineTerminator. Python's own strip() also takes U+001C..U+001F and U+0085,
# and leaves U+FEFF.
_WHITE_SPACE: Final = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)


def trim(text: str) -> str:
    """Return *text* without the white space around it, as ``String.prototype.trim`` does."""
    return text.strip(_WHITE_SPACE)

"""The JSON of responses, parsed by msgspec in half of the time that the standard library takes.

It gives the same values. What it refuses is left to ``wire/_decode.py``, whose rules decide: it reads no lone
surrogates, no numbers beyond all floats, no byte order mark and no bytes outside UTF-8.

To load msgspec takes as long as hundreds of small responses. So the first large one starts that, in a thread,
and is itself left to the standard library.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any, Final

from navai_client._collector import LARGE, parse_undisturbed
from navai_client.wire._values import UNPARSED, Response


class _Decoder:
    """The decoder of msgspec, once it is loaded.

    Attributes:
        decode: Returns the value of a JSON text, or raises one of *errors*; None before it is loaded.
        errors: What it raises for a text that it cannot read.
        loading: The thread that loads it, once that has begun.
    """

    decode: Callable[[bytes], Any] | None = None
    errors: tuple[type[Exception], ...] = ()
    loading: threading.Thread | None = None

    def load(self) -> None:
        """Begin to load it, if that has not begun."""
        if self.loading is None:
            self.loading = threading.Thread(target=self._load, name="load msgspec", daemon=True)
            self.loading.start()

    def _load(self) -> None:
        with contextlib.suppress(ImportError):  # without the extra, as where only the server's is installed
            from msgspec import MsgspecError  # noqa: PLC0415 - see above
            from msgspec.json import Decoder  # noqa: PLC0415

            self.errors = (MsgspecError, UnicodeDecodeError, RecursionError)
            self.decode = Decoder().decode


decoder: Final = _Decoder()


def parse(response: Response) -> None:
    """Keep the JSON value of *response* in it, if msgspec is loaded and can read it."""
    if response.parsed is not UNPARSED:  # the last one of a stream of events
        return
    if decoder.decode is not None:
        if not response.truncated and not response.is_long_error:
            with contextlib.suppress(*decoder.errors):
                response.parsed = parse_undisturbed(decoder.decode, response.content)
    elif len(response.content) >= LARGE:
        decoder.load()

"""Ends an example with one sentence, and no traceback, where something that it needs is missing.

``import _explain`` is all that an example does for it. Leave that line out of a program of your own.
"""

import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from navai_client import NavaiError, NavaiTransportError

_otherwise = sys.excepthook


def explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say what is missing, with a command from the example's docstring; show other errors as Python does."""
    needs = sys.modules["__main__"].__doc__ or ""
    install = re.search(r"pip install [^;.]+", needs)
    backend = re.search(r"``([^`]*(?:navai serve|uvicorn)[^`]*)``", needs)
    for each in _with_causes(error):
        said = str(each).partition("; run:")[0].rstrip(".")
        if isinstance(each, ImportError) and install:
            return _end(f"{said}; run: {sys.executable} -m {install[0]}")
        if isinstance(each, NavaiTransportError) and backend:
            command = re.sub(r"(?=navai |uvicorn )", f"{Path(sys.executable).parent}/", backend[1])
            return _end(f"{said}. To start a backend, in another terminal: {command}")
        if isinstance(each, NavaiError):
            return _end(str(each))
        if type(each).__name__ == "ConnectError" and hasattr(each, "request"):  # httpx's, or httpx2's
            return _end(f"{each.request.url.host} could not be reached: {said}")
        if isinstance(each, KeyboardInterrupt):
            return _end("Stopped.")
    _otherwise(kind, error, trace)
    return None


def _end(sentence: str) -> None:
    sys.stdout.flush()
    print(sentence, file=sys.stderr)


def _with_causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield *error*, the errors of a group, and what each was raised from."""
    while error is not None:
        yield error
        for each in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
            yield from _with_causes(each)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


sys.excepthook = explain
logging.getLogger("navai_client").addHandler(logging.NullHandler())  # its warning would say the same

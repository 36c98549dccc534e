"""The file descriptors of this process: one for each file and each socket."""

import errno
import math
import os
from pathlib import Path
from typing import Final

try:
    import resource
except ImportError:  # pragma: no cover - Windows
    resource = None  # type: ignore[assignment]

_USUALLY_OPEN: Final = 32


def free_descriptors() -> float:
    """Return how many more files and sockets this process may open; RLIMIT_NOFILE limits them."""
    if resource is None:  # pragma: no cover - Windows
        return math.inf
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY:  # pragma: no cover - not on Linux
        return math.inf
    try:
        return limit - sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:  # pragma: no cover - not Linux
        return limit - _USUALLY_OPEN


def has_free_descriptor() -> bool:
    """Return whether this process can open a file or socket now, as far as limits allow."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno not in (errno.EMFILE, errno.ENFILE)
    return True

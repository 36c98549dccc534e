"""The Python side of Navai: a client SDK, a reference server and the way into voice-agent frameworks.

The public names are loaded when they are first used, so that importing the package costs next to nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from navai_client._version import __version__

if TYPE_CHECKING:
    from navai_client.client import AsyncNavaiBackendClient, NavaiBackendClient
    from navai_client.client_secrets import AsyncClientSecrets, ClientSecrets
    from navai_client.config import resolve_navai_env
    from navai_client.errors import (
        FunctionFailedError,
        InvalidResponseError,
        NavaiConfigError,
        NavaiError,
        NavaiHTTPError,
        NavaiPayloadError,
        NavaiStateError,
        NavaiTimeoutError,
        NavaiTransportError,
        UnknownFunctionError,
    )
    from navai_client.models import BackendFunction, ClientSecret, FunctionList, SpeechAudio

__all__ = [
    "AsyncClientSecrets",
    "AsyncNavaiBackendClient",
    "BackendFunction",
    "ClientSecret",
    "ClientSecrets",
    "FunctionFailedError",
    "FunctionList",
    "InvalidResponseError",
    "NavaiBackendClient",
    "NavaiConfigError",
    "NavaiError",
    "NavaiHTTPError",
    "NavaiPayloadError",
    "NavaiStateError",
    "NavaiTimeoutError",
    "NavaiTransportError",
    "SpeechAudio",
    "UnknownFunctionError",
    "__version__",
    "resolve_navai_env",
]

_ROOMS = {
    "navai_client.client": ("AsyncNavaiBackendClient", "NavaiBackendClient"),
    "navai_client.config": ("resolve_navai_env",),
    "navai_client.errors": tuple(name for name in __all__ if name.endswith("Error")),
    "navai_client.models": ("BackendFunction", "ClientSecret", "FunctionList", "SpeechAudio"),
    "navai_client.client_secrets": ("AsyncClientSecrets", "ClientSecrets"),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    try:
        room = _ROOM_OF[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = globals()[name] = getattr(importlib.import_module(room), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""The reference server: a whole Navai backend, as library functions and as one ASGI application.

Only names are here, loaded when they are asked for: the core of this room needs no web framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from navai_client.server.app import NavaiBackend
    from navai_client.server.context import FunctionContext

__all__ = ["FunctionContext", "NavaiBackend"]

_HOMES: Final = {
    "FunctionContext": "context",
    "NavaiBackend": "app",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its file."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{home}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "navai_client":
            raise
        raise ModuleNotFoundError(
            f"The Navai server needs {error.name!r}: pip install 'navai-client[server]'", name=error.name
        ) from None
    return getattr(module, name)


def __dir__() -> list[str]:
    """Show the public names also before they are loaded."""
    return sorted({*globals(), *__all__})

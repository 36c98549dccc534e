"""The reference server: a whole Navai backend, as library functions and as one ASGI application.

Only names are here, loaded when they are asked for: the core of this room needs no web framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from navai_client.functions._context import FunctionContext
    from navai_client.functions._discovery import DiscoveredModules, discover_function_modules
    from navai_client.functions._registry import FunctionRegistry, load_functions
    from navai_client.server._app import NavaiBackend
    from navai_client.server._client_secrets import ClientSecretRequest, create_realtime_client_secret
    from navai_client.server._errors import BackendError, BackendOptionsError, UpstreamError
    from navai_client.server._settings import BackendOptions, ServerSettings, VoiceSettings
    from navai_client.server._speech import SpeechRequest, synthesize_speech
    from navai_client.server._upstream import Upstream

__all__ = [
    "BackendError",
    "BackendOptions",
    "BackendOptionsError",
    "ClientSecretRequest",
    "DiscoveredModules",
    "FunctionContext",
    "FunctionRegistry",
    "NavaiBackend",
    "ServerSettings",
    "SpeechRequest",
    "Upstream",
    "UpstreamError",
    "VoiceSettings",
    "create_realtime_client_secret",
    "discover_function_modules",
    "load_functions",
    "synthesize_speech",
]

_HOMES: Final = {
    "BackendError": "._errors",
    "BackendOptions": "._settings",
    "BackendOptionsError": "._errors",
    "ClientSecretRequest": "._client_secrets",
    "DiscoveredModules": "navai_client.functions._discovery",
    "FunctionContext": "navai_client.functions._context",
    "FunctionRegistry": "navai_client.functions._registry",
    "NavaiBackend": "._app",
    "ServerSettings": "._settings",
    "SpeechRequest": "._speech",
    "Upstream": "._upstream",
    "UpstreamError": "._errors",
    "VoiceSettings": "._settings",
    "create_realtime_client_secret": "._client_secrets",
    "discover_function_modules": "navai_client.functions._discovery",
    "load_functions": "navai_client.functions._registry",
    "synthesize_speech": "._speech",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its file."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(home, __name__)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"The Navai server needs {error.name!r}: pip install 'navai-client[server]'", name=error.name
        ) from None
    return getattr(module, name)


def __dir__() -> list[str]:
    """Show the public names also before they are loaded."""
    return sorted({*globals(), *__all__})

"""The reference server: a complete Navai backend, as library functions and as one ASGI application.

This file holds only the public names, which are loaded on first use.
"""

from typing import TYPE_CHECKING

from navai_client._extras import SERVER_PACKAGES, lazy

if TYPE_CHECKING:
    from navai_client.functions._context import (
        FunctionContext as FunctionContext,
        Principal as Principal,
    )
    from navai_client.functions._declaration import Runner as Runner, function as function
    from navai_client.functions._discovery import (
        DiscoveredModules as DiscoveredModules,
        discover_function_modules as discover_function_modules,
    )
    from navai_client.functions._registry import (
        FunctionRegistry as FunctionRegistry,
        load_functions as load_functions,
    )
    from navai_client.functions._results import ToolError as ToolError
    from navai_client.server._access_log import AccessLog as AccessLog
    from navai_client.server._app import NavaiBackend as NavaiBackend
    from navai_client.server._authentication import (
        from_host as from_host,
        from_jwt as from_jwt,
    )
    from navai_client.server._errors import (
        BackendError as BackendError,
        BackendOptionsError as BackendOptionsError,
        StoreError as StoreError,
        UpstreamError as UpstreamError,
    )
    from navai_client.server._http import BackendRequest as BackendRequest
    from navai_client.server._minting import MintPolicy as MintPolicy
    from navai_client.server._redis_store import RedisStore as RedisStore
    from navai_client.server._routes import Services as Services
    from navai_client.server._settings import ServerSettings as ServerSettings
    from navai_client.server._sqlite_store import SQLiteStore as SQLiteStore
    from navai_client.server._store import (
        MemoryStore as MemoryStore,
        Store as Store,
        StoreEntry as StoreEntry,
    )
    from navai_client.server._upstream import (
        ClientSecretRequest as ClientSecretRequest,
        SpeechRequest as SpeechRequest,
        Upstream as Upstream,
        create_realtime_client_secret as create_realtime_client_secret,
        create_realtime_client_secret_sync as create_realtime_client_secret_sync,
        synthesize_speech as synthesize_speech,
        synthesize_speech_sync as synthesize_speech_sync,
    )
    from navai_client.server._upstream_settings import (
        BackendOptions as BackendOptions,
        VoiceSettings as VoiceSettings,
    )

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "navai_client.functions._context": ("FunctionContext", "Principal"),
        "navai_client.functions._declaration": ("Runner", "function"),
        "navai_client.functions._discovery": ("DiscoveredModules", "discover_function_modules"),
        "navai_client.functions._registry": ("FunctionRegistry", "load_functions"),
        "navai_client.functions._results": ("ToolError",),
        "._access_log": ("AccessLog",),
        "._app": ("NavaiBackend",),
        "._authentication": ("from_host", "from_jwt"),
        "._errors": ("BackendError", "BackendOptionsError", "StoreError", "UpstreamError"),
        "._http": ("BackendRequest",),
        "._minting": ("MintPolicy",),
        "._redis_store": ("RedisStore",),
        "._routes": ("Services",),
        "._settings": ("ServerSettings",),
        "._upstream_settings": ("BackendOptions", "VoiceSettings"),
        "._sqlite_store": ("SQLiteStore",),
        "._store": ("MemoryStore", "Store", "StoreEntry"),
        "._upstream": (
            "ClientSecretRequest",
            "SpeechRequest",
            "Upstream",
            "create_realtime_client_secret",
            "create_realtime_client_secret_sync",
            "synthesize_speech",
            "synthesize_speech_sync",
        ),
    },
    "server",
    SERVER_PACKAGES,
)

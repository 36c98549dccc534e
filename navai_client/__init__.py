"""The Python side of Navai: a client SDK, a reference server and the way into voice-agent frameworks.

The public names are loaded when they are first used, so that importing the package costs next to nothing.
"""

from typing import TYPE_CHECKING

from navai_client._extras import lazy

if TYPE_CHECKING:
    from navai_client._version import __version__ as __version__
    from navai_client.client import (
        AsyncNavaiBackendClient as AsyncNavaiBackendClient,
        NavaiBackendClient as NavaiBackendClient,
    )
    from navai_client.client_secrets import (
        AsyncClientSecrets as AsyncClientSecrets,
        ClientSecrets as ClientSecrets,
    )
    from navai_client.config import (
        USE_CLIENT_DEFAULT as USE_CLIENT_DEFAULT,
        CallOptions as CallOptions,
        ExecuteOptions as ExecuteOptions,
        SessionOptions as SessionOptions,
        SpeechOptions as SpeechOptions,
        UseClientDefault as UseClientDefault,
        resolve_navai_env as resolve_navai_env,
    )
    from navai_client.errors import (
        ApprovalPendingError as ApprovalPendingError,
        FunctionFailedError as FunctionFailedError,
        InvalidResponseError as InvalidResponseError,
        NavaiConfigError as NavaiConfigError,
        NavaiError as NavaiError,
        NavaiHTTPError as NavaiHTTPError,
        NavaiPayloadError as NavaiPayloadError,
        NavaiStateError as NavaiStateError,
        NavaiTimeoutError as NavaiTimeoutError,
        NavaiTransportError as NavaiTransportError,
        OutcomeUnknownError as OutcomeUnknownError,
        UnknownFunctionError as UnknownFunctionError,
    )
    from navai_client.instrumentation import (
        Instrumentation as Instrumentation,
        Observation as Observation,
        ObservedCall as ObservedCall,
    )
    from navai_client.models import (
        BackendFunction as BackendFunction,
        Cancellation as Cancellation,
        ClientSecret as ClientSecret,
        FunctionList as FunctionList,
        RawResponse as RawResponse,
        SpeechAudio as SpeechAudio,
    )
    from navai_client.wire._retry import RetryPolicy as RetryPolicy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "._version": ("__version__",),
        ".client": ("AsyncNavaiBackendClient", "NavaiBackendClient"),
        ".client_secrets": ("AsyncClientSecrets", "ClientSecrets"),
        ".config": (
            "USE_CLIENT_DEFAULT",
            "CallOptions",
            "ExecuteOptions",
            "SessionOptions",
            "SpeechOptions",
            "UseClientDefault",
            "resolve_navai_env",
        ),
        ".errors": (
            "ApprovalPendingError",
            "FunctionFailedError",
            "InvalidResponseError",
            "NavaiConfigError",
            "NavaiError",
            "NavaiHTTPError",
            "NavaiPayloadError",
            "NavaiStateError",
            "NavaiTimeoutError",
            "NavaiTransportError",
            "OutcomeUnknownError",
            "UnknownFunctionError",
        ),
        ".instrumentation": ("Instrumentation", "Observation", "ObservedCall"),
        ".models": (
            "BackendFunction",
            "Cancellation",
            "ClientSecret",
            "FunctionList",
            "RawResponse",
            "SpeechAudio",
        ),
        ".wire._retry": ("RetryPolicy",),
    },
)

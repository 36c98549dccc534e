"""What editors and type checkers see. Checked by mypy, never run.

Each ``type: ignore`` marks an error that a type checker reports; the check fails if it no longer does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, assert_type

import httpx
import httpx2

from navai_client import (
    USE_CLIENT_DEFAULT,
    AsyncNavaiBackendClient,
    BackendFunction,
    ClientSecret,
    FunctionFailedError,
    FunctionList,
    NavaiBackendClient,
    NavaiConfigError,
    NavaiError,
    NavaiHTTPError,
    NavaiPayloadError,
    NavaiStateError,
    NavaiTimeoutError,
    NavaiTransportError,
    OutcomeUnknownError,
    RawResponse,
    RetryPolicy,
    SpeechAudio,
    UnknownFunctionError,
    UseClientDefault,
    __version__,
    resolve_navai_env,
)


def sync_usage() -> None:
    """The sync client, as users write it."""
    with NavaiBackendClient("https://backend.example", timeout=None, headers={"X-A": "1"}) as client:
        assert_type(client, NavaiBackendClient)
        assert_type(client.create_client_secret(model="gpt-realtime", voice=None, timeout=5), ClientSecret)
        assert_type(client.list_functions(max_age=60, timeout=USE_CLIENT_DEFAULT), FunctionList)
        assert_type(client.execute_function("f"), Any)
        assert_type(client.execute_function("f", {"a": 1}, idempotency_key="k", timeout=None), Any)
        assert_type(client.execute_function("f", max_retries=RetryPolicy(max_retries=1), headers={}), Any)
        assert_type(client.list_functions(max_retries=0, headers={"X-A": "1"}), FunctionList)
        assert_type(client.create_client_secret(voice="marin", headers=None), ClientSecret)
        assert_type(client.synthesize_speech("Hello", voice_id="v", stability=0.5, style=1), SpeechAudio)
        assert_type(client.client_secrets(leeway=5, voice="marin").get(), ClientSecret)
        assert_type(client.client_secrets()(), str)
        assert_type(client.with_options(timeout=5, max_retries=0, headers={"X-A": "1"}), NavaiBackendClient)
        assert_type(client.close(), None)
        assert_type(client.base_url, str)
        assert_type(client.timeout, float | None)
        assert_type(client.is_closed, bool)
    assert_type(__version__, str)


async def async_usage() -> None:
    """The async client, as users write it."""
    async with AsyncNavaiBackendClient(env={"NAVAI_API_URL": None}) as client:
        assert_type(client, AsyncNavaiBackendClient)
        assert_type(await client.create_client_secret(api_key="sk"), ClientSecret)
        assert_type(await client.list_functions(), FunctionList)
        assert_type(await client.execute_function("f", [1, 2]), Any)
        assert_type(await client.synthesize_speech("Hello", use_speaker_boost=True), SpeechAudio)
        assert_type(await client.client_secrets().get(), ClientSecret)
        assert_type(await client.client_secrets()(), str)
        assert_type(client.with_options(timeout=None), AsyncNavaiBackendClient)
        assert_type(await client.close(), None)


class Execute(Protocol):
    """The signature of ``execute_function`` of the sync client."""

    def __call__(
        self,
        function_name: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | UseClientDefault | None = USE_CLIENT_DEFAULT,
        max_retries: int | RetryPolicy | UseClientDefault = USE_CLIENT_DEFAULT,
        headers: Mapping[str, str] | None = None,
    ) -> Any: ...


class AsyncExecute(Protocol):
    """The signature of ``execute_function`` of the async client."""

    async def __call__(
        self,
        function_name: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | UseClientDefault | None = USE_CLIENT_DEFAULT,
        max_retries: int | RetryPolicy | UseClientDefault = USE_CLIENT_DEFAULT,
        headers: Mapping[str, str] | None = None,
    ) -> Any: ...


def signatures(client: NavaiBackendClient, other: AsyncNavaiBackendClient) -> None:
    """Methods that share their docstrings with a base class have signatures of their own."""
    execute: Execute = client.execute_function
    async_execute: AsyncExecute = other.execute_function
    del execute, async_execute


def values(secret: ClientSecret, functions: FunctionList, audio: SpeechAudio) -> None:
    """The values that are returned."""
    assert_type(secret.value, str)
    assert_type(secret.expires_at, float | None)
    assert_type(secret.speech_provider, str)
    assert_type(secret.expires_in(), float)
    assert_type(secret.is_expired(leeway=30), bool)
    assert_type(functions.functions, tuple[BackendFunction, ...])
    assert_type(functions.warnings, tuple[str, ...])
    assert_type(iter(functions), Iterator[BackendFunction])
    assert_type([function.name for function in functions], list[str])
    assert_type(functions.get("f"), BackendFunction | None)
    assert_type(functions["f"], BackendFunction)
    assert_type(functions[0], BackendFunction)
    assert_type(functions[:2], tuple[BackendFunction, ...])
    as_sequence: Sequence[BackendFunction] = functions
    del as_sequence
    assert_type(len(functions), int)
    assert_type("f" in functions, bool)
    assert_type(audio.audio, bytes)
    assert_type(audio.mime_type, str)
    secret.value = "other"  # type: ignore[misc]
    functions.get("f").name  # type: ignore[union-attr]  # noqa: B018 - it may be None, which is the point


@dataclass
class Order:
    """What a function returns."""

    id: int


async def results(client: NavaiBackendClient, other: AsyncNavaiBackendClient) -> None:
    """Results of a type."""
    assert_type(client.execute_function("f", result_type=Order), Order)
    assert_type(client.execute_function("f", {}, result_type=list[Order], timeout=5), list[Order])
    assert_type(client.execute_function("f", result_type=None), Any)
    client.execute_function("f", result_type=Order | None)
    assert_type(await other.execute_function("f", result_type=Order, headers={"X-A": "1"}), Order)
    assert_type(client.with_raw_response.execute_function("f", result_type=Order), RawResponse[Order])


async def responses(client: NavaiBackendClient, other: AsyncNavaiBackendClient) -> None:
    """Values with their responses."""
    raw = client.with_raw_response.list_functions(max_age=5, headers={"X-A": "1"})
    assert_type(raw, RawResponse[FunctionList])
    assert_type(raw.value, FunctionList)
    assert_type(raw.status_code, int | None)
    assert_type(raw.headers["X-Any"], str)
    assert_type((raw.request_id, raw.elapsed, raw.attempts), tuple[str, float, int])
    assert_type(client.with_raw_response.execute_function("f", {}, timeout=5), RawResponse[Any])
    secret = await other.with_raw_response.create_client_secret(voice="marin")
    assert_type(secret, RawResponse[ClientSecret])
    assert_type(await other.with_raw_response.synthesize_speech("Hello"), RawResponse[SpeechAudio])
    client.with_raw_response.execute_function("f", retries=5)  # type: ignore[call-overload]


def errors(error: NavaiError) -> None:
    """The attributes of exceptions."""
    if isinstance(error, UnknownFunctionError):
        assert_type(error.available_functions, tuple[str, ...])
        assert_type(error.function_name, str)
    if isinstance(error, NavaiHTTPError):
        assert_type(error.status_code, int)
        assert_type(error.body, str)
        assert_type(error.details, Any)
    if isinstance(error, OutcomeUnknownError):
        assert_type(error.may_have_executed, bool)
        assert_type(error.function_name, str)
    if isinstance(error, FunctionFailedError):
        assert_type(error.error, Any)
        assert_type(error.may_have_executed, bool)
    if isinstance(error, NavaiTransportError):
        assert_type(error.may_have_executed, bool)
        as_os_error: OSError = error
        del as_os_error
    as_timeout: type[TimeoutError] = NavaiTimeoutError
    as_value: type[ValueError] = NavaiConfigError
    as_type: type[TypeError] = NavaiPayloadError
    as_runtime: type[RuntimeError] = NavaiStateError
    del as_timeout, as_value, as_type, as_runtime


def what_may_be_injected() -> None:
    """Transports and clients of both libraries, for tests and proxies."""
    NavaiBackendClient(transport=httpx.MockTransport(lambda request: httpx.Response(200)))
    NavaiBackendClient(http_client=httpx.Client())
    AsyncNavaiBackendClient(transport=httpx2.MockTransport(lambda request: httpx2.Response(200)))
    AsyncNavaiBackendClient(http_client=httpx2.AsyncClient())
    assert_type(resolve_navai_env([{"NAVAI_API_URL": None}, {"other": 5}]), dict[str, str])


async def an_async_token() -> str:
    """Return an access token, later."""
    return "token"


def who_calls() -> None:
    """Tokens and headers, fixed or asked for."""
    NavaiBackendClient(access_token="token", headers={"X-A": "1"})
    NavaiBackendClient(access_token=lambda: "token", headers=lambda: {"X-A": "1"})
    AsyncNavaiBackendClient(access_token=an_async_token)
    NavaiBackendClient(json_default=str)
    NavaiBackendClient(json_default="str")  # type: ignore[arg-type]
    AsyncNavaiBackendClient(access_token=lambda: 5)  # type: ignore[arg-type, return-value]


def what_is_refused(client: NavaiBackendClient, other: AsyncNavaiBackendClient) -> None:
    """Mistakes that a type checker finds."""
    NavaiBackendClient(5)  # type: ignore[arg-type]
    NavaiBackendClient("http://x", {})  # type: ignore[call-arg]
    NavaiBackendClient(headers={"X-A": 1})  # type: ignore[dict-item]
    NavaiBackendClient(retries=2)  # type: ignore[call-arg]
    client.create_client_secret("gpt-realtime")  # type: ignore[call-arg, arg-type]
    client.create_client_secret(modell="gpt-realtime")  # type: ignore[call-arg]
    client.create_client_secret(model=5)  # type: ignore[arg-type]
    client.base_url = "http://x"  # type: ignore[misc]
    client.execute_function()  # type: ignore[call-overload]
    client.execute_function(5)  # type: ignore[call-overload]
    client.execute_function("f", {}, "key")  # type: ignore[call-overload]
    client.execute_function("f", timeout="5")  # type: ignore[call-overload]
    client.execute_function("f", retries=2)  # type: ignore[call-overload]
    client.list_functions(max_retries=None)  # type: ignore[arg-type]
    client.synthesize_speech("Hello", headers={"X-A": 1})  # type: ignore[dict-item]
    client.synthesize_speech("Hello", use_speaker_boost="yes")  # type: ignore[arg-type]
    client.synthesize_speech("Hello", volume=5)  # type: ignore[call-arg]
    resolve_navai_env({"NAVAI_API_URL": "x"})  # type: ignore[dict-item]
    other.list_functions().warnings  # type: ignore[attr-defined]  # noqa: B018 - somebody forgot to await
    with other:  # type: ignore[attr-defined]
        pass

    class Mine(NavaiBackendClient):  # type: ignore[misc]
        """The clients are final."""

    del Mine

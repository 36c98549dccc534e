"""The two clients: shells, one line for each operation, and the loop that drives an exchange."""

import asyncio
import logging
import ssl
import time
import uuid
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar, Unpack, final

from attrs import evolve

from navai_client._abandoned import BackgroundTasks
from navai_client.client_secrets import AsyncClientSecrets, ClientSecrets
from navai_client.config import (
    ClientConfig,
    checked_timeout,
    resolve_base_url,
    resolve_headers,
    resolve_paths,
)
from navai_client.errors import NavaiConfigError, NavaiStateError
from navai_client.instrumentation import Instrumentation, Observation, ObservedCall, current_tool_call
from navai_client.models import ClientSecret, FunctionList, SpeechAudio
from navai_client.transports import AsyncTransport, Call, Transport
from navai_client.transports._given import async_transport, sync_transport
from navai_client.wire._exchange import Exchange
from navai_client.wire._operations import (
    CLIENT_SECRET_PATH,
    FUNCTIONS_EXECUTE_PATH,
    FUNCTIONS_LIST_PATH,
    SPEECH_SYNTHESIZE_PATH,
    Operation,
    Operations,
    SessionOptions,
    SpeechOptions,
)
from navai_client.wire._retry import RetryPolicy
from navai_client.wire._values import Send, TransportFailure

__all__ = ["AsyncNavaiBackendClient", "NavaiBackendClient"]

T = TypeVar("T")

# Stands for "the timeout that the client was given". Told by identity: a caller's own -1.0 is an error.
_CLIENTS_TIMEOUT: Final = float("-1")
_GRACE: Final = 5.0  # seconds that close() waits for calls whose callers have left
_log: Final = logging.getLogger("navai_client")


def _leave(call: Call) -> bool:
    """Tell the transport that the caller of *call* has left; return whether its task can be cancelled."""
    call.left = True
    return call.cancellable and not call.sent


def _failure_of(outcome: Any) -> str | None:
    return outcome.message if isinstance(outcome, TransportFailure) else None


class _Core:
    """What both clients have in common: settings checked, operations made, whether they are closed."""

    def __init__(self, config: ClientConfig, instrumentation: Instrumentation | None) -> None:
        self.config = config
        self.instrumentation = instrumentation
        self.operations = Operations(
            config.base_url, config.paths, config.headers, config.secrets, new_key=lambda: str(uuid.uuid4())
        )
        self.policy = RetryPolicy(max_retries=config.max_retries)
        self.closed = False

    def exchange(self, operation: Operation[T], timeout: float | None) -> Exchange[T]:
        if self.closed:
            raise NavaiStateError("This client is closed; make a new one.")
        limit = self.config.timeout if timeout is _CLIENTS_TIMEOUT else checked_timeout(timeout)
        return Exchange(operation, self.policy, limit)

    def call(self, step: Send) -> Call:
        return Call(timeout=step.timeout, max_response_bytes=self.config.max_response_bytes)

    def observed(self, operation: Operation[Any]) -> ObservedCall:
        return ObservedCall(
            operation.name,
            operation.request.endpoint.url.partition("?")[0],
            operation.function_name,
            operation.payload,
            current_tool_call(),
            operation.secrets,
        )

    def carrying(self, operation: Operation[T], observation: Observation) -> Operation[T]:
        """Return *operation* with the headers that its *observation* wants to go with it."""
        if not observation.headers:
            return operation
        request = operation.request
        call_headers = (*request.call_headers, *observation.headers.items())
        return evolve(operation, request=evolve(request, call_headers=call_headers))

    def log_retry(self, operation: Operation[Any], step: Send) -> None:
        _log.info(
            "%s: trying again in %.2f s, retry %d of %d (%s)",
            operation.name,
            step.delay,
            step.attempt - 1,
            self.config.max_retries,
            step.reason,
        )

    def repr(self, client: object) -> str:
        return f"<{type(client).__name__} base_url={self.config.base_url!r}{' closed' * self.closed}>"


@final
class NavaiBackendClient:
    """Calls a Navai backend: mints client secrets, lists its functions and executes them.

    It keeps connections open between calls. Any number of threads (of tasks of one event loop, for the async
    client) may share one. Use it as a context manager, or call ``close()``.

    Args:
        base_url: Where the backend is, else ``NAVAI_API_URL`` of *env*, else ``http://localhost:3000``. Blank
            counts as absent; trailing slashes are dropped.
        env: Where to look for ``NAVAI_API_URL``, instead of the process's environment.
        client_secret_path: The path that mints client secrets.
        functions_list_path: The path that lists the functions.
        functions_execute_path: The path that executes one.
        speech_synthesize_path: The path that turns text into sound.
        headers: Sent with every request, such as ``Authorization`` for a gateway of yours.
        timeout: Seconds that one whole call may take, retries included; None for no limit.
        max_retries: How often a call is tried again at most; see each method for when.
        max_response_bytes: The largest answer that is read, in decompressed bytes.
        verify: For the default transport: True for the usual certificate authorities (and those that
            ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name), a file or folder of certificates, or an
            ``ssl.SSLContext``.
        proxy: For the default transport: a proxy's URL, instead of what ``HTTPS_PROXY`` and its like say.
        transport: Sends the requests instead of the default: a transport of this package, of httpx or of
            httpx2 (such as ``httpx.MockTransport``). It is closed with the client.
        http_client: A whole client of httpx or httpx2 to send through. It is yours to close.
        instrumentation: Watches the calls, for tracing for example.

    Raises:
        NavaiConfigError: If any of it cannot work.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        env: Mapping[str, str | None] | None = None,
        client_secret_path: str = CLIENT_SECRET_PATH,
        functions_list_path: str = FUNCTIONS_LIST_PATH,
        functions_execute_path: str = FUNCTIONS_EXECUTE_PATH,
        speech_synthesize_path: str = SPEECH_SYNTHESIZE_PATH,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = 30.0,
        max_retries: int = 2,
        max_response_bytes: int = 16 * 2**20,
        verify: bool | str | ssl.SSLContext = True,
        proxy: str | None = None,
        transport: Any = None,
        http_client: Any = None,
        instrumentation: Instrumentation | None = None,
    ) -> None:
        try:
            self._core = _Core(
                ClientConfig(
                    base_url=resolve_base_url(base_url, env),
                    paths=resolve_paths(
                        client_secret=client_secret_path,
                        functions_list=functions_list_path,
                        functions_execute=functions_execute_path,
                        speech_synthesize=speech_synthesize_path,
                    ),
                    headers=resolve_headers(headers),
                    timeout=timeout,
                    max_retries=max_retries,
                    max_response_bytes=max_response_bytes,
                ),
                instrumentation,
            )
            self._make = self._core.operations
            self._transport: Transport = sync_transport(transport, http_client, verify, proxy)
        except NavaiConfigError as error:
            del base_url, env, headers, proxy, transport, http_client  # a traceback can show variables
            raise error.with_traceback(None) from None

    def create_client_secret(
        self, *, timeout: float | None = _CLIENTS_TIMEOUT, **session: Unpack[SessionOptions]
    ) -> ClientSecret:
        """Mint a short-lived key with which an agent opens a Realtime session.

        Tried again after connection failures and after 408, 429, 502, 503 and 504.

        Args:
            timeout: Seconds for this call, instead of the client's; None for no limit.
            session: Any of ``model``, ``voice``, ``instructions``, ``language``, ``voice_accent``,
                ``voice_tone`` and ``api_key`` (an OpenAI key, for backends that take one from requests).

        Raises:
            NavaiHTTPError: If the backend refuses.
            InvalidResponseError: If its answer is not a client secret.
            NavaiTransportError: If no answer came.
        """
        return self._run(self._make.create_client_secret(session), timeout)

    def client_secrets(self, *, leeway: float = 30.0, **session: Unpack[SessionOptions]) -> ClientSecrets:
        """Return a source of client secrets that are good: its ``get()`` mints one only when it must.

        A secret is handed out again while it has more than *leeway* seconds to live. However many ask at the
        same time, one is minted. The source itself can be called for the value alone, which is what the
        ``api_key`` of the OpenAI Agents SDK takes.

        Args:
            leeway: Seconds that a secret must have left.
            session: As for ``create_client_secret``.
        """
        return ClientSecrets(partial(self.create_client_secret, **session), leeway)

    def list_functions(
        self, *, max_age: float | None = None, timeout: float | None = _CLIENTS_TIMEOUT
    ) -> FunctionList:
        """List the functions that the backend offers.

        A backend that fails raises nothing: the list is empty then, and its ``warnings`` say why. Tried again
        after connection failures and after 408, 429, 502, 503 and 504.

        Args:
            max_age: Seconds for which the last good list may be given again without asking. An older one is
                asked after by its ``ETag``, if it had one. None asks each time. A failure is never kept.
            timeout: Seconds for this call, instead of the client's; None for no limit.
        """
        return self._run(self._make.list_functions(max_age), timeout)

    def execute_function(
        self,
        function_name: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = _CLIENTS_TIMEOUT,
    ) -> Any:
        """Execute a function of the backend and return its result.

        Tried again only when the request certainly never left, or after 429 and 503 that carry
        ``Retry-After``: nothing happens twice.

        Args:
            function_name: The name of the function.
            payload: What to give it: JSON values, usually a dict, or None.
            idempotency_key: Goes with every attempt as ``Idempotency-Key``, so that a backend that knows
                it (the bundled server does) runs the function once. A new UUID by default; give your own to
                ask again for a call whose answer you missed.
            timeout: Seconds for this call, instead of the client's; None for no limit.

        Raises:
            NavaiPayloadError: If *function_name* is blank or *payload* is not JSON; nothing was sent then.
            UnknownFunctionError: If the backend has no such function.
            NavaiHTTPError: If it refuses otherwise.
            FunctionFailedError: If the function failed.
            InvalidResponseError: If the answer is not one.
            NavaiTransportError: If no answer came; ``may_have_executed`` says whether it may have run.
        """
        return self._run(self._make.execute_function(function_name, payload, idempotency_key), timeout)

    def synthesize_speech(
        self, text: str, *, timeout: float | None = _CLIENTS_TIMEOUT, **voice: Unpack[SpeechOptions]
    ) -> SpeechAudio:
        """Turn text into sound, where the backend speaks through ElevenLabs.

        Tried again as ``execute_function`` is, because each call costs.

        Args:
            text: What to say.
            timeout: Seconds for this call, instead of the client's; None for no limit.
            voice: Any of ``voice_id``, ``model_id``, ``output_format``, ``optimize_streaming_latency``,
                ``stability``, ``similarity_boost``, ``style`` and ``use_speaker_boost``.

        Raises:
            NavaiHTTPError: If the backend refuses.
            InvalidResponseError: If its answer is not sound.
            NavaiTransportError: If no answer came.
        """
        return self._run(self._make.synthesize_speech(text, voice), timeout)

    def close(self) -> None:
        """Close the connections. A client can be closed more than once, but not be used after.

        The async client first waits up to 5 seconds for calls whose callers were cancelled.
        """
        if not self._core.closed:
            self._core.closed = True
            self._transport.close()

    def _run(self, operation: Operation[T], timeout: float | None) -> T:
        if self._core.instrumentation is None:
            return self._exchange(operation, timeout)
        with self._core.instrumentation.observe(self._core.observed(operation)) as observation:
            value = self._exchange(self._core.carrying(operation, observation), timeout)
            observation.succeeded(value)
        return value

    def _exchange(self, operation: Operation[T], timeout: float | None) -> T:
        exchange = self._core.exchange(operation, timeout)
        step = exchange.start(time.monotonic())
        while isinstance(step, Send):
            if step.reason:
                self._core.log_retry(operation, step)
                time.sleep(step.delay)
            step = exchange.receive(
                self._transport.send(step.request, self._core.call(step)), time.monotonic()
            )
        return step.value

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return self._core.repr(self)


@final
class AsyncNavaiBackendClient:
    """Calls a Navai backend: mints client secrets, lists its functions and executes them.

    It keeps connections open between calls. Any number of threads (of tasks of one event loop, for the async
    client) may share one. Use it as a context manager, or call ``close()``.

    Args:
        base_url: Where the backend is, else ``NAVAI_API_URL`` of *env*, else ``http://localhost:3000``. Blank
            counts as absent; trailing slashes are dropped.
        env: Where to look for ``NAVAI_API_URL``, instead of the process's environment.
        client_secret_path: The path that mints client secrets.
        functions_list_path: The path that lists the functions.
        functions_execute_path: The path that executes one.
        speech_synthesize_path: The path that turns text into sound.
        headers: Sent with every request, such as ``Authorization`` for a gateway of yours.
        timeout: Seconds that one whole call may take, retries included; None for no limit.
        max_retries: How often a call is tried again at most; see each method for when.
        max_response_bytes: The largest answer that is read, in decompressed bytes.
        verify: For the default transport: True for the usual certificate authorities (and those that
            ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name), a file or folder of certificates, or an
            ``ssl.SSLContext``.
        proxy: For the default transport: a proxy's URL, instead of what ``HTTPS_PROXY`` and its like say.
        transport: Sends the requests instead of the default: a transport of this package, of httpx or of
            httpx2 (such as ``httpx.MockTransport``). It is closed with the client.
        http_client: A whole client of httpx or httpx2 to send through. It is yours to close.
        instrumentation: Watches the calls, for tracing for example.

    Raises:
        NavaiConfigError: If any of it cannot work.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        env: Mapping[str, str | None] | None = None,
        client_secret_path: str = CLIENT_SECRET_PATH,
        functions_list_path: str = FUNCTIONS_LIST_PATH,
        functions_execute_path: str = FUNCTIONS_EXECUTE_PATH,
        speech_synthesize_path: str = SPEECH_SYNTHESIZE_PATH,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = 30.0,
        max_retries: int = 2,
        max_response_bytes: int = 16 * 2**20,
        verify: bool | str | ssl.SSLContext = True,
        proxy: str | None = None,
        transport: Any = None,
        http_client: Any = None,
        instrumentation: Instrumentation | None = None,
    ) -> None:
        try:
            self._core = _Core(
                ClientConfig(
                    base_url=resolve_base_url(base_url, env),
                    paths=resolve_paths(
                        client_secret=client_secret_path,
                        functions_list=functions_list_path,
                        functions_execute=functions_execute_path,
                        speech_synthesize=speech_synthesize_path,
                    ),
                    headers=resolve_headers(headers),
                    timeout=timeout,
                    max_retries=max_retries,
                    max_response_bytes=max_response_bytes,
                ),
                instrumentation,
            )
            self._background = BackgroundTasks(_log, _failure_of)
            self._loop: asyncio.AbstractEventLoop | None = None
            self._make = self._core.operations
            self._transport: AsyncTransport = async_transport(transport, http_client, verify, proxy)
        except NavaiConfigError as error:
            del base_url, env, headers, proxy, transport, http_client  # a traceback can show variables
            raise error.with_traceback(None) from None

    async def create_client_secret(
        self, *, timeout: float | None = _CLIENTS_TIMEOUT, **session: Unpack[SessionOptions]
    ) -> ClientSecret:
        """Mint a short-lived key with which an agent opens a Realtime session.

        Tried again after connection failures and after 408, 429, 502, 503 and 504.

        Args:
            timeout: Seconds for this call, instead of the client's; None for no limit.
            session: Any of ``model``, ``voice``, ``instructions``, ``language``, ``voice_accent``,
                ``voice_tone`` and ``api_key`` (an OpenAI key, for backends that take one from requests).

        Raises:
            NavaiHTTPError: If the backend refuses.
            InvalidResponseError: If its answer is not a client secret.
            NavaiTransportError: If no answer came.
        """
        return await self._run(self._make.create_client_secret(session), timeout)

    def client_secrets(
        self, *, leeway: float = 30.0, **session: Unpack[SessionOptions]
    ) -> AsyncClientSecrets:
        """Return a source of client secrets that are good: its ``get()`` mints one only when it must.

        A secret is handed out again while it has more than *leeway* seconds to live. However many ask at the
        same time, one is minted. The source itself can be called for the value alone, which is what the
        ``api_key`` of the OpenAI Agents SDK takes.

        Args:
            leeway: Seconds that a secret must have left.
            session: As for ``create_client_secret``.
        """
        return AsyncClientSecrets(partial(self.create_client_secret, **session), leeway, self._background)

    async def list_functions(
        self, *, max_age: float | None = None, timeout: float | None = _CLIENTS_TIMEOUT
    ) -> FunctionList:
        """List the functions that the backend offers.

        A backend that fails raises nothing: the list is empty then, and its ``warnings`` say why. Tried again
        after connection failures and after 408, 429, 502, 503 and 504.

        Args:
            max_age: Seconds for which the last good list may be given again without asking. An older one is
                asked after by its ``ETag``, if it had one. None asks each time. A failure is never kept.
            timeout: Seconds for this call, instead of the client's; None for no limit.
        """
        return await self._run(self._make.list_functions(max_age), timeout)

    async def execute_function(
        self,
        function_name: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        timeout: float | None = _CLIENTS_TIMEOUT,
    ) -> Any:
        """Execute a function of the backend and return its result.

        Tried again only when the request certainly never left, or after 429 and 503 that carry
        ``Retry-After``: nothing happens twice.

        Args:
            function_name: The name of the function.
            payload: What to give it: JSON values, usually a dict, or None.
            idempotency_key: Goes with every attempt as ``Idempotency-Key``, so that a backend that knows
                it (the bundled server does) runs the function once. A new UUID by default; give your own to
                ask again for a call whose answer you missed.
            timeout: Seconds for this call, instead of the client's; None for no limit.

        Raises:
            NavaiPayloadError: If *function_name* is blank or *payload* is not JSON; nothing was sent then.
            UnknownFunctionError: If the backend has no such function.
            NavaiHTTPError: If it refuses otherwise.
            FunctionFailedError: If the function failed.
            InvalidResponseError: If the answer is not one.
            NavaiTransportError: If no answer came; ``may_have_executed`` says whether it may have run.
        """
        return await self._run(self._make.execute_function(function_name, payload, idempotency_key), timeout)

    async def synthesize_speech(
        self, text: str, *, timeout: float | None = _CLIENTS_TIMEOUT, **voice: Unpack[SpeechOptions]
    ) -> SpeechAudio:
        """Turn text into sound, where the backend speaks through ElevenLabs.

        Tried again as ``execute_function`` is, because each call costs.

        Args:
            text: What to say.
            timeout: Seconds for this call, instead of the client's; None for no limit.
            voice: Any of ``voice_id``, ``model_id``, ``output_format``, ``optimize_streaming_latency``,
                ``stability``, ``similarity_boost``, ``style`` and ``use_speaker_boost``.

        Raises:
            NavaiHTTPError: If the backend refuses.
            InvalidResponseError: If its answer is not sound.
            NavaiTransportError: If no answer came.
        """
        return await self._run(self._make.synthesize_speech(text, voice), timeout)

    async def close(self) -> None:
        """Close the connections. A client can be closed more than once, but not be used after.

        The async client first waits up to 5 seconds for calls whose callers were cancelled.
        """
        if not self._core.closed:
            self._core.closed = True
            await self._background.close(_GRACE)
            await self._transport.close()

    async def _run(self, operation: Operation[T], timeout: float | None) -> T:
        if self._core.instrumentation is None:
            return await self._exchange(operation, timeout)
        with self._core.instrumentation.observe(self._core.observed(operation)) as observation:
            value = await self._exchange(self._core.carrying(operation, observation), timeout)
            observation.succeeded(value)
        return value

    async def _exchange(self, operation: Operation[T], timeout: float | None) -> T:
        exchange = self._core.exchange(operation, timeout)
        self._check_loop()
        step = exchange.start(time.monotonic())
        while isinstance(step, Send):
            if step.reason:
                self._core.log_retry(operation, step)
                await asyncio.sleep(step.delay)
            call = self._core.call(step)
            step = exchange.receive(
                await self._background.run(
                    self._transport.send(step.request, call), operation.name, partial(_leave, call)
                ),
                time.monotonic(),
            )
        return step.value

    def _check_loop(self) -> None:
        """Raise if the running event loop is not that of the first call."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise NavaiStateError("AsyncNavaiBackendClient needs a running asyncio event loop.") from None
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise NavaiStateError(
                "This client belongs to another event loop, where its connections are; "
                "make one client for each loop (each asyncio.run())."
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return self._core.repr(self)

"""The two clients: one base class with the constructor and all docstrings, and two shells that send."""

import asyncio
import contextlib
import copy
import logging
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Final, Generic, Self, TypeVar, Unpack, final, overload

from attrs import evolve

from navai_client._abandoned import BackgroundTasks
from navai_client._headers import (
    AccessToken,
    GivenHeaders,
    client_headers,
    wordpress_headers,
)
from navai_client._ids import new_request_id, new_uuid
from navai_client._progress import AsyncReports, OnProgress, Reports, checked_on_progress
from navai_client._raw import AsyncRawOperations, RawOperations, with_response
from navai_client._validation import check_for
from navai_client.client_secrets import AsyncClientSecrets, ClientSecrets, checked_leeway
from navai_client.config import (
    USE_CLIENT_DEFAULT,
    CallOptions,
    CallSettings,
    ClientConfig,
    ExecuteOptions,
    SessionOptions,
    SpeechOptions,
    UseClientDefault,
    access_token_for,
    checked_timeout,
    resolve_base_url,
    resolve_paths,
    wordpress_site,
)
from navai_client.errors import NavaiConfigError, NavaiError, NavaiStateError
from navai_client.instrumentation import (
    Instrumentation,
    carrying,
    log_attempt,
    log_renewal,
    log_retry,
    observed,
    show_log,
)
from navai_client.models import Cancellation, ClientSecret, FunctionList, SpeechAudio
from navai_client.transports import AsyncTransport, Call, Transport
from navai_client.transports._given import async_transport, is_authorized, sync_transport
from navai_client.transports._tls import AnyPath, Cert, Verify
from navai_client.wire._encode import type_name
from navai_client.wire._events import ACCEPT
from navai_client.wire._exchange import Exchange
from navai_client.wire._operations import (
    CREATE_CLIENT_SECRET,
    EXECUTE_FUNCTION,
    LIST_FUNCTIONS,
    SYNTHESIZE_SPEECH,
)
from navai_client.wire._readiness import WARMUP, Probe, Waiting
from navai_client.wire._requests import Invocation, Invocations
from navai_client.wire._retry import RetryPolicy
from navai_client.wire._values import Send, TransportFailure
from navai_client.wire._wordpress import WordPress

__all__ = ["AsyncNavaiBackendClient", "NavaiBackendClient"]

T = TypeVar("T")
AnyTransport = TypeVar("AnyTransport", Transport, AsyncTransport)
Timeout = float | UseClientDefault | None

_GRACE: Final = 5.0  # seconds that close() waits for abandoned calls; the longest that a shutdown should take
_log: Final = logging.getLogger("navai_client")


class _Client(ABC, Generic[AnyTransport]):
    """Calls a Navai backend: mints client secrets, lists its functions and executes them.

    A client keeps connections open between calls. Any number of threads can share a ``NavaiBackendClient``.
    Any number of tasks of one event loop can share an ``AsyncNavaiBackendClient``. Use it as a context
    manager, or call ``close()``.

    Args:
        base_url: Where the backend is; else ``NAVAI_API_URL`` in *env*; else ``http://localhost:3000``. A
            blank value counts as not set, and trailing slashes are dropped.
        env: Read ``NAVAI_API_URL`` and ``NAVAI_ACCESS_TOKEN`` from here instead of the environment of the
            process.
        client_secret_path: The path of ``create_client_secret``.
        functions_list_path: The path of ``list_functions``.
        functions_execute_path: The path of ``execute_function``.
        speech_synthesize_path: The path of ``synthesize_speech``.
        access_token: Sent as ``Authorization: Bearer``: a string, or a function (for the async client also an
            async one). The function is called for each call, and again if the first attempt gets 401. Else
            ``NAVAI_ACCESS_TOKEN`` in *env*, if *base_url* has the origin of ``NAVAI_API_URL`` or is the
            default, and *headers* have no ``Authorization``.
        headers: Sent with every request: a mapping, or a function that is called like *access_token*.
        timeout: Seconds for a whole call, including retries; None for no limit.
        max_retries: The number of retries of a call; each method says when it retries. Or a ``RetryPolicy``.
        max_response_bytes: The largest response body that is read, in decompressed bytes.
        json_default: Converts values in a payload that are not JSON, such as a datetime, like the ``default``
            of ``json.dumps``. It raises ``TypeError`` for a value that it cannot convert.
        verify: For the default transport: True for the usual certificate authorities (and those that
            ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` name), a file or folder of certificates, or an
            ``ssl.SSLContext``.
        proxy: For the default transport: a proxy's URL, instead of variables such as ``HTTPS_PROXY``.
        cert: For the default transport: the client's certificate, for backends that demand one (mutual TLS).
            A file with certificate and key, or a tuple of the certificate file, the key file and, if the key
            is encrypted, the password.
        uds: For the default transport: the path of a Unix socket to connect to, instead of the URL's host.
        transport: Sends the requests instead of the default: a transport of this package, of httpx or of
            httpx2 (such as ``httpx.MockTransport``), which is closed with the client, or a function from
            ``httpx.Request`` to ``httpx.Response``.
        http_client: A client of httpx or httpx2 that sends the requests. This client does not close it.
        instrumentation: Observes the calls, for example for tracing.

    Raises:
        NavaiConfigError: If a value cannot work.
    """

    _is_async: ClassVar[bool]

    def __init__(
        self,
        base_url: str | None = None,
        *,
        env: Mapping[str, str | None] | None = None,
        client_secret_path: str = CREATE_CLIENT_SECRET.path,
        functions_list_path: str = LIST_FUNCTIONS.path,
        functions_execute_path: str = EXECUTE_FUNCTION.path,
        speech_synthesize_path: str = SYNTHESIZE_SPEECH.path,
        access_token: AccessToken = None,
        headers: GivenHeaders = None,
        timeout: float | None = 30.0,
        max_retries: int | RetryPolicy = 2,
        max_response_bytes: int = 16 * 2**20,
        json_default: Callable[[Any], Any] | None = None,
        verify: Verify = True,
        proxy: str | None = None,
        cert: Cert | None = None,
        uds: AnyPath | None = None,
        transport: Any = None,
        http_client: Any = None,
        instrumentation: Instrumentation | None = None,
    ) -> None:
        try:
            url = resolve_base_url(base_url, env)
            fixed, source = client_headers(
                headers, access_token, access_token_for(url, env), authorized=is_authorized(http_client)
            )
            self._config = ClientConfig(
                base_url=url,
                paths=resolve_paths(
                    client_secret_path=client_secret_path,
                    functions_list_path=functions_list_path,
                    functions_execute_path=functions_execute_path,
                    speech_synthesize_path=speech_synthesize_path,
                ),
                headers=fixed,
                timeout=timeout,
                max_retries=max_retries,
                max_response_bytes=max_response_bytes,
                json_default=json_default,
            )
            self._transport: AnyTransport = self._open(
                transport, http_client, verify=verify, proxy=proxy, cert=cert, uds=uds
            )
        except NavaiConfigError as error:
            # The frames of a traceback can be shown with their variables, and these can be secret.
            del access_token, base_url, env, headers, proxy, cert, transport, http_client
            raise error.with_traceback(None) from None
        show_log(os.environ.get("NAVAI_LOG", ""))
        config = self._config
        self._settings = CallSettings(config.timeout, config.max_retries, fixed, source)
        self._instrumentation = instrumentation
        self._calls = Invocations(config.base_url, config.paths, new_uuid, config.json_default)
        self._closed = False
        self._original: Self | None = None

    @classmethod
    def for_wordpress(
        cls,
        url: str | None = None,
        *,
        user: str | None = None,
        application_password: str | None = None,
        nonce: str | None = None,
        session_key: str | None = None,
        agent_key: str | None = None,
        **options: Any,
    ) -> Self:
        """Return a client for Navai's WordPress plugin (NAVAI Voice).

        It has the plugin's paths, does not retry after a 429 without ``Retry-After`` or a refusal of OpenAI,
        and raises ``FunctionFailedError`` if a result is a failure (``{"ok": false, "error"}``, or a
        ``WP_Error``).

        Args:
            url: The site, such as ``https://shop.example``, or its API: ``https://shop.example/wp-json/``;
                ``https://shop.example/index.php?rest_route=/`` if its permalinks are plain. Else
                ``NAVAI_API_URL``.
            user: A user of the site; calls are made with this user's permissions.
            application_password: An application password of that user, which WordPress accepts over https.
            nonce: Sent as ``X-WP-Nonce``, together with the cookie of a session in ``headers``.
            session_key: The conversation in the plugin's memory, for calls that do not name one.
            agent_key: The plugin's agent, for executions that do not name one.
            options: Other arguments of the class.

        Raises:
            NavaiConfigError: If a value cannot work.
        """
        site, paths = wordpress_site(url, options.get("env"))
        given: dict[str, Any] = {**paths, **options}
        try:
            given["headers"] = wordpress_headers(options.get("headers"), user, application_password, nonce)
            client = cls(site, **given)
        except NavaiConfigError as error:
            del user, application_password, nonce, options, given
            raise error.with_traceback(None) from None
        client._calls.of_plugin(WordPress(session_key=session_key, agent_key=agent_key))
        return client

    @property
    def base_url(self) -> str:
        """Where the backend is, without trailing slashes."""
        return self._config.base_url

    @property
    def timeout(self) -> float | None:
        """Seconds for a whole call, or None for no limit."""
        return self._settings.timeout

    @property
    def is_closed(self) -> bool:
        """Whether the client was closed. It can make no more calls then."""
        return self._closed if self._original is None else self._original.is_closed

    def with_options(self, *, timeout: Timeout = USE_CLIENT_DEFAULT, **options: Unpack[CallOptions]) -> Self:
        """Return a client with other settings, which uses the connections and the event loop of this one.

        Closing this client closes both; closing the other one does nothing. If their headers are the same,
        they share the function lists that ``max_age`` keeps.

        Args:
            timeout: Seconds for each call, instead of this client's; None for no limit.
            options: Other settings (``CallOptions``): ``max_retries``, and ``headers``, which are added to
                this client's or replace those of the same names.

        Raises:
            NavaiConfigError: If a value cannot work.
        """
        return self._derived(self._settings_of(timeout, options, alone=True))

    def _derived(self, settings: CallSettings) -> Self:
        other = copy.copy(self)
        other._settings = settings  # noqa: SLF001 - of this class
        other._original = self if self._original is None else self._original  # noqa: SLF001
        return other

    @property
    @abstractmethod
    def with_raw_response(self) -> Any:
        """The operations of this client; each returns a ``RawResponse`` with the value and its response."""

    def _raw(self) -> Self:
        return self._derived(evolve(self._settings, is_raw=True))

    def create_client_secret(
        self, *, timeout: Timeout = USE_CLIENT_DEFAULT, **session: Unpack[SessionOptions]
    ) -> Any:
        """Mint a short-lived key with which an agent opens a Realtime session.

        It is retried after connection failures and after 408, 429, 502, 503 and 504.

        Args:
            timeout: Seconds for this call, instead of the client's; None for no limit.
            session: Other settings of this call (``CallOptions``), and any of ``model``, ``voice``,
                ``instructions``, ``language``, ``voice_accent``, ``voice_tone``, ``api_key`` (an OpenAI
                key, for backends that accept one from requests) and ``session_key``.

        Raises:
            NavaiHTTPError: If the backend refuses.
            InvalidResponseError: If its response is not a client secret.
            NavaiTransportError: If no response arrives.
        """

    def client_secrets(self, *, leeway: float = 30.0, **session: Unpack[SessionOptions]) -> Any:
        """Return a source of valid client secrets, whose ``get()`` mints one only when necessary.

        ``get()`` returns the same secret while more than *leeway* seconds of its life are left. If several
        callers ask at the same time, it mints one secret for all of them. You can also call the source itself
        to get the value of a secret. The ``api_key`` of the OpenAI Agents SDK accepts such a function.

        Args:
            leeway: Seconds that a secret must still be valid.
            session: As for ``create_client_secret``.

        Raises:
            NavaiConfigError: If *leeway* or a setting of the calls cannot work.
            NavaiPayloadError: If an option of the session cannot be sent.
        """

    def list_functions(
        self,
        *,
        max_age: float | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
        **options: Unpack[CallOptions],
    ) -> Any:
        """List the functions that the backend offers, as a sequence that also has ``warnings``.

        If the backend fails, this does not raise: the list is empty, its ``warnings`` and the log say why,
        and its ``raise_for_error()`` raises the reason. It is retried after connection failures and after
        408, 429, 502, 503 and 504.

        Args:
            max_age: Seconds for which the last list is returned again without a request. An older list is
                revalidated by its ``ETag``, if it has one. None sends a request each time. Failures are not
                kept.
            timeout: Seconds for this call, instead of the client's; None for no limit.
            options: Other settings of this call (``CallOptions``): ``max_retries`` and ``headers``.
        """

    def execute_function(
        self,
        function_name: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        result_type: Any = None,
        on_progress: OnProgress | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
        **options: Unpack[ExecuteOptions],
    ) -> Any:
        """Execute a function of the backend and return its result.

        It is retried if the request was certainly not sent, and after 429 and 503 with ``Retry-After``. If a
        response is lost, it is repeated with the same key only if the backend says that all its processes
        share their keys (``Navai-Idempotency: shared``). No function runs twice.

        Args:
            function_name: The name of the function.
            payload: Its input: JSON values, usually a dict, or None.
            idempotency_key: Sent with every attempt as ``Idempotency-Key``. A backend that supports the
                header, such as the bundled server, runs the function once for each key. By default a new
                UUID. Pass your own key to be able to repeat a call whose response was lost.
            result_type: The type of the result, such as a Pydantic model, a dataclass or ``list[int]``.
                Pydantic or msgspec, which must be installed, checks and converts it. By default, any JSON.
            on_progress: Called with the progress messages of the function (``context.progress("...")``)
                while it runs, if the backend sends them, as the bundled server does. With the async client,
                it may be async. The call returns when ``on_progress`` has returned, within the timeout. Of
                many messages at once, it gets the latest. If it raises, this is only logged.
            timeout: Seconds for this call, instead of the client's; None for no limit.
            options: Other settings of this call (``CallOptions``), and for Navai's WordPress plugin
                ``session_key`` and ``agent_key`` (``ExecuteOptions``).

        Raises:
            NavaiPayloadError: If *function_name* is blank or *payload* is not JSON; nothing was sent then.
            UnknownFunctionError: If the backend has no such function.
            ApprovalPendingError: If the call waits for a person, and has not run. Do not repeat it.
            OutcomeUnknownError: If the function may have run, but its result is lost.
            NavaiHTTPError: If the backend refuses for another reason.
            FunctionFailedError: If the function failed; ``may_have_executed`` says whether it may still act.
            InvalidResponseError: If the response breaks the contract, or the result is not a *result_type*.
            NavaiTransportError: If no response arrives; ``may_have_executed`` says whether the function may
                have run.
        """

    def cancel_execution(
        self, idempotency_key: str, *, timeout: Timeout = USE_CLIENT_DEFAULT, **options: Unpack[CallOptions]
    ) -> Any:
        """Cancel the call that ``execute_function`` makes with this *idempotency_key*.

        Pass a key to ``execute_function`` to be able to cancel the call from another thread or task. The
        backend asks the function to stop; if it has not begun, it never begins. The cancelled call ends with
        ``FunctionFailedError``, or with its result if the function still returns one. This is an extension of
        the bundled server. Use the credentials with which the call was made. It is retried like
        ``list_functions``.

        Args:
            idempotency_key: The key of the call.
            timeout: Seconds for this request, instead of the client's; None for no limit.
            options: Other settings of this request (``CallOptions``): ``max_retries`` and ``headers``.

        Raises:
            NavaiPayloadError: If *idempotency_key* is not a key.
            NavaiHTTPError: With 404 if the backend knows no call with this key, or cannot cancel calls. With
                409 if another process of the backend runs the call.
            InvalidResponseError: If its response breaks the contract.
            NavaiTransportError: If no response arrives.
        """

    def synthesize_speech(
        self, text: str, *, timeout: Timeout = USE_CLIENT_DEFAULT, **voice: Unpack[SpeechOptions]
    ) -> Any:
        """Synthesize speech, with a backend that uses ElevenLabs.

        It is retried like ``execute_function``, because each call costs money.

        Args:
            text: The text to speak.
            timeout: Seconds for this call, instead of the client's; None for no limit.
            voice: Other settings of this call (``CallOptions``), and any of ``voice_id``, ``model_id``,
                ``output_format``, ``optimize_streaming_latency``, ``stability``, ``similarity_boost``,
                ``style`` and ``use_speaker_boost``.

        Raises:
            NavaiHTTPError: If the backend refuses.
            InvalidResponseError: If its response is not audio.
            NavaiTransportError: If no response arrives.
        """

    def warmup(self, *, timeout: Timeout = USE_CLIENT_DEFAULT) -> Any:
        """Open a connection, so that the next call does not wait for name lookup, TCP and TLS.

        It sends ``GET /health`` and accepts any response. The connection is kept for 55 seconds.

        Args:
            timeout: Seconds for this call, instead of the client's; None for no limit.

        Raises:
            NavaiTransportError: If the backend cannot be reached.
        """

    def wait_until_ready(self, timeout: float | None = 30.0) -> Any:
        """Wait until the backend responds to ``/ready``, or to ``/health``, or lists its functions.

        It asks again, with growing delays of up to a second, while there is no response, or a response that
        says "not yet".

        Args:
            timeout: Seconds to wait; None for no limit.

        Raises:
            NavaiTimeoutError: If it is not ready in time; the message says why.
            NavaiHTTPError: If it refuses to list its functions and waiting does not help, such as with 401.
        """

    def close(self) -> Any:
        """Close the connections. You can close a client more than once, but not use it afterwards.

        A client from ``with_options()`` stays open until its original is closed.

        The async client first waits up to 5 seconds for abandoned calls, whose callers were cancelled. If
        ``close()`` itself is cancelled, it cancels these calls and still closes the connections; another
        ``close()`` waits until this is done. When ``asyncio.run()`` ends, it closes connections that are
        still open.
        """

    @abstractmethod
    def _open(self, transport: Any, http_client: Any, **network: Any) -> AnyTransport:
        """Return the transport."""

    def _settings_of(self, timeout: Timeout, options: Any, *, alone: bool = False) -> CallSettings:
        """Return the settings of a call with *timeout* and *options*, out of which they are taken.

        Raises:
            NavaiConfigError: If a value cannot work.
            TypeError: If *options* must have settings *alone* and holds something else.
        """
        if timeout is USE_CLIENT_DEFAULT and not options:
            return self._settings
        settings = self._settings.replaced(timeout, options)
        if alone and options:
            names = ", ".join(("timeout", *CallOptions.__annotations__))
            raise TypeError(f"unexpected keyword argument {next(iter(options))!r}; there are {names}")
        return settings

    def _execute(  # noqa: PLR0917 - each is given by position at the two calls
        self,
        function_name: str,
        payload: Any,
        idempotency_key: str | None,
        result_type: Any,
        on_progress: Any,
        timeout: Timeout,
        options: Any,
    ) -> tuple[Invocation[Any], CallSettings]:
        settings = self._settings_of(timeout, options)
        arguments = {"function_name": function_name, "payload": payload, **options}
        invocation = self._calls.prepare(EXECUTE_FUNCTION, arguments, idempotency_key)
        if on_progress is not None:
            invocation.on_progress = checked_on_progress(on_progress, is_async=self._is_async)
            invocation.call_headers += (ACCEPT,)
        plugin = self._calls.plugin
        if result_type is None and plugin is None:
            return invocation, settings
        context = dict(invocation.context)
        if result_type is not None:
            context["check"] = check_for(result_type)
        if plugin is not None:
            context["failure_in"] = plugin.failure_in
            if isinstance(payload, str | int | float):
                text = "%s: the WordPress plugin drops a payload that is no object and no array; it is %s."
                _log.warning(text, function_name, type_name(payload))
        return evolve(invocation, context=context), settings

    def _checked_secrets(self, leeway: float, session: Any) -> CallSettings:
        """Return the settings of the calls of ``client_secrets``, or raise what is wrong with its arguments.

        In that case, no frame keeps the *session*.
        """
        given = dict(session)
        try:
            checked_leeway(leeway)
            settings = self._settings_of(given.pop("timeout", USE_CLIENT_DEFAULT), given)
            self._calls.prepare(CREATE_CLIENT_SECRET, given)
        except (NavaiError, TypeError):
            given.clear()
            session.clear()
            raise
        return settings

    def _warmup(self, timeout: Timeout) -> tuple[Invocation[None], CallSettings]:
        settings = self._settings_of(timeout, {})
        return self._calls.probe(WARMUP), evolve(settings, policy=evolve(settings.policy, statuses=()))

    def _waiting(self, timeout: float | None) -> Waiting:
        return Waiting(self._calls, self._config.base_url, checked_timeout(timeout), time.monotonic())

    def _probing(self, probe: Probe) -> tuple[Invocation[Any], CallSettings]:
        return probe.invocation, self._settings_of(probe.timeout, {"max_retries": 0})

    def _exchange(self, invocation: Invocation[T], settings: CallSettings) -> Exchange[T]:
        self._check_open()
        exchange = Exchange(
            invocation,
            settings.policy,
            settings.timeout,
            settings.headers,
            new_request_id,
            _log.warning,
            log_attempt if _log.isEnabledFor(logging.DEBUG) else None,
        )
        if settings.source is not None:
            exchange.source, exchange.spent = settings.source, settings.spent
        return exchange

    def _check_open(self) -> None:
        if self._closed:
            raise NavaiStateError("This client is closed; make a new one.")

    def _attempt(self, exchange: Exchange[Any], step: Send, report: OnProgress | None) -> Call:
        most = self._config.max_response_bytes
        call = Call(timeout=step.timeout, max_response_bytes=most, accepts=exchange.accepts)
        if report is not None:
            call.events, call.report = exchange.expect_events(most), report
            exchange.deliver = call.deliver
        return call

    def __repr__(self) -> str:
        state = " closed" if self.is_closed else ""
        return f"<{type(self).__name__} base_url={self._config.base_url!r}{state}>"


@final
class NavaiBackendClient(_Client[Transport]):
    __doc__ = _Client.__doc__  # which Sphinx does not look up in a base class
    _is_async = False

    def _open(self, transport: Any, http_client: Any, **network: Any) -> Transport:
        self._released = False
        return sync_transport(transport, http_client, **network)

    @property
    def with_raw_response(self) -> RawOperations:
        return RawOperations(self._raw())

    def create_client_secret(
        self, *, timeout: Timeout = USE_CLIENT_DEFAULT, **session: Unpack[SessionOptions]
    ) -> ClientSecret:
        settings = self._settings_of(timeout, session)
        return self._run(self._calls.prepare(CREATE_CLIENT_SECRET, session), settings)

    def client_secrets(self, *, leeway: float = 30.0, **session: Unpack[SessionOptions]) -> ClientSecrets:
        settings = self._checked_secrets(leeway, session)
        mint = partial(self.create_client_secret, **session)
        return ClientSecrets(mint, leeway, headers=settings.source)

    def list_functions(
        self,
        *,
        max_age: float | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
        **options: Unpack[CallOptions],
    ) -> FunctionList:
        settings = self._settings_of(timeout, options, alone=True)
        return self._run(self._calls.list_functions(max_age), settings)

    @overload
    def execute_function(
        self,
        function_name: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        result_type: type[T],
        on_progress: OnProgress | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
        **options: Unpack[ExecuteOptions],
    ) -> T: ...

    @overload
    def execute_function(
        self,
        function_name: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        result_type: Any = None,
        on_progress: OnProgress | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
        **options: Unpack[ExecuteOptions],
    ) -> Any: ...

    def execute_function(
        self,
        function_name: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        result_type: Any = None,
        on_progress: OnProgress | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
        **options: Unpack[ExecuteOptions],
    ) -> Any:
        given = function_name, payload, idempotency_key, result_type, on_progress, timeout
        return self._run(*self._execute(*given, options))

    def cancel_execution(
        self, idempotency_key: str, *, timeout: Timeout = USE_CLIENT_DEFAULT, **options: Unpack[CallOptions]
    ) -> Cancellation:
        settings = self._settings_of(timeout, options, alone=True)
        return self._run(self._calls.cancel_execution(idempotency_key), settings)

    def synthesize_speech(
        self, text: str, *, timeout: Timeout = USE_CLIENT_DEFAULT, **voice: Unpack[SpeechOptions]
    ) -> SpeechAudio:
        settings = self._settings_of(timeout, voice)
        return self._run(self._calls.prepare(SYNTHESIZE_SPEECH, {"text": text, **voice}), settings)

    def warmup(self, *, timeout: Timeout = USE_CLIENT_DEFAULT) -> None:
        self._run(*self._warmup(timeout))

    def wait_until_ready(self, timeout: float | None = 30.0) -> None:
        waiting = self._waiting(timeout)
        while True:
            probe = waiting.next(time.monotonic())
            time.sleep(probe.delay)
            try:
                self._run(*self._probing(probe))
            except NavaiError as error:
                waiting.failed(error)
            else:
                return

    def close(self) -> None:
        if self._original is not None:
            return
        self._closed = True
        if not self._released:
            self._transport.close()
            self._released = True

    def _run(self, invocation: Invocation[T], settings: CallSettings) -> T:
        if self._original is not None:
            return self._original._run(invocation, settings)  # noqa: SLF001 - of this class
        if settings.source is not None:
            self._check_open()
            began = time.monotonic()
            headers = settings.source.ask()
            settings = settings.asked(headers, time.monotonic() - began)
        if self._instrumentation is None:
            exchange = self._exchange(invocation, settings)
            value = self._drive(exchange)
        else:
            default = self._config.json_default
            with observed(self._instrumentation, invocation, settings.headers, default) as observation:
                exchange = self._exchange(carrying(invocation, observation), settings)
                value = self._drive(exchange)
                observation.succeeded(value)
        return with_response(value, exchange) if settings.is_raw else value

    def _drive(self, exchange: Exchange[T]) -> T:
        on_progress = exchange.invocation.on_progress
        report = None if on_progress is None else Reports(on_progress)
        step = exchange.start(time.monotonic())
        while isinstance(step, Send):
            if step.renews:
                log_renewal(exchange)
                step = exchange.renew(exchange.source.ask(), time.monotonic())
                continue
            if step.reason:
                log_retry(exchange, step)
                time.sleep(step.delay)
            # Kept in no variable: it may quote a header, and a traceback can show variables.
            step = exchange.receive(
                self._transport.send(step.request, self._attempt(exchange, step, report)), time.monotonic()
            )
        return step.value

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@final
class AsyncNavaiBackendClient(_Client[AsyncTransport]):
    __doc__ = _Client.__doc__
    _is_async = True

    def _open(self, transport: Any, http_client: Any, **network: Any) -> AsyncTransport:
        self._background = BackgroundTasks(_log, _failure_of)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Task[None] | None = None
        return async_transport(transport, http_client, **network)

    @property
    def with_raw_response(self) -> AsyncRawOperations:
        return AsyncRawOperations(self._raw())

    async def create_client_secret(
        self, *, timeout: Timeout = USE_CLIENT_DEFAULT, **session: Unpack[SessionOptions]
    ) -> ClientSecret:
        settings = self._settings_of(timeout, session)
        return await self._run(self._calls.prepare(CREATE_CLIENT_SECRET, session), settings)

    def client_secrets(
        self, *, leeway: float = 30.0, **session: Unpack[SessionOptions]
    ) -> AsyncClientSecrets:
        settings = self._checked_secrets(leeway, session)
        mint = partial(self.create_client_secret, **session)
        source, timeout = settings.source, settings.timeout
        return AsyncClientSecrets(mint, leeway, self._background, headers=source, timeout=timeout)

    async def list_functions(
        self,
        *,
        max_age: float | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
        **options: Unpack[CallOptions],
    ) -> FunctionList:
        settings = self._settings_of(timeout, options, alone=True)
        return await self._run(self._calls.list_functions(max_age), settings)

    @overload
    async def execute_function(
        self,
        function_name: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        result_type: type[T],
        on_progress: OnProgress | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
        **options: Unpack[ExecuteOptions],
    ) -> T: ...

    @overload
    async def execute_function(
        self,
        function_name: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        result_type: Any = None,
        on_progress: OnProgress | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
        **options: Unpack[ExecuteOptions],
    ) -> Any: ...

    async def execute_function(
        self,
        function_name: str,
        payload: Any = None,
        *,
        idempotency_key: str | None = None,
        result_type: Any = None,
        on_progress: OnProgress | None = None,
        timeout: Timeout = USE_CLIENT_DEFAULT,
        **options: Unpack[ExecuteOptions],
    ) -> Any:
        given = function_name, payload, idempotency_key, result_type, on_progress, timeout
        return await self._run(*self._execute(*given, options))

    async def cancel_execution(
        self, idempotency_key: str, *, timeout: Timeout = USE_CLIENT_DEFAULT, **options: Unpack[CallOptions]
    ) -> Cancellation:
        settings = self._settings_of(timeout, options, alone=True)
        return await self._run(self._calls.cancel_execution(idempotency_key), settings)

    async def synthesize_speech(
        self, text: str, *, timeout: Timeout = USE_CLIENT_DEFAULT, **voice: Unpack[SpeechOptions]
    ) -> SpeechAudio:
        settings = self._settings_of(timeout, voice)
        return await self._run(self._calls.prepare(SYNTHESIZE_SPEECH, {"text": text, **voice}), settings)

    async def warmup(self, *, timeout: Timeout = USE_CLIENT_DEFAULT) -> None:
        await self._run(*self._warmup(timeout))

    async def wait_until_ready(self, timeout: float | None = 30.0) -> None:
        waiting = self._waiting(timeout)
        while True:
            probe = waiting.next(time.monotonic())
            await asyncio.sleep(probe.delay)
            try:
                await self._run(*self._probing(probe))
            except NavaiError as error:
                waiting.failed(error)
            else:
                return

    async def close(self) -> None:
        if self._original is not None:
            return
        self._closed = True
        if self._loop is None or not self._loop.is_closed():
            self._check_loop()
        try:
            if self._closing is None:
                await self._background.close(_GRACE)
        finally:
            if self._closing is None or self._closing.done():
                # A task of its own, because the transport of another library may lose connections if closing
                # them is interrupted.
                self._closing = asyncio.get_running_loop().create_task(self._opened.aclose())
            await self._background.result(self._closing)

    async def _run(self, invocation: Invocation[T], settings: CallSettings) -> T:
        if self._original is not None:
            return await self._original._run(invocation, settings)  # noqa: SLF001 - of this class
        if settings.source is not None:
            self._check_open()
            began = time.monotonic()
            headers = await settings.source.ask_async(settings.timeout)
            settings = settings.asked(headers, time.monotonic() - began)
        if self._instrumentation is None:
            exchange = self._exchange(invocation, settings)
            value = await self._drive(exchange)
        else:
            default = self._config.json_default
            with observed(self._instrumentation, invocation, settings.headers, default) as observation:
                exchange = self._exchange(carrying(invocation, observation), settings)
                value = await self._drive(exchange)
                observation.succeeded(value)
        return with_response(value, exchange) if settings.is_raw else value

    async def _drive(self, exchange: Exchange[T]) -> T:
        self._check_loop()
        name, on_progress = exchange.invocation.operation.name, exchange.invocation.on_progress
        reports = None if on_progress is None else AsyncReports(on_progress)
        try:
            step = exchange.start(time.monotonic())
            while isinstance(step, Send):
                if step.renews:
                    log_renewal(exchange)
                    step = exchange.renew(await exchange.source.ask_async(step.timeout), time.monotonic())
                    continue
                if step.reason:
                    log_retry(exchange, step)
                    await asyncio.sleep(step.delay)
                call = self._attempt(exchange, step, reports)
                sending = self._transport.send(step.request, call)
                step = exchange.receive(  # in no variable, as in the other client
                    await self._background.run(sending, name, partial(_leave, call)), time.monotonic()
                )
        finally:
            if reports is not None:
                is_cancelled = isinstance(sys.exception(), asyncio.CancelledError)
                await reports.end(exchange.left(time.monotonic()), is_cancelled=is_cancelled)
        return step.value

    def _check_loop(self) -> None:
        """Raise if the running event loop is not that of the first call."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise NavaiStateError("AsyncNavaiBackendClient needs a running asyncio event loop.") from None
        if self._loop is None:
            self._loop = loop
            self._opened = _closed_with_loop(self._transport)
            with contextlib.suppress(StopIteration):
                self._opened.__anext__().send(None)  # up to its yield: the loop knows it from now on
        elif self._loop is not loop:
            raise NavaiStateError(
                "This client belongs to another event loop, in which its connections were opened; "
                "make one client for each loop (each asyncio.run())."
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _closed_with_loop(transport: AsyncTransport) -> AsyncGenerator[None]:
    """Close *transport* once: by ``aclose()``, or when the event loop ends.

    ``asyncio.run()`` closes the asynchronous generators that are left. Afterwards connections of asyncio
    cannot be closed: each would raise RuntimeError, and warn when it is freed.
    """
    loop = asyncio.get_running_loop()
    try:
        yield
    finally:
        with contextlib.suppress(*((RuntimeError,) if loop.is_closed() else ())):
            await transport.close()


def _leave(call: Call) -> bool:
    """Tell the transport that the caller of *call* has left; return whether its task can be cancelled."""
    call.abandon()
    return call.cancellable and not call.sent


def _failure_of(outcome: Any) -> str | None:
    return outcome.message if isinstance(outcome, TransportFailure) else None

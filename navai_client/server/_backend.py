"""A backend without ASGI: settings, functions, services and routes, put together."""

import functools
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar, Unpack, overload

import attrs

from navai_client._redaction import LONGEST_ERROR, Redactor
from navai_client._threads import CallThreads
from navai_client.functions._declaration import Declaration, module_of, name_of, registrable
from navai_client.functions._discovery import DEFAULT_FUNCTIONS_FOLDER, discover_function_modules
from navai_client.functions._registry import FunctionRegistry
from navai_client.server._access_log import AccessLog, AccessRecords
from navai_client.server._demo import DEMO_FUNCTIONS, DemoServices
from navai_client.server._execution import Invoker
from navai_client.server._inspector import RecentCalls
from navai_client.server._routes import Router, Services
from navai_client.server._settings import BackendKeywords, BackendOptions, ServerSettings
from navai_client.server._upstream import UpstreamServices

_F = TypeVar("_F")

_MODELS_WITH_AN_END: Final = frozenset(
    {"gpt-realtime", "gpt-realtime-2025-08-28", "gpt-realtime-mini", "gpt-realtime-mini-2025-12-15"}
)
_log: Final = logging.getLogger("navai_client.server")


class Backend:
    """A backend without ASGI: its settings, functions, services and routes, put together.

    :class:`~navai_client.server.NavaiBackend` serves it; the test backends use it in memory.
    """

    def __init__(
        self,
        options: BackendOptions | None = None,
        *,
        env: Mapping[str, str | None] | None = None,
        demo: bool = False,
        discover: bool = True,
        services: Services | None = None,
        access_log: AccessLog | None = AccessRecords(),  # noqa: B008 - it holds nothing
        **settings: Unpack[BackendKeywords],
    ) -> None:
        """Put a backend together.

        Args:
            options: What client secrets and speech are made with; by default read from *env*.
            env: Sets what is not given; by default the process's environment.
            demo: Whether to offer sample functions, and client secrets that open no session. The inspector is
                then served unless the environment or *settings* say otherwise.
            discover: Whether to search folders for functions.
            services: Mints and speaks instead of OpenAI and ElevenLabs.
            access_log: Where responses are recorded, by default in the logger
                ``navai_client.server.access``; None records nothing.
            settings: Fields of :class:`~navai_client.server.ServerSettings`, such as ``access_token``.

        Raises:
            BackendOptionsError: A setting cannot work.
        """
        env = os.environ if env is None else env
        self.options: BackendOptions = BackendOptions.from_env(env) if options is None else options
        self.settings: ServerSettings = ServerSettings.from_env(env, **settings)
        if self.settings.inspector is None:
            self.settings = attrs.evolve(self.settings, inspector=demo)
        self.access_log = access_log
        self._base_dir = Path(self.settings.functions_base_dir or ".").resolve()
        self._registry = FunctionRegistry()
        self._loaded = not (discover and self.settings.include_functions_routes)
        self._demo = demo
        redactor = Redactor(
            (*self.options.secrets, self.settings.access_token or ""), base_dir=self._base_dir
        )
        self._redact = functools.partial(redactor.text, limit=LONGEST_ERROR)
        if services is None:
            ttl = self.options.client_secret_ttl_seconds
            services = DemoServices(ttl) if demo else UpstreamServices(self.options)
        self.services: Services = services
        self.invoker: Invoker = Invoker(
            CallThreads(self.settings.threads_per_function),
            self._redact,
            timeout=self.settings.function_timeout,
        )
        self.recent_calls: RecentCalls | None = None
        if self.settings.inspector:
            shown = (self.settings.functions_list_path, self.settings.functions_execute_path)
            self.recent_calls = RecentCalls(redactor, shown)
        self.router: Router = Router(
            self.settings, self.functions, self.services, self.invoker, self.recent_calls
        )
        if demo:
            for function in DEMO_FUNCTIONS:
                self._registry.add_value("demo", function.__name__, function)

    def functions(self) -> FunctionRegistry:
        """Return the functions. The first call loads the modules that export some."""
        if not self._loaded:
            self._loaded = True
            folders = self.settings.functions_folders or ""
            # Functions that are registered in code need no folder, and no warning that there is none.
            if folders or not self._registry.names or (self._base_dir / DEFAULT_FUNCTIONS_FOLDER).is_dir():
                agents = self.settings.agents_folders or ""
                found = discover_function_modules(self._base_dir, folders, agents, hide=self._redact)
                for warning in found.warnings:
                    self._registry.warn(warning)
                for module in found.modules:
                    self._registry.add_module(module)
        return self._registry

    def start(self) -> None:
        """Load the functions, and log what the owner should know."""
        self.functions()
        if self._demo:
            return
        if self.options.openai_api_key is None and not self.options.allow_api_key_from_request:
            _log.warning("No OPENAI_API_KEY is set: requests for a client secret get status 401.")
        if self.options.default_model in _MODELS_WITH_AN_END:
            _log.warning(
                "The model %s has an announced shutdown on 2027-01-20: set OPENAI_REALTIME_MODEL to another.",
                self.options.default_model,
            )

    async def aclose(self) -> None:
        """Cancel the calls that still run, and close the connections upstream."""
        await self.router.aclose()
        await self.services.aclose()
        if self.access_log is not None:
            self.access_log.flush()

    @overload
    def function(
        self,
        call: _F,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> _F: ...
    @overload
    def function(
        self, /, *, name: str | None = None, description: str | None = None, timeout: float | None = None
    ) -> Callable[[_F], _F]: ...
    def function(
        self,
        call: _F | None = None,
        /,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> _F | Callable[[_F], _F]:
        """Register a function, or each public method of a class: ``@backend.function`` or with arguments.

        Args:
            call: What is registered; it is returned as it came.
            name: Its name, by default that of its definition; brought into the contract's form.
            description: What the model is told about it, by default its docstring's first paragraph.
            timeout: Seconds that a call may take, by default the backend's limit; 0 means no limit.

        Raises:
            NavaiConfigError: It cannot be called as it is (a method without an instance), or a default is not
                a value of its parameter's type (a marker of another framework).
        """
        declaration = Declaration(name=name, description=description, timeout=timeout)

        def register(call: _F) -> _F:
            callable_ = registrable(call)
            self._registry.add_value(module_of(callable_), name or name_of(callable_), callable_, declaration)
            return call

        return register if call is None else register(call)

"""A whole backend without HTTP: its functions, its services and its core, put together from options."""

import functools
import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, Unpack, overload

from navai_client._redaction import LONGEST_ERROR, Redactor
from navai_client._threads import CallThreads
from navai_client.functions._discovery import DEFAULT_FUNCTIONS_FOLDER, discover_function_modules
from navai_client.functions._registry import FunctionRegistry
from navai_client.server._access_log import AccessLog, AccessRecords
from navai_client.server._calls import Invoker
from navai_client.server._core import BackendCore, Services
from navai_client.server._demo import DEMO_FUNCTIONS, DemoServices
from navai_client.server._inspector import RecentCalls
from navai_client.server._services import UpstreamServices
from navai_client.server._settings import BackendOptions, ServerSettings, SettingsKeywords
from navai_client.wire._decode import trim

_F = TypeVar("_F", bound=Callable[..., Any])

_ENDING: Final = frozenset(
    {"gpt-realtime", "gpt-realtime-2025-08-28", "gpt-realtime-mini", "gpt-realtime-mini-2025-12-15"}
)
_log: Final = logging.getLogger("navai_client.server")


class Backend:
    """What every form of the server shares; see :class:`navai_client.server.NavaiBackend`."""

    def __init__(
        self,
        options: BackendOptions | None = None,
        *,
        env: Mapping[str, str | None] | None = None,
        functions_base_dir: str | os.PathLike[str] | None = None,
        functions_folders: str | None = None,
        agents_folders: str | None = None,
        demo: bool = False,
        discover: bool = True,
        services: Services | None = None,
        access_log: AccessLog | None = AccessRecords(),  # noqa: B008 - it holds nothing
        **settings: Unpack[SettingsKeywords],
    ) -> None:
        """Put a backend together.

        Args:
            options: What client secrets and speech are made with; by default read from *env*.
            env: Where what is not given is read from; by default the process's environment.
            functions_base_dir: Where function modules are looked for; by default the working directory.
            functions_folders: Which folders, files or wildcards below it; see ``discover_function_modules``.
            agents_folders: Which subfolders of these.
            demo: Whether sample functions are offered, and secrets that open nothing are minted. The
                inspector is then served unless the environment or *settings* say otherwise.
            discover: Whether folders are searched for functions at all.
            services: What mints and speaks instead of OpenAI and ElevenLabs.
            access_log: Where answers are recorded, by default in the logger
                ``navai_client.server.access``; None records nothing.
            settings: Fields of :class:`~navai_client.server.ServerSettings`, such as ``access_token``.

        Raises:
            BackendOptionsError: Options that cannot work.
        """
        env = os.environ if env is None else env
        self.options: BackendOptions = BackendOptions.from_env(env) if options is None else options
        self.settings: ServerSettings = ServerSettings(
            **{"inspector": demo, **ServerSettings.from_env(env), **settings}
        )
        self.access_log = access_log
        self._base = Path(
            functions_base_dir or trim(env.get("NAVAI_FUNCTIONS_BASE_DIR") or "") or "."
        ).resolve()
        self._folders = trim(functions_folders or "") or trim(env.get("NAVAI_FUNCTIONS_FOLDERS") or "")
        self._agents = trim(agents_folders or "") or trim(env.get("NAVAI_AGENTS_FOLDERS") or "")
        self._registry = FunctionRegistry()
        self._loaded = not (discover and self.settings.include_functions_routes)
        self._demo = demo
        redactor = Redactor((*self.options.secrets, self.settings.access_token or ""), base_dir=self._base)
        self._hide = functools.partial(redactor.text, limit=LONGEST_ERROR)
        if services is None:
            ttl = self.options.client_secret_ttl_seconds
            services = DemoServices(ttl) if demo else UpstreamServices(self.options)
        self.services: Services = services
        self.invoker: Invoker = Invoker(CallThreads(self.settings.threads_per_function), self._hide)
        self.recent_calls: RecentCalls | None = None
        if self.settings.inspector:
            shown = (self.settings.functions_list_path, self.settings.functions_execute_path)
            self.recent_calls = RecentCalls(self._hide, shown)
        self.core: BackendCore = BackendCore(
            self.settings, self.functions, self.services, self.invoker, self.recent_calls
        )
        if demo:
            self._register_demo()

    def functions(self) -> FunctionRegistry:
        """Return the functions; the first time, load the modules that offer some."""
        if not self._loaded:
            self._loaded = True
            # Who registers functions in code and names no folder need not have one.
            if self._folders or not self._registry.names or (self._base / DEFAULT_FUNCTIONS_FOLDER).is_dir():
                found = discover_function_modules(self._base, self._folders, self._agents, hide=self._hide)
                self._registry.warnings.extend(found.warnings)
                for module in found.modules:
                    self._registry.add_module(module)
            for warning in self._registry.warnings:
                _log.warning("%s", ascii(warning)[1:-1])
        return self._registry

    def start(self) -> None:
        """Load the functions and say in the log what an owner should know."""
        self.functions()
        if self._demo:
            return
        if self.options.openai_api_key is None and not self.options.allow_api_key_from_request:
            _log.warning("No OPENAI_API_KEY is set: requests for a client secret will be answered 401.")
        if self.options.default_model in _ENDING:
            _log.warning(
                "The model %s has an announced shutdown on 2027-01-20: set OPENAI_REALTIME_MODEL to another.",
                self.options.default_model,
            )

    async def aclose(self) -> None:
        """Give up what still runs and close the connections upstream."""
        await self.core.aclose()
        await self.services.aclose()
        if self.access_log is not None:
            self.access_log.flush()

    @overload
    def function(self, call: _F, /) -> _F: ...
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
        """

        def register(call: _F) -> _F:
            self._registry.add_value(
                call.__module__, name or call.__name__, call, description=description, timeout=timeout
            )
            return call

        return register if call is None else register(call)

    def _register_demo(self) -> None:
        for function in DEMO_FUNCTIONS:
            self._registry.add_value("demo", function.__name__, function)

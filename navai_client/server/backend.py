"""A whole backend without HTTP: its functions, its services and its core, put together from options."""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, overload

from navai_client.server.core import BackendCore
from navai_client.server.demo import DemoServices
from navai_client.server.invocation import Invoker
from navai_client.server.options import BackendOptions
from navai_client.server.registry import FunctionRegistry
from navai_client.server.settings import ServerSettings
from navai_client.server.threads import CallThreads

__all__ = ["Backend"]

_F = TypeVar("_F", bound=Callable[..., Any])

_log: Final = logging.getLogger("navai_client.server")


class Backend:
    """What every form of the server shares; see :class:`navai_client.server.NavaiBackend`."""

    def __init__(
        self,
        options: BackendOptions | None = None,
        *,
        env: Mapping[str, str | None] | None = None,
        demo: bool = False,
        **settings: Any,
    ) -> None:
        env = os.environ if env is None else env
        self.options = BackendOptions.from_env(env) if options is None else options
        self._registry = FunctionRegistry()
        self.settings = ServerSettings(**{**ServerSettings.from_env(env), **settings})
        self.services = DemoServices(self.options.client_secret_ttl_seconds)
        self.invoker = Invoker(CallThreads(), str)
        self.core = BackendCore(self.settings, lambda: self._registry, self.services, self.invoker)
        if demo:
            self._register_demo()

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
        from navai_client.server import demo_functions  # noqa: PLC0415 - only a demo needs them

        for name in demo_functions.__all__:
            self._registry.add_value("demo", name, getattr(demo_functions, name))

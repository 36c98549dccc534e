"""A project's folder as an agent: its routes, its functions and its specialists.

The folder is laid out as for the JavaScript packages, with functions in ``src/ai/functions-modules`` and
routes in ``src/ai/routes.py``. If ``NAVAI_AGENTS_FOLDERS`` names agents, each has a folder with its functions
and an optional ``agent_config.py``. The texts of the warnings are the JavaScript package's.
"""

import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, TypedDict

from attrs import evolve, field, frozen

from navai_client._extras import needs_extra
from navai_client._redaction import message_of
from navai_client.config import resolve_navai_env
from navai_client.errors import NavaiConfigError
from navai_client.integrations._prompt import BASE_INSTRUCTIONS, manner_of_speech
from navai_client.integrations.routes import NavaiRoute
from navai_client.wire._decode import trim

with needs_extra("tools", "docstring_parser", "pydantic"):
    from navai_client.functions._discovery import (
        AGENT_CONFIG,
        DEFAULT_FUNCTIONS_FOLDER,
        DiscoveredModules,
        FunctionModule,
        agents_of,
        discover_function_modules,
        entries_of,
        places_of,
    )
    from navai_client.functions._registry import FunctionRegistry, load_functions
    from navai_client.integrations._local import LocalFunctions

__all__ = ["NavaiRuntime", "RuntimeAgent", "RuntimeOptions", "Specialist", "resolve_navai_runtime"]

_DEFAULT_ROUTES_FILE: Final = "src/ai/routes.py"
_ROUTES: Final = ("NAVAI_ROUTE_ITEMS", "NAVAI_ROUTES", "APP_ROUTES", "routes")
_AGENT: Final = ("NAVAI_AGENT", "agent")


@frozen(kw_only=True)
class Specialist:
    """An agent to which the main agent hands over tasks of one kind.

    Attributes:
        name: Its name. The main agent hands over by the tool ``transfer_to_{name}``, in lower case and with
            ``_`` for all but ASCII letters and digits: ``transfer_to_fast_food`` for ``Fast Food``.
        description: What it is for, in the instructions of the main agent.
        functions: Python functions of its own, as for ``Toolset.load``.
        only: Names of the backend's functions that it may call; None for all.
        instructions: Who it is; ``You are the {name} specialist agent for this web app.`` by default.
        handoff_description: When to hand over to it, instead of *description*.
        direct_tools: Whether it has a tool for each function; else ``execute_app_function`` reaches them all,
            as in JavaScript.
        hands_back: Whether it can hand back to the main agent.
    """

    name: str
    description: str | None = None
    functions: LocalFunctions = field(default=(), hash=False)
    only: Collection[str] | None = None
    instructions: str | None = None
    handoff_description: str | None = None
    direct_tools: bool = True
    hands_back: bool = True


@frozen(kw_only=True)
class RuntimeAgent:
    """An agent of a project.

    Attributes:
        key: The name of its folder, or the ``key`` of its ``agent_config.py``.
        name: The ``name`` of its ``agent_config.py``, else the folder's: ``fast_food`` becomes ``Fast Food``.
        description: What it is for, or None.
        handoff_description: When to hand over to it; by default its description.
        instructions: Who it is, or None.
        is_primary: Whether it is the main agent.
        functions: The functions of its folder.
    """

    key: str
    name: str
    description: str | None = None
    handoff_description: str | None = None
    instructions: str | None = None
    is_primary: bool = False
    functions: FunctionRegistry = field(factory=FunctionRegistry, repr=False, hash=False)


class RuntimeOptions(TypedDict):
    """The options of a toolset that a project's folder gives.

    Attributes:
        functions: The functions of the main agent.
        routes: The routes.
    """

    functions: FunctionRegistry
    routes: tuple[NavaiRoute, ...]


@frozen(kw_only=True)
class NavaiRuntime:
    """What a project's folder holds.

    Attributes:
        agents: Its agents, if ``NAVAI_AGENTS_FOLDERS`` names some that have functions.
        functions: The functions of the main agent; all functions, if there are no agents.
        routes: The routes that an agent may open.
        model: The realtime model that the project asks for, or None for the backend's.
        warnings: What is wrong with the folder or the settings. What is wrong with a function is in
            ``Toolset.warnings``.
    """

    agents: tuple[RuntimeAgent, ...]
    functions: FunctionRegistry = field(repr=False, hash=False)
    routes: tuple[NavaiRoute, ...]
    model: str | None
    warnings: tuple[str, ...]

    @property
    def toolset_options(self) -> RuntimeOptions:
        """Functions and routes of the main agent, for ``Toolset.load(client, **runtime.toolset_options)``."""
        return {"functions": self.functions, "routes": self.routes}

    @property
    def primary_agent(self) -> RuntimeAgent | None:
        """The main agent, or None if no agents are named."""
        return next((each for each in self.agents if each.is_primary), None)

    @property
    def specialists(self) -> tuple[Specialist, ...]:
        """The other agents, to hand over to."""
        return tuple(
            Specialist(
                name=each.name,
                description=each.description,
                handoff_description=each.handoff_description,
                instructions=each.instructions,
                functions=each.functions,
            )
            for each in self.agents
            if not each.is_primary
        )

    def as_one_agent(self) -> "NavaiRuntime":
        """Return this project as one agent with the functions of all, for frameworks without handoffs.

        A function whose name is taken gets a number (``order_2``), and ``Toolset.warnings`` say so. The
        agent's instructions include the specialists' descriptions and instructions.
        """
        main = self.primary_agent
        if main is None or len(self.agents) == 1:
            return self
        functions = FunctionRegistry()
        lines = []
        for each in (main, *(other for other in self.agents if other is not main)):
            functions.warnings += each.functions.warnings
            for function in each.functions:
                functions.include(function)
            told = [text for text in (each.description, each.instructions) if text is not None]
            if each is not main and told:
                lines.append(f"Tasks of {each.name}: {' '.join(told)}")
        instructions = main.instructions
        if lines:
            instructions = "\n".join((instructions or BASE_INSTRUCTIONS, *lines))
        one = evolve(main, instructions=instructions, functions=functions)
        return evolve(self, agents=(one,), functions=functions)

    def instructions(self, backend: str | None = None) -> str | None:
        """Return the first lines of the main agent's instructions, which say who it is; or None.

        Args:
            backend: The backend's instructions (``BackendSession.instructions``). Of these, an agent with
                instructions of its own keeps the lines about language, accent and tone.
        """
        agent = self.primary_agent
        if agent is None or agent.instructions is None:
            return backend
        return "\n".join((agent.instructions, *manner_of_speech(backend)))


def resolve_navai_runtime(
    base_dir: str | os.PathLike[str] = ".",
    *,
    env: Mapping[str, str | None] | None = None,
    routes_file: str | None = None,
    functions_folders: str | None = None,
    agents_folders: str | None = None,
    model: str | None = None,
    primary_agent_key: str | None = None,
    default_routes: Iterable[NavaiRoute] = (),
    default_routes_file: str = _DEFAULT_ROUTES_FILE,
    default_functions_folder: str = DEFAULT_FUNCTIONS_FOLDER,
    exclude: Iterable[str] = (),
    strict: bool = False,
) -> NavaiRuntime:
    """Read a project's folder: import its modules, and return its agents, functions and routes.

    What cannot be used becomes a warning. Nothing outside the folder is imported.

    Args:
        base_dir: The folder.
        env: Where to read the settings that are not given; by default the process's environment.
        routes_file: The module that holds ``NAVAI_ROUTE_ITEMS``, a list of ``NavaiRoute`` or of dicts with
            ``name``, ``path``, ``description`` and ``synonyms``; else ``NAVAI_ROUTES_FILE``.
        functions_folders: As for ``discover_function_modules``; else ``NAVAI_FUNCTIONS_FOLDERS``.
        agents_folders: The names of the agents' folders, with commas between them; else
            ``NAVAI_AGENTS_FOLDERS``. The main agent is the first name. If that has no functions, it is the
            first whose ``agent_config.py`` says so, or else the first that has functions.
        model: The realtime model; else ``NAVAI_REALTIME_MODEL``.
        primary_agent_key: The key of the main agent.
        default_routes: The routes if there is no module with routes.
        default_routes_file: The module of routes if none is named, or the named one cannot be used.
        default_functions_folder: The folder of functions if none is named, or the named ones have none.
        exclude: As for ``discover_function_modules``.
        strict: Whether to offer only what ``__all__`` or the decorator ``function`` names.

    Raises:
        NavaiConfigError: No agent has the *primary_agent_key*.
        TypeError: *exclude* is a string.
    """
    known = resolve_navai_env([os.environ if env is None else env])

    def setting(given: str | None, name: str) -> str | None:
        return trim(given or "") or known.get(name)

    folders = setting(functions_folders, "NAVAI_FUNCTIONS_FOLDERS")
    names = setting(agents_folders, "NAVAI_AGENTS_FOLDERS")
    found = discover_function_modules(
        base_dir, folders, names, exclude=exclude, default_folder=default_functions_folder
    )
    warnings: list[str] = []
    routes_module = setting(routes_file, "NAVAI_ROUTES_FILE") or default_routes_file
    routes, path = _read_routes(found, routes_module, default_routes_file, warnings)
    modules = [each for each in found.modules if each.path != path]
    entries = entries_of(folders or default_functions_folder)
    bases = [base for entry in entries for base in _bases(entry)]
    agents = _read_agents(found, modules, agents_of(names), bases, warnings, strict=strict)
    agents = _with_primary(agents, primary_agent_key)
    own = next((each.functions for each in agents if each.is_primary), None)
    return NavaiRuntime(
        agents=agents,
        functions=load_functions(modules, strict=strict) if own is None else own,
        routes=tuple(default_routes) if routes is None else routes,
        model=setting(model, "NAVAI_REALTIME_MODEL"),
        warnings=(*found.warnings, *warnings),
    )


def _read_routes(
    found: DiscoveredModules, wanted: str, default: str, warnings: list[str]
) -> tuple[tuple[NavaiRoute, ...] | None, str | None]:
    """Return the routes, and the path of their module; None where there is none."""
    files = [file for place in places_of(wanted) for file in _files(place)]
    is_default = default in files
    module = found.find(files)
    if module is None:
        problem = None if is_default else f'Route module "{wanted}" was not found.'
    else:
        held, reason = _imported(module)
        routes = _routes_in(held)
        if routes is not None:
            return routes, module.path
        problem = f'Route module "{wanted}" must hold NAVAI_ROUTE_ITEMS, a list of NavaiRoute.'
        if reason is not None:
            problem = f'Failed to load route module "{wanted}": {reason.rstrip(".")}.'
    if problem is not None:
        warnings.append(f"[navai] {problem}" + ("" if is_default else f' Falling back to "{default}".'))
    if is_default:
        return None, None if module is None else module.path
    return _read_routes(found, default, default, warnings)


def _files(place: str) -> list[str]:
    return [place] if place.endswith(".py") else [f"{place}.py", f"{place}/__init__.py"]


def _imported(module: FunctionModule) -> tuple[Mapping[str, Any], str | None]:
    """Return what *module* holds, or nothing and why it could not be imported."""
    try:
        return vars(module.load()), None
    except KeyboardInterrupt:
        raise  # a person stops the start
    # The boundary to the owner's code: importing a module may raise any exception.
    except BaseException as error:  # noqa: BLE001
        return {}, module.hide(message_of(error))


def _routes_in(held: Mapping[str, Any]) -> tuple[NavaiRoute, ...] | None:
    items = next((held[name] for name in _ROUTES if held.get(name) is not None), None)
    if not isinstance(items, list | tuple):
        return None
    routes = [_route(item) for item in items]
    return None if None in routes else tuple(route for route in routes if route is not None)


def _route(item: Any) -> NavaiRoute | None:
    if not isinstance(item, Mapping):
        return item if isinstance(item, NavaiRoute) else None
    texts = {name: item.get(name, "") for name in ("name", "path", "description")}
    synonyms = item.get("synonyms") or ()
    if not item.keys() >= {"name", "path"} or not isinstance(synonyms, list | tuple):
        return None
    if not all(isinstance(each, str) for each in (*texts.values(), *synonyms)):
        return None
    return NavaiRoute(**texts, synonyms=synonyms)


def _bases(entry: str) -> list[str]:
    """Return where the folders of agents are for an *entry* of the functions folders."""
    if "*" in entry or entry.endswith(".py"):
        return []
    return [f"{place.removesuffix('/...').rstrip('/')}/" for place in places_of(entry)]


def _read_agents(
    found: DiscoveredModules,
    modules: Iterable[FunctionModule],
    names: Sequence[str],
    bases: Sequence[str],
    warnings: list[str],
    *,
    strict: bool,
) -> tuple[RuntimeAgent, ...]:
    own: dict[str, list[FunctionModule]] = {name: [] for name in names}
    homeless: list[FunctionModule] = []
    for module in modules:
        below = [module.path.removeprefix(base) for base in bases if module.path.startswith(base)]
        name = next((first for path in below if (first := path.partition("/")[0]) in own), None)
        (homeless if name is None else own[name]).append(module)
    if any(own.values()):
        warnings += [
            f"[navai] Ignored {each.path}: it is in no folder of NAVAI_AGENTS_FOLDERS." for each in homeless
        ]
        warnings += [
            f'[navai] NAVAI_AGENTS_FOLDERS: "{name}" has no function, so it is no agent.'
            for name, given in own.items()
            if not given
        ]
    agents = []
    for name, given in own.items():
        if not given:
            continue
        config = found.find(f"{base}{name}/{AGENT_CONFIG}" for base in bases)
        said = {} if config is None else _config_in(config, warnings)
        description = _text(said, "description")
        agents.append(
            RuntimeAgent(
                key=_text(said, "key") or name,
                name=_text(said, "name") or _humanized(name),
                description=description,
                handoff_description=_text(said, "handoff_description", "handoffDescription") or description,
                instructions=_text(said, "instructions"),
                is_primary=name == names[0] or True in (said.get("is_primary"), said.get("isPrimary")),
                functions=load_functions(given, strict=strict),
            )
        )
    return tuple(agents)


def _config_in(module: FunctionModule, warnings: list[str]) -> Mapping[str, Any]:
    held, reason = _imported(module)
    if reason is not None:
        warnings.append(f"[navai] Failed to load {module.path}: {reason}")
        return {}
    for name in _AGENT:
        said = held.get(name)
        if isinstance(said, Mapping):
            return said
    warnings.append(f"[navai] Ignored {module.path}: it must hold NAVAI_AGENT, a dict.")
    return {}


def _with_primary(agents: tuple[RuntimeAgent, ...], key: str | None) -> tuple[RuntimeAgent, ...]:
    """Return *agents* with exactly one main agent, if there are any.

    Raises:
        NavaiConfigError: None has the *key*.
    """
    wanted = [each for each in agents if (each.is_primary if key is None else each.key == key)]
    if key is not None and not wanted:
        known = ", ".join(each.key for each in agents)
        there = f"; there are: {known}" if known else ": NAVAI_AGENTS_FOLDERS names none that has functions"
        raise NavaiConfigError(f"primary_agent_key: no agent has the key {key!r}{there}.")
    primary = next(iter((*wanted, *agents)), None)
    return tuple(evolve(each, is_primary=each is primary) for each in agents)


def _text(said: Mapping[str, Any], *names: str) -> str | None:
    """Return the first text in *said* under one of *names* that is not blank."""
    texts = (trim(said[name]) for name in names if isinstance(said.get(name), str))
    return next((text for text in texts if text), None)


def _humanized(folder: str) -> str:
    return " ".join(part[:1].upper() + part[1:] for part in re.split("[_-]+", folder) if part)

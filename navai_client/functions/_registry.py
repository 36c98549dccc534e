"""From exports to named functions: the allow-list of a backend or an agent."""

import logging
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import attrs

from navai_client._redaction import Redactor, message_of
from navai_client.errors import NavaiConfigError
from navai_client.functions._binding import Target
from navai_client.functions._declaration import Declaration, time_limit
from navai_client.functions._discovery import FunctionModule
from navai_client.functions._exports import Export, exports_of_module, exports_of_value
from navai_client.functions._results import encode_result
from navai_client.functions._schema import without_secrets

_CAMEL: Final = re.compile(r"([a-z0-9])([A-Z])")
_OTHERS: Final = re.compile(r"[^a-zA-Z0-9]+")
_NOTHING_SAID: Final = Declaration()

_log: Final = logging.getLogger("navai_client.functions")


@attrs.frozen
class RegisteredFunction:
    """One offered function.

    Attributes:
        declaration: Its declaration; its name is final.
        source: Where it was defined.
        parameters: The JSON Schema of its arguments.
        target: How it is called.
        opening: The response to a successful call, up to the result.
        name: Its name.
        scopes: What a caller must hold, all of it, to see and to call it.
    """

    declaration: Declaration
    source: str
    parameters: dict[str, Any] = attrs.field(repr=False)
    target: Target = attrs.field(repr=False)
    name: str = attrs.field(init=False)
    opening: bytes = attrs.field(init=False, repr=False)
    scopes: frozenset[str] = attrs.field(init=False)

    @name.default
    def _name(self) -> str:
        return self.declaration.name or ""

    @opening.default
    def _opening(self) -> bytes:
        known = {"ok": True, "function_name": self.name, "source": self.source}
        return encode_result(known)[:-1] + b',"result":'

    @scopes.default
    def _scopes(self) -> frozenset[str]:
        return self.declaration.scopes or frozenset()

    @property
    def description(self) -> str:
        """Its description for models."""
        return self.declaration.description or ""

    @property
    def needs_approval(self) -> bool:
        """Whether a person must approve each call."""
        return self.declaration.approval or False

    @property
    def reads_only(self) -> bool:
        """Whether a call may be cancelled, and made again, because it changes nothing without approval."""
        return self.declaration.effect == "read" and not self.needs_approval

    def limit(self, default: float | None) -> float | None:
        """Return the seconds that a call may take, or None for no limit; *default* if it declares nothing."""
        return time_limit(default, self.declaration.timeout, self.declaration.typical_seconds)


class FunctionRegistry:
    """Named functions in the order of their registration, and the warnings about them."""

    def __init__(self, redactor: Redactor = Redactor()) -> None:  # noqa: B008 - immutable
        """Make an empty registry, whose list shows no secret that *redactor* finds."""
        self._redactor = redactor
        self._by_name: dict[str, RegisteredFunction] = {}
        self._next: dict[str, int] = {}
        self.warnings: list[str] = []
        self.failed: list[str] = []
        """The paths of the modules that could not be imported."""
        self.scopes: frozenset[str] = frozenset()
        """All scopes that a function requires."""

    @property
    def version(self) -> int:
        """A number that changes with each function and each warning that is added."""
        return len(self._by_name) + len(self.warnings)

    @property
    def functions(self) -> tuple[RegisteredFunction, ...]:
        """All functions, in order."""
        return tuple(self._by_name.values())

    def __iter__(self) -> Iterator[RegisteredFunction]:
        return iter(self._by_name.values())

    @property
    def names(self) -> list[str]:
        """All names, in order."""
        return list(self._by_name)

    def find(self, name: str) -> RegisteredFunction | None:
        """Return the function called *name*, or None."""
        return self._by_name.get(name)

    def warn(self, warning: str, reason: str = "") -> None:
        """Add a warning, and log it with the *reason* that only the log has."""
        self.warnings.append(warning)
        _log.warning("%s", f"{warning} {reason}".rstrip().encode("unicode_escape").decode())  # one line each

    def add(self, export: Export, said: Declaration = _NOTHING_SAID) -> RegisteredFunction | None:
        """Give *export* its final name and add it; one that no JSON payload can call becomes a warning.

        Args:
            export: The function.
            said: Its declaration here, which overrides that of its definition.

        Raises:
            NavaiConfigError: It cannot be read, cannot run where it should, or a default is not a value of
                its parameter's type.
        """
        try:
            target = export.target()
            declaration = said.over(export.declaration())
        except NavaiConfigError:
            raise
        # The boundary to the owner's types: reading them may raise any exception.
        except (Exception, SystemExit) as error:
            raise NavaiConfigError(f"{export.name} cannot be read: {message_of(error)}") from error
        if target.obstacle is not None:
            self.warn(f"[navai] Ignored {export.source}: {target.obstacle}.")
            return None
        if declaration.runs_in == "process" and not target.is_importable:
            raise NavaiConfigError(
                f"{export.name} cannot run in another process, which imports it by its name: "
                "define it at the top level of its module."
            )
        name = self._take(declaration.name or export.name)
        for warning in target.warnings:
            self.warn(f"[navai] {export.source}: {warning}.")

        def warn_of_secret(name: str) -> None:
            reason = "it is, or looks like, a secret"
            self.warn(f'[navai] {export.source}: the default of "{name}" is not published: {reason}.')

        parameters = without_secrets(target.binding.schema, self._redactor, "", warn_of_secret)
        declaration = attrs.evolve(declaration, name=name)
        function = self._by_name[name] = RegisteredFunction(declaration, export.source, parameters, target)
        self.scopes |= function.scopes
        return function

    def include(self, known: RegisteredFunction, name: str | None = None) -> None:
        """Add a function of another registry, as *name* or under its own name."""
        declaration = attrs.evolve(known.declaration, name=self._take(name or known.name))
        self._by_name[declaration.name or ""] = attrs.evolve(known, declaration=declaration)
        self.scopes |= known.scopes

    def add_value(self, path: str, name: str, value: Any, said: Declaration = _NOTHING_SAID) -> None:
        """Add a function, or a class's methods, passed in directly.

        A name in *said* takes the place of the class's own in those of its methods.

        Raises:
            NavaiConfigError: A default is not a value of its parameter's type.
        """
        before = self.version
        for export in exports_of_value(path, name, value, self.warn):
            given = said
            if said.name is not None and isinstance(value, type):
                given = attrs.evolve(said, name=f"{said.name}_{export.source.rpartition('.')[2]}")
            self.add(export, given)
        if self.version == before:  # a class that holds data: in a module, it is expected
            self.warn(f"[navai] Ignored {path}#{name}: class has no callable instance methods.")

    def add_module(self, module: FunctionModule, *, strict: bool = False) -> None:
        """Import *module* and add its exports; a module that fails becomes a warning.

        Args:
            module: The module.
            strict: Whether to offer only what ``__all__`` or the decorator ``function`` names.
        """
        try:
            for export in exports_of_module(module.path, module.load(), self.warn, strict=strict):
                try:
                    self.add(export)
                except NavaiConfigError as error:
                    self.warn(f"[navai] Ignored {export.source}: {error}")
        except KeyboardInterrupt:
            raise  # of a person, who stops the start
        # The boundary to the owner's code: importing and reading a module may raise any exception.
        except BaseException as error:  # noqa: BLE001
            self.failed.append(module.path)
            message = message_of(error)
            shown = module.hide(message)
            reason = "" if shown else self._redactor.text(message)
            self.warn(f"[navai] Failed to load {module.path}: {shown or 'the log has the reason.'}", reason)

    def visible(self, scopes: frozenset[str]) -> list[RegisteredFunction]:
        """Return the functions that a caller with *scopes* may call, in order."""
        return [each for each in self.functions if each.scopes <= scopes]

    def listing(self, scopes: frozenset[str] | None = None) -> bytes:
        """Return the body of the list of functions, of those that a caller with *scopes* may call if given.

        Warnings name functions: a caller who does not see all of these sees none of those.
        """
        shown = self.functions if scopes is None else self.visible(scopes)
        items = [
            {
                "name": each.name,
                "description": each.description,
                "source": each.source,
                "parameters": each.parameters,
                # An item of upstream's WordPress plugin always has it, one of its JavaScript backend never.
                **({"metadata": metadata} if (metadata := each.declaration.metadata) else {}),
            }
            for each in shown
        ]
        warnings = self.warnings if len(shown) == len(self._by_name) else []
        return encode_result(_map_strings({"items": items, "warnings": warnings}, self._redactor.text))

    def _take(self, raw: str) -> str:
        """Return the final name of a function called *raw*."""
        wanted = normalize_name(raw)
        name = self._free(wanted or "fn")
        if name != wanted:
            self.warn(f'[navai] Renamed duplicated function "{raw}" to "{name}".')
        return name

    def _free(self, wanted: str) -> str:
        if wanted not in self._by_name:
            return wanted
        number = self._next.get(wanted, 2)
        while f"{wanted}_{number}" in self._by_name:
            number += 1
        self._next[wanted] = number + 1
        return f"{wanted}_{number}"


def load_functions(modules: Iterable[FunctionModule], *, strict: bool = False) -> FunctionRegistry:
    """Import *modules* in the order of their paths and register what they export.

    What cannot be imported, or exports nothing, is in the registry's ``warnings``; nothing is raised.

    Args:
        modules: The modules.
        strict: Whether to offer only what ``__all__`` or the decorator ``function`` names.
    """
    registry = FunctionRegistry()
    for module in sorted(modules, key=_path_of):
        registry.add_module(module, strict=strict)
    return registry


def normalize_name(raw: str) -> str:
    """Turn *raw* into a name in lower case with ``_`` between its words, as all Navai backends do."""
    return _OTHERS.sub("_", _CAMEL.sub(r"\1_\2", raw)).strip("_").lower()


def _map_strings(value: Any, change: Callable[[str], str]) -> Any:
    """Return a JSON value with *change* applied to its strings, but not to the names of members."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {name: _map_strings(each, change) for name, each in value.items()}
    return [_map_strings(each, change) for each in value] if isinstance(value, list) else value


def _path_of(module: FunctionModule) -> str:
    return module.path

"""Modules -> named functions: the allow-list of what a backend runs."""

import re
from collections.abc import Iterable
from typing import Any, Final

import attrs
import msgspec

from navai_client._redaction import message_of
from navai_client.functions._discovery import FunctionModule
from navai_client.functions._exports import Export, exports_of_module, exports_of_value
from navai_client.functions._schema import parameter_descriptions, parameters_schema
from navai_client.functions._targets import Target

_CAMEL: Final = re.compile(r"([a-z0-9])([A-Z])")
_OTHERS: Final = re.compile(r"[^a-zA-Z0-9]+")


@attrs.frozen
class RegisteredFunction:
    """One function that a backend offers.

    Attributes:
        name: What it is called by.
        description: What the model is told about it.
        source: Where it was defined.
        parameters: The JSON Schema of its arguments.
        target: How it is called.
        timeout: Seconds that a call may take; None means the backend's own limit, 0 none.
        opening: The answer to a successful call, up to the result.
    """

    name: str
    description: str
    source: str
    parameters: dict[str, Any] = attrs.field(repr=False)
    target: Target = attrs.field(repr=False)
    timeout: float | None = None
    opening: bytes = attrs.field(default=b"", repr=False)


class FunctionRegistry:
    """Named functions, in the order in which they came, and the warnings that came with them."""

    def __init__(self) -> None:
        self._by_name: dict[str, RegisteredFunction] = {}
        self._next: dict[str, int] = {}
        self.warnings: list[str] = []

    @property
    def version(self) -> int:
        """A number that changes with every function and every warning taken in."""
        return len(self._by_name) + len(self.warnings)

    @property
    def functions(self) -> tuple[RegisteredFunction, ...]:
        """Every function, in order."""
        return tuple(self._by_name.values())

    @property
    def names(self) -> list[str]:
        """Every name, in order."""
        return list(self._by_name)

    def find(self, name: str) -> RegisteredFunction | None:
        """Return the function called *name*, or None."""
        return self._by_name.get(name)

    def add(
        self, export: Export, *, description: str | None = None, timeout: float | None = None
    ) -> RegisteredFunction:
        """Give *export* its final name and take it in."""
        wanted = normalize_name(export.raw_name) or "fn"
        name = self._free(wanted)
        if name != normalize_name(export.raw_name):
            self.warnings.append(f'[navai] Renamed duplicated function "{export.raw_name}" to "{name}".')
        head = {"ok": True, "function_name": name, "source": export.source}
        function = RegisteredFunction(
            name,
            export.description if description is None else description,
            export.source,
            parameters_schema(export.target.signature, parameter_descriptions(export.call)),
            export.target,
            timeout,
            msgspec.json.encode(head)[:-1] + b',"result":',
        )
        self._by_name[name] = function
        return function

    def add_value(
        self,
        path: str,
        name: str,
        value: Any,
        *,
        description: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Take in a function, or a class's methods, handed over directly."""
        for export in exports_of_value(path, name, value, self.warnings):
            self.add(export, description=description, timeout=timeout)

    def add_module(self, module: FunctionModule) -> None:
        """Import *module* and take in what it exports; a module that fails is a warning."""
        try:
            for export in exports_of_module(module.path, module.load(), self.warnings):
                self.add(export)
        # The boundary to code that is not ours: a module may raise anything while it is imported and read.
        except (Exception, SystemExit) as error:  # noqa: BLE001
            failed = module.hide(message_of(error))
            self.warnings.append(f"[navai] Failed to load {module.path}: {failed}")

    def listing(self) -> bytes:
        """Return the body of the list of functions."""
        items = [
            {
                "name": each.name,
                "description": each.description,
                "source": each.source,
                "parameters": each.parameters,
            }
            for each in self.functions
        ]
        return msgspec.json.encode({"items": items, "warnings": self.warnings})

    def _free(self, wanted: str) -> str:
        if wanted not in self._by_name:
            return wanted
        number = self._next.get(wanted, 2)
        while f"{wanted}_{number}" in self._by_name:
            number += 1
        self._next[wanted] = number + 1
        return f"{wanted}_{number}"


def load_functions(modules: Iterable[FunctionModule]) -> FunctionRegistry:
    """Import *modules* in the order of their paths and register what they export.

    What cannot be imported, or exports nothing, is told in the registry's ``warnings``; nothing is raised.
    """
    registry = FunctionRegistry()
    for module in sorted(modules, key=_path_of):
        registry.add_module(module)
    return registry


def normalize_name(raw: str) -> str:
    """Turn *raw* into a name in lower case with ``_`` between its words, as all Navai backends do."""
    return _OTHERS.sub("_", _CAMEL.sub(r"\1_\2", raw)).strip("_").lower()


def _path_of(module: FunctionModule) -> str:
    return module.path

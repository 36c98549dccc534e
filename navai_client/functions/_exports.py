"""From a module's exports to the functions that it offers, with names, descriptions and sources.

The rules are the contract's; the texts of the warnings are the Express backend's.
"""

import enum
import inspect
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from navai_client.functions._binding import MethodTarget, Target
from navai_client.functions._declaration import Declaration, declaration_of, is_declared
from navai_client.functions._hints import unwrapped
from navai_client.functions._schema import first_paragraph

_PLAIN: Final = (str, bytes, int, float, complex, bool, type(None))


class ExportError(Exception):
    """A module exports a name that it does not have."""


@attrs.frozen
class Export:
    """A function to offer, before it has its final name.

    Attributes:
        name: The source of its name, unless the declaration has one.
        description: Its description for models, unless its docstring or the declaration has one.
        source: Where it comes from: ``{path}#{export}`` or ``{path}#{export}.{member}``.
        call: The function itself.
        method: The class and the name, if it is a method that needs an instance.
    """

    name: str
    description: str
    source: str
    call: Callable[..., Any]
    method: tuple[type, str] | None = None

    def declaration(self) -> Declaration:
        """Return its declaration, completed with a name and a description."""
        said = first_paragraph(unwrapped(self.call)) or self.description
        return declaration_of(self.call).over(Declaration(name=self.name, description=said))

    def target(self) -> Target:
        """Read its parameters, and return how it is called.

        Raises:
            NavaiConfigError: A default is not a value of its parameter's type.
        """
        return Target(self.call) if self.method is None else MethodTarget(*self.method)


def exports_of_module(
    path: str, module: types.ModuleType, warn: Callable[[str], None], *, strict: bool = False
) -> Iterator[Export]:
    """Yield the functions of *module*, known as *path*; call *warn* for exports that are ignored.

    The names in ``__all__`` are taken; without it, what the decorator ``function`` marked and, unless
    *strict*, the public functions and classes that the module itself defines, in the order of their
    definition. Names that it imported are not offered, nor are lambdas, instances and classes that hold
    data, which are seldom meant as tools.

    Raises:
        ExportError: ``__all__`` has a name that the module does not.
    """
    found = _exported(path, module, warn, strict=strict)
    if not found:
        warn(f"[navai] Ignored {path}: module has no exports.")
        return
    count = 0
    for name, value in found:
        for export in exports_of_value(path, name, value, warn):
            count += 1
            yield export
    if not count:
        warn(f"[navai] Ignored {path}: module has no callable exports.")


def exports_of_value(path: str, name: str, value: Any, warn: Callable[[str], None]) -> Iterator[Export]:
    """Yield the functions of the export *name*: itself, a class's methods or an object's members."""
    if isinstance(value, type):
        yield from _exports_of_class(path, name, value, warn)
    elif callable(value):
        yield Export(name, f"Call exported function {name}.", f"{path}#{name}", value)
    elif not isinstance(value, (*_PLAIN, types.ModuleType)):
        yield from _exports_of_object(path, name, value, warn)


def _exported(
    path: str, module: types.ModuleType, warn: Callable[[str], None], *, strict: bool
) -> list[tuple[str, Any]]:
    names = vars(module).get("__all__")
    if names is None:
        return [
            (name, value)
            for name, value in vars(module).items()
            if not name.startswith("_")
            and (
                _is_marked_in(module, value)
                or (not strict and _is_defined_in(module, value) and _is_meant(path, name, value, warn))
            )
        ]
    missing = [name for name in names if not hasattr(module, name)]
    if missing:
        raise ExportError(f"__all__ names {missing[0]!r}, which the module does not have")
    order = {name: index for index, name in enumerate(vars(module))}
    return [
        (name, getattr(module, name))
        for name in sorted(dict.fromkeys(names), key=lambda name: order.get(name, len(order)))
    ]


def _is_marked_in(module: types.ModuleType, value: Any) -> bool:
    """Whether the decorator ``function`` marked *value*, and *module* did not import it."""
    if not is_declared(value):
        return False
    return not isinstance(value, type | types.FunctionType) or value.__module__ == module.__name__


def _is_defined_in(module: types.ModuleType, value: Any) -> bool:
    """Whether *value* is a class or a function of *module*; an instance may answer to any attribute."""
    if isinstance(value, type | types.FunctionType):
        return value.__module__ == module.__name__
    try:
        own = vars(value)
    except TypeError:  # it has no attributes of its own
        return False
    # functools.wraps, lru_cache and their kind describe the function that they wrap in these.
    return callable(value) and "__wrapped__" in own and own.get("__module__") == module.__name__


def _is_meant(path: str, name: str, value: Any, warn: Callable[[str], None]) -> bool:
    """Whether *value* is likely meant to be called by a model."""
    if isinstance(value, types.FunctionType) and value.__name__ == "<lambda>":
        kind = "a lambda"
    elif isinstance(value, type) and _is_data(value):
        if not _methods(value):
            return True  # and it offers nothing
        kind = "a class that holds data"
    else:
        return True
    warn(f"[navai] Ignored {path}#{name}: {kind} is offered if __all__ or @function names it.")
    return False


def _exports_of_class(path: str, name: str, cls: type, warn: Callable[[str], None]) -> Iterator[Export]:
    methods = _methods(cls)
    if not methods:
        if not _is_data(cls):
            warn(f"[navai] Ignored {path}#{name}: class has no callable instance methods.")
        return
    for member in methods:
        call = getattr(cls, member)
        static = isinstance(vars(cls)[member], staticmethod)
        yield Export(
            f"{cls.__name__}_{member}",
            f"Call class method {cls.__name__}.{member}().",
            f"{path}#{name}.{member}",
            call,
            None if static else (cls, member),
        )


def _methods(cls: type) -> list[str]:
    return [
        member
        for member, value in vars(cls).items()
        if not member.startswith("_") and (inspect.isfunction(value) or isinstance(value, staticmethod))
    ]


def _is_data(cls: type) -> bool:
    """Whether *cls* is a type that functions take, return or raise, and not meant as a tool."""
    return (
        issubclass(cls, BaseException | enum.Enum)
        or typing.is_typeddict(cls)
        or getattr(cls, "_is_protocol", False)
        or any(
            hasattr(cls, mark)
            for mark in (
                "__attrs_attrs__",
                "__dataclass_fields__",
                "__struct_fields__",
                "_fields",
                "model_fields",
            )
        )
    )


def _exports_of_object(path: str, name: str, value: Any, warn: Callable[[str], None]) -> Iterator[Export]:
    count = 0
    for member, call in _members(value):
        count += 1
        yield Export(
            f"{name}_{member}",
            f"Call exported object member {name}.{member}().",
            f"{path}#{name}.{member}",
            call,
        )
    if not count:
        warn(f"[navai] Ignored {path}#{name}: exported object has no callable members.")


def _members(value: Any) -> list[tuple[str, Callable[..., Any]]]:
    if isinstance(value, dict):
        return [
            (str(key), each) for key, each in value.items() if callable(each) and not isinstance(each, type)
        ]
    of_class = [
        name
        for cls in reversed(type(value).__mro__)
        if cls.__module__ != "builtins"
        for name, each in vars(cls).items()
        if inspect.isroutine(each)
    ]
    names = dict.fromkeys([*of_class, *getattr(value, "__dict__", {})])
    found = [(name, getattr(value, name)) for name in names if not name.startswith("_")]
    return [(name, each) for name, each in found if callable(each) and not isinstance(each, type)]

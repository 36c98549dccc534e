"""How a setting is declared: type, default, names and meaning, in one field of an attrs class.

A field's environment variable and its command-line option are made of its name (``grace``: ``NAVAI_GRACE``,
``--grace``) unless it says otherwise. The class's docstring, the reading of the environment and of the
command line, and the tables in docs/server.md are made from that.
"""

import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NoReturn, Self, TypeVar

import attrs

from navai_client.server._errors import BackendOptionsError
from navai_client.wire._decode import trim

T = TypeVar("T")

FLAGS: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
_WITH_STAR: Final = re.compile(r"\S*\*[^\s,;.]*(?:\.\w+)*")


# How the text of an environment variable or an option is read. What cannot be read is returned unchanged, for
# the validator to refuse; NOTHING counts as absent.


def finite_number(text: str) -> Any:
    """Read a finite number; anything else counts as absent, as it does for the Express backend."""
    try:
        value = float(text)
    except ValueError:
        return attrs.NOTHING
    return value if math.isfinite(value) else attrs.NOTHING


def seconds(text: str) -> Any:
    """Read a number of seconds, or "none"."""
    if text.lower() == "none":
        return None
    value = finite_number(text)
    return text if value is attrs.NOTHING else value


def _whole_number(text: str) -> int | str:
    """Read a whole number. One of more than 15 digits is out of every range here."""
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else text


def _true_or_false(text: str) -> bool | str:
    return FLAGS.get(text.lower(), text)


def comma_separated(text: str) -> tuple[str, ...] | str:
    """Read the parts of a list that are not blank."""
    return tuple(part for part in map(trim, text.split(",")) if part) or text


# How given values are normalized and checked.


def not_blank(value: Any) -> Any:
    """Return a trimmed text, or None for a blank one."""
    return trim(value) or None if isinstance(value, str) else value


def _trimmed(value: Any) -> Any:
    return trim(value) if isinstance(value, str) else value


def names_of(attribute: "attrs.Attribute[Any]") -> str:
    """Return all names of a setting, because its value can come from each of them."""
    others = filter(None, (attribute.metadata["env"], attribute.metadata["option"]))
    return f"{attribute.name} ({', '.join(others)})"


def _refuse(attribute: "attrs.Attribute[Any]", what: str, value: object) -> NoReturn:
    raise BackendOptionsError(f"{names_of(attribute)} must be {what}. Received: {value!r}")


def must_be(what: str, accepts: Callable[[Any], Any]) -> Callable[..., None]:
    """Return a validator of attrs that says *what* a value must be which *accepts* finds wrong."""

    def check(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if not accepts(value):
            _refuse(attribute, what, value)

    return check


def _check_header_value(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """Refuse what no header can carry, and the quotes that a settings file has left around a value."""
    if value is None:
        return
    text = value if isinstance(value, str) else ""
    if not text:
        reason = "must be a text that is not blank, or not be set at all."
    elif not (text.isascii() and text.isprintable()) or " " in text:
        reason = "must be printable ASCII without spaces and line breaks (it is not shown)."
    elif text[0] in "\"'`" or text[-1] in "\"'`":
        reason = "must have no quotes around it (it is not shown)."
    else:
        return
    raise BackendOptionsError(f"{names_of(attribute)} {reason}")


# The kinds of settings.


def setting(
    doc: str,
    *,
    default: Any = None,
    parse: Callable[[str], Any] = str,
    metavar: str = "TEXT",
    may_be_blank: bool = True,
    **given: Any,
) -> Any:
    """Declare a setting.

    Args:
        doc: Its meaning.
        default: Its default.
        parse: Reads the text of the variable or the option, which is trimmed and not empty.
        metavar: What the help calls the option's value.
        may_be_blank: Whether a blank variable counts as absent; if not, it is read like any other.
        given: Its names (``env``, ``option``) if they are not made of that of the field, None for none, and
            what ``attrs.field`` takes.
    """
    names = {source: given.pop(source) for source in ("env", "option") if source in given}
    own = {"doc": doc, "parse": parse, "metavar": metavar, "may_be_blank": may_be_blank}
    return attrs.field(default=default, metadata=own | names, **given)


def switch(doc: str, *, default: bool | None, **given: Any) -> Any:
    """Declare a setting that is on or off; one without a variable can only be switched on."""
    check = must_be(
        "true or false (or 1, yes, on, 0, no, off)",
        lambda value: value is default or isinstance(value, bool),
    )
    return setting(doc, default=default, parse=_true_or_false, metavar="", validator=check, **given)


def count(
    doc: str, *, default: int, least: int = 1, most: float = math.inf, metavar: str = "INTEGER", **given: Any
) -> Any:
    """Declare a whole number: of threads, of bytes, of whole seconds."""
    limits = f"of {least} or more" if most == math.inf else f"from {least} to {most}"
    check = must_be(f"a whole number {limits}", lambda value: type(value) is int and least <= value <= most)
    return setting(doc, default=default, parse=_whole_number, metavar=metavar, validator=check, **given)


def duration(doc: str, *, default: float, optional: bool = False, **given: Any) -> Any:
    """Declare a number of seconds above 0; if it is *optional*, None (the text "none") means no limit."""
    check = must_be(
        "a number of seconds greater than 0" + (", or none" if optional else ""),
        lambda value: (value is None and optional) or (type(value) in (int, float) and 0 < value < math.inf),
    )
    return setting(doc, default=default, parse=seconds, metavar="SECONDS", validator=check, **given)


def list_of(
    doc: str,
    *,
    of: str,
    normalized: Callable[[str], str | None],
    default: tuple[str, ...] = (),
    **given: Any,
) -> Any:
    """Declare a list of texts *of* a kind, which *normalized* returns in one form, or None to refuse them."""

    def convert(values: Any) -> Any:
        if isinstance(values, str) or not isinstance(values, Iterable):
            return values  # a string is a sequence of characters
        return tuple((isinstance(value, str) and normalized(value)) or value for value in values)

    def check(_: object, attribute: "attrs.Attribute[Any]", values: Any) -> None:
        wrong = [values]
        if isinstance(values, tuple):
            wrong = [each for each in values if not isinstance(each, str) or normalized(each) is None]
        if wrong:
            _refuse(attribute, f"a list of {of}", wrong[0])

    return setting(
        doc,
        default=default,
        parse=comma_separated,
        metavar="LIST",
        converter=convert,
        validator=check,
        **given,
    )


def secret(doc: str, env: str, *, may_be_blank: bool = True) -> Any:
    """Declare a text that no repr shows, and no command line can have, because every user can read those."""
    return setting(
        doc,
        env=env,
        option=None,
        may_be_blank=may_be_blank,
        converter=not_blank if may_be_blank else _trimmed,
        validator=_check_header_value,
        repr=lambda key: repr(key and "***"),
    )


def header_value(doc: str, env: str) -> Any:
    """Declare a text that is sent as the value of a header."""
    return setting(doc, env=env, option=None, converter=not_blank, validator=_check_header_value)


# The classes that have them.


def named(_cls: type, fields: "list[attrs.Attribute[Any]]") -> "list[attrs.Attribute[Any]]":
    """Make the names of variables and options that are not given: a ``field_transformer`` of attrs."""
    return [
        field
        if "parse" not in field.metadata  # a path of the contract, which has no names
        else field.evolve(
            metadata={
                "env": f"NAVAI_{field.name.upper()}",
                "option": f"--{field.name.replace('_', '-')}",
                **field.metadata,
            }
        )
        for field in fields
    ]


def documented(cls: type[T]) -> type[T]:
    """Add the documentation of each field to the docstring of *cls*."""
    fields: Any = attrs.fields(cls)  # type: ignore[arg-type]
    # What has a star is code: the reference would take it for emphasis.
    lines = [f"    {each.name}: {each.metadata['doc']}" for each in fields]
    lines = [_WITH_STAR.sub(r"``\g<0>``", line) for line in lines]
    cls.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Attributes:", *lines])
    return cls


def _read_environment(cls: type, env: Mapping[str, str | None]) -> dict[str, Any]:
    """Return the fields of *cls* that *env* sets. Values are trimmed; an empty one counts as absent."""
    found: dict[str, Any] = {}
    for field in attrs.fields(cls):
        name = field.metadata.get("env")
        given = env.get(name) if name else None
        text = trim(given or "")
        if text or (given is not None and not field.metadata["may_be_blank"]):
            value = field.metadata["parse"](text)
            if value is not attrs.NOTHING:
                found[field.name] = value
    return found


class FromEnvironment:
    """The base of the classes of settings."""

    @classmethod
    def from_env(cls, env: Mapping[str, str | None] | None = None, **given: Any) -> Self:
        """Read from *env*, by default the process's environment; *given* values take precedence.

        Raises:
            BackendOptionsError: A value cannot work.
        """
        env = os.environ if env is None else env
        return cls(**cls._completed({**_read_environment(cls, env), **given}, env))

    @classmethod
    def _completed(cls, found: dict[str, Any], _env: Mapping[str, str | None]) -> dict[str, Any]:
        """Return what was *found* with what follows from it."""
        return found

"""Every setting of the server, declared once.

A field below states its type, its default and its meaning. Its environment variable and its command-line
option are made of its name (``grace``: ``NAVAI_GRACE``, ``--grace``) unless it says otherwise. The class's
docstring, the reading of the environment and of the command line, and the table in docs/server.md are made
from that. A text that a setting cannot mean stops the start.

``BackendKeywords`` is the one exception: no type checker reads a generated ``TypedDict``, so it repeats the
names and types of ``ServerSettings``, and nothing else. A test compares the two.
"""

import inspect
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NoReturn, Self, TypeVar
from urllib.parse import unquote, urlsplit

import attrs

from navai_client.config import check_base_url
from navai_client.errors import NavaiConfigError
from navai_client.server._errors import BackendOptionsError
from navai_client.server._hosts import header_pattern, host_pattern, origin_pattern
from navai_client.wire._decode import trim
from navai_client.wire._operations import (
    CREATE_CLIENT_SECRET,
    EXECUTE_FUNCTION,
    LIST_FUNCTIONS,
    OPERATIONS,
    SYNTHESIZE_SPEECH,
    Operation,
    PathOptions,
    Paths,
)

T = TypeVar("T")

APPROVAL_TTL_S: Final = 24 * 3600.0
MAX_WAITING_APPROVALS: Final = 200
MIN_TTL_S: Final = 10  # OpenAI's own limits for expires_after.seconds
MAX_TTL_S: Final = 7200
# Of RFC 7518, section 3.1, those with a public key: a secret cannot be fetched from an issuer.
JWT_ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"),
    "EdDSA",  # RFC 8037, section 3.1
)
# RFC 6750, section 2.1: "=" is only padding at the end, so that "name=token" cannot be read in two ways.
_SHORTEST_BASE64: Final = 20  # an entry that ends in "=" may also be a name whose token was forgotten
_NAMED_TOKEN: Final = re.compile(r"(?:([A-Za-z0-9._-]+)=)?([A-Za-z0-9._~+/-]+=*)", re.ASCII)
_STORE_SCHEMES: Final = ("sqlite", "redis", "rediss", "unix")
_MADE_OF_ITS_NAME: Final = "made of its name"
_FLAGS: Final = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


# How the text of an environment variable or an option is read. What cannot be read is returned unchanged, for
# the validator to refuse; NOTHING counts as absent.


def _number(text: str) -> Any:
    """Read a finite number; anything else counts as absent, as it does for the Express backend."""
    try:
        value = float(text)
    except ValueError:
        return attrs.NOTHING
    return value if math.isfinite(value) else attrs.NOTHING


def _seconds(text: str) -> Any:
    """Read a number of seconds, or "none"."""
    if text.lower() == "none":
        return None
    value = _number(text)
    return text if value is attrs.NOTHING else value


def _whole_number(text: str) -> int | str:
    """Read a whole number. One of more than 15 digits is out of every range here."""
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else text


def whole(value: Any) -> Any:
    """Return a float without a fraction, such as 600.0, as an int."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _flag(text: str) -> Any:
    """Read a flag; anything else counts as absent, as it does for the Express backend."""
    return _FLAGS.get(text.lower(), attrs.NOTHING)


def _true_or_false(text: str) -> bool | str:
    return _FLAGS.get(text.lower(), text)


def _is_true(text: str) -> bool:
    return text.lower() == "true"


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _comma_separated(text: str) -> tuple[str, ...] | str:
    return tuple(part for part in map(trim, text.split(",")) if part) or text


_PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {"string": str, "number": _number, "boolean": _flag}


# How given values are normalized and checked.


def _optional(value: str | None) -> str | None:
    return trim(value) or None if isinstance(value, str) else value


def _trimmed(value: str | None) -> str | None:
    return trim(value) if isinstance(value, str) else value


def _host(host: str) -> str:
    return trim(host).removeprefix("[").removesuffix("]")


def _check_host(_: object, attribute: "attrs.Attribute[str]", host: str) -> None:
    if not host:
        _refuse(attribute, "an address, such as 127.0.0.1, ::1, 0.0.0.0 or ::", host)


def _check_log_format(_: object, attribute: "attrs.Attribute[str]", name: str) -> None:
    if name not in ("text", "json"):
        _refuse(attribute, "text or json", name)


def _name(text: str) -> str | None:
    return trim(text) or None


def _root_path(path: str) -> str:
    segments = trim(path).strip("/")
    return f"/{segments}" if segments else ""


def _check_root_path(_: object, attribute: "attrs.Attribute[str]", path: str) -> None:
    if not re.fullmatch(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*", path):  # RFC 3986, section 3.3, decoded
        _refuse(attribute, "a path such as /api, without query and escapes", path)


def named_token(entry: str) -> tuple[str | None, str]:
    """Return the name and the token of an entry of ``access_tokens``.

    Raises:
        BackendOptionsError: It is neither ``token`` nor ``name=token``.
    """
    match = _NAMED_TOKEN.fullmatch(entry)
    name, token = match.groups() if match else (None, "")
    forgotten = name is None and token.endswith("=") and (len(token) % 4 or len(token) < _SHORTEST_BASE64)
    if forgotten or not token:
        raise BackendOptionsError(
            "NAVAI_ACCESS_TOKENS must be tokens separated by commas, as token or name=token. A token has "
            "letters, digits and -._~+/ and may end in = if it is base64; a name has letters, digits and -._"
        )
    return name, token


def _check_tokens(_: object, _attribute: object, entries: Sequence[str]) -> None:
    if isinstance(entries, str):  # a sequence of characters
        raise BackendOptionsError("access_tokens (NAVAI_ACCESS_TOKENS) must be a list of tokens.")
    owners: dict[str, str | None] = {}
    for name, token in map(named_token, entries):
        if owners.setdefault(token, name) != name:
            raise BackendOptionsError(f"NAVAI_ACCESS_TOKENS has one token as {owners[token]} and as {name}.")


def _check_store_url(_: object, attribute: "attrs.Attribute[str]", url: str | None) -> None:
    if url is None:
        return
    try:
        parts = urlsplit(url)
        known = parts.scheme in _STORE_SCHEMES and (parts.port or 1) and (parts.hostname or parts.path)
    except ValueError:
        known = False
    if not known:
        raise BackendOptionsError(
            f"{_names_of(attribute)} must be a URL such as sqlite:///path, redis://host:6379/0, "
            "rediss://host:6379/0 or unix:///path (it is not shown)."
        )


def _base_url(url: str) -> str:
    base, _, query = trim(url).partition("?")
    return base.rstrip("/") + (f"?{query}" if query else "")


def _check_base_url(_: object, attribute: "attrs.Attribute[str]", url: str) -> None:
    try:
        check_base_url(_names_of(attribute), url, may_have_query=True)
    except NavaiConfigError as error:
        raise BackendOptionsError(str(error)) from None


def _refuse(attribute: "attrs.Attribute[Any]", what: str, value: object) -> NoReturn:
    """Say what *attribute* must be, with all of its names: *value* can come from each of them."""
    raise BackendOptionsError(f"{_names_of(attribute)} must be {what}. Received: {value!r}")


def _names_of(attribute: "attrs.Attribute[Any]") -> str:
    others = filter(None, (attribute.metadata["env"], attribute.metadata["option"]))
    return f"{attribute.name} ({', '.join(others)})"


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
    raise BackendOptionsError(f"{_names_of(attribute)} {reason}")


def check_ttl(_: object, _attribute: object, ttl: Any) -> None:
    """Refuse seconds that OpenAI refuses: a validator of attrs, which each minting repeats, as in Express."""
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not MIN_TTL_S <= ttl <= MAX_TTL_S:
        raise BackendOptionsError(
            f"clientSecretTtlSeconds must be between {MIN_TTL_S} and {MAX_TTL_S}. Received: {ttl}"
        )


_SESSION_TYPES: Final = ("realtime", "transcription")


def _check_session(_: object, attribute: "attrs.Attribute[Any]", extra: Any) -> None:
    """Refuse what is no session, or has a setting of its own. Values are not shown: tools have tokens."""
    names = _names_of(attribute)
    if not isinstance(extra, Mapping) or extra.get("type", "realtime") not in _SESSION_TYPES:
        raise BackendOptionsError(
            f'{names} must be an object of session fields, whose "type" is realtime or transcription.'
        )
    try:
        json.dumps(extra, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise BackendOptionsError(f"{names} must be JSON: {error}") from None
    for path, setting in (
        (("model",), "OPENAI_REALTIME_MODEL (default_model=)"),
        (("instructions",), "OPENAI_REALTIME_INSTRUCTIONS (default_instructions=)"),
        (("audio", "output", "voice"), "OPENAI_REALTIME_VOICE (default_voice=)"),
    ):
        found: Any = extra
        for name in path:
            found = found.get(name) if isinstance(found, Mapping) else None
        if found is not None:
            raise BackendOptionsError(f"{names} cannot set {'.'.join(path)}: set {setting}.")


def _setting(  # noqa: D417 - the others are those of attrs.field
    doc: str,
    *,
    default: Any = None,
    env: str | None = _MADE_OF_ITS_NAME,
    parse: Callable[[str], Any] = str,
    option: str | None = _MADE_OF_ITS_NAME,
    metavar: str = "TEXT",
    may_be_blank: bool = True,
    **field: Any,
) -> Any:
    """Declare a setting.

    Args:
        doc: Its meaning.
        default: Its default.
        env: Its environment variable, None if it has none.
        parse: Reads the text of the variable or the option, which is trimmed and not empty.
        option: Its command-line option, None if it has none.
        metavar: What the help calls the option's value.
        may_be_blank: Whether a blank variable counts as absent; if not, it is read like any other.
    """
    return attrs.field(
        default=default,
        metadata={
            "doc": doc,
            "env": env,
            "parse": parse,
            "option": option,
            "metavar": metavar,
            "may_be_blank": may_be_blank,
        },
        **field,
    )


def _switch(doc: str, *, default: bool | None, **names: Any) -> Any:
    """Declare a setting that is on or off; one without a variable can only be switched on."""

    def check(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if value is not default and not isinstance(value, bool):
            _refuse(attribute, "true or false (or 1, yes, on, 0, no, off)", value)

    return _setting(doc, default=default, parse=_true_or_false, metavar="", validator=check, **names)


def _count(
    doc: str,
    *,
    default: int,
    least: int = 1,
    most: int | None = None,
    metavar: str = "INTEGER",
    **names: Any,
) -> Any:
    """Declare a whole number: of threads, of bytes, of whole seconds."""
    limits = f"of {least} or more" if most is None else f"from {least} to {most}"

    def check(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if type(value) is not int or value < least or (most is not None and value > most):
            _refuse(attribute, f"a whole number {limits}", value)

    return _setting(doc, default=default, parse=_whole_number, metavar=metavar, validator=check, **names)


def _duration(doc: str, *, default: float, optional: bool = False, **names: Any) -> Any:
    """Declare a number of seconds above 0; if it is *optional*, None (the text "none") means no limit."""

    def check(_: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if value is None and optional:
            return
        if type(value) not in (int, float) or not 0 < value < math.inf:
            what = "a number of seconds greater than 0" + (", or none" if optional else "")
            _refuse(attribute, what, value)

    return _setting(doc, default=default, parse=_seconds, metavar="SECONDS", validator=check, **names)


def _list(
    doc: str,
    *,
    normalized: Callable[[str], str | None],
    of: str,
    default: tuple[str, ...] = (),
    **names: Any,
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

    return _setting(
        doc,
        default=default,
        parse=_comma_separated,
        metavar="LIST",
        converter=convert,
        validator=check,
        **names,
    )


def _named(_cls: type, fields: "list[attrs.Attribute[Any]]") -> "list[attrs.Attribute[Any]]":
    """Make the names of variables and options that are not given: NAVAI_BODY_TIMEOUT, --body-timeout."""
    named = []
    for field in fields:
        made = {
            "env": f"NAVAI_{field.name.upper()}",
            "option": f"--{field.name.replace('_', '-')}",
        }
        names = {
            source: name for source, name in made.items() if field.metadata.get(source) == _MADE_OF_ITS_NAME
        }
        named.append(field.evolve(metadata={**field.metadata, **names}))
    return named


def _secret(doc: str, env: str, *, may_be_blank: bool = True) -> Any:
    return _setting(
        doc,
        env=env,
        option=None,
        may_be_blank=may_be_blank,
        converter=_optional if may_be_blank else _trimmed,
        validator=_check_header_value,
        repr=lambda key: repr(key and "***"),
    )


def _id(doc: str, env: str) -> Any:
    return _setting(doc, env=env, option=None, converter=_optional, validator=_check_header_value)


def _default_of(operation: Operation[Any], name: str, **given: Any) -> Any:
    """Declare the backend's default for the field *name* of the requests of *operation*."""
    (field,) = (field for field in operation.fields if field.name == name)
    parse = _PARSERS[field.type]
    if "default" not in given and field.type == "string":
        given["converter"] = _optional
    return _setting(field.doc, env=field.environment, parse=parse, option=None, **given)


_WITH_STAR: Final = re.compile(r"\S*\*[^\s,;.]*(?:\.\w+)*")


def _documented(cls: type[T]) -> type[T]:
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


class _FromEnvironment:
    @classmethod
    def from_env(cls, env: Mapping[str, str | None] | None = None, **given: Any) -> Self:
        """Read from *env*, by default the process's environment; *given* values take precedence.

        Raises:
            BackendOptionsError: A value cannot work.
        """
        return cls(**{**_read_environment(cls, os.environ if env is None else env), **given})


@_documented
@attrs.frozen(kw_only=True, field_transformer=_named)
class ServerSettings(Paths, _FromEnvironment):
    """The routes, limits, functions and access rules of a backend."""

    include_functions_routes: bool = _switch(
        "False leaves out the two routes of the functions, and searches for no functions.",
        default=True,
        env=None,
        option=None,
    )
    functions_base_dir: str | os.PathLike[str] | None = _setting(  # noqa: RUF009 - immutable
        "The directory that is searched for function modules; by default the working directory.",
        option="--base-dir",
    )
    functions_folders: str | None = _setting(
        "Folders, files or wildcards below it, separated by commas; by default src/ai/functions-modules.",
        converter=_optional,
    )
    agents_folders: str | None = _setting(
        "The first-level subfolders of these folders to use, separated by commas; by default all.",
        converter=_optional,
    )
    default_functions_folder: str | None = _setting(
        "Where functions are if functions_folders selects none; by default src/ai/functions-modules.",
        converter=_optional,
    )
    exclude: Sequence[str] = _list(
        "Wildcards for files and folders below the base directory to skip, such as **/drafts/** (* within a "
        "name, ** across folders).",
        normalized=_optional,
        of="wildcards, such as **/drafts/**",
    )
    expose_session: bool = _switch(
        "Send the whole session with a client secret, not one without instructions, tools and prompt.",
        default=False,
    )
    strict_exports: bool = _switch(
        "Offer only what __all__ or the decorator names, not every public function of a module.",
        default=False,
    )
    function_timeout: float | None = _duration(
        "Seconds that a call of a function may take; None means no limit.", default=30.0, optional=True
    )
    threads_per_function: int = _count(
        "The number of synchronous calls of one function that run at a time; others wait.", default=64
    )
    threads: int = _count(
        "The number of synchronous calls of all functions together that run at a time.", default=256
    )
    processes: int = _count(
        "The number of calls that run in processes at a time (runs_in=); others wait.", default=4
    )
    max_waiting_calls: int = _count(
        "The number of calls that wait for a thread or a process; others get 503.",
        default=1000,
        least=0,
    )
    max_result_bytes: int = _count(
        "The largest result of a function, as JSON; a call with a larger one fails.",
        default=16 * 2**20,
        metavar="BYTES",
    )
    store_url: str | None = _setting(
        "Where idempotency keys and counts are kept: sqlite:///path for all processes of a machine, "
        "redis://host:6379/0 or rediss:// for all replicas. By default in memory; with several workers, in a "
        "temporary SQLite file.",
        option="--store",
        converter=_optional,
        validator=_check_store_url,
        repr=lambda url: repr(url and f"{url.partition(':')[0]}:***"),
    )
    key_ttl: float = _duration(
        "Seconds for which the outcome of a call is kept for its idempotency key.", default=600.0
    )
    max_kept_result_bytes: int = _count(
        "The largest outcome that is kept for an idempotency key; a copy of a call with a larger one gets "
        "status 409.",
        default=2**20,
        metavar="BYTES",
    )
    max_key_bytes: int = _count(
        "The largest size of a store in memory or in an SQLite file; without room, calls with a new key get "
        "status 503.",
        default=2**28,
        metavar="BYTES",
    )
    approval_ttl: float = _duration(
        "Seconds for which a call waits for approval, and for which its outcome is then kept.",
        default=APPROVAL_TTL_S,
    )
    max_waiting_approvals: int = _count(
        "The number of calls that wait for approval; others get 503.", default=MAX_WAITING_APPROVALS
    )
    max_body_bytes: int = _count("The largest request body that is read.", default=2**20, metavar="BYTES")
    body_timeout: float = _duration("Seconds that a request's body may take to arrive.", default=30.0)
    allowed_hosts: Sequence[str] = _list(
        "Host names that requests may use, against DNS rebinding; *.shop.example stands for subdomains, "
        ".shop.example for the domain too, * for all. A server of its own on loopback allows localhost, too; "
        "elsewhere, all names are allowed until this is set.",
        normalized=host_pattern,
        of="host names without scheme and port, such as shop.example, *.shop.example or *",
    )
    cors_origins: Sequence[str] = _list(
        "Origins whose pages may call the backend, beside those of localhost: https://shop.example, "
        "https://*.shop.example; * allows all.",
        normalized=origin_pattern,
        of="origins, each scheme://host[:port], scheme://*.domain or *, without quotes",
        env="NAVAI_CORS_ORIGIN",
        option="--cors-origin",
    )
    cors_headers: Sequence[str] = _list(
        "Request headers that these pages may send, beside those of the contract and of W3C Trace Context; "
        "* allows all.",
        normalized=header_pattern,
        of="header names, such as X-Session-Id, or *",
    )
    inspector: bool | None = _switch(
        "Serve the inspector at /navai/, for development; by default with --demo and --reload.",
        default=None,
    )
    expose_errors: bool = _switch(
        "Whether callers get the messages of exceptions. If not, they get those of arguments and of "
        "ToolError, else a request id; the log has the others.",
        default=True,
    )
    inspector_token: str | None = _secret(
        "The inspector's own bearer token: it shows the latest calls and those that wait for approval, and "
        "decides these, beside what an access token may. Principals with the scope navai:approve may, too.",
        env="NAVAI_INSPECTOR_TOKEN",
        may_be_blank=False,  # a token that was lost on its way here must not open the inspector
    )
    access_token: str | None = _secret(
        "The bearer token of requests; only /health, /ready, preflights and the inspector's page need none.",
        env="NAVAI_ACCESS_TOKEN",
        may_be_blank=False,  # a token that was lost on its way here must not open the server
    )
    access_tokens: Sequence[str] = _setting(
        "Further access tokens, each as token or name=token. A name is the principal of its callers; "
        "those without one are one principal.",
        default=(),
        option=None,
        parse=_comma_separated,
        may_be_blank=False,  # as above
        validator=_check_tokens,
        repr=lambda entries: repr(("***",) * len(entries)),
    )
    jwt_jwks_url: str | None = _setting(
        "Where the issuer of JSON Web Tokens publishes its keys; needs the next two.",
        converter=_optional,
    )
    jwt_issuer: str | None = _setting("The issuer that a JWT must name.", converter=_optional)
    jwt_audience: str | None = _setting("The audience that a JWT must name.", converter=_optional)
    jwt_algorithms: Sequence[str] = _list(
        "The signature algorithms of JWTs to accept.",
        default=("RS256",),
        normalized=lambda name: name if name in JWT_ALGORITHMS else None,
        of=f"signature algorithms, of {', '.join(JWT_ALGORITHMS)}",
    )

    mint_models: Sequence[str] = _list(
        "The models that callers may choose for a client secret; all until this is set. If the default is no "
        "such model, the first is used.",
        normalized=_name,
        of="names of models",
        may_be_blank=False,  # a restriction that was lost on its way here must not allow everything
    )
    mint_voices: Sequence[str] = _list(
        "The voices that callers may choose, likewise.",
        normalized=_name,
        of="names of voices",
        may_be_blank=False,  # as above
    )
    mint_instructions: bool = _switch(
        "Whether callers may set the instructions, and language, accent and tone, which become part of them.",
        default=True,
    )
    mints_per_minute: int = _count(
        "The client secrets that a principal may request in 60 seconds, counted in the store; 0 means no "
        "limit.",
        default=0,
        least=0,
    )
    tracing: bool = _switch(
        "Make an OpenTelemetry span for each request, which continues the client's trace.", default=False
    )
    metrics: bool = _switch(
        "Serve metrics for Prometheus at /metrics, to those who may call the backend.", default=False
    )
    metrics_token: str | None = _secret(
        "The bearer token of /metrics, if it is to be readable with this token alone.",
        env="NAVAI_METRICS_TOKEN",
        may_be_blank=False,  # as above
    )

    def __attrs_post_init__(self) -> None:
        others = {self.access_token, *(named_token(entry)[1] for entry in self.access_tokens)}
        if self.inspector_token is not None and self.inspector_token in others:
            raise BackendOptionsError(
                "NAVAI_INSPECTOR_TOKEN (inspector_token=) must not be an access token: who calls a function "
                "could then approve the call."
            )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The access tokens and the password of the store, which nothing may show."""
        password = urlsplit(self.store_url or "").password or ""
        tokens = (self.access_token, self.metrics_token, self.inspector_token, password, unquote(password))
        return (*(each or "" for each in tokens), *(named_token(entry)[1] for entry in self.access_tokens))

    @property
    def operations(self) -> tuple[Operation[Any], ...]:
        """The operations that the backend offers."""
        if self.include_functions_routes:
            return OPERATIONS
        return tuple(each for each in OPERATIONS if each not in (LIST_FUNCTIONS, EXECUTE_FUNCTION))


class SettingsKeywords(PathOptions, total=False):
    """The fields of :class:`ServerSettings` that every backend takes as keywords, those of tests too."""

    include_functions_routes: bool
    function_timeout: float | None
    threads_per_function: int
    threads: int
    processes: int
    max_waiting_calls: int
    max_result_bytes: int
    store_url: str | None
    key_ttl: float
    max_kept_result_bytes: int
    max_key_bytes: int
    approval_ttl: float
    max_waiting_approvals: int
    max_body_bytes: int
    body_timeout: float
    allowed_hosts: Sequence[str]
    cors_origins: Sequence[str]
    cors_headers: Sequence[str]
    inspector: bool | None
    expose_errors: bool
    inspector_token: str | None
    access_token: str | None
    access_tokens: Sequence[str]


class BackendKeywords(SettingsKeywords, total=False):
    """All fields of :class:`ServerSettings`, as keywords."""

    functions_base_dir: str | os.PathLike[str] | None
    functions_folders: str | None
    agents_folders: str | None
    default_functions_folder: str | None
    exclude: Sequence[str]
    expose_session: bool
    strict_exports: bool
    jwt_jwks_url: str | None
    jwt_issuer: str | None
    jwt_audience: str | None
    jwt_algorithms: Sequence[str]
    mint_models: Sequence[str]
    mint_voices: Sequence[str]
    mint_instructions: bool
    mints_per_minute: int
    tracing: bool
    metrics: bool
    metrics_token: str | None


@_documented
@attrs.frozen(kw_only=True, field_transformer=_named)
class VoiceSettings(_FromEnvironment):
    """How an ElevenLabs voice speaks. ElevenLabs chooses values that are None."""

    stability: float | None = _default_of(SYNTHESIZE_SPEECH, "stability")
    similarity_boost: float | None = _default_of(SYNTHESIZE_SPEECH, "similarity_boost")
    style: float | None = _default_of(SYNTHESIZE_SPEECH, "style")
    use_speaker_boost: bool | None = _default_of(SYNTHESIZE_SPEECH, "use_speaker_boost")


@_documented
@attrs.frozen(kw_only=True, field_transformer=_named)
class BackendOptions(_FromEnvironment):
    """The settings for client secrets and speech. No repr shows a key.

    The fields from ``default_model`` to ``default_voice_tone``, and from ``elevenlabs_voice_id`` on, are used
    where a request does not say otherwise. OpenAI and ElevenLabs choose values that are None.
    """

    openai_api_key: str | None = _secret(
        "The backend's own key; it takes precedence over one in a request.", env="OPENAI_API_KEY"
    )
    openai_base_url: str = _setting(
        "The base URL of OpenAI's API; a query is added to each request, as Azure needs it.",
        default="https://api.openai.com/v1",
        env="OPENAI_BASE_URL",
        option=None,
        converter=_base_url,
        validator=_check_base_url,
    )
    openai_organization: str | None = _id(
        "The organization that requests are counted for.", env="OPENAI_ORG_ID"
    )
    openai_project: str | None = _id("The project that requests are counted for.", env="OPENAI_PROJECT_ID")
    default_model: str = _default_of(CREATE_CLIENT_SECRET, "model", default="gpt-realtime-2.1")
    default_voice: str = _default_of(CREATE_CLIENT_SECRET, "voice", default="marin")
    default_instructions: str = _default_of(
        CREATE_CLIENT_SECRET, "instructions", default="You are a helpful assistant."
    )
    default_language: str | None = _default_of(CREATE_CLIENT_SECRET, "language")
    default_voice_accent: str | None = _default_of(CREATE_CLIENT_SECRET, "voice_accent")
    default_voice_tone: str | None = _default_of(CREATE_CLIENT_SECRET, "voice_tone")
    session_extra: Mapping[str, Any] = _setting(
        "Further fields of the sessions, as OpenAI's API names them: turn detection, transcription, tools of "
        "MCP servers and so on. They are the owner's: no request can set them. In the environment, a JSON "
        "object.",
        default={},
        env="NAVAI_SESSION_EXTRA",
        option=None,
        parse=_json,
        validator=_check_session,
        repr=False,
        hash=False,
    )
    client_secret_ttl_seconds: int = _setting(
        "Seconds that a client secret is valid, from 10 to 7200.",
        default=600,
        env="OPENAI_REALTIME_CLIENT_SECRET_TTL",
        option=None,
        parse=_seconds,
        converter=whole,
        validator=check_ttl,
    )
    allow_api_key_from_request: bool = _setting(
        "Whether a request's apiKey is used if the backend has no key. In the environment only true allows "
        "it; where the variable is not set, it is allowed without OPENAI_API_KEY.",
        default=False,
        env="NAVAI_ALLOW_FRONTEND_API_KEY",
        option=None,
        parse=_is_true,
    )
    tts_provider: Literal["openai", "elevenlabs"] = _setting(
        "The provider of speech: openai (the session itself) or elevenlabs.",
        default="openai",
        env="NAVAI_TTS_PROVIDER",
        option=None,
        parse=str.lower,
    )
    elevenlabs_api_key: str | None = _secret(
        "The key for ElevenLabs; required if it speaks.", env="ELEVENLABS_API_KEY"
    )
    elevenlabs_base_url: str = _setting(
        "The base URL of ElevenLabs' API.",
        default="https://api.elevenlabs.io",
        env="ELEVENLABS_BASE_URL",
        option=None,
        converter=_base_url,
        validator=_check_base_url,
    )
    elevenlabs_voice_id: str | None = _default_of(SYNTHESIZE_SPEECH, "voice_id")
    elevenlabs_model_id: str | None = _default_of(SYNTHESIZE_SPEECH, "model_id")
    elevenlabs_output_format: str = _default_of(SYNTHESIZE_SPEECH, "output_format", default="mp3_44100_128")
    elevenlabs_optimize_streaming_latency: float | None = _default_of(
        SYNTHESIZE_SPEECH, "optimize_streaming_latency"
    )
    elevenlabs_voice_settings: VoiceSettings = _setting(  # noqa: RUF009 - frozen
        "How the voice speaks.", default=VoiceSettings(), env=None, option=None
    )
    timeout: float = _duration(
        "Seconds that a call of OpenAI or ElevenLabs may take.",
        default=30.0,
        env="NAVAI_UPSTREAM_TIMEOUT",
        option="--upstream-timeout",
    )
    max_upstream_calls: int = _count(
        "The number of calls of OpenAI and ElevenLabs at a time, if RLIMIT_NOFILE allows them. Others wait "
        "for up to 5 seconds, then get status 503.",
        default=64,
    )

    def __attrs_post_init__(self) -> None:
        if self.tts_provider not in ("openai", "elevenlabs"):
            raise BackendOptionsError(
                f'NAVAI_TTS_PROVIDER must be "openai" or "elevenlabs". Received: {self.tts_provider}'
            )
        if self.tts_provider == "elevenlabs":
            if self.elevenlabs_api_key is None:
                raise BackendOptionsError("ElevenLabs needs a key: set ELEVENLABS_API_KEY.")
            if self.elevenlabs_voice_id is None:
                raise BackendOptionsError("ElevenLabs needs a voice: set ELEVENLABS_VOICE_ID.")
            if "output_modalities" in self.session_extra:
                raise BackendOptionsError(
                    "NAVAI_SESSION_EXTRA (session_extra=) cannot set output_modalities: where ElevenLabs "
                    "speaks, sessions return text."
                )

    @property
    def secrets(self) -> tuple[str, ...]:
        """The keys, and the tokens of MCP servers, which must not leave the backend."""
        keys = (self.openai_api_key, self.elevenlabs_api_key, *_tokens_in(self.session_extra))
        return tuple(key for key in keys if key)

    @classmethod
    def from_env(cls, env: Mapping[str, str | None] | None = None, **given: Any) -> Self:
        """Read from *env*, by default the process's environment; *given* values take precedence.

        Raises:
            BackendOptionsError: A value cannot work.
        """
        env = os.environ if env is None else env
        found = {
            "elevenlabs_voice_settings": VoiceSettings.from_env(env),
            **_read_environment(cls, env),
            **given,
        }
        found.setdefault("allow_api_key_from_request", not _optional(found.get("openai_api_key")))
        return cls(**found)


def _tokens_in(session: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the tools of *session* send to MCP servers."""
    tools = session.get("tools")
    for tool in tools if isinstance(tools, list | tuple) else ():
        if isinstance(tool, Mapping):
            headers = tool.get("headers")
            sent = headers.values() if isinstance(headers, Mapping) else ()
            yield from (each for each in (tool.get("authorization"), *sent) if isinstance(each, str))


@_documented
@attrs.frozen(kw_only=True, field_transformer=_named)
class ProcessSettings(_FromEnvironment):
    """How ``python -m navai_client.server`` listens, runs and stops."""

    host: str = _setting(
        "The address to listen on; :: takes IPv4, too.",
        default="127.0.0.1",
        converter=_host,
        validator=_check_host,
    )
    port: int = _count(
        "The port to listen on; 0 takes a free one.", default=3000, least=0, most=65535, env="PORT"
    )
    uds: str | None = _setting(
        "The path of a Unix socket to listen on, not host and port. Who may enter its folder may connect.",
        converter=_optional,
    )
    root_path: str = _setting(
        "The path below which a proxy serves the backend, such as /api, whether the proxy removes it or not.",
        default="",
        converter=_root_path,
        validator=_check_root_path,
    )
    workers: int = _count("The number of processes; each has its own functions.", default=1)
    reload: bool = _switch(
        "Restart when a Python file below the base directory changes.", default=False, env=None
    )
    demo: bool = _switch(
        "Serve sample functions, and client secrets that open no session.", default=False, env=None
    )
    allow_anonymous: bool = _switch(
        "Start on an address that others reach with the backend's own key, although no access token is set: "
        "everyone who reaches it can then call functions and mint client secrets.",
        default=False,
    )
    access_log: bool = _switch("Write a log line for each response.", default=True)
    log_format: str = _setting(
        "The form of the log on standard error: text, or json with one object in each line.",
        default="text",
        parse=str.lower,
        validator=_check_log_format,
    )
    drain_delay: int = _count(
        "Seconds that a server goes on accepting after SIGTERM, while /ready fails; a second one ends them.",
        default=2,
        least=0,
        metavar="SECONDS",
    )
    grace: int = _count(
        "Seconds that calls may take to finish after that; those that still run get 409.",
        default=30,
        least=0,
        metavar="SECONDS",
    )
    max_connections: int = _count(
        "The number of connections at a time, if RLIMIT_NOFILE allows them. Those without a request make "
        "room for others; beyond that, requests get status 503.",
        default=1000,
    )
    max_header_bytes: int = _count(
        "The largest headers of a request, all together; larger ones get status 431.",
        default=2**16,
        metavar="BYTES",
    )
    headers_timeout: float = _duration(
        "Seconds that the headers of a request may take to arrive.", default=10.0
    )
    keep_alive: float = _duration(
        "Seconds that a connection stays open between requests. A proxy in front should give up its own "
        "earlier: nginx does after 60.",
        default=75.0,
    )
    write_timeout: float = _duration(
        "Seconds in which a client must read 64 KiB of its response, or what is left of it.", default=30.0
    )

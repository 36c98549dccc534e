"""The settings of a backend: its routes, limits, functions and access rules.

A field states its type, its default and its meaning; ``_setting_fields.py`` derives all else from that.
``_upstream_settings.py`` has the settings for OpenAI and ElevenLabs, ``_process_settings.py`` those of the
process.

``BackendKeywords`` is the one exception: no type checker reads a generated ``TypedDict``, so it repeats the
names and types of ``ServerSettings``, and nothing else. A test compares the two.
"""

import os
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import attrs

from navai_client.server._errors import BackendOptionsError
from navai_client.server._hosts import header_pattern, host_pattern, origin_pattern
from navai_client.server._setting_fields import (
    FromEnvironment,
    comma_separated,
    count,
    documented,
    duration,
    list_of,
    named,
    names_of,
    not_blank,
    secret,
    setting,
    switch,
)
from navai_client.wire._operations import (
    EXECUTE_FUNCTION,
    LIST_FUNCTIONS,
    OPERATIONS,
    Operation,
    PathOptions,
    Paths,
)

APPROVAL_TTL_S: Final = 24 * 3600.0
MAX_WAITING_APPROVALS: Final = 200
# Of RFC 7518, section 3.1, those with a public key: a secret cannot be fetched from an issuer.
JWT_ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"),
    "EdDSA",  # RFC 8037, section 3.1
)
# RFC 6750, section 2.1: "=" is only padding at the end, so that "name=token" cannot be read in two ways.
_SHORTEST_BASE64: Final = 20  # an entry that ends in "=" may also be a name whose token was forgotten
_NAMED_TOKEN: Final = re.compile(r"(?:([A-Za-z0-9._-]+)=)?([A-Za-z0-9._~+/-]+=*)", re.ASCII)
_STORE_SCHEMES: Final = ("sqlite", "redis", "rediss", "unix")


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
            f"{names_of(attribute)} must be a URL such as sqlite:///path, redis://host:6379/0, "
            "rediss://host:6379/0 or unix:///path (it is not shown)."
        )


@documented
@attrs.frozen(kw_only=True, field_transformer=named)
class ServerSettings(Paths, FromEnvironment):
    """The routes, limits, functions and access rules of a backend."""

    include_functions_routes: bool = switch(
        "False leaves out the two routes for functions, and does not search for functions.",
        default=True,
        env=None,
        option=None,
    )
    functions_base_dir: str | os.PathLike[str] | None = setting(  # noqa: RUF009 - immutable
        "The directory that is searched for function modules; by default the working directory.",
        option="--base-dir",
    )
    functions_folders: str | None = setting(
        "Folders, files or wildcards below it, separated by commas; by default src/ai/functions-modules.",
        converter=not_blank,
    )
    agents_folders: str | None = setting(
        "The first-level subfolders of these folders to use, separated by commas; by default all.",
        converter=not_blank,
    )
    default_functions_folder: str | None = setting(
        "Where functions are if functions_folders selects none; by default src/ai/functions-modules.",
        converter=not_blank,
    )
    exclude: Sequence[str] = list_of(
        "Wildcards for files and folders below the base directory to skip, such as **/drafts/** (* within a "
        "name, ** across folders, **/ also for none).",
        normalized=not_blank,
        of="wildcards, such as **/drafts/**",
    )
    expose_session: bool = switch(
        "Send the whole session with a client secret, including instructions, tools and prompt.",
        default=False,
    )
    strict_exports: bool = switch(
        "Offer only what __all__ or the decorator names, not every public function of a module.",
        default=False,
    )
    function_timeout: float | None = duration(
        "Seconds that a call of a function may take; None means no limit.", default=30.0, optional=True
    )
    threads_per_function: int = count(
        "The number of synchronous calls of one function that run at a time; others wait.", default=64
    )
    threads: int = count(
        "The number of synchronous calls of all functions together that run at a time.", default=256
    )
    processes: int = count(
        "The number of calls that run in processes at a time (runs_in=); others wait.", default=4
    )
    max_waiting_calls: int = count(
        "The number of calls that wait for a thread or a process; others get 503.",
        default=1000,
        least=0,
    )
    max_result_bytes: int = count(
        "The largest result of a function, as JSON; a call with a larger one fails.",
        default=16 * 2**20,
        metavar="BYTES",
    )
    store_url: str | None = setting(
        "Where idempotency keys and counts are kept: sqlite:///path for all processes of a machine, "
        "redis://host:6379/0 or rediss:// for all replicas. By default in memory; with several workers, in a "
        "temporary SQLite file.",
        option="--store",
        converter=not_blank,
        validator=_check_store_url,
        repr=lambda url: repr(url and f"{url.partition(':')[0]}:***"),
    )
    key_ttl: float = duration(
        "Seconds for which the outcome of a call is kept for its idempotency key.", default=600.0
    )
    max_kept_result_bytes: int = count(
        "The largest outcome that is kept for an idempotency key. If it was larger, a repeated call gets "
        "status 409.",
        default=2**20,
        metavar="BYTES",
    )
    max_key_bytes: int = count(
        "The largest size of a store in memory or in an SQLite file. If it is full, calls with a new key get "
        "status 503.",
        default=2**28,
        metavar="BYTES",
    )
    approval_ttl: float = duration(
        "Seconds for which a call waits for approval, and for which its outcome is then kept.",
        default=APPROVAL_TTL_S,
    )
    max_waiting_approvals: int = count(
        "The number of calls that wait for approval; others get 503.", default=MAX_WAITING_APPROVALS
    )
    max_body_bytes: int = count("The largest request body that is read.", default=2**20, metavar="BYTES")
    body_timeout: float = duration("Seconds that a request's body may take to arrive.", default=30.0)
    allowed_hosts: Sequence[str] = list_of(
        "Host names that requests may use, against DNS rebinding. *.shop.example allows subdomains, "
        ".shop.example also the domain itself, * all names. On loopback, navai serve always allows "
        "localhost, too; elsewhere, all names are allowed if this is not set.",
        normalized=host_pattern,
        of="host names without scheme and port, such as shop.example, *.shop.example or *",
    )
    cors_origins: Sequence[str] = list_of(
        "Origins whose pages may call the backend, in addition to localhost: https://shop.example, "
        "https://*.shop.example; * allows all.",
        normalized=origin_pattern,
        of="origins, each scheme://host[:port], scheme://*.domain or *, without quotes",
        env="NAVAI_CORS_ORIGIN",
        option="--cors-origin",
    )
    cors_headers: Sequence[str] = list_of(
        "Request headers that these pages may send, in addition to those of the contract and of W3C Trace "
        "Context; * allows all.",
        normalized=header_pattern,
        of="header names, such as X-Session-Id, or *",
    )
    inspector: bool | None = switch(
        "Serve the inspector at /navai/, for development; by default with --demo and --reload.",
        default=None,
    )
    expose_errors: bool = switch(
        "Whether callers get the messages of exceptions. If not, they get only errors of arguments and "
        "messages of ToolError, and otherwise a request id; the log has the messages.",
        default=True,
    )
    inspector_token: str | None = secret(
        "The bearer token of the inspector and of people who approve calls. It can do what an access token "
        "can, and also show the latest calls and approve waiting calls. Principals with the scope "
        "navai:approve can do that, too.",
        env="NAVAI_INSPECTOR_TOKEN",
        may_be_blank=False,  # a token that was lost on its way here must not open the inspector
    )
    access_token: str | None = secret(
        "The bearer token of requests; only /health, /ready, preflights and the inspector's page need none.",
        env="NAVAI_ACCESS_TOKEN",
        may_be_blank=False,  # a token that was lost on its way here must not open the server
    )
    access_tokens: Sequence[str] = setting(
        "More access tokens, each as token or name=token. The name is the principal of its callers. All "
        "tokens without a name are one principal.",
        default=(),
        option=None,
        parse=comma_separated,
        may_be_blank=False,  # as above
        validator=_check_tokens,
        repr=lambda entries: repr(("***",) * len(entries)),
    )
    jwt_jwks_url: str | None = setting(
        "Where the issuer of JSON Web Tokens publishes its keys; needs the next two settings.",
        converter=not_blank,
    )
    jwt_issuer: str | None = setting("The issuer that a JWT must name.", converter=not_blank)
    jwt_audience: str | None = setting("The audience that a JWT must name.", converter=not_blank)
    jwt_algorithms: Sequence[str] = list_of(
        "The signature algorithms of JWTs to accept.",
        default=("RS256",),
        normalized=lambda name: name if name in JWT_ALGORITHMS else None,
        of=f"signature algorithms, of {', '.join(JWT_ALGORITHMS)}",
    )

    mint_models: Sequence[str] = list_of(
        "The models that callers may choose for a client secret; by default all. If the default model is not "
        "one of them, the first one is used.",
        normalized=not_blank,
        of="names of models",
        may_be_blank=False,  # a restriction that was lost on its way here must not allow everything
    )
    mint_voices: Sequence[str] = list_of(
        "The voices that callers may choose, in the same way.",
        normalized=not_blank,
        of="names of voices",
        may_be_blank=False,  # as above
    )
    mint_instructions: bool = switch(
        "Whether callers may set the instructions, and language, accent and tone, which become part of them.",
        default=True,
    )
    mints_per_minute: int = count(
        "The client secrets that a principal may request in 60 seconds, counted in the store; 0 means no "
        "limit.",
        default=0,
        least=0,
    )
    tracing: bool = switch(
        "Make an OpenTelemetry span for each request, which continues the client's trace.", default=False
    )
    metrics: bool = switch(
        "Serve metrics for Prometheus at /metrics, to those who may call the backend.", default=False
    )
    metrics_token: str | None = secret(
        "The bearer token for /metrics, if only this token may read it.",
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

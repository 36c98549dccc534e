"""From a call to its request, and the cache that can make a request for the function list unnecessary."""

import math
import re
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from typing import Any, Final, Generic, TypeVar, cast

from attrs import define, evolve, field, frozen

from navai_client.errors import NavaiConfigError, NavaiPayloadError
from navai_client.models import Cancellation, FunctionList
from navai_client.wire._decode import trim
from navai_client.wire._encode import Default, encode_json, type_name
from navai_client.wire._operations import (
    CANCEL_EXECUTION,
    LIST_FUNCTIONS,
    WITH_EXTENSIONS,
    Field,
    Operation,
    Paths,
    join_url,
)
from navai_client.wire._values import ClientHeaders, Endpoint, Response
from navai_client.wire._wordpress import WordPress

T = TypeVar("T")

# An idempotency key is a header's value. 255 characters is what Stripe's API takes, which set the precedent.
_KEY: Final = re.compile(r"[!-~]{1,255}")
_ETAG: Final = re.compile(r'(?:W/)?"[!#-~]{0,1000}"')  # RFC 9110, section 8.8.3; servers refuse long headers
_MOST_IDENTITIES: Final = 100  # of callers, about whom something is kept
_TRUSTED_FOR: Final = 600.0  # seconds; nobody tells clients when a backend is deployed anew
_ADVICE: Final = ", or give the client a json_default to convert it"
_TYPES: Final[Mapping[str, tuple[type | tuple[type, ...], str]]] = {
    "string": (str, "a string"),
    "number": ((int, float), "a number"),
    "boolean": (bool, "a bool"),
}


@define(eq=False)  # not frozen: that costs a microsecond for each call
class Invocation(Generic[T]):
    """One call of an operation, before anything is sent. Never changed once it is made.

    Attributes:
        operation: The operation.
        endpoint: Where it goes.
        content: The JSON body, or None.
        call_headers: The headers of this call alone.
        secrets: The secrets among its arguments, which no error may show.
        context: What ``operation.read`` needs to know of the request.
        bind: Completes the call when its client headers are known.
        recall: Returns the value from memory, if it is known at the given time.
        remember: Keeps a value, the response that it was read from, the time, and the client's headers.
        keys: What is known of the backend's idempotency keys.
        payload: What the function is given, where a function is executed.
        on_progress: Called with the function's messages of progress.
        is_final: Returns whether a response outside 2xx, given with its JSON, ends the call without another
            attempt.
    """

    operation: Operation[T]
    endpoint: Endpoint
    content: bytes | None = field(default=None, repr=False)
    call_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)
    context: Mapping[str, Any] = field(factory=dict, repr=False)
    bind: "Callable[[Invocation[T], ClientHeaders], Invocation[T]] | None" = field(default=None, repr=False)
    recall: Callable[[float], T | None] | None = field(default=None, repr=False)
    remember: Callable[[T, Response, float, ClientHeaders], None] | None = field(default=None, repr=False)
    payload: Any = field(default=None, repr=False)
    keys: "SharedKeys | None" = field(default=None, repr=False)
    is_final: Callable[[Response, Any], bool] | None = field(default=None, repr=False)
    on_progress: Callable[[str], object] | None = field(default=None, repr=False)

    def read(self, response: Response) -> T:
        """Return the value that *response* carries, or raise what it means."""
        return self.operation.read(response, **self.context)


@frozen
class _KnownFunctions:
    functions: FunctionList
    etag: str | None
    valid_at: float  # when the backend last confirmed it, on a clock that never goes back

    def recall(self, now: float, max_age: float) -> FunctionList | None:
        return self.functions if now - self.valid_at < max_age else None


class SharedKeys:
    """Whether a backend keeps its idempotency keys in one store for all its processes.

    It says so with ``Navai-Idempotency: shared``, and is trusted for ten minutes after the last response with
    that header, or until it responds to an execution without it. A gateway may send each caller to another
    backend, so this is known only for the headers of the request. Threads can share this.
    """

    def __init__(self) -> None:
        self._until: dict[Hashable, float] = {}

    def learn(self, response: Response, now: float, headers: ClientHeaders, *, executes: bool) -> None:
        """Note what *response* says; *executes* tells whether it is the response to an execution."""
        said = response.headers.get("navai-idempotency")
        if said is not None and trim(said) == "shared":
            self._until[headers.identity] = now + _TRUSTED_FOR
            if len(self._until) > _MOST_IDENTITIES:
                self._until.pop(next(iter(list(self._until))), None)
        elif executes and self._until:
            self._until.pop(headers.identity, None)

    def are_shared(self, now: float, headers: ClientHeaders) -> bool:
        """Return whether, at the time *now*, all processes know the keys that are sent with *headers*."""
        return now < self._until.get(headers.identity, 0.0)


class Invocations:
    """Prepares the calls of one backend, and keeps the function lists that it last sent.

    A backend may offer each caller different functions, so a list belongs to the headers that it was
    requested with. Threads can share this: what is known is replaced as a whole.

    Args:
        base_url: Where the backend is.
        paths: Where its operations are.
        new_key: Returns a new idempotency key each time.
        json_default: Converts what is not JSON in a payload.

    Attributes:
        plugin: What is known of the WordPress plugin, if the backend is one.
    """

    plugin: WordPress | None = None

    def __init__(
        self, base_url: str, paths: Paths, new_key: Callable[[], str], json_default: Default | None = None
    ) -> None:
        self._endpoints = {
            operation.name: _endpoint(operation, base_url, paths.path_of(operation))
            for operation in WITH_EXTENSIONS
        }
        self._base_url = base_url
        self._new_key = new_key
        self._json_default = json_default
        self._known: Mapping[Hashable, _KnownFunctions] = {}
        self._keys = SharedKeys()
        self._list = Invocation(
            LIST_FUNCTIONS, self._endpoints[LIST_FUNCTIONS.name], remember=self._remember, keys=self._keys
        )

    def of_plugin(self, plugin: WordPress) -> None:
        """Prepare calls of *plugin* from now on."""
        self.plugin = plugin
        self._list = evolve(self._list, is_final=plugin.is_final)

    def probe(self, operation: Operation[T]) -> Invocation[T]:
        """Return a call of *operation*, a GET that is no part of the contract."""
        url = join_url(self._base_url, operation.path)
        endpoint = self._endpoints.setdefault(operation.path, Endpoint(operation.method, url))
        return Invocation(operation, endpoint)

    def list_functions(self, max_age: Any) -> Invocation[FunctionList]:
        """Return a call that lists the functions.

        With a *max_age* it sends nothing while the known list is younger than that, and revalidates an older
        one by its ``ETag``.

        Raises:
            NavaiConfigError: If *max_age* is not a number of seconds.
        """
        if max_age is None:
            return self._list
        if isinstance(max_age, bool) or not isinstance(max_age, int | float) or not max_age >= 0:
            raise NavaiConfigError(f"max_age (seconds) must be a number, 0 or more; it is {max_age!r}.")
        return evolve(self._list, bind=partial(self._with_known, max_age=max_age))

    def _with_known(
        self, invocation: Invocation[FunctionList], headers: ClientHeaders, max_age: float
    ) -> Invocation[FunctionList]:
        known = self._known.get(headers.identity)
        if known is None:
            return invocation
        recall = partial(known.recall, max_age=max_age)
        if known.etag is None:
            return evolve(invocation, recall=recall)
        call_headers = (*invocation.call_headers, ("If-None-Match", known.etag))
        context = {"known": known.functions}
        return evolve(invocation, call_headers=call_headers, context=context, recall=recall)

    def _remember(
        self, functions: FunctionList, response: Response, now: float, headers: ClientHeaders
    ) -> None:
        etag = response.headers.get("etag")
        known = self._known.get(headers.identity)
        if known is not None and functions is known.functions:  # a 304 need not repeat its ETag
            etag = etag or known.etag
        latest = _KnownFunctions(functions, etag if etag and _ETAG.fullmatch(etag) else None, now)
        latest_last = dict(self._known)
        latest_last.pop(headers.identity, None)
        latest_last[headers.identity] = latest
        if len(latest_last) > _MOST_IDENTITIES:
            del latest_last[next(iter(latest_last))]
        self._known = latest_last

    def cancel_execution(self, idempotency_key: Any) -> Invocation[Cancellation]:
        """Return a call that cancels the call with *idempotency_key*. Its body is empty.

        Raises:
            NavaiPayloadError: If it is not a key.
        """
        call_headers = (("Idempotency-Key", _checked_key(idempotency_key)),)
        return Invocation(CANCEL_EXECUTION, self._endpoints[CANCEL_EXECUTION.name], b"", call_headers)

    def prepare(
        self, operation: Operation[T], arguments: Mapping[str, Any], idempotency_key: Any = None
    ) -> Invocation[T]:
        """Return a call of *operation*. Empties *arguments* that hold a secret, so that no frame keeps it.

        Raises:
            NavaiPayloadError: If an argument cannot be sent.
            TypeError: If there is no such argument.
        """
        given: Mapping[str, Any] = arguments
        if operation.secret_fields:
            given = dict(arguments)
            cast("dict[str, Any]", arguments).clear()
        plugin = self.plugin
        if plugin is not None:
            given = {**{each.name: getattr(plugin, each.name) for each in operation.extensions}, **given}
        if (problem := _problem(operation, given)) is not None:
            del given
            raise problem
        return Invocation(
            operation,
            self._endpoints[operation.name],
            _body(operation, given, self._json_default) if operation.method == "POST" else None,
            (("Idempotency-Key", self._key(idempotency_key)),) if operation.keyed else (),
            _secrets_in(operation, given) if operation.secret_fields else (),
            {"function_name": given["function_name"]} if "function_name" in given else {},
            payload=given.get("payload"),
            keys=self._keys,
            is_final=None if plugin is None else plugin.is_final,
        )

    def _key(self, given: Any) -> str:
        return self._new_key() if given is None else _checked_key(given)


def _checked_key(given: Any) -> str:
    if not isinstance(given, str) or not _KEY.fullmatch(given):
        raise NavaiPayloadError(
            f"idempotency_key must be 1 to 255 printable ASCII characters, no blanks; it is {given!r}."
        )
    return given


def _endpoint(operation: Operation[Any], base_url: str, path: str) -> Endpoint:
    return Endpoint(operation.method, join_url(base_url, path), path)


def _secrets_in(operation: Operation[Any], given: Mapping[str, Any]) -> tuple[str, ...]:
    values = (trim(given.get(name) or "") for name in operation.secret_fields)
    return tuple(value for value in values if value)


def _problem(operation: Operation[Any], given: Mapping[str, Any]) -> Exception | None:
    """Return what is wrong with the arguments *given*. Not raised: a traceback's frames would hold them."""
    for name, value in given.items():
        each = operation.by_name.get(name)
        if each is None:
            options = ", ".join(each.name for each in operation.by_name.values() if not each.required)
            return TypeError(f"unexpected keyword argument {name!r}; there are {options}")
        if each.type == "any" or (value is None and not each.required):
            continue
        if (problem := _field_problem(each, value)) is not None:
            return NavaiPayloadError(f"{name} must be {problem}.")
    return None


def _field_problem(described: Field, value: Any) -> str | None:
    if described.required:
        return None if isinstance(value, str) and trim(value) else "a string that is not blank"
    types, expected = _TYPES[described.type]
    if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
        return f"{expected}; it is {type_name(value)}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"a finite number; it is {value}"
    return None


def _body(operation: Operation[Any], given: Mapping[str, Any], json_default: Default | None) -> bytes:
    """Return the JSON object of the arguments *given*, each under its name on the wire."""
    members: list[bytes] = []
    objects: dict[str, list[bytes]] = {}
    for name, outer, key in operation.members:
        value = given.get(name)
        if value is not None or operation.by_name[name].type == "any":
            siblings = objects.setdefault(outer, []) if outer else members
            siblings.append(key + encode_json(value, name=name, default=json_default, advice=_ADVICE))
    for outer, inner in objects.items():
        members.append(b'"%b":{%b}' % (outer.encode(), b",".join(inner)))
    return b"{%b}" % b",".join(members)

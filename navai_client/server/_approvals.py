"""Calls that wait until a person has approved them, for functions with ``approval=True``.

Such a call is kept in the store of idempotency keys, under its key or, without one, under a key of its own.
Any replica can list it and decide. Once approved, it runs as any call with a key, with the principal of its
caller and without the headers of its request; its caller gets the outcome by sending the same call again.

A kept call has the payload as it was sent, for the function; what is shown of it is masked when it is kept.
"""

import base64
import json
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from navai_client._redaction import Redactor
from navai_client.functions._binding import ArgumentsError, Payload
from navai_client.functions._context import FunctionContext, Principal
from navai_client.functions._registry import FunctionRegistry, RegisteredFunction
from navai_client.server._calls import Failure
from navai_client.server._errors import BackendError, RequestError, StoreError
from navai_client.server._http import (
    BackendRequest,
    BackendResponse,
    BodyError,
    decode_call,
    decode_record,
    error_response,
    json_response,
)
from navai_client.server._settings import APPROVAL_TTL_S, MAX_WAITING_APPROVALS
from navai_client.server._store import Store, StoreEntry, decode_outcome, encode_outcome

if TYPE_CHECKING:
    from navai_client.server._execution import Invoker

_log: Final = logging.getLogger("navai_client.server")

APPROVALS_PATH: Final = "/navai/approvals"
ONE_APPROVAL: Final = f"{APPROVALS_PATH}/{{id}}"

_UNUSABLE: Final = "Calls that wait for approval cannot be looked up at the moment. Try again."

_MAX_PAYLOAD_BYTES: Final = 16_384  # a person has to read it
_MAX_CALL_BYTES: Final = 65_536  # with the principal; so all that wait take at most 13 MB
_LONGEST_REASON: Final = 500
_Parts = tuple[bytes, bytes]

_KEY_BYTES: Final = 16  # as of the fingerprint
_REJECTED: Final = "The call was rejected."
_TOO_LARGE: Final = Failure(
    f"The function needs a person's approval, who could not read this call: a payload may have at most "
    f"{_MAX_PAYLOAD_BYTES} bytes.",
    details_for_model=True,
)


class HeldCall(msgspec.Struct, gc=False):
    """A call that waits for approval, as the store keeps it.

    Attributes:
        function: The function's name.
        payload: Its payload, as JSON.
        shown: That without secrets.
        principal: The caller's id, scopes and claims; None where callers need not say who they are.
        request_id: The id of its request.
        at: When it came, in Unix seconds.
    """

    function: str
    payload: bytes
    shown: bytes
    principal: tuple[str, list[str], dict[str, Any]] | None
    request_id: str
    at: float


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(HeldCall).decode


class Holding:
    """What a backend keeps of calls that wait for approval, how many, and for how long."""

    def __init__(
        self,
        redactor: Redactor = Redactor(),  # noqa: B008 - immutable
        ttl: float = APPROVAL_TTL_S,
        limit: int = MAX_WAITING_APPROVALS,
    ) -> None:
        """Keep at most *limit* calls, each for *ttl* seconds, and show them as *redactor* masks them."""
        self._redactor = redactor
        self.ttl = ttl
        self.limit = limit

    def kept(
        self,
        function: RegisteredFunction,
        payload: Payload,
        context: FunctionContext | None,
        request: BackendRequest,
    ) -> bytes | Failure:
        """Return a call as it is kept; a failure if it could not run, so that no person is asked."""
        try:
            function.target.prepare(payload, context)
        except ArgumentsError as error:
            return Failure(self._redactor.error(str(error)), details_for_model=True)
        text = json.dumps(payload.value).encode() if payload.text is None else payload.text
        if len(text) > _MAX_PAYLOAD_BYTES:  # before it is searched for secrets
            return _TOO_LARGE
        principal = None
        if request.principal is not None:
            who = request.principal
            principal = who.id, sorted(who.scopes), _without_secrets(who.claims, self._redactor)
        shown = self._redactor.content(text)
        try:
            json.loads(shown)
        except (ValueError, RecursionError):  # such as the note that the search for secrets took too long
            shown = json.dumps(shown.decode("utf-8", "replace")).encode()
        held = _encode(HeldCall(function.name, text, shown, principal, request.request_id, time.time()))
        return held if len(held) <= _MAX_CALL_BYTES else _TOO_LARGE


def _without_secrets(claims: Any, redactor: Redactor) -> dict[str, Any]:
    """Return those of *claims* that have a form in JSON: a host's user may be anything."""
    kept = {}
    for name, value in claims.items():
        try:
            kept[name] = msgspec.json.decode(redactor.content(msgspec.json.encode({name: value})))[name]
        except (TypeError, ValueError, KeyError, RecursionError):
            continue
    return kept


def approval_id(key: bytes, fingerprint: bytes) -> str:
    """Return the id of the approval of a call: another call under the same key has another one."""
    return base64.urlsafe_b64encode(key + fingerprint).rstrip(b"=").decode()


def _parts_of(given: str) -> _Parts:
    """Return the key and the fingerprint that ``approval_id`` has made *given* of.

    Raises:
        RequestError: It has not.
    """
    try:
        both = base64.b64decode(f"{given}=", b"-_", validate=True)
    except ValueError:  # a character that is none of base64, or not of ASCII
        raise _unknown() from None
    if len(both) != 2 * _KEY_BYTES:
        raise _unknown()
    return both[:_KEY_BYTES], both[_KEY_BYTES:]


class Approvals:
    """The handlers of the routes that list the calls that wait, and decide them."""

    def __init__(
        self,
        invoker: "Invoker",
        store: Store,
        functions: Callable[[], FunctionRegistry],
        holding: Holding,
        execute_path: str,
    ) -> None:
        """Decide what is in *store*, and run it with *invoker*."""
        self._invoker = invoker
        self._store = store
        self._functions = functions
        self._holding = holding
        self._execute_path = execute_path

    async def list(self, _request: BackendRequest, _body: bytes) -> BackendResponse:
        """List the calls that wait, the oldest first."""
        try:
            waiting = await self._store.list_waiting()
        except StoreError as error:
            return _refusal(error)
        items = [_item(key, entry, self._holding.ttl) for key, entry in waiting]
        items.sort(key=lambda item: item["requested_at"])
        return json_response(200, {"items": items}, (b"cache-control", b"no-store"))

    async def decide(self, request: BackendRequest, body: bytes) -> BackendResponse:
        """Approve or reject the call whose id is the last part of the path."""
        try:
            decision, reason = _decision_of(body)
            parts = _parts_of(request.path.removeprefix(f"{APPROVALS_PATH}/"))
            entry = await self._store.read(parts[0])
            if entry is None or entry.fingerprint != parts[1]:
                raise _unknown()
            if entry.state != "waiting" or entry.call is None:
                return _decided(parts, entry)
            held = _decode(entry.call)
            found = await (
                self._approve(parts, held) if decision == "approve" else self._reject(parts, reason)
            )
        except BackendError as error:
            return _refusal(error)
        if found is not None:
            return _decided(parts, found)
        status = "approved" if decision == "approve" else "rejected"
        by = "" if request.principal is None else request.principal.id
        _log.info(
            "Request %s: %s %s the call of %s of request %s.",
            *(request.request_id, by.encode("unicode_escape").decode(), status),
            *(held.function, held.request_id),
        )
        approval = {"id": approval_id(*parts), "status": status}
        return json_response(200, {"ok": True, "function_name": held.function, "approval": approval})

    async def _reject(self, parts: _Parts, reason: str) -> StoreEntry | None:
        """Reject a call, or return its entry if it does not wait any more."""
        text = f"A person rejected the call: {reason}" if reason else "A person rejected the call."
        rejected = Failure(f"{text} It was not executed.", error=_REJECTED, details_for_model=True)
        outcome = encode_outcome(rejected)
        if await self._store.reject(*parts, outcome, self._holding.ttl):
            return None
        entry = await self._store.read(parts[0])
        if entry is None:  # it has expired meanwhile
            raise _unknown()
        return entry

    async def _approve(self, parts: _Parts, held: HeldCall) -> StoreEntry | None:
        """Begin a call, or return its entry if it does not wait any more."""
        function = self._functions().find(held.function)
        principal = None if held.principal is None else Principal(*held.principal)
        if function is None or (
            function.scopes and (principal is None or not function.scopes <= principal.scopes)
        ):
            text = f"{held.function} is no function that the caller may call here. The call still waits."
            raise RequestError(text, status_code=409)
        _, payload = decode_call(b'{"payload":%b}' % held.payload)
        request = BackendRequest("POST", self._execute_path, {}, held.request_id, {}, principal)
        call, found = await self._invoker.approve(function, payload, request, *parts)
        if found is None and isinstance(call.outcome, Failure) and not call.outcome.has_begun:
            text = f"{call.outcome.message} The call still waits for approval."
            raise StoreError(text, retry_after=call.outcome.retry_after)
        return found


def _decision_of(body: bytes) -> tuple[str, str]:
    try:
        record = decode_record(body)
    except BodyError as error:
        raise RequestError(str(error)) from None
    decision, reason = record.get("decision"), record.get("reason")
    if decision not in ("approve", "reject"):
        raise RequestError('decision must be "approve" or "reject".')
    if not isinstance(reason, str | None):
        raise RequestError("reason must be a string.")
    return decision, (reason or "")[:_LONGEST_REASON]


def _unknown() -> RequestError:
    return RequestError("No call waits for approval with this id.", status_code=404)


def _refusal(error: BackendError) -> BackendResponse:
    if isinstance(error, StoreError) and error.retry_after is None:  # its text can name the store's address
        _log.error("Calls that wait for approval cannot be looked up: %s", error)
        error = StoreError(_UNUSABLE, retry_after="1")
    retry_after = () if error.retry_after is None else ((b"retry-after", error.retry_after.encode()),)
    return error_response(error.status_code, str(error), *retry_after)


def _item(key: bytes, entry: StoreEntry, ttl: float) -> dict[str, Any]:
    held = _decode(entry.call or b"")
    return {
        "id": approval_id(key, entry.fingerprint),
        "status": "pending",
        "function_name": held.function,
        "payload": msgspec.Raw(held.shown),  # with all digits of its numbers
        "caller": None if held.principal is None else held.principal[0],
        "request_id": held.request_id,
        "requested_at": held.at,
        "expires_at": held.at + ttl,
    }


def _decided(parts: _Parts, entry: StoreEntry) -> BackendResponse:
    """Refuse to decide again, as WordPress' plugin does."""
    status = "approved"
    if entry.state == "rejected":
        outcome = None if entry.outcome is None else decode_outcome(entry.outcome)
        by_person = isinstance(outcome, Failure) and outcome.error == _REJECTED
        status = "rejected" if by_person else "withdrawn"
    approval = {"id": approval_id(*parts), "status": status}
    return json_response(409, {"error": f"The call was {status} before.", "approval": approval})

"""What may be minted: a client secret opens a session at the owner's cost, with the owner's instructions.

A policy says what a principal may choose and how often. It is checked before anything is sent upstream.
"""

import functools
import inspect
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import attrs

from navai_client.functions._context import Principal
from navai_client.server._errors import BackendOptionsError, RequestError, StoreError
from navai_client.server._settings import ServerSettings
from navai_client.server._store import MemoryStore, Store
from navai_client.server._upstream_settings import MAX_TTL_S, MIN_TTL_S, BackendOptions, whole

_WINDOW_S: Final = 60.0
_TOO_MANY: Final = 429
# What becomes a part of the session's instructions: a language can be a whole sentence.
_INSTRUCTIONS: Final = ("instructions", "language", "voiceAccent", "voiceTone")


def _choices(values: Sequence[str] | None) -> tuple[str, ...] | None:
    if isinstance(values, str):  # a sequence of characters
        raise BackendOptionsError(f"models and voices of a policy must be lists. Received: {values!r}")
    return None if values is None else tuple(values)


def _check_ttl(_: object, _attribute: object, ttl: Any) -> None:
    if ttl is not None and (type(ttl) is not int or not MIN_TTL_S <= ttl <= MAX_TTL_S):
        raise BackendOptionsError(f"ttl_seconds must be from {MIN_TTL_S} to {MAX_TTL_S}. Received: {ttl}")


def _check_rate(_: object, _attribute: object, mints: int | None) -> None:
    if mints is not None and mints < 0:
        raise BackendOptionsError(f"per_minute must be 0 or more. Received: {mints}")


@attrs.frozen(kw_only=True)
class MintPolicy:
    """What a principal may ask for when it requests a client secret.

    Attributes:
        models: The models that it may choose; None allows all. If the backend's default is not one of them, a
            request that names none gets the first.
        voices: The voices that it may choose, in the same way.
        instructions: Whether it may set the instructions, or the language, accent and tone, which become a
            part of them.
        ttl_seconds: Seconds that the client secret is valid, from 10 to 7200; None means the backend's.
        per_minute: How many it may request; None means no limit. They are counted from the first of them for
            60 seconds, in the backend's store.
    """

    models: Sequence[str] | None = attrs.field(default=None, converter=_choices)
    voices: Sequence[str] | None = attrs.field(default=None, converter=_choices)
    instructions: bool = True
    ttl_seconds: int | None = attrs.field(default=None, converter=whole, validator=_check_ttl)
    per_minute: int | None = attrs.field(default=None, validator=_check_rate)


PolicyOf = Callable[[Principal | None], MintPolicy | Awaitable[MintPolicy | None] | None]
"""Returns the policy of a principal; None refuses it. What is not async must not wait."""


class Minting:
    """Mints client secrets within the policy of who asks for them."""

    def __init__(
        self,
        mint: Callable[..., Awaitable[dict[str, Any]]],
        policy: MintPolicy | PolicyOf,
        options: BackendOptions,
        store: Store,
    ) -> None:
        """Mint with *mint*.

        Args:
            mint: Takes the request, and ``ttl_seconds`` if a policy has that.
            policy: The policy of all, or the function that returns that of a principal.
            options: Where a request names no model and no voice, theirs.
            store: Counts mints, for all processes together. While it cannot, this one counts by itself.
        """
        self._mint = mint
        self._policy_of: PolicyOf = (lambda _: policy) if isinstance(policy, MintPolicy) else policy
        self._defaults = {"model": options.default_model, "voice": options.default_voice}
        self._store = store
        self._own_counts = MemoryStore()

    async def mint(self, principal: Principal | None, request: Mapping[str, Any]) -> dict[str, Any]:
        """Mint a client secret for *principal*.

        Raises:
            RequestError: The policy does not allow it: 403 for what was asked, 429 for how often.
            BackendError: As the backend's services raise it.
        """
        policy = self._policy_of(principal)
        if inspect.isawaitable(policy):
            policy = await policy
        if policy is None:
            raise RequestError("This caller may not request client secrets.", status_code=403)
        given = [name for name in _INSTRUCTIONS if request.get(name) is not None]
        if given and not policy.instructions:
            raise RequestError(f"This caller may not set {' and '.join(given)}.", status_code=403)
        request = {
            **request,
            **self._chosen("model", policy.models, request),
            **self._chosen("voice", policy.voices, request),
        }
        if policy.per_minute is not None:
            await self._count(principal, policy.per_minute)
        mint = self._mint
        if policy.ttl_seconds is not None:
            mint = functools.partial(mint, ttl_seconds=policy.ttl_seconds)
        return await mint(request)

    def _chosen(
        self, name: str, allowed: Sequence[str] | None, request: Mapping[str, Any]
    ) -> dict[str, str | None]:
        """Return what *request* chooses, if it is *allowed*, or what is chosen for it."""
        if allowed is None:
            return {}
        chosen = request.get(name)
        if chosen is None:
            chosen = next((each for each in (self._defaults[name], *allowed) if each in allowed), None)
        if chosen not in allowed:
            choices = ", ".join(allowed) or "none"
            raise RequestError(
                f"This caller may not choose this {name}. Allowed: {choices}.", status_code=403
            )
        return {name: chosen}

    async def _count(self, principal: Principal | None, per_minute: int) -> None:
        name = "mints" if principal is None else f"mints:{principal.id}"
        try:
            number, left = await self._store.count(name, _WINDOW_S)
        except StoreError:
            number, left = await self._own_counts.count(name, _WINDOW_S)
        if number > per_minute:
            seconds = max(1, math.ceil(left))
            raise RequestError(
                f"Too many client secrets were requested. Try again in {seconds} seconds.",
                status_code=_TOO_MANY,
                retry_after=str(seconds),
            )


def policy_of(settings: ServerSettings) -> MintPolicy:
    """Return the policy that *settings* make for all callers."""
    return MintPolicy(
        models=settings.mint_models or None,
        voices=settings.mint_voices or None,
        instructions=settings.mint_instructions,
        per_minute=settings.mints_per_minute or None,
    )

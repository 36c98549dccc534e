"""The backend of ``--demo``: sample functions of a small shop, and client secrets that open no session."""

import asyncio
import base64
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import attrs
import msgspec

from navai_client.server._errors import RequestError
from navai_client.server._upstream import ClientSecretRequest, SpeechRequest, requested_session
from navai_client.server._upstream_settings import BackendOptions
from navai_client.wire._decode import trim

# A tenth of a second of silence: 8-bit mono at 8 kHz, as WAV.
_SILENCE: Final = (
    b"RIFF"
    + (836).to_bytes(4, "little")
    + b"WAVEfmt "
    + (16).to_bytes(4, "little")
    + bytes.fromhex("01000100401f0000401f000001000800")
    + b"data"
    + (800).to_bytes(4, "little")
    + b"\x80" * 800
)


class DemoServices:
    """Responds as OpenAI and ElevenLabs would, without calling them.

    Attributes:
        mints: What the client secrets are worth, as :attr:`UpstreamServices.mints`.
        minted: Called with each secret and the session that it is for, or None.
    """

    mints: Final = "samples"

    def __init__(self, ttl: int = 600) -> None:
        """Mint secrets that expire after *ttl* seconds."""
        self._ttl = ttl
        self.minted: Callable[[str, dict[str, Any]], object] | None = None

    async def create_client_secret(
        self, request: Mapping[str, Any], *, ttl_seconds: int | None = None
    ) -> dict[str, Any]:
        """Mint a secret that begins with ``ek_demo_``."""
        asked = ClientSecretRequest.from_json(request)
        value = f"ek_demo_{secrets.token_hex(16)}"
        if self.minted is not None:
            self.minted(value, requested_session(BackendOptions(), asked))
        return {
            "value": value,
            "expires_at": int(time.time()) + (ttl_seconds or self._ttl),
            "speech": {"provider": "openai"},
        }

    async def synthesize_speech(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Return a tenth of a second of silence."""
        if not trim(SpeechRequest.from_json(request).text):
            raise RequestError("text is required.")
        return {
            "provider": "elevenlabs",
            "mimeType": "audio/wav",
            "audioBase64": base64.b64encode(_SILENCE).decode(),
        }

    async def aclose(self) -> None:
        """Do nothing: there are no connections."""


_PRICES = {"coffee": Decimal("2.80"), "tea": Decimal("2.40"), "cake": Decimal("3.90")}


@attrs.frozen
class Weather:
    """The weather at a place."""

    location: str
    temperature: float
    unit: str
    condition: str


@attrs.frozen
class OrderLine:
    """A product and its quantity."""

    product: Literal["coffee", "tea", "cake"]
    quantity: Annotated[int, msgspec.Meta(ge=1, le=20)] = 1


def get_weather(location: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> Weather:
    """Get the current weather of a place.

    Args:
        location: City or region, such as "San Francisco".
        unit: The unit of the temperature.
    """
    celsius = sum(map(ord, location)) % 30
    temperature = float(celsius) if unit == "celsius" else celsius * 9 / 5 + 32
    return Weather(location, temperature, unit, ("sunny", "cloudy", "rainy")[celsius % 3])


async def create_order(
    items: list[OrderLine], customer_id: str, deliver_on: date | None = None
) -> dict[str, object]:
    """Place an order and return its total.

    Args:
        items: The products to order.
        customer_id: The customer's id.
        deliver_on: The day of the delivery; tomorrow when none is given.
    """
    await asyncio.sleep(0)  # a real shop would query its database here
    total = sum((_PRICES[line.product] * line.quantity for line in items), Decimal())
    return {
        "order_id": f"order-{customer_id}",
        "total": total,
        "deliver_on": deliver_on or datetime.now(UTC).date() + timedelta(days=1),
        "items": items,
    }


def cancel_order(order_id: str) -> None:
    """Cancel an order. This demo has none: the call shows how a failure is reported.

    Args:
        order_id: The number of the order.
    """
    raise LookupError(f"There is no order {order_id!r}.")


def make_report(seconds: Annotated[float, msgspec.Meta(ge=0, le=60)] = 2.0) -> dict[str, object]:
    """Make a report of today's sales, which takes a while.

    Args:
        seconds: The time that it takes.
    """
    time.sleep(seconds)
    return {"orders": 42, "revenue": Decimal("371.50"), "seconds": seconds}


async def tell_time() -> datetime:
    """Tell the current time (UTC)."""
    return datetime.now(UTC)


class Calculator:
    """Prices with tax."""

    def __init__(self, tax_percent: float = 19) -> None:
        self._tax = tax_percent

    def add_tax(self, amount: float) -> float:
        """Add tax to an amount.

        Args:
            amount: The amount without tax.
        """
        return round(amount * (1 + self._tax / 100), 2)


DEMO_FUNCTIONS: Final[tuple[Callable[..., Any], ...]] = (
    Calculator,
    cancel_order,
    create_order,
    get_weather,
    make_report,
    tell_time,
)

"""A fake of OpenAI's Realtime API for tests: it mints client secrets, checks them, and plays a script."""

from navai_client._extras import needs_extra

with needs_extra("testing", "websockets"):
    from navai_client.testing.realtime._minting import MintedSecret
    from navai_client.testing.realtime._script import Action, BargeIn, Call, Disconnect, Raw, Say, Until
    from navai_client.testing.realtime._server import FakeRealtimeServer
    from navai_client.testing.realtime._session import FakeRealtimeSession

__all__ = [
    "Action",
    "BargeIn",
    "Call",
    "Disconnect",
    "FakeRealtimeServer",
    "FakeRealtimeSession",
    "MintedSecret",
    "Raw",
    "Say",
    "Until",
]

"""Fakes for tests: of OpenAI's Realtime API, with its client secrets and a script, and of ElevenLabs."""

from navai_client._extras import needs_extra

with needs_extra("testing", "websockets"):
    from navai_client.testing.realtime._elevenlabs import FakeElevenLabs
    from navai_client.testing.realtime._minting import MintedSecret
    from navai_client.testing.realtime._script import Action, BargeIn, Call, Disconnect, Raw, Say, Until
    from navai_client.testing.realtime._server import FakeRealtimeServer
    from navai_client.testing.realtime._session import FakeRealtimeSession

__all__ = [
    "Action",
    "BargeIn",
    "Call",
    "Disconnect",
    "FakeElevenLabs",
    "FakeRealtimeServer",
    "FakeRealtimeSession",
    "MintedSecret",
    "Raw",
    "Say",
    "Until",
]

"""What stands behind the client-secret and speech routes of a real backend: OpenAI and ElevenLabs."""

from collections.abc import Mapping
from typing import Any

from navai_client.server._client_secrets import create_realtime_client_secret
from navai_client.server._settings import BackendOptions
from navai_client.server._speech import synthesize_speech
from navai_client.server._upstream import Upstream


class UpstreamServices:
    """Asks OpenAI and ElevenLabs over one pool of connections."""

    def __init__(self, options: BackendOptions) -> None:
        """Mint and speak by *options*."""
        self._options = options
        self._upstream = Upstream()

    async def create_client_secret(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Mint a client secret."""
        return await create_realtime_client_secret(self._options, request, upstream=self._upstream)

    async def synthesize_speech(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Synthesize speech."""
        return await synthesize_speech(self._options, request, upstream=self._upstream)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._upstream.aclose()

"""A fake of OpenAI's Realtime API for tests: it mints client secrets, checks them, and plays a script.

It listens on 127.0.0.1 alone, in a thread of its own, so that it can be used from any test, async or not.
"""

import asyncio
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self, final
from urllib.parse import parse_qs, urlsplit

from navai_client._extras import needs_extra
from navai_client._redaction import mask
from navai_client.testing.realtime._client_secrets import MintedSecret, MintServer
from navai_client.testing.realtime._script import Action, Numbers, Say
from navai_client.testing.realtime._session import FakeRealtimeSession

with needs_extra("testing", "websockets"):
    from websockets.asyncio.server import ServerConnection, serve
    from websockets.exceptions import ConnectionClosed
    from websockets.http11 import Request, Response

_PATH: Final = "/v1/realtime"
_STARTING: Final = 30.0  # seconds
_NOT_RUNNING: Final = "The fake Realtime server is not running; use it in a with statement."
_OTHERWISE: Final = (Say("All right."),)


@final
class FakeRealtimeServer:
    """A Realtime API on this machine, whose model says what the script says.

    ::

        script = [
            [Call("get_weather", {"location": "Bogotá"}), Call("tell_time")],  # to the first response.create
            Say("It is noon, and sunny."),  # to the second
        ]
        with FakeRealtimeServer(script) as api:
            ...  # a backend with OPENAI_BASE_URL=api.openai_base_url, an agent that connects to api.url

    A connection is let in only with a secret that it minted itself or was told of. Each ``response.create``
    plays the next turn; after the last one the model says "All right.". Leaving the context checks that every
    turn was played and every call answered exactly once, unless *strict* is off or the test failed already.

    Args:
        script: Turns, in order: each one action, or several.
        secrets: Client secrets to let in, besides those that it mints.
        strict: Whether leaving the context checks.
    """

    def __init__(
        self,
        script: Iterable[Action | Sequence[Action]] = (),
        *,
        secrets: Iterable[str] = (),
        strict: bool = True,
    ) -> None:
        self._turns = [list(turn) if isinstance(turn, Sequence) else [turn] for turn in script]
        self._played = 0
        self._secrets: dict[str, dict[str, Any]] = {secret: {} for secret in secrets}
        self._strict = strict
        self._happened = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._mint: MintServer | None = None
        self._port = 0
        self._closing = asyncio.Event()
        self._admitted: dict[ServerConnection, Request] = {}
        self.numbers: Numbers = Numbers()
        self.sessions: list[FakeRealtimeSession] = []
        self.minted: list[MintedSecret] = []
        self.refused: list[str] = []

    @property
    def url(self) -> str:
        """Where a Realtime session connects to, without ``?model=``."""
        return f"{self.websocket_base_url}/realtime"

    @property
    def websocket_base_url(self) -> str:
        """What the ``openai`` package takes under this name."""
        return f"ws://127.0.0.1:{self._port}/v1"

    @property
    def openai_base_url(self) -> str:
        """What a backend takes for ``OPENAI_BASE_URL``: it mints its client secrets here."""
        if self._mint is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._mint.base_url

    @property
    def session(self) -> FakeRealtimeSession:
        """The only session, or an AssertionError that says how many there were."""
        if len(self.sessions) != 1:
            refused = "".join(f"\n  refused: {reason}" for reason in self.refused)
            raise AssertionError(f"Expected one session; {len(self.sessions)} were opened.{refused}")
        return self.sessions[0]

    def accept(self, secret: str) -> None:
        """Let *secret* in from now on."""
        self._secrets[secret] = {}

    def revoke(self, secret: str) -> None:
        """Let *secret* in no more; sessions that are open go on."""
        self._secrets.pop(secret, None)

    def speak(self, text: str) -> None:
        """Have the person say *text* in the newest session: an interruption, and the next turn follows."""
        if self._loop is None:
            raise RuntimeError(_NOT_RUNNING)
        asyncio.run_coroutine_threadsafe(self.sessions[-1].speak(text), self._loop).result(_STARTING)

    def wait(self, timeout: float = 10.0) -> None:
        """Wait until the script was played and every call is answered.

        Args:
            timeout: Seconds.

        Raises:
            AssertionError: If that did not happen; it says what did.
        """
        with self._happened:
            played = self._happened.wait_for(lambda: not self._missing() and not self._playing(), timeout)
        self.check()
        if not played:
            raise AssertionError(f"The last turn was not over within {timeout:g} seconds.{self._story()}")

    async def wait_async(self, timeout: float = 10.0) -> None:
        """Wait as ``wait`` does, without blocking the event loop.

        Args:
            timeout: Seconds.

        Raises:
            AssertionError: As ``wait`` does.
        """
        await asyncio.to_thread(self.wait, timeout)

    def wait_for(self, kind: str, count: int = 1, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Wait until the clients have sent *count* events of type *kind*, and return these.

        Args:
            kind: Such as ``response.create``.
            count: How many.
            timeout: Seconds.

        Raises:
            AssertionError: If they did not; it says what they sent.
        """
        with self._happened:
            if self._happened.wait_for(lambda: len(self._sent(kind)) >= count, timeout):
                return self._sent(kind)
        came = len(self._sent(kind))
        raise AssertionError(f"Expected {count} x {kind} in {timeout:g} s; {came} came.{self._story()}")

    async def wait_for_async(self, kind: str, count: int = 1, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Wait as ``wait_for`` does, without blocking the event loop.

        Args:
            kind: As for ``wait_for``.
            count: As for ``wait_for``.
            timeout: As for ``wait_for``.

        Raises:
            AssertionError: As ``wait_for`` does.
        """
        return await asyncio.to_thread(self.wait_for, kind, count, timeout)

    def check(self) -> None:
        """Check that the script was played and every call answered exactly once.

        Raises:
            AssertionError: If not; it says what was expected and what came.
        """
        missing = self._missing()
        if missing:
            raise AssertionError(
                "The script was not played as written:\n  " + "\n  ".join(missing) + self._story()
            )

    def start(self) -> None:
        """Begin to listen. Entering the context does it."""
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(self._loop, ready), name="fake-realtime")
        self._thread.start()
        ready.wait(_STARTING)
        self._mint = MintServer(self._mint_secret)

    def close(self) -> None:
        """Close every connection and stop listening. Can be called more than once."""
        if self._loop is None or self._thread is None or self._mint is None:
            return
        self._mint.close()
        self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()
        self._loop = self._thread = self._mint = None

    # What sessions share.

    def next_turn(self) -> Sequence[Action]:
        """Return the next turn of the script."""
        with self._happened:
            self._played += 1
            self._happened.notify_all()
            return self._turns[self._played - 1] if self._played <= len(self._turns) else _OTHERWISE

    def note(self) -> None:
        """Wake who waits for something."""
        with self._happened:
            self._happened.notify_all()

    def _run(self, loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(self._serve(ready))
        finally:
            loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        async with serve(self._handle, "127.0.0.1", 0, process_request=self._admit, max_size=None) as server:
            self._port = next(iter(server.sockets)).getsockname()[1]
            ready.set()
            await self._closing.wait()

    def _mint_secret(self, key: str, session: dict[str, Any], expires_at: int) -> MintedSecret:
        with self._happened:
            value = f"ek_fake_{len(self.minted) + 1:032d}"
            minted = MintedSecret(value=value, api_key=key, session=session, expires_at=expires_at)
            self.minted.append(minted)
            self._secrets[value] = session
            return minted

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        if urlsplit(request.path).path != _PATH:
            return self._refuse(connection, HTTPStatus.NOT_FOUND, f"there is no {request.path}, only {_PATH}")
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secret:
            return self._refuse(connection, HTTPStatus.UNAUTHORIZED, "there was no Authorization: Bearer")
        if secret not in self._secrets:
            why = f"{mask(secret)} is no client secret that was minted here or accepted"
            return self._refuse(connection, HTTPStatus.UNAUTHORIZED, why)
        self._admitted[connection] = request
        return None

    def _refuse(self, connection: ServerConnection, status: HTTPStatus, reason: str) -> Response:
        self.refused.append(reason)
        return connection.respond(status, f"{reason}\n")

    async def _handle(self, connection: ServerConnection) -> None:
        request = self._admitted.pop(connection)
        secret = request.headers["Authorization"].partition(" ")[2]
        model = next(iter(parse_qs(urlsplit(request.path).query).get("model", ())), None)
        config = {"model": model, **self._secrets[secret]} if model else self._secrets[secret]
        session = FakeRealtimeSession(self, _Socket(connection), config, model)
        self.sessions.append(session)
        try:
            await session.begin()
            with suppress(ConnectionClosed):  # a client may leave without a goodbye
                async for message in connection:
                    await session.receive(message)
        finally:
            await session.finish()
            self.note()

    def _sent(self, kind: str) -> list[dict[str, Any]]:
        return [event for session in self.sessions for event in session.sent(kind)]

    def _playing(self) -> bool:
        return any(session.playing for session in self.sessions)

    def _missing(self) -> list[str]:
        """Say in words what was expected and has not come, or came too often."""
        missing = []
        if self._played < len(self._turns):
            asked = len(self._sent("response.create"))
            missing.append(
                f"{self._played} of {len(self._turns)} turns were played; the client sent {asked} x "
                f"response.create. Next would be: {self._turns[self._played]}"
            )
        for session in self.sessions:
            for call_id, call in session.calls.items():
                outputs = session.outputs.get(call_id, [])
                if len(outputs) > 1:
                    missing.append(f"{call} ({call_id}) was answered {len(outputs)} times: {outputs}")
                elif not outputs and not session.hung_up:
                    missing.append(f"{call} ({call_id}) was not answered.")
        return missing

    def _story(self) -> str:
        lines = [f"refused: {reason}" for reason in self.refused]
        for number, session in enumerate(self.sessions, 1):
            kinds = ", ".join(str(event.get("type")) for event in session.received)
            lines.append(f"session {number} received: {kinds or 'nothing'}")
        return "\nWhat happened:\n  " + "\n  ".join(lines or ["nobody connected"])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._strict and error is None:
                self.check()
        finally:
            self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.__exit__, kind, error, trace)


class _Socket:
    """Sends into a connection that may be gone."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    async def send(self, message: str) -> None:
        with suppress(ConnectionClosed):  # the reading side ends the session
            await self._connection.send(message)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._connection.close(code, reason)

"""``FakeRealtimeServer``: it listens on 127.0.0.1 in a thread of its own, for sync and async tests alike."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self, final
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from navai_client._redaction import mask, without_debug
from navai_client._threads import run_in_thread
from navai_client.testing._loop_thread import LoopThread
from navai_client.testing.realtime._minting import MintedSecret, MintServer
from navai_client.testing.realtime._script import Action, Script
from navai_client.testing.realtime._session import FakeRealtimeSession

_PATH: Final = "/v1/realtime"
_CLOSING_S: Final = 2.0  # for a client to return the close frame
_SPEAKING_S: Final = 30.0
_NOT_RUNNING: Final = "The fake Realtime server is not running; use it in a with statement."


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

    A connection is accepted only with a secret that the server minted or was given. Each ``response.create``
    plays the next turn; after the last one the model says "All right.". What OpenAI's API refuses, this one
    refuses: events and requests for client secrets that do not fit the published types, unknown members,
    names and schemas of tools that models do not accept.

    Leaving the context checks that every turn was played, that every tool that the model called was offered,
    and that every call got exactly one result. It checks nothing if *strict* is off or the test has failed.

    Attributes:
        sessions: The connections, in order.
        minted: The client secrets minted for backends.
        refused: Why connections were refused.

    Args:
        script: Turns, in order: each one action, or several.
        secrets: Client secrets to accept, besides those that it mints.
        strict: Whether leaving the context runs these checks.
    """

    def __init__(
        self,
        script: Iterable[Action | Sequence[Action]] = (),
        *,
        secrets: Iterable[str] = (),
        strict: bool = True,
    ) -> None:
        self._script = Script(script)
        self._secrets: dict[str, dict[str, Any]] = {secret: {} for secret in secrets}
        self._strict = strict
        self._loop: LoopThread | None = None
        self._listening: Server | None = None
        self._mint: MintServer | None = None
        self._port = 0
        self.sessions: list[FakeRealtimeSession] = []
        self.minted: list[MintedSecret] = []
        self.refused: list[str] = []

    @property
    def url(self) -> str:
        """The URL that a Realtime session connects to, without ``?model=``."""
        return f"{self.websocket_base_url}/realtime"

    @property
    def websocket_base_url(self) -> str:
        """The value for the ``openai`` package's option of this name."""
        return f"ws://127.0.0.1:{self._port}/v1"

    @property
    def openai_base_url(self) -> str:
        """The value for the ``OPENAI_BASE_URL`` of a backend, which then mints its client secrets here."""
        if self._mint is None:
            raise RuntimeError(_NOT_RUNNING)
        return self._mint.base_url

    @property
    def session(self) -> FakeRealtimeSession:
        """The only session, or an AssertionError that says how many there were.

        A session that only listened, as ``read_backend_session`` does, does not count if another was used.
        """
        found = [each for each in self.sessions if each.received] or self.sessions
        if len(found) != 1:
            refused = "".join(f"\n  refused: {reason}" for reason in self.refused)
            raise AssertionError(f"Expected one session; {len(found)} were opened.{refused}")
        return found[0]

    def accept(self, secret: str, session: Mapping[str, Any] | None = None) -> None:
        """Accept *secret* from now on; *session* has the configuration of its sessions."""
        self._secrets[secret] = dict(session or {})

    def revoke(self, secret: str) -> None:
        """Revoke *secret*; open sessions go on."""
        self._secrets.pop(secret, None)

    def speak(self, text: str) -> None:
        """Interrupt the newest session: the person says *text*, and the next turn follows."""
        if self._loop is None:
            raise RuntimeError(_NOT_RUNNING)
        self._loop.run(self.sessions[-1].speak(text), _SPEAKING_S)

    def wait(self, timeout: float = 10.0) -> None:
        """Wait until the script was played and every call has its result.

        Args:
            timeout: Seconds.

        Raises:
            AssertionError: If that did not happen; the message says what did.
        """
        with self._script.changed:
            ended = self._script.changed.wait_for(
                lambda: not self._missing() and not any(each.playing for each in self.sessions), timeout
            )
        self.check()
        if not ended:
            raise AssertionError(f"The last turn was not over within {timeout:g} seconds.{self._story()}")

    async def wait_async(self, timeout: float = 10.0) -> None:
        """Wait as ``wait`` does, without blocking the event loop."""
        await run_in_thread(partial(self.wait, timeout))

    def wait_for(self, kind: str, count: int = 1, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Wait until the clients have sent *count* events of type *kind*, and return these.

        Args:
            kind: Such as ``response.create``.
            count: The number of events.
            timeout: Seconds.

        Raises:
            AssertionError: If they did not; the message says what they sent.
        """
        with self._script.changed:
            if self._script.changed.wait_for(lambda: len(self._sent(kind)) >= count, timeout):
                return self._sent(kind)
        came = len(self._sent(kind))
        raise AssertionError(f"Expected {count} x {kind} in {timeout:g} s; {came} came.{self._story()}")

    async def wait_for_async(self, kind: str, count: int = 1, timeout: float = 10.0) -> list[dict[str, Any]]:
        """Wait as ``wait_for`` does, without blocking the event loop."""
        return await run_in_thread(partial(self.wait_for, kind, count, timeout))

    def check(self) -> None:
        """Check that the script was played and every call got exactly one result.

        Raises:
            AssertionError: If not; the message says what was expected and what came.
        """
        missing = self._missing()
        if missing:
            raise AssertionError(
                "The script was not played as written:\n  " + "\n  ".join(missing) + self._story()
            )

    def start(self) -> None:
        """Start listening. Entering the context does this."""
        self._loop = LoopThread("navai-fake-realtime")
        self._loop.run(self._listen())
        self._mint = MintServer(self._mint_secret)

    def close(self) -> None:
        """Close every connection and stop listening. Can be called more than once."""
        if self._loop is None or self._mint is None:
            return
        self._mint.close()
        self._loop.close(self._stop_listening())
        self._loop = self._mint = None

    async def _listen(self) -> None:
        self._listening = await serve(
            self._handle,
            "127.0.0.1",
            0,
            process_request=self._admit,
            max_size=None,
            close_timeout=_CLOSING_S,
            logger=without_debug("websockets.server"),
        )
        self._port = next(iter(self._listening.sockets)).getsockname()[1]

    async def _stop_listening(self) -> None:
        if self._listening is not None:  # pragma: no branch - for type checkers
            self._listening.close()
            await self._listening.wait_closed()

    def _mint_secret(self, key: str, session: dict[str, Any], expires_at: int) -> MintedSecret:
        with self._script.changed:
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
            why = (
                f"{mask(secret)} is not a client secret that was minted here or accepted: let the backend "
                "mint with openai_base_url as its OPENAI_BASE_URL, or call accept(secret)"
            )
            return self._refuse(connection, HTTPStatus.UNAUTHORIZED, why)
        return None

    def _refuse(self, connection: ServerConnection, status: HTTPStatus, reason: str) -> Response:
        self.refused.append(reason)
        return connection.respond(status, f"{reason}\n")

    async def _handle(self, connection: ServerConnection) -> None:
        request = connection.request
        assert request is not None  # noqa: S101 - for type checkers: it was admitted
        secret = request.headers["Authorization"].partition(" ")[2]
        model = next(iter(parse_qs(urlsplit(request.path).query).get("model", ())), None)
        config = {"model": model, **self._secrets[secret]} if model else self._secrets[secret]
        session = FakeRealtimeSession(self._script, connection, config, model)
        self.sessions.append(session)
        try:
            await session.begin()
            with suppress(ConnectionClosed):  # a client may leave without a close frame
                async for message in connection:
                    await session.receive(message)
        finally:
            await session.finish()
            self._script.notify()

    def _sent(self, kind: str) -> list[dict[str, Any]]:
        return [event for session in self.sessions for event in session.sent(kind)]

    def _missing(self) -> list[str]:
        """Return, in words, what was expected and is missing, or came too often."""
        missing, turns, played = [], self._script.turns, self._script.played
        if played < len(turns):
            asked = len(self._sent("response.create"))
            missing.append(
                f"{played} of {len(turns)} turns were played; the client sent {asked} x response.create. "
                f"Next would be: {turns[played]}"
            )
        for session in self.sessions:
            missing += [
                f"{call} was not offered; the session offered: {', '.join(names) or 'no tools'}. "
                "If the model makes up the name, script Call(..., offered=False)."
                for call, names in session.unoffered
            ]
            for call_id, call in session.calls.items():
                outputs = session.outputs.get(call_id, [])
                made = session.made[call_id]
                of = f" for {made} calls" if made > 1 else ""
                if len(outputs) > made or (0 < len(outputs) < made and not session.hung_up):
                    results = "1 result" if len(outputs) == 1 else f"{len(outputs)} results"
                    missing.append(f"{call} ({call_id}) got {results}{of}: {outputs}")
                elif not outputs and not session.hung_up:
                    missing.append(f"{call} ({call_id}) got no result{of}.")
        return missing

    def _story(self) -> str:
        lines = [f"refused: {reason}" for reason in self.refused]
        for number, session in enumerate(self.sessions, 1):
            kinds = ", ".join(str(event.get("type")) for event in session.received)
            lines.append(f"session {number} received: {kinds or 'nothing'}")
            lines += [f"session {number} refused: {reason}" for reason in session.refused]
        return "\nWhat happened:\n  " + "\n  ".join(lines or ["no client connected"])

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
        await run_in_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await run_in_thread(partial(self.__exit__, kind, error, trace))

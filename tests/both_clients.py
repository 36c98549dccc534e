"""Either client behind one face, so that each test body is written once; and a backend to play with.

The async client is driven through an ``asyncio.Runner``. Retries wait for nothing here.
"""

import asyncio
import base64
import json
import types
from collections.abc import Callable, Iterator
from typing import Any, Self

import httpx

from navai_client import AsyncNavaiBackendClient, ClientSecret, FunctionList, SpeechAudio
from navai_client.client import NavaiBackendClient
from navai_client.errors import NavaiError
from navai_client.retry import RetryPolicy

BASE = "https://backend.example"
SECRET = {"value": "ek_abc", "expires_at": 1_900_000_000}
SPEECH = {
    "provider": "elevenlabs",
    "mimeType": "audio/mpeg",
    "audioBase64": base64.b64encode(b"ID3").decode(),
}
OPERATIONS: dict[str, tuple[Any, ...]] = {
    "create_client_secret": (),
    "list_functions": (),
    "execute_function": ("get_weather",),
    "synthesize_speech": ("Hello",),
}
RAISING = ["create_client_secret", "execute_function", "synthesize_speech"]

Run = Callable[[Any], Any]


class Backend:
    """Answers each request with the next of *answers*, the last one for ever, and keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    @property
    def request(self) -> httpx.Request:
        """The only request."""
        assert len(self.requests) == 1
        return self.requests[0]

    @property
    def body(self) -> Any:
        """The JSON of the only request."""
        return json.loads(self.request.content)


class Client:
    """One client, called the same way whichever it is."""

    def __init__(self, real: NavaiBackendClient | AsyncNavaiBackendClient, run: Run) -> None:
        self.real: Any = real
        self._run = run

    def create_client_secret(self, **options: Any) -> ClientSecret:
        secret: ClientSecret = self._run(self.real.create_client_secret(**options))
        return secret

    def list_functions(self, **options: Any) -> FunctionList:
        functions: FunctionList = self._run(self.real.list_functions(**options))
        return functions

    def execute_function(self, *args: Any, **options: Any) -> Any:
        return self._run(self.real.execute_function(*args, **options))

    def synthesize_speech(self, *args: Any, **options: Any) -> SpeechAudio:
        audio: SpeechAudio = self._run(self.real.synthesize_speech(*args, **options))
        return audio

    def client_secrets(self, **options: Any) -> "Secrets":
        return Secrets(self.real.client_secrets(**options), self._run)

    def close(self) -> None:
        self._run(self.real.close())

    def __enter__(self) -> Self:
        enter = getattr(self.real, "__aenter__", None) or self.real.__enter__
        assert self._run(enter()) is self.real
        return self

    def __exit__(self, *error: object) -> None:
        leave = getattr(self.real, "__aexit__", None) or self.real.__exit__
        self._run(leave(*error))

    def __repr__(self) -> str:
        return repr(self.real)


class Secrets:
    """A source of client secrets, called the same way whichever it is."""

    def __init__(self, real: Any, run: Run) -> None:
        self._real = real
        self._run = run

    def get(self) -> ClientSecret:
        secret: ClientSecret = self._run(self._real.get())
        return secret

    def __call__(self) -> str:
        value: str = self._run(self._real())
        return value


class Clients:
    """Makes clients of one kind.

    Args:
        cls: The class of the clients.
        run: Gives the result of what a method of theirs returned.
    """

    def __init__(self, cls: type[NavaiBackendClient | AsyncNavaiBackendClient], run: Run) -> None:
        self.cls = cls
        self._run = run

    def make(self, backend: Callable[[httpx.Request], httpx.Response], *args: Any, **options: Any) -> Client:
        """Make a client of *backend*; the environment of the process does not matter to it."""
        options = {"transport": httpx.MockTransport(backend), "env": {}, **options}
        real = self.cls(*args, **options)
        real._core.policy = RetryPolicy(max_retries=real._core.config.max_retries, jitter=lambda: 0.0)
        return Client(real, self._run)


def either_client(kind: str) -> Iterator[Clients]:
    """Give the clients of one kind: "sync" or "async"."""
    if kind == "sync":
        yield Clients(NavaiBackendClient, lambda result: result)
        return
    with asyncio.Runner() as runner:
        yield Clients(AsyncNavaiBackendClient, runner.run)


def answer(value: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> httpx.Response:
    """Return a response with *value* as JSON, or as it is if it is bytes."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return httpx.Response(status, content=content, headers=headers)


def frames_of_ours(error: BaseException | None) -> Iterator[types.FrameType]:
    """Give the frames of the package that *error*, its causes and contexts keep alive."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        trace = error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_globals.get("__name__", "").startswith("navai_client"):
                yield trace.tb_frame
            trace = trace.tb_next
        error = error.__cause__ or error.__context__


def shown_by(error: NavaiError) -> str:
    """Return all that a traceback with local variables could show of *error* and of our frames."""
    shown = [str(error), repr(error), repr(error.__cause__), repr(vars(error))]
    for frame in frames_of_ours(error):
        for name, value in frame.f_locals.items():
            try:
                shown.append(f"{frame.f_code.co_qualname}: {name} = {value!r}")
            except AttributeError:  # a client whose construction failed
                assert name == "self"
    return "\n".join(shown)


def call(client: Any, operation: str, **options: Any) -> Any:
    """Call *operation* with arguments that will do."""
    return getattr(client, operation)(*OPERATIONS[operation], **options)


__all__ = [
    "BASE",
    "OPERATIONS",
    "RAISING",
    "SECRET",
    "SPEECH",
    "Backend",
    "Client",
    "Clients",
    "answer",
    "call",
    "either_client",
    "shown_by",
]

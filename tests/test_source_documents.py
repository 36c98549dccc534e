"""Each code block of the documents of Navai's clients and of its client secrets, as a Python user writes it.

tests/seeds.toml says which block a test stands for.
"""

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from navai_client import (
    FunctionFailedError,
    NavaiBackendClient,
    NavaiHTTPError,
    UnknownFunctionError,
    resolve_navai_env,
)
from navai_client.integrations.openai_agents import BackendSession, build_navai_agent, realtime_model_config
from navai_client.integrations.routes import NavaiRoute
from navai_client.integrations.toolset import Toolset
from navai_client.server import BackendOptions, create_realtime_client_secret_sync
from tests.faults.server import FaultServer, Peer, answer
from tests.serving import Serve

URL: Final = "https://api.example.com"
PATHS: Final = ("/navai/realtime/client-secret", "/navai/functions", "/navai/functions/execute")


class Backend:
    """Responds as the documents say, at *paths*, and keeps the requests."""

    def __init__(self, *paths: str) -> None:
        self.paths = paths or PATHS
        self.requests: list[tuple[str, Any]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        secret, functions, execute = self.paths
        body = json.loads(request.content or b"null")
        self.requests.append((str(request.url), body))
        if request.url.path == secret:
            return httpx.Response(200, json={"value": "client_secret_1", "expires_at": 1234567890})
        if request.url.path == functions:
            items = [
                {"name": "get_weather", "description": "Get current weather", "source": "backend"},
                {"name": "send_email", "description": "Send an email", "source": "backend"},
            ]
            return httpx.Response(200, json={"items": items, "warnings": ["[navai] Ignored a.ts."]})
        assert request.url.path == execute
        return httpx.Response(200, json=self.executed(body))

    def executed(self, body: Any) -> dict[str, Any]:
        """Return the body of the response to an execution."""
        payload = body["payload"] or {}
        if payload.get("to") == "invalid":
            details = "user@example is not a valid email"
            return {"ok": False, "error": "Invalid email address", "details": details}
        if payload.get("location") == "Invalid":
            return {"ok": False, "error": "Function execution failed"}
        return {"ok": True, "result": {"temperature": 72, "condition": "sunny"}}


def client(backend: Backend, base_url: str | None = URL, **options: Any) -> NavaiBackendClient:
    return NavaiBackendClient(base_url, transport=backend, **options)


def test_a_client_does_what_its_three_methods_promise() -> None:
    backend = Backend()
    with client(backend) as navai:
        secret = navai.create_client_secret(model="gpt-realtime-2.1", voice="alloy")
        functions = navai.list_functions()
        result = navai.execute_function("get_weather", {"location": "San Francisco"})
    assert (secret.value, secret.expires_at) == ("client_secret_1", 1234567890)
    assert [each.name for each in functions] == ["get_weather", "send_email"]
    assert functions[0].description == "Get current weather"
    assert functions[0].source == "backend"
    assert result == {"temperature": 72, "condition": "sunny"}
    assert backend.requests == [
        (URL + PATHS[0], {"model": "gpt-realtime-2.1", "voice": "alloy"}),
        (URL + PATHS[1], None),
        (URL + PATHS[2], {"function_name": "get_weather", "payload": {"location": "San Francisco"}}),
    ]


def test_a_client_needs_no_options() -> None:
    backend = Backend()
    with client(backend, None, env={}) as navai:
        secret = navai.create_client_secret()
    assert secret.expires_at_datetime is not None
    assert secret.expires_at_datetime.isoformat() == "2009-02-13T23:31:30+00:00"
    assert backend.requests == [("http://localhost:3000" + PATHS[0], {})]


def test_the_base_url_comes_from_the_first_source_that_has_one() -> None:
    backend = Backend()
    env = resolve_navai_env(sources=[{"NAVAI_API_URL": " "}, {"NAVAI_API_URL": URL}])
    with client(backend, None, env=env) as navai:
        navai.list_functions()
    assert backend.requests == [(URL + PATHS[1], None)]


def test_each_path_may_be_another() -> None:
    backend = Backend("/api/voice/secret", "/api/voice/functions", "/api/voice/execute")
    options = dict(
        zip(
            ("client_secret_path", "functions_list_path", "functions_execute_path"),
            backend.paths,
            strict=True,
        )
    )
    with client(backend, **options) as navai:
        navai.create_client_secret()
        navai.list_functions()
        navai.execute_function("get_weather")
    assert [url for url, _ in backend.requests] == [URL + path for path in backend.paths]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"location": "Invalid"}, "Function execution failed"),
        ({"to": "invalid"}, "user@example is not a valid email"),
    ],
)
def test_a_function_that_fails_is_caught_with_its_message(payload: dict[str, Any], message: str) -> None:
    with client(Backend()) as navai, pytest.raises(FunctionFailedError) as failed:
        navai.execute_function("send_email", payload)
    assert str(failed.value) == message


def test_a_client_secret_that_fails_is_caught_with_its_message() -> None:
    def refuse(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(401, text="Missing API key.")

    with NavaiBackendClient(URL, transport=refuse) as navai, pytest.raises(NavaiHTTPError) as failed:
        navai.create_client_secret()
    assert str(failed.value) == "Missing API key."


def test_a_list_that_fails_is_empty_and_has_a_warning() -> None:
    def missing(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(404)

    with NavaiBackendClient(URL, transport=missing) as navai:
        functions = navai.list_functions()
    assert functions.warnings == ("[navai] Failed to load backend functions (404).",)
    assert len(functions) == 0


def test_warnings_and_functions_are_listed() -> None:
    with client(Backend()) as navai:
        listed = navai.list_functions()
    assert listed.warnings == ("[navai] Ignored a.ts.",)
    assert [f"- {each.name}: {each.description}" for each in listed.functions] == [
        "- get_weather: Get current weather",
        "- send_email: Send an email",
    ]


def test_the_session_may_differ_for_each_secret() -> None:
    backend = Backend()
    session = {"model": "gpt-realtime-2.1", "voice": "alloy", "instructions": "You are a helpful assistant."}
    with client(backend) as navai:
        assert navai.create_client_secret(**session).value  # type: ignore[arg-type] # the names are those
    assert backend.requests == [(URL + PATHS[0], session)]


def test_an_agent_of_the_backends_functions_is_ready_for_a_session() -> None:
    backend = Backend()

    async def scenario() -> tuple[Any, Any]:
        def navigate(_path: str) -> None: ...

        routes = [NavaiRoute(name="home", path="/", description="The start.")]
        with client(backend) as navai:
            toolset = await Toolset.load(navai, routes=routes, navigate=navigate)
            session = BackendSession(model="gpt-realtime-2.1", voice="marin")
            key: Any = realtime_model_config(navai, session, model=session.model)["api_key"]
            return build_navai_agent(toolset), await key()

    agent, key = asyncio.run(scenario())
    names = [tool.name for tool in agent.tools]
    assert {"navigate_to", "get_weather", "send_email"} <= set(names)
    assert key == "client_secret_1"
    assert backend.requests[-1] == (URL + PATHS[0], {"model": "gpt-realtime-2.1"})


@pytest.fixture(name="openai")
def _openai() -> Iterator[FaultServer]:
    def mint(peer: Peer) -> None:
        while peer.request() is not None:
            peer.send(answer('{"value": "ek_1", "expires_at": 1234567890}'))

    with FaultServer(mint) as server:
        yield server


@pytest.mark.parametrize("overrides", [{}, {"voice": "alloy", "language": "Spanish"}])
def test_a_secret_is_minted_with_options_and_overrides(
    overrides: dict[str, str], openai: FaultServer
) -> None:
    options = BackendOptions(
        openai_api_key="sk-of-the-owner",
        openai_base_url=openai.url,
        default_model="gpt-realtime-2.1",
        default_voice="marin",
        client_secret_ttl_seconds=600,
    )
    secret = create_realtime_client_secret_sync(options, overrides)
    assert (secret.value, secret.expires_at) == ("ek_1", 1234567890)
    ((_, _, sent),) = openai.arrived
    session = json.loads(bytes(sent))["session"]
    assert session["audio"]["output"]["voice"] == overrides.get("voice", "marin")
    assert ("Always reply in Spanish." in session["instructions"]) is ("language" in overrides)


def test_a_secret_is_minted_with_options_of_the_environment(openai: FaultServer) -> None:
    env = {"OPENAI_API_KEY": "sk-of-the-owner", "OPENAI_BASE_URL": openai.url}
    assert create_realtime_client_secret_sync(BackendOptions.from_env(env)).value == "ek_1"


def test_the_settings_of_the_guides_example_serve_its_function(serve: Serve, tmp_path: Any) -> None:
    (tmp_path / ".env").write_text(
        "OPENAI_API_KEY=sk-1\nOPENAI_REALTIME_MODEL=gpt-realtime-2.1\nOPENAI_REALTIME_VOICE=marin\n"
        'OPENAI_REALTIME_INSTRUCTIONS="You are a helpful assistant."\n'
        "OPENAI_REALTIME_CLIENT_SECRET_TTL=600\nNAVAI_ALLOW_FRONTEND_API_KEY=false\n"
    )
    folder = tmp_path / "src" / "ai" / "functions-modules"
    folder.mkdir(parents=True)
    (folder / "weather.py").write_text(
        "def get_weather(location: str) -> dict[str, object]:\n"
        '    """Get weather for a location"""\n'
        "    return {'temperature': 72, 'conditions': 'sunny', 'location': location}\n"
        "def nothing() -> None: ...\n"
    )
    with NavaiBackendClient(serve("--env-file", ".env").url) as navai:
        assert navai.list_functions()["get_weather"].description == "Get weather for a location"
        result = navai.execute_function("get_weather", {"args": ["Oslo"]})
        assert result == {"temperature": 72, "conditions": "sunny", "location": "Oslo"}
        assert navai.execute_function("nothing") is None
        with pytest.raises(UnknownFunctionError):
            navai.execute_function("get_wether")

"""The pytest plugin, in test runs of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

OTHERS = (
    "anyio",
    "hypothesispytest",
    "langsmith_plugin",
    "pytest_httpx",
    "xdist",
    "xdist.looponfail",
    "cacheprovider",
)
ONLY_OURS = [f"-pno:{name}" for name in OTHERS]

TESTS = """
import asyncio
import pytest
from navai_client import NavaiBackendClient, NavaiTimeoutError

@pytest.fixture
def backend(navai_backend):
    @navai_backend.function
    async def double(n: int) -> int:
        return 2 * n
    return navai_backend

def test_sync(backend, navai_client):
    assert navai_client.execute_function("double", {"n": 21}) == 42
    backend.assert_called_once_with("double", {"n": 21})

def test_async_in_a_sync_test(backend, async_navai_client):
    async def scenario():
        assert await async_navai_client.execute_function("double", {"n": 21}) == 42
    asyncio.run(scenario())
    backend.assert_called("double")

def test_both_at_once(backend, navai_client, async_navai_client):
    navai_client.execute_function("double", {"n": 1})
    asyncio.run(async_navai_client.execute_function("double", {"n": 2}))
    assert len(backend.calls) == 2

def test_a_call_that_is_abandoned(backend, async_navai_client):
    async def scenario():
        backend.delay_next(3600)
        task = asyncio.create_task(async_navai_client.execute_function("double", {"n": 21}))
        while not backend.requests:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    asyncio.run(scenario())

def test_server(navai_server):
    @navai_server.function
    def double(n: int) -> int:
        return 2 * n
    with NavaiBackendClient(navai_server.url) as client:
        assert client.execute_function("double", {"n": 21}) == 42
    navai_server.assert_called_once_with("double", {"n": 21})
    assert navai_server.requests[0].status == 200
"""


def run(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    """Run pytest in a process of its own, with our plugin and warnings as errors."""
    return run_with_others(pytester, *ONLY_OURS, *args)


def run_with_others(pytester: pytest.Pytester, *args: str) -> pytest.RunResult:
    """Run it with all installed plugins, except for one that causes warnings itself."""
    return pytester.runpytest_subprocess("-p", "no:schemathesis", "-W", "error", *args, timeout=120)


def test_the_fixtures_work(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)

    result = run_with_others(pytester)

    result.assert_outcomes(passed=5)
    assert "warning" not in result.stdout.str()
    assert result.stderr.str() == ""


def test_the_fixtures_work_in_several_processes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_one=TESTS, test_two=TESTS)

    run_with_others(pytester, "-n", "2").assert_outcomes(passed=10)


def test_the_fixtures_work_without_any_async_plugin(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    pytester.makeconftest("import sys\nassert 'anyio.pytest_plugin' not in sys.modules\n")

    run(pytester).assert_outcomes(passed=5)


def test_the_async_client_works_in_tests_of_anyio(pytester: pytest.Pytester) -> None:
    suite = Path(__file__).with_name("async_suite.py").read_text(encoding="utf-8")
    pytester.makepyfile(test_async=suite)

    result = run_with_others(pytester, "-o", "anyio_mode=auto")

    result.assert_outcomes(passed=5)
    assert result.stderr.str() == ""


def test_the_client_is_closed_after_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import asyncio
        import pytest
        from navai_client import NavaiStateError

        kept = []

        def test_one(navai_client, async_navai_client):
            kept.extend([navai_client, async_navai_client])
            asyncio.run(async_navai_client.list_functions())

        def test_two():
            with pytest.raises(NavaiStateError):
                kept[0].list_functions()
            with pytest.raises(NavaiStateError):
                asyncio.run(kept[1].list_functions())
        """
    )

    run(pytester).assert_outcomes(passed=2)


def test_settings_and_options_can_be_overridden(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from navai_client import NavaiBackendClient, NavaiTimeoutError

        @pytest.fixture
        def navai_backend_settings():
            return {"access_token": "t", "functions_list_path": "/mine"}

        @pytest.fixture
        def navai_client_options():
            return {
                "base_url": "https://own.test",
                "headers": {"Authorization": "Bearer t"},
                "functions_list_path": "/mine",
                "timeout": 60.0,
            }

        def test_backend(navai_backend, navai_client, async_navai_client):
            assert (navai_client.timeout, async_navai_client.timeout) == (60.0, 60.0)
            assert navai_client.list_functions().warnings == ()
            navai_backend.delay_next(3600)
            with pytest.raises(NavaiTimeoutError, match="own.test"):
                navai_client.create_client_secret(timeout=0.05)

        def test_server(navai_server, navai_client_options):
            options = {**navai_client_options, "base_url": navai_server.url, "timeout": 30}
            with NavaiBackendClient(**options) as client:
                assert client.list_functions().warnings == ()
        """
    )

    run(pytester).assert_outcomes(passed=2)


@pytest.mark.parametrize("fixture", ["navai_backend", "navai_server"])
def test_an_unused_failure_is_an_error(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, fixture: str
) -> None:
    monkeypatch.delenv("CI", raising=False)  # with it, pytest's summary repeats the whole message
    pytester.makepyfile(
        f"""
        def test_it({fixture}):
            {fixture}.fail_next(503, function="charge")
        """
    )

    result = run(pytester)

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_it*",
            "Scripted failures that did not come to pass:",
            "  fail_next(status=503, function='charge'): 0 of 1 used",
            "No request came.",
            "If that is fine in this test, script them with optional=True.",
        ]
    )
    assert result.stdout.str().count("No request came.") == 1
    assert "plugin.py" not in result.stdout.str()


def test_an_unused_optional_failure_is_not_an_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(navai_backend):
            navai_backend.fail_next(503, optional=True)
        """
    )

    run(pytester).assert_outcomes(passed=1)


def test_a_test_that_fails_or_is_skipped_has_no_second_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        def test_failing(navai_backend):
            navai_backend.fail_next(503)
            assert False

        def test_skipped(navai_backend):
            navai_backend.fail_next(503)
            pytest.skip("no reason")

        @pytest.mark.xfail(strict=True)
        def test_expected_to_fail(navai_backend):
            navai_backend.fail_next(503)
            assert False

        @pytest.fixture
        def broken(navai_backend):
            navai_backend.fail_next(503)
            raise RuntimeError

        def test_without_setup(broken):
            pass
        """
    )

    run(pytester).assert_outcomes(failed=1, skipped=1, xfailed=1, errors=1)


REALTIME = """
import json
import pytest
from navai_client.testing.realtime import Say
from websockets.sync.client import connect

said = pytest.mark.parametrize("navai_realtime_script", [[Say("Hello.")]])

@said
def test_played(navai_realtime_server):
    navai_realtime_server.accept("ek_own")
    headers = {"Authorization": "Bearer ek_own"}
    with connect(navai_realtime_server.url, additional_headers=headers) as socket:
        socket.send(json.dumps({"type": "response.create"}))
        while json.loads(socket.recv(timeout=30))["type"] != "response.done":
            pass
"""


def test_a_realtime_api_plays_its_script(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(REALTIME)

    run(pytester).assert_outcomes(passed=1)


def test_the_backends_secrets_open_sessions_of_the_realtime_api(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest
        from navai_client import NavaiBackendClient
        from websockets.exceptions import InvalidStatus
        from websockets.sync.client import connect

        @pytest.fixture(params=["memory, first", "memory, last", "server"])
        def client(request):
            names = {"memory, first": ["navai_client", "navai_realtime_server"]}
            names["memory, last"] = names["memory, first"][::-1]
            given = [request.getfixturevalue(name) for name in names.get(request.param, ["navai_server"])]
            if len(given) == 2:
                yield next(each for each in given if isinstance(each, NavaiBackendClient))
            else:
                with NavaiBackendClient(given[0].url) as client:
                    yield client

        def opened(api, secret):
            headers = {"Authorization": f"Bearer {secret}"}
            with connect(api.url, additional_headers=headers) as socket:
                return "session.created" in socket.recv(timeout=30)

        def test_both(client, navai_realtime_server):
            assert opened(navai_realtime_server, client.create_client_secret(voice="cedar").value)
            config = navai_realtime_server.session.config
            assert (config["model"], config["audio"]["output"]["voice"]) == ("gpt-realtime-2.1", "cedar")
            with pytest.raises(InvalidStatus) as refused:
                opened(navai_realtime_server, "ek_other")
            assert b"openai_base_url" in refused.value.response.body
        """
    )

    run(pytester).assert_outcomes(passed=3)


def test_a_script_that_was_not_played_is_an_error_once(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        REALTIME
        + """
@said
def test_not_played(navai_realtime_server):
    pass

@said
def test_failing(navai_realtime_server):
    assert False

def test_without_a_script(navai_realtime_server):
    pass
"""
    )

    result = run(pytester)

    result.assert_outcomes(passed=3, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_not_played*", "The script was not played as written:"]
    )


def test_a_failed_assertion_shows_the_line_of_the_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(navai_backend, navai_client):
            @navai_backend.function
            def get_weather(location: str) -> str:
                return "sunny"

            navai_client.execute_function("get_weather", {"location": "Rome"})
            navai_backend.assert_called_once_with("get_weather", {"location": "Paris"})
        """
    )

    result = run(pytester)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            '>       navai_backend.assert_called_once_with("get_weather", {"location": "Paris"})',
            "E       AssertionError: Expected one call of get_weather with the payload *",
            'E         1. get_weather({"location": "Rome"}) -> 200',
            """E              payload["location"] is "Rome" instead of "Paris\"""",
            "E       To loosen it:",
        ]
    )
    assert "navai_client/testing" not in result.stdout.str()


def test_pytest_httpx_can_be_active_in_the_same_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import httpx

        def test_it(navai_backend, navai_client, httpx_mock):
            httpx_mock.add_response(json={"up": True})
            assert httpx.get("https://elsewhere.test").json() == {"up": True}
            assert navai_client.list_functions().warnings == ()
        """
    )

    run_with_others(pytester).assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("fixture", "missing"),
    [
        ("navai_backend", "msgspec"),
        ("navai_client", "docstring_parser"),
        ("navai_server", "uvicorn"),
        ("navai_realtime_server", "websockets"),
    ],
)
def test_without_the_extra_a_fixture_says_in_one_line_what_to_install(
    pytester: pytest.Pytester, fixture: str, missing: str
) -> None:
    pytester.makeconftest(f"import sys\nsys.modules[{missing!r}] = None\n")
    pytester.makepyfile(f"def test_it({fixture}): pass")

    result = run(pytester)

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"{missing} is not installed; run: pip install 'navai-client[[]testing]'"])
    assert "During handling" not in result.stdout.str()
    assert "plugin.py" not in result.stdout.str()


def test_the_plugin_can_be_switched_off(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(navai_backend): pass")

    result = run(pytester, "-p", "no:navai_client")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'navai_backend' not found*"])


def test_each_fixture_is_described_in_pytests_listing(pytester: pytest.Pytester) -> None:
    listing = run(pytester, "--fixtures").stdout.str()

    for name in [
        "navai_backend_settings",
        "navai_client_options",
        "navai_backend",
        "navai_server",
        "navai_realtime_script",
        "navai_realtime_server",
        "navai_client",
        "async_navai_client",
    ]:
        assert f"\n{name} -- " in listing


def test_a_run_without_the_fixtures_loads_next_to_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(): pass")
    code = """
import json, sys
import pytest
class Look:
    def pytest_sessionfinish(self):
        print("\\n" + json.dumps(sorted(sys.modules)))
sys.exit(pytest.main(["-q", "-s", *sys.argv[1:]], plugins=[Look()]))
"""

    def modules(*args: str) -> set[str]:
        finished = subprocess.run(
            [sys.executable, "-c", code, *args],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": ""},
            cwd=pytester.path,
        )
        (line,) = (line for line in finished.stdout.splitlines() if line.startswith('["'))
        return set(json.loads(line))

    loaded = modules("-p", "navai_client.testing.plugin") - modules()
    # Which modules of the standard library load others differs between versions of Python; none may be heavy.
    assert {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} == {
        "navai_client",
        "navai_client._extras",
        "navai_client.testing",
        "navai_client.testing.plugin",
    }
    assert loaded.isdisjoint({"asyncio", "concurrent.futures", "email", "http", "socket", "ssl", "uuid"})

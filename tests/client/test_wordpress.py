"""A client of upstream's WordPress plugin, over real sockets, and what of it holds for every backend."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from navai_client import (
    ApprovalPendingError,
    AsyncNavaiBackendClient,
    FunctionFailedError,
    NavaiBackendClient,
    NavaiConfigError,
    NavaiError,
    NavaiHTTPError,
    NavaiPayloadError,
    RetryPolicy,
    UnknownFunctionError,
)
from tests.backends import BASE, SECRET, Backend, Clients, answer, shown_by
from tests.clients import Client
from tests.wordpress import PASSWORD, Plugin, Site, serving_site

QUICK = RetryPolicy(jitter=lambda: 0.0)
ADMIN = {"user": "admin", "application_password": PASSWORD}


class Visited:
    """A site with the plugin, and the clients that were made for it."""

    def __init__(self, site: Site, kind: str) -> None:
        self.plugin = site.plugin = Plugin()
        self.url, self._kind = site.url, kind
        self.made: list[Client] = []

    def client(self, url: str = "", **options: Any) -> Client:
        made = NavaiBackendClient if self._kind == "sync" else AsyncNavaiBackendClient
        given = {"env": {}, "max_retries": QUICK, **ADMIN, **options}
        client = Client.__new__(Client)
        vars(client).update(_runner=None, _given=None, _is_derived=False)
        client.real = made.for_wordpress(url or self.url, **given)
        self.made.append(client)
        return client


@pytest.fixture(scope="module")
def served() -> Iterator[Site]:
    with serving_site() as site:
        yield site


@pytest.fixture
def site(served: Site, kind: str) -> Iterator[Visited]:
    made = Visited(served, kind)
    yield made
    for client in made.made:
        client.close()


def raised_by(client: Client, name: str, payload: Any = None, **options: Any) -> Any:
    with pytest.raises(NavaiError) as caught:
        client.execute_function(name, payload, **options)
    return caught.value


class TestWhereItIs:
    """The preset finds the plugin from the address that one has at hand."""

    @pytest.mark.parametrize(
        ("suffix", "path"),
        [
            ("", "/wp-json/navai/v1/functions"),
            ("/", "/wp-json/navai/v1/functions"),
            ("/wp-json/", "/wp-json/navai/v1/functions"),
            ("/wp-json/navai/v1", "/wp-json/navai/v1/functions"),
            ("/?rest_route=/", "/?rest_route=/navai/v1/functions"),
            ("?rest_route=/navai/v1", "/?rest_route=/navai/v1/functions"),
            ("/index.php?rest_route=/", "/index.php?rest_route=/navai/v1/functions"),
        ],
    )
    def test_the_address_of_the_site_or_of_its_api_will_do(
        self, site: Visited, suffix: str, path: str
    ) -> None:
        listed = site.client(site.url + suffix).list_functions()
        assert "get_weather" in listed
        assert site.plugin.asked[-1][:2] == ("GET", path)

    def test_the_address_may_come_from_the_environment(self, site: Visited) -> None:
        client = site.client(" ", env={"NAVAI_API_URL": f"{site.url}/wp-json"})
        assert client.execute_function("get_weather", {"city": "Oslo"}) == {"city": "Oslo"}

    def test_a_site_below_a_path_is_kept(self) -> None:
        with NavaiBackendClient.for_wordpress("https://a.example/blog/index.php/wp-json/") as client:
            assert client.base_url == "https://a.example/blog/index.php"

    def test_a_path_can_be_set_all_the_same(self, site: Visited) -> None:
        client = site.client(functions_list_path="/wp-json/navai/v2/functions")
        assert client.list_functions().warnings == (
            "[navai] Failed to load backend functions (404).",
            "[navai] rest_no_route: No route was found matching the URL and request method.",
        )


class TestWhoMay:
    """Guests, application passwords, nonces."""

    def test_a_guest_is_told_why_the_list_is_empty(self, site: Visited) -> None:
        listed = site.client(user=None, application_password=None).list_functions()
        assert listed.warnings == (
            "[navai] Failed to load backend functions (401).",
            "[navai] rest_forbidden: Sorry, you are not allowed to do that.",
        )
        assert isinstance(listed.error, NavaiHTTPError)
        assert listed.error.code == "rest_forbidden"
        assert listed.error.error == "Sorry, you are not allowed to do that."

    def test_a_nonce_is_sent_with_the_cookie(self, site: Visited) -> None:
        cookie = {"Cookie": "wordpress_logged_in=abcdefghij"}
        options: dict[str, Any] = {"user": None, "application_password": None, "headers": cookie}
        assert site.client(nonce="fresh", **options).list_functions().error is None
        assert site.plugin.headers["cookie"] == cookie["Cookie"]
        stale = site.client(nonce="stale-nonce-1", **options).list_functions()
        assert stale.warnings[1] == "[navai] rest_cookie_invalid_nonce: Cookie check failed"

    @pytest.mark.parametrize(
        "options",
        [
            {"user": "admin"},
            {"application_password": "secret-password"},
            {"user": "ad:min", "application_password": "secret-password"},
            {"user": "admin", "application_password": "secret-password", "headers": dict},
            {"user": "admin", "application_password": "secret-password", "access_token": "t"},
            {"nonce": "secret-nonce\n"},
        ],
        ids=[
            "no password",
            "no user",
            "a colon",
            "a function",
            "two credentials",
            "a line break",
        ],
    )
    def test_what_cannot_be_sent_is_refused_and_not_shown(self, options: dict[str, Any]) -> None:
        with pytest.raises(NavaiConfigError) as caught:
            NavaiBackendClient.for_wordpress("https://a.example", env={}, **options)
        assert "secret-" not in shown_by(caught.value)

    def test_headers_without_credentials_stay_as_they_are(self, site: Visited) -> None:
        client = site.client(user=None, application_password=None, headers=lambda: {"X-Shop": "1"})
        assert client.list_functions().error is not None
        assert site.plugin.headers["x-shop"] == "1"

    def test_nothing_shows_the_password(self, site: Visited) -> None:
        client = site.client()
        error = raised_by(client, "nope")
        sent = site.plugin.headers["authorization"].partition(" ")[2]
        assert PASSWORD not in shown_by(error)
        assert sent not in shown_by(error)


class TestTheList:
    """What the list says beyond names."""

    def test_the_schema_the_approval_and_the_advice_are_kept(self, site: Visited) -> None:
        listed = site.client().list_functions()
        assert listed["get_weather"].parameters["properties"]["city"] == {"type": "string"}
        assert {each.name: each.timeout_seconds for each in listed if each.timeout_seconds} == {
            "get_weather": 45
        }
        assert [each.name for each in listed if each.approval] == ["order"]

    def test_what_php_wrote_as_an_array_is_an_object(self, site: Visited) -> None:
        listed = site.client().list_functions()
        assert listed["nothing"].parameters == {"type": "object", "properties": {}}
        assert listed["anything"].parameters == {}
        assert listed["echo"].parameters is None

    def test_it_is_repaired_wherever_a_schema_is_and_nowhere_else(self, clients: Clients) -> None:
        sent = {
            "type": "object",
            "properties": {"a": [], "b": {"properties": [], "items": [], "default": [], "required": []}},
            "patternProperties": [],
            "$defs": {"c": {"anyOf": [[], {"not": []}], "prefixItems": [], "enum": [[]]}},
            "additionalProperties": [],
            "items": [[], {"type": "string"}],
            "required": [],
            "examples": [],
        }
        meant = {
            "type": "object",
            "properties": {"a": {}, "b": {"properties": {}, "items": {}, "default": [], "required": []}},
            "patternProperties": {},
            "$defs": {"c": {"anyOf": [{}, {"not": {}}], "prefixItems": [], "enum": [[]]}},
            "additionalProperties": {},
            "items": [{}, {"type": "string"}],
            "required": [],
            "examples": [],
        }
        items = [{"name": "f", "parameters": sent}, {"name": "g", "metadata": {"argument_schema": sent}}]
        for warnings in ([], ["one"], None):
            body = {"items": items, "warnings": warnings}
            listed = clients.make(Backend(answer(_compact(body))), BASE).list_functions()
            assert [each.parameters for each in listed] == [meant, meant]

    @pytest.mark.parametrize(
        "metadata",
        [
            None,
            [],
            "text",
            {"requires_approval": "yes", "timeout_seconds": "45", "argument_schema": "text"},
            {"requires_approval": 1, "timeout_seconds": True, "argument_schema": ["a"]},
            {"timeout_seconds": -1, "argument_schema": None},
            {"effect": "harmless", "typical_seconds": "5", "say_while_waiting": " "},
            {"effect": ["read"], "typical_seconds": 0, "say_while_waiting": 5},
        ],
        ids=str,
    )
    def test_metadata_of_another_type_says_nothing(self, clients: Clients, metadata: Any) -> None:
        body = {"items": [{"name": "f", "metadata": metadata}], "warnings": []}
        (function,) = clients.make(Backend(answer(body)), BASE).list_functions()
        assert (function.parameters, function.approval, function.timeout_seconds) == (None, False, None)
        assert (function.effect, function.typical_seconds, function.say_while_waiting) == (None, None, None)

    def test_parameters_take_precedence_over_the_schema_of_metadata(self, clients: Clients) -> None:
        item = {"name": "f", "parameters": {"type": "object"}, "metadata": {"argument_schema": {"a": 1}}}
        (function,) = clients.make(Backend(answer({"items": [item]})), BASE).list_functions()
        assert function.parameters == {"type": "object"}


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


class TestExecuting:
    """Each outcome of an execution."""

    def test_a_call_that_waits_for_approval_says_so_and_is_sent_once(self, site: Visited) -> None:
        error = raised_by(site.client(), "order", {"city": "Oslo"})
        assert type(error) is ApprovalPendingError
        assert str(error) == "Function requires admin approval before execution."
        assert (error.function_name, error.approval_id, error.trace_id) == ("order", "1", "t-1")
        assert error.idempotency_key is None  # the plugin knows no keys: the same call is another request
        assert site.plugin.approvals == ["order"]
        assert error.request_id

    def test_a_failure_is_told_in_its_own_words(self, site: Visited) -> None:
        error = raised_by(site.client(), "fail")
        assert type(error) is FunctionFailedError
        assert str(error) == error.details == "No stock for Oslo."
        assert (error.error, error.status_code) == ("Function execution failed.", 500)

    def test_what_is_wrong_with_the_payload_is_listed(self, site: Visited) -> None:
        error = raised_by(site.client(), "get_weather", {"args": ["Oslo"]})
        assert type(error) is NavaiHTTPError
        assert error.validation_errors == ("$.city is required.", "$.args is not allowed.")
        assert error.error == "Payload does not match configured argument schema."

    def test_an_unknown_function_is_one_as_everywhere(self, site: Visited) -> None:
        error = raised_by(site.client(), "nope")
        assert type(error) is UnknownFunctionError
        assert "get_weather" in error.available_functions

    @pytest.mark.parametrize(
        ("name", "text"),
        [("wp_error", "No stock left."), ("mcp_off", "MCP server is disabled.")],
    )
    def test_a_failure_inside_a_success_is_a_failure(self, site: Visited, name: str, text: str) -> None:
        error = raised_by(site.client(), name)
        assert type(error) is FunctionFailedError
        assert (str(error), error.status_code) == (text, 200)

    @pytest.mark.parametrize(
        "result",
        [
            {"ok": False},
            {"ok": True, "error": "no"},
            {"errors": {}, "error_data": []},
            {"errors": ["a"], "error_data": []},
            {"errors": {"a": ["b"]}},
            {"errors": {"a": "b"}, "error_data": []},
            {"errors": {"a": [1]}, "error_data": []},
            [],
            "text",
        ],
        ids=str,
    )
    def test_other_results_are_results(self, site: Visited, result: Any) -> None:
        site.plugin.functions["echo"].run = lambda _: result
        assert site.client().execute_function("echo") == result

    def test_another_backend_may_return_what_looks_like_a_failure(self, clients: Clients) -> None:
        body = {"ok": True, "result": {"ok": False, "error": "no"}}
        assert clients.make(Backend(answer(body)), BASE).execute_function("f") == body["result"]

    def test_code_for_a_browser_is_no_result(self, site: Visited) -> None:
        error = raised_by(site.client(), "open_cart")
        assert type(error) is FunctionFailedError
        assert str(error).startswith("The function runs only in a browser")
        assert "alert" not in shown_by(error).replace("response", "")

    def test_a_payload_that_the_plugin_drops_is_a_warning(
        self, site: Visited, caplog: pytest.LogCaptureFixture
    ) -> None:
        client = site.client()
        with caplog.at_level(logging.WARNING, "navai_client"):
            for dropped in ("Oslo", 3, 1.5, True):
                assert client.execute_function("echo", dropped) == {"payload": []}
            for payload in (None, {"a": 1}, ["a"]):
                client.execute_function("echo", payload)
        assert [record.args for record in caplog.records] == [
            ("echo", "a str"),
            ("echo", "an int"),
            ("echo", "a float"),
            ("echo", "a bool"),
        ]

    def test_a_result_can_be_checked(self, site: Visited) -> None:
        client = site.client()
        assert client.execute_function("get_weather", {"city": "Oslo"}, result_type=dict[str, str]) == {
            "city": "Oslo"
        }


class TestSessionsAndAgents:
    """The plugin's memory and its agents."""

    def test_they_are_sent_where_they_are_given(self, site: Visited) -> None:
        client = site.client()
        client.create_client_secret(session_key="call-1")
        client.execute_function("echo", {"a": 1}, session_key="call-1", agent_key="sales")
        asked = [body for _, _, body in site.plugin.asked]
        assert asked == [
            {"session_key": "call-1"},
            {"function_name": "echo", "payload": {"a": 1}, "session_key": "call-1", "agent_key": "sales"},
        ]

    def test_a_client_may_belong_to_one(self, site: Visited) -> None:
        client = site.client(session_key="call-1", agent_key="sales")
        client.create_client_secret()
        client.execute_function("echo", None, agent_key="support")
        client.derive(timeout=5).execute_function("echo", None, session_key=None)
        asked = [body for _, _, body in site.plugin.asked]
        assert asked == [
            {"session_key": "call-1"},
            {"function_name": "echo", "payload": None, "session_key": "call-1", "agent_key": "support"},
            {"function_name": "echo", "payload": None, "agent_key": "sales"},
        ]

    def test_a_key_that_is_no_text_is_refused(self, site: Visited) -> None:
        client = site.client()
        with pytest.raises(NavaiPayloadError, match="agent_key must be a string"):
            client.execute_function("echo", agent_key=3)
        with pytest.raises(TypeError, match="session_key, agent_key"):
            client.execute_function("echo", surplus=3)
        assert not site.plugin.asked


class TestRetries:
    """What is not worth another attempt."""

    def test_a_limit_without_an_end_is_told_at_once(self, site: Visited) -> None:
        site.plugin.minted = 30
        with pytest.raises(NavaiHTTPError) as caught:
            site.client().create_client_secret()
        assert (caught.value.status_code, caught.value.code) == (429, "navai_rate_limit")
        assert len(site.plugin.asked) == 1

    @pytest.mark.parametrize(("status", "requests"), [(401, 1), (429, 1), (500, 3), (503, 3)])
    def test_a_refusal_of_openai_is_told_at_once(self, site: Visited, status: int, requests: int) -> None:
        site.plugin.refuse_by_openai(status)
        with pytest.raises(NavaiHTTPError, match=str(status)):
            site.client().create_client_secret()
        assert len(site.plugin.asked) == requests

    @pytest.mark.parametrize(
        ("response", "requests"),
        [
            (answer({}, 429, {"Retry-After": "0"}), 3),
            (answer({}, 429, {"retry-after-ms": "0"}), 3),
            (answer({}, 429), 1),
            (answer({}, 503), 3),
            (answer([], 502), 3),
            (answer({"code": "navai_invalid_openai_response", "message": "(401)"}, 502), 3),
            (answer({"code": "navai_openai_http_error", "message": 401}, 502), 3),
            (answer(b"<html>", 502), 3),
        ],
        ids=["after", "after ms", "no end", "busy", "array", "another code", "no text", "a page"],
    )
    def test_everything_else_is_tried_again(self, response: Any, requests: int) -> None:
        backend = Backend(response)
        options: dict[str, Any] = {"env": {}, "max_retries": QUICK, "transport": backend}
        with NavaiBackendClient.for_wordpress("https://a.example", **options) as client:
            assert client.list_functions().error is not None
        assert len(backend.requests) == requests

    @pytest.mark.parametrize("body", [{"code": "navai_openai_http_error", "message": "(401)"}, {}])
    def test_other_clients_try_both_again(self, mocked: Clients, body: Any) -> None:
        for status in (429, 502):
            backend = Backend(answer(body, status), answer(SECRET))
            assert mocked.make(backend, BASE).create_client_secret().value == "ek_abc"


class TestEveryBackend:
    """What a client reads of any backend, whatever its preset."""

    @pytest.mark.parametrize("status", [200, 202, 400, 409, 500])
    def test_pending_is_told_by_its_member_and_not_by_the_status(self, clients: Clients, status: int) -> None:
        backend = Backend(answer({"ok": False, "pending_approval": True}, status))
        error = _error_of(clients, backend)
        assert type(error) is ApprovalPendingError
        assert str(error) == "The call waits for the approval of a person."
        assert (error.approval_id, error.trace_id, error.function_name) == (None, None, "f")
        assert len(backend.requests) == 1

    @pytest.mark.parametrize("status", [429, 503])
    def test_it_is_not_repeated_even_if_the_status_asks_for_it(self, mocked: Clients, status: int) -> None:
        backend = Backend(answer({"pending_approval": True}, status, {"Retry-After": "0"}))
        assert type(_error_of(mocked, backend)) is ApprovalPendingError
        assert len(backend.requests) == 1

    @pytest.mark.parametrize("said", [False, "true", 1, None, {"id": 1}])
    def test_anything_but_true_is_not_pending(self, clients: Clients, said: Any) -> None:
        error = _error_of(clients, Backend(answer({"ok": False, "pending_approval": said}, 202)))
        assert type(error) is FunctionFailedError

    def test_a_result_is_a_result(self, clients: Clients) -> None:
        body = {"ok": True, "pending_approval": True, "result": "pending_approval"}
        assert clients.make(Backend(answer(body)), BASE).execute_function("f") == "pending_approval"

    @pytest.mark.parametrize(
        ("approval", "expected"),
        [({"id": "ap_1"}, "ap_1"), ({"id": 7}, "7"), ({"id": None}, None), (["ap_1"], None), ("ap_1", None)],
    )
    def test_the_id_is_a_text(self, clients: Clients, approval: Any, expected: str | None) -> None:
        body = {"pending_approval": True, "approval": approval, "trace_id": 3}
        error = _error_of(clients, Backend(answer(body, 202)))
        assert isinstance(error, ApprovalPendingError)
        assert (error.approval_id, error.trace_id) == (expected, None)

    def test_a_backend_that_repeats_the_key_can_be_asked_with_it(self, clients: Clients) -> None:
        headers = {"Idempotency-Key": "call-1"}
        backend = Backend(answer({"pending_approval": True}, 202, headers), answer({"ok": True, "result": 1}))
        client = clients.make(backend, BASE)
        with pytest.raises(ApprovalPendingError) as caught:
            client.execute_function("f", idempotency_key="call-1")
        assert caught.value.idempotency_key == "call-1"
        assert client.execute_function("f", idempotency_key=caught.value.idempotency_key) == 1

    def test_no_secret_of_the_client_is_shown(self, clients: Clients) -> None:
        secret = "hidden-token-1234"
        body = {
            "pending_approval": True,
            "message": secret,
            "trace_id": f"t {secret}",
            "approval": {"id": secret},
        }
        client = clients.make(Backend(answer(body, 202)), BASE, access_token=secret)
        with pytest.raises(ApprovalPendingError) as caught:
            client.execute_function("f")
        assert secret not in shown_by(caught.value)
        assert caught.value.trace_id == "t ***"

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (500, FunctionFailedError),
            (400, NavaiHTTPError),
            (403, NavaiHTTPError),
            (502, NavaiHTTPError),
            (503, NavaiHTTPError),
        ],
    )
    def test_500_with_ok_false_is_the_functions_failure(
        self, clients: Clients, status: int, expected: type[NavaiError]
    ) -> None:
        body = {"ok": False, "function_name": "f", "error": "Failed.", "details": "Why."}
        error = _error_of(clients, Backend(answer(body, status)))
        assert type(error) is expected
        assert isinstance(error, FunctionFailedError | NavaiHTTPError)
        assert (error.status_code, error.error, error.details) == (status, "Failed.", "Why.")

    @pytest.mark.parametrize("said", [None, 0, "false", True])
    def test_500_without_it_is_not(self, clients: Clients, said: Any) -> None:
        assert type(_error_of(clients, Backend(answer({"ok": said}, 500)))) is NavaiHTTPError

    def test_client_js_needs_its_code(self, clients: Clients) -> None:
        body = {"ok": True, "result": {"execution_mode": "client_js"}}
        assert clients.make(Backend(answer(body)), BASE).execute_function("f") == body["result"]

    @pytest.mark.parametrize(
        ("body", "error", "code"),
        [
            ({"message": "Unauthenticated."}, "Unauthenticated.", None),
            ({"message": ["a"], "code": 3}, None, None),
            ({"error": "E", "message": "M", "code": "c"}, "E", "c"),
            ({"error": None, "message": "M"}, "M", None),
        ],
    )
    def test_the_message_is_read_where_there_is_no_error(
        self, clients: Clients, body: Any, error: Any, code: str | None
    ) -> None:
        caught = _error_of(clients, Backend(answer(body, 401)))
        assert isinstance(caught, NavaiHTTPError)
        assert (caught.error, caught.code) == (error, code)


def _error_of(clients: Clients, backend: Backend) -> NavaiError:
    with pytest.raises(NavaiError) as caught:
        clients.make(backend, BASE).execute_function("f")
    return caught.value

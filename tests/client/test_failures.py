"""The errors of failures and redirects. One suite for both clients."""

import json
from typing import Any

import httpx
import pytest

from navai_client import (
    FunctionFailedError,
    FunctionList,
    NavaiHTTPError,
    NavaiTransportError,
    UnknownFunctionError,
)
from navai_client.wire._operations import OPERATIONS
from tests.backends import BASE, EVERY_WAY, RAISING, Backend, Clients, answer, call
from tests.clients import Client


class TestErrors:
    """Messages and attributes."""

    @pytest.mark.parametrize("operation", RAISING)
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            (b"", "HTTP 400"),
            (b" ", " "),
            (b"\xef\xbb\xbf", "HTTP 400"),
            (b"Bad things\n", "Bad things\n"),
            (b'{"error": "Missing"}', '{"error": "Missing"}'),
        ],
    )
    def test_the_message_is_the_text_of_the_response_or_its_status(
        self, clients: Clients, operation: str, body: bytes, message: str
    ) -> None:
        client = clients.make(Backend(answer(body, 400)), BASE)
        with pytest.raises(NavaiHTTPError) as caught:
            call(client, operation)
        assert type(caught.value) is NavaiHTTPError
        assert str(caught.value) == message
        assert caught.value.status_code == 400

    @pytest.mark.parametrize(
        ("body", "error", "details"),
        [
            (b'{"error":"E","details":"D"}', "E", "D"),
            (b'{"error":{"code":1},"details":[2]}', {"code": 1}, [2]),
            (b'{"error":"E"}', "E", None),
            (b'["error"]', None, None),
            (b'"error"', None, None),
            (b"error", None, None),
            (b"", None, None),
        ],
    )
    @EVERY_WAY
    def test_an_error_has_the_members_of_the_body(
        self, clients: Clients, body: bytes, error: object, details: object
    ) -> None:
        client = clients.make(Backend(answer(body, 422)), BASE)
        with pytest.raises(NavaiHTTPError) as caught:
            client.create_client_secret()
        assert (caught.value.error, caught.value.details) == (error, details)
        assert caught.value.body == body.decode()

    @pytest.mark.parametrize("status", [199, 300, 304, 400, 401, 403, 404, 500, 599])
    def test_a_status_outside_2xx_is_a_failure(self, mocked: Clients, status: int) -> None:
        client = mocked.make(Backend(answer({"ok": True, "value": "ek", "result": 1}, status)), BASE)
        for operation in RAISING:
            with pytest.raises(NavaiHTTPError) as caught:
                call(client, operation)
            assert caught.value.status_code == status
        assert client.list_functions() == FunctionList(
            warnings=(f"[navai] Failed to load backend functions ({status}).",)
        )

    @EVERY_WAY
    def test_an_unknown_function_error_lists_the_available_functions(self, clients: Clients) -> None:
        said = {"error": "Unknown or disallowed function.", "available_functions": ["a", 1, "b", None]}
        client = clients.make(Backend(answer(said, 404)), BASE)
        with pytest.raises(UnknownFunctionError) as caught:
            client.execute_function("c")
        error = caught.value
        assert (error.function_name, error.available_functions) == ("c", ("a", "b"))
        assert (error.status_code, error.error, error.details) == (
            404,
            "Unknown or disallowed function.",
            None,
        )
        assert str(error) == error.body == json.dumps(said)

    @pytest.mark.parametrize(
        ("status", "said"),
        [
            (404, {"error": "No such page."}),
            (403, {"available_functions": ["a"]}),
            (404, ["available_functions"]),
        ],
    )
    def test_other_refusals_are_not_unknown_function_errors(
        self, clients: Clients, status: int, said: object
    ) -> None:
        client = clients.make(Backend(answer(said, status)), BASE)
        with pytest.raises(NavaiHTTPError) as caught:
            client.execute_function("c")
        assert type(caught.value) is NavaiHTTPError

    def test_only_execute_function_raises_unknown_function_errors(self, clients: Clients) -> None:
        client = clients.make(Backend(answer({"available_functions": ["a"]}, 404)), BASE)
        with pytest.raises(NavaiHTTPError) as caught:
            client.create_client_secret()
        assert type(caught.value) is NavaiHTTPError

    @pytest.mark.parametrize(
        ("said", "message"),
        [
            ({"ok": False, "error": "E", "details": "D"}, "D"),
            ({"ok": False, "error": "E", "details": {"why": "D"}}, "E"),
            ({"ok": False, "error": "E"}, "E"),
            ({"ok": False, "error": "E", "details": ""}, ""),
            ({"ok": False, "error": ["E"], "details": 5}, "Backend function failed."),
            ({"ok": 1, "result": 1}, "Backend function failed."),
            ({"ok": "true"}, "Backend function failed."),
            ({"result": 1}, "Backend function failed."),
            ({}, "Backend function failed."),
        ],
    )
    def test_the_error_of_a_failed_function_has_its_details(
        self, clients: Clients, said: dict[str, Any], message: str
    ) -> None:
        client = clients.make(Backend(answer(said)), BASE)
        with pytest.raises(FunctionFailedError) as caught:
            client.execute_function("get_weather")
        assert str(caught.value) == message
        assert caught.value.function_name == "get_weather"
        assert (caught.value.error, caught.value.details) == (said.get("error"), said.get("details"))

    @pytest.mark.parametrize(
        ("said", "for_model"),
        [
            ({"details": "E", "details_for_model": True}, True),
            ({"details": "E", "details_for_model": 1}, False),
            ({"details": ["E"], "details_for_model": True}, False),
            ({"details": "E"}, False),
        ],
    )
    def test_the_error_of_a_failed_function_says_whether_a_model_may_read_it(
        self, clients: Clients, said: dict[str, Any], for_model: bool
    ) -> None:
        client = clients.make(Backend(answer({"ok": False, **said})), BASE)
        with pytest.raises(FunctionFailedError) as caught:
            client.execute_function("get_weather")
        assert caught.value.details_for_model is for_model

    def test_a_list_without_a_response_has_a_warning(self, mocked: Clients) -> None:
        backend = Backend(httpx.ConnectError("refused"))
        client = mocked.make(backend, BASE, max_retries=0)
        assert client.list_functions() == FunctionList(
            warnings=(
                (
                    "[navai] Failed to load backend functions: "
                    f"No response from GET {BASE}/navai/functions: ConnectError: refused."
                ),
            )
        )

    def test_a_failed_list_has_the_error(self, mocked: Clients) -> None:
        for what, kind in (
            (httpx.ConnectError("refused"), NavaiTransportError),
            (answer("", 500), NavaiHTTPError),
        ):
            listed = mocked.make(Backend(what), BASE, max_retries=0).list_functions()
            assert type(listed.error) is kind
            assert listed.error.__traceback__ is None
        assert mocked.make(Backend(answer({"items": []})), BASE).list_functions().error is None

    @pytest.mark.parametrize("operation", RAISING)
    def test_the_error_of_a_missing_response_names_the_url_and_the_reason(
        self, mocked: Clients, operation: str
    ) -> None:
        options = {each.path_option: "p" for each in OPERATIONS}
        options |= {"client_secret_path": "/p?key=1", "functions_execute_path": "/p"}
        client = mocked.make(Backend(httpx.ReadError("reset by peer")), BASE, max_retries=0, **options)
        with pytest.raises(NavaiTransportError) as caught:
            call(client, operation)
        (method,) = (each.method for each in OPERATIONS if each.name == operation)
        assert str(caught.value) == f"No response from {method} {BASE}/p: ReadError: reset by peer."
        assert caught.value.may_have_executed
        assert isinstance(caught.value.__cause__, httpx.ReadError)


def told(client: Client, operation: str) -> str:
    """Return what a failing *operation* says: its message, or the last warning of the list."""
    if operation == "list_functions":
        return str(client.list_functions().warnings[-1])
    with pytest.raises(NavaiHTTPError) as caught:
        call(client, operation)
    return str(caught.value)


class TestRedirects:
    """Redirects, which are not followed."""

    @pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308, 399])
    @pytest.mark.parametrize("operation", RAISING)
    def test_redirects_are_not_followed_and_the_target_is_named(
        self, clients: Clients, operation: str, status: int
    ) -> None:
        headers = {"Location": "https://user:pw@other.example:8443/api/x?token=t0p#frag"}
        backend = Backend(answer({"error": "moved"}, status, headers))
        with pytest.raises(NavaiHTTPError) as caught:
            call(clients.make(backend, BASE), operation)
        assert str(caught.value) == (
            f"HTTP {status}: the redirect to https://other.example:8443/api/x was not followed; "
            "it leads to another page, such as a login: check the credentials in headers, and base_url."
        )
        assert (caught.value.status_code, caught.value.error) == (status, "moved")
        assert len(backend.requests) == 1

    @pytest.mark.parametrize(
        ("location", "named"),
        [
            ("/login?next=/x", "/login"),
            ("//user@other.example/x", "//other.example/x"),
            ("https://[bad", "an invalid URL"),
            ("https:user:pw@other.example", "an invalid URL"),
            ("/@name/x", "/@name/x"),
            ("?token=t0p", "the same path"),
            ("#frag", "the same path"),
        ],
    )
    def test_the_target_of_a_redirect_is_named_without_secrets(
        self, clients: Clients, location: str, named: str
    ) -> None:
        client = clients.make(Backend(answer(b"", 302, {"Location": location})), BASE)
        with pytest.raises(NavaiHTTPError) as caught:
            client.execute_function("f")
        assert f"the redirect to {named} was not" in str(caught.value)

    @pytest.mark.parametrize("operation", [each.name for each in OPERATIONS])
    @pytest.mark.parametrize(
        ("base_url", "option", "location", "changes"),
        [
            # A slash more or less: the option of the path.
            (f"{BASE}", "/x/run", "/x/run/", {"path": "/x/run/"}),
            (f"{BASE}", "/x/run", f"{BASE}/x/run/?id=s3cret", {"path": "/x/run/"}),
            (f"{BASE}", "/x/run/", "../run", {"path": "/x/run"}),
            (f"{BASE}/v1", "/x/run", "/v1/x/run/", {"path": "/x/run/"}),
            (f"{BASE}/v1", "/x/run?id=s3cret", "/v1/x/run/", {"path": "/x/run/"}),
            # Another host, scheme, port or prefix: the base URL.
            (f"{BASE}", "/x/run", "https://new.example/x/run", {"base": "https://new.example"}),
            (f"{BASE}", "/x/run", "//new.example/v2/x/run", {"base": "https://new.example/v2"}),
            (f"{BASE}", "/x/run", "https://u:s3cret@new.example/x/run", {"base": "https://new.example"}),
            ("http://backend.example", "/x/run", f"{BASE}/x/run", {"base": BASE}),
            (f"{BASE}", "/x/run", f"{BASE}:8443/x/run", {"base": f"{BASE}:8443"}),
            (f"{BASE}/v1", "/x/run", "/v2/x/run", {"base": f"{BASE}/v2"}),
            # Both.
            (f"{BASE}", "/x/run", "//new.example/x/run/", {"base": "https://new.example", "path": "/x/run/"}),
        ],
    )
    def test_what_to_set_follows_from_the_target(  # noqa: PLR0917 - a row of the table
        self,
        clients: Clients,
        operation: str,
        base_url: str,
        option: str,
        location: str,
        changes: dict[str, str],
    ) -> None:
        (path_option,) = (each.path_option for each in OPERATIONS if each.name == operation)
        names = {"base": "base_url", "path": path_option}
        expected = " and ".join(f'{names[name]}="{value}"' for name, value in changes.items())
        redirect = answer(b"", 308, {"Location": location})
        client = clients.make(Backend(redirect), base_url, **{path_option: option})
        shown = told(client, operation)
        assert shown.endswith(f" was not followed; if it is right, set {expected}.")
        assert "s3cret" not in shown
        # And so it is: what was said leads to the target.
        backend = Backend(answer(b"", 418))
        settings = {path_option: changes.get("path", option)}
        told(clients.make(backend, changes.get("base", base_url), **settings), operation)
        target = httpx.URL(f"{base_url}{option}").join(location)
        assert (backend.request.url.host, backend.request.url.path) == (target.host, target.path)
        assert (backend.request.url.scheme, backend.request.url.port) == (target.scheme, target.port)

    @pytest.mark.parametrize("operation", [each.name for each in OPERATIONS])
    @pytest.mark.parametrize(
        "location",
        [
            "/login?next=/x",
            "https://sso.example/authorize",
            "https://sso.example",
            "",
            "?again",
            "/",
            "javascript:x",
        ],
    )
    def test_a_target_elsewhere_may_be_a_login(self, clients: Clients, operation: str, location: str) -> None:
        shown = told(clients.make(Backend(answer(b"", 302, {"Location": location or "#"})), BASE), operation)
        assert shown.endswith(
            " was not followed; it leads to another page, such as a login: check the credentials in headers, "
            "and base_url."
        )

    @EVERY_WAY
    def test_a_list_warns_of_the_status_and_says_what_to_set(self, clients: Clients) -> None:
        client = clients.make(Backend(answer(b"", 301, {"Location": "/navai/functions/"})), BASE)
        status, advice = client.list_functions().warnings
        assert status == "[navai] Failed to load backend functions (301)."
        assert advice == (
            "[navai] HTTP 301: the redirect to /navai/functions/ was not followed; "
            'if it is right, set functions_list_path="/navai/functions/".'
        )

    @EVERY_WAY
    def test_a_redirect_without_a_target_is_an_ordinary_http_error(self, clients: Clients) -> None:
        client = clients.make(Backend(answer(b"", 302)), BASE)
        with pytest.raises(NavaiHTTPError, match=r"(?m)^HTTP 302$"):
            client.execute_function("f")

"""``navai doctor``: each way in which a backend can be out of reach is found, and has its remedy."""

import datetime as dt
import json
import socket
import ssl
import sys
from collections.abc import Callable
from email.utils import format_datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme

from navai_client.cli import _reachability
from navai_client.server import NavaiBackend
from tests.cli.conftest import Navai
from tests.faults.server import FAULTS, FaultServer, Peer, answer
from tests.ports import reserved_port
from tests.serving import serving_app
from tests.transports.test_tls_and_proxies import tls_server

LIST = '{"items": [{"name": "f"}], "warnings": []}'
Look = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture(name="look")
def _look(navai: Navai) -> Look:
    """Run ``navai doctor``; return its diagnoses by subject."""

    def look(*arguments: str) -> dict[str, dict[str, Any]]:
        result = navai("doctor", "--json", *arguments)
        printed = json.loads(result.out)
        assert result.status == (0 if printed["healthy"] else 1)
        assert printed["healthy"] == all(each["level"] != "fail" for each in printed["checks"])
        assert result.err == ""
        return {each["check"]: each for each in printed["checks"]}

    return look


@pytest.fixture(name="authority")
def _authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(name="ca_file")
def _ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


def test_a_healthy_backend_is_status_0(command: Navai, demo_server: str) -> None:
    result = command("doctor", NAVAI_API_URL=demo_server)
    assert result.status == 0
    assert result.err == ""
    assert f"ok   base URL: {demo_server} (from NAVAI_API_URL)\n" in result.out
    assert "ok   backend: a Navai backend\n" in result.out
    assert "ok   functions: 6 functions\n" in result.out
    assert "ok   clock: the server and this machine agree\n" in result.out
    assert all(line.startswith("ok   ") for line in result.out.splitlines())


@pytest.mark.parametrize(
    ("env", "level", "said"),
    [
        ({"OPENAI_API_KEY": "sk-1"}, "ok", "minted with the backend's own OpenAI key"),
        (
            {},
            "warn",
            "The backend has no OpenAI key: only a request with a key of its own (--api-key) gets one",
        ),
        (
            {"NAVAI_ALLOW_FRONTEND_API_KEY": "false"},
            "warn",
            "The backend has no OpenAI key, and mints no client secret",
        ),
    ],
    ids=["own key", "request's key", "no key"],
)
def test_whether_the_backend_can_mint_is_reported(
    env: dict[str, str], level: str, said: str, look: Look
) -> None:
    with serving_app(NavaiBackend(env=env, discover=False)) as url:
        found = look("--url", url)["client secrets"]
        ready = httpx.get(f"{url}/ready", trust_env=False, timeout=60)
    remedy = None if level == "ok" else "Set OPENAI_API_KEY where the backend runs, and start it again."
    assert (found["level"], found["message"], found["remedy"]) == (level, said, remedy)
    assert ready.json() == {"ok": True}
    assert "navai-client-secrets" not in ready.headers


def test_who_may_not_list_the_functions_does_not_learn_what_is_minted(look: Look) -> None:
    backend = NavaiBackend(env={}, discover=False, access_token="machines-token-1234")
    with serving_app(backend) as url:
        assert "client secrets" not in look("--url", url)
        assert (
            "navai-client-secrets"
            not in httpx.get(f"{url}/navai/functions", trust_env=False, timeout=60).headers
        )
        assert "client secrets" in look("--url", url, "--access-token", "machines-token-1234")


def test_another_backend_does_not_say_whether_it_mints(look: Look, reply: Callable[..., FaultServer]) -> None:
    assert "client secrets" not in look("--url", reply('{"items": []}').url)


def test_versions_and_extras_are_reported(look: Look, demo_server: str) -> None:
    found = look("--url", demo_server)
    assert "navai-client " in found["versions"]["message"]
    assert "httpx 0." in found["versions"]["message"]
    assert "OpenSSL" in found["versions"]["message"]
    assert "server" in found["extras"]["message"]


@pytest.mark.parametrize(
    ("needed", "printed"),
    [
        (["attrs", "rich"], "installed: a, b, c"),
        (["attrs", "not-there"], "installed: b; not installed: a, c (pip install 'navai-client[a]')"),
        (
            ["not-there", "nor-this"],
            "installed: none; not installed: a, b, c (pip install 'navai-client[a]')",
        ),
    ],
)
def test_an_extra_is_installed_when_all_that_it_needs_is(
    needed: list[str], printed: str, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    requires = [
        "attrs>=23",
        f"{needed[1]}>=1; extra == 'a'",
        f"{needed[0]}>=1; extra == 'b'",
        "only-here>=1; (sys_platform == 'other') and extra == 'b'",
        "navai-client[a,b]; extra == 'c'",
        "navai-client[a,b,c]; extra == 'all'",
    ]
    monkeypatch.setattr(metadata, "requires", lambda _: requires)
    assert look("--url", "nonsense")["extras"]["message"] == printed


def test_the_default_url_is_named_as_such(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAVAI_API_URL", " ")
    monkeypatch.setattr(socket, "create_connection", refuse)
    found = look()
    assert "http://localhost:3000 (from the default" in found["base URL"]["message"]
    assert found["connection"]["level"] == "fail"


def refuse(*_: object) -> None:
    raise ConnectionRefusedError(111, "Connection refused")


def test_an_invalid_url_is_found(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAVAI_API_URL", "localhost:3000")
    found = look()["settings"]
    assert "must begin with http:// or https://" in found["message"]
    assert found["remedy"] == "The base URL comes from NAVAI_API_URL."


def test_a_password_in_the_url_is_never_shown(navai: Navai) -> None:
    result = navai("doctor", "--url", "http://me:hunter2hunter2@localhost")
    assert result.status == 1
    assert "hunter2" not in result.out + result.err


def test_an_unknown_host_name_is_found(look: Look) -> None:
    found = look("--url", "http://nowhere.invalid")["name"]
    assert found["level"] == "fail"
    assert "nowhere.invalid: " in found["message"]
    assert found["remedy"]


def test_an_invalid_host_name_is_found(look: Look) -> None:
    assert "is not a URL with a host" in look("--url", f"http://{'x' * 70}.test")["settings"]["message"]
    found = look("--url", "http://backend.test", "--proxy", f"http://{'x' * 70}.test:80")
    assert found["name"]["message"].endswith("it is not a host name")


def test_a_name_server_that_does_not_respond_is_found(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object) -> Any:
        raise TimeoutError

    monkeypatch.setattr(_reachability, "run_within", slow)
    found = look("--url", "http://backend.test")["name"]
    assert found["message"] == "backend.test: no reply within 30 s"


def test_a_closed_port_is_found(look: Look) -> None:
    with reserved_port() as port:
        found = look("--url", f"http://127.0.0.1:{port}")["connection"]
    assert found["message"] == f"127.0.0.1:{port}: Connection refused"
    assert "navai serve --demo" in found["remedy"]


def test_packets_that_are_dropped_are_found(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    def drop(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", drop)
    found = look("--url", "http://127.0.0.1:9")["connection"]
    assert "no reply within 30 s" in found["message"]


@pytest.mark.parametrize(
    ("host", "level"),
    [
        ("8.8.8.8", "warn"),
        ("2001:4860:4860::8888", "warn"),
        ("10.0.0.1", "ok"),
        ("fe80::1", "ok"),
        ("::1", "ok"),
    ],
)
def test_a_public_backend_without_encryption_is_warned_of(host: str, level: str) -> None:
    assert _reachability._rate_plain_text((host, 80)).level == level


def test_a_good_certificate_is_described(look: Look, authority: trustme.CA, ca_file: str) -> None:
    with tls_server(authority) as server:
        found = look("--url", server.url, "--ca-file", ca_file)
    assert found["TLS"]["level"] == "ok"
    assert "TLSv1.3, certificate by trustme" in found["TLS"]["message"]
    assert found["backend"]["level"] == "ok"


def test_an_unknown_certificate_authority_is_found(look: Look, authority: trustme.CA) -> None:
    with tls_server(authority) as server:
        found = look("--url", server.url)["TLS"]
    assert found["level"] == "fail"
    assert "--ca-file" in found["remedy"]


def test_a_certificate_for_another_name_is_found(look: Look, authority: trustme.CA, ca_file: str) -> None:
    with tls_server(authority) as server:
        found = look("--url", server.url.replace("127.0.0.1", "localhost"), "--ca-file", ca_file)["TLS"]
    assert "certificate is not valid for 'localhost'" in found["message"]
    assert "for another name" in found["remedy"]


def serving(authority: trustme.CA, **options: Any) -> Callable[[Peer], None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", **options).configure_cert(context)

    def treat(peer: Peer) -> None:
        with context.wrap_socket(peer._connection, server_side=True) as encrypted:
            peer._connection = encrypted
            while peer.request() is not None:
                peer.send(answer(LIST))

    return treat


@pytest.mark.parametrize(("days", "level"), [(-1, "fail"), (3, "warn")])
def test_a_certificate_that_expires_is_found(
    days: int, level: str, look: Look, authority: trustme.CA, ca_file: str
) -> None:
    expires = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    begins = expires - dt.timedelta(days=30)
    with FaultServer(serving(authority, not_before=begins, not_after=expires)) as server:
        found = look("--url", server.url.replace("http:", "https:"), "--ca-file", ca_file)["TLS"]
    assert found["level"] == level
    assert "Renew the server's certificate" in found["remedy"]


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "wrong version number"),
        (b"", "eof"),
        (b"\x15\x03\x03\x00\x02\x02\x46", "alert"),
    ],
)
def test_a_port_that_does_not_speak_tls_is_found(sent: bytes, said: str, look: Look) -> None:
    def greet(peer: Peer) -> None:
        peer._receive()  # what was not read would end the connection with a reset
        peer.send(sent)

    with FaultServer(greet) as server:
        found = look("--url", server.url.replace("http:", "https:"))["TLS"]
    assert found["level"] == "fail"
    assert said in found["message"]


def test_certificates_that_cannot_be_read_are_found(
    look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "none.pem"
    file.write_text("nothing")
    assert look("--ca-file", str(file))["settings"]["level"] == "fail"
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    with FaultServer(FAULTS["never answers"]) as server:
        found = look("--url", server.url.replace("http:", "https:"))["TLS"]
    assert found["level"] == "fail"
    assert "SSL_CERT_FILE" in found["message"]


@pytest.mark.parametrize(
    ("body", "status", "said", "remedy"),
    [
        (
            "<html>",
            "200 OK",
            "HTTP 200 with application/json, which is not a list",
            "Another server responds",
        ),
        ("no", "404 Not Found", "HTTP 404", "Another server responds here"),
        ("no", "401 Unauthorized", "HTTP 401", "--header"),
        ("", "500 Internal Server Error", "HTTP 500", "None"),
    ],
)
def test_a_server_that_is_not_a_navai_backend_is_found(  # noqa: PLR0917 - a case, and what it needs
    body: str, status: str, said: str, remedy: str, look: Look, reply: Callable[..., FaultServer]
) -> None:
    found = look("--url", reply(body, status=status).url)["backend"]
    assert found["level"] == "fail"
    assert said in found["message"]
    assert remedy in str(found["remedy"])


def test_a_redirect_is_found_with_its_target(look: Look, reply: Callable[..., FaultServer]) -> None:
    server = reply("", "Location: https://there/?a=1", status="307 Temporary Redirect")
    found = look("--url", server.url)["backend"]
    assert found["message"].startswith("HTTP 307: the redirect to https://there/ was not followed; ")
    assert found["message"].endswith("check the credentials in --header, and --url.")
    assert found["remedy"] is None


def test_json_that_has_no_list_is_warned_of(look: Look, reply: Callable[..., FaultServer]) -> None:
    found = look("--url", reply('{"hello": 1}').url)
    assert found["backend"]["level"] == "warn"
    assert found["functions"]["message"] == "no functions"


def test_a_missing_response_is_found(look: Look) -> None:
    with FaultServer(FAULTS["never answers"]) as server:
        found = look("--url", server.url, "--timeout", "2")["backend"]
    assert found["level"] == "fail"
    assert "within 2 s" in found["message"]


def test_warnings_of_the_backend_are_shown(look: Look, reply: Callable[..., FaultServer]) -> None:
    found = look("--url", reply('{"items": [], "warnings": ["[navai] Ignored x.py."]}').url)["functions"]
    assert (found["level"], found["message"]) == ("warn", "no functions; [navai] Ignored x.py.")


@pytest.mark.parametrize(("hours", "said"), [(2, "ahead of this machine"), (-2, "behind this machine")])
def test_a_clock_that_is_wrong_is_warned_of(
    hours: int, said: str, look: Look, reply: Callable[..., FaultServer]
) -> None:
    date = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours), usegmt=True)
    found = look("--url", reply(LIST, f"Date: {date}").url)["clock"]
    assert found["level"] == "warn"
    assert said in found["message"]
    assert abs(int(found["message"].split()[3]) - 7200) < 60


@pytest.mark.parametrize("headers", [[], ["Date: today"]])
def test_the_clock_of_a_server_without_a_date_is_not_compared(
    headers: list[str], look: Look, reply: Callable[..., FaultServer]
) -> None:
    assert "not compared" in look("--url", reply(LIST, *headers).url)["clock"]["message"]


def test_a_proxy_is_named_without_its_password(
    look: Look, reply: Callable[..., FaultServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = reply(LIST)
    monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//me:hunter2@"))
    found = look("--url", "http://backend.test")
    assert found["proxy"]["message"] == f"{proxy.url} (from HTTP_PROXY)"
    assert found["connection"]["message"].startswith(proxy.url.removeprefix("http://"))
    assert found["backend"]["level"] == "ok"
    assert "hunter2" not in json.dumps(found)


def test_an_unreachable_proxy_is_found(look: Look) -> None:
    with reserved_port() as port:
        found = look("--url", "http://backend.test", "--proxy", f"http://127.0.0.1:{port}")["connection"]
    assert found["remedy"] == "Is this the right proxy?"


def test_encryption_is_looked_at_through_a_proxy(look: Look, authority: trustme.CA, ca_file: str) -> None:
    treat = serving(authority)

    def proxy(peer: Peer) -> None:
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        treat(peer)

    with FaultServer(proxy) as server:
        found = look("--url", "https://127.0.0.1:1", "--proxy", server.url, "--ca-file", ca_file)
    assert found["TLS"]["level"] == "ok"
    assert found["backend"]["level"] == "ok"


def test_a_proxy_that_refuses_is_found(look: Look, reply: Callable[..., FaultServer]) -> None:
    proxy = reply("", status="407 Proxy Authentication Required")
    found = look("--url", "https://backend.test", "--proxy", proxy.url)["TLS"]
    assert found["level"] == "fail"
    assert "407" in found["message"]


def test_the_password_of_a_proxy_is_sent_to_it(look: Look, reply: Callable[..., FaultServer]) -> None:
    proxy = reply("", status="403 Forbidden")
    found = look("--url", "https://backend.test", "--proxy", proxy.url.replace("//", "//me:hunt%20er@"))
    assert b"Proxy-Authorization: Basic bWU6aHVudCBlcg==" in proxy.arrived[0][1]
    assert "hunt" not in json.dumps(found)


@pytest.mark.parametrize("proxy", ["http://", "http://me:hunter2@:1", "http://a:hunter2"])
def test_an_invalid_proxy_is_found(proxy: str, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    found = look("--url", "http://backend.test")
    assert found["proxy"]["message"].startswith("HTTP_PROXY is not a proxy's URL: ")
    assert "hunter2" not in json.dumps(found)


def test_a_proxy_that_needs_another_package_is_found(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "socksio", None)  # as if it was not installed
    found = look("--url", "http://backend.test")["proxy"]
    assert found["level"] == "fail"
    assert "pip install 'httpx[socks]'" in found["message"]


def test_certificates_that_only_a_call_reads_are_found(
    look: Look, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    with reserved_port() as port:
        found = look("--url", "https://backend.test", "--proxy", f"https://127.0.0.1:{port}")["backend"]
    assert found["level"] == "fail"
    assert "SSL_CERT_FILE" in found["message"]


def test_other_kinds_of_proxies_are_handled_by_httpx(look: Look) -> None:
    with reserved_port() as port:
        found = look("--url", "http://backend.test", "--proxy", f"https://127.0.0.1:{port}")
    assert "connection" not in found
    assert found["backend"]["level"] == "fail"


def test_texts_of_the_backend_cannot_control_the_terminal(
    navai: Navai, reply: Callable[..., FaultServer]
) -> None:
    body = json.dumps({"items": [], "warnings": ["\x1b[31mred\nline"]})
    printed = navai("doctor", "--url", reply(body).url).out
    assert "\\x1b[31mred line" in printed
    assert "\x1b" not in printed


MODEL = '{"id": "m", "object": "model", "created": 1, "owned_by": "openai", "shutdown_date": %s}'
SET_ANOTHER = "Set OPENAI_REALTIME_MODEL to another."
Reply = Callable[..., FaultServer]


@pytest.fixture(name="ask_about")
def _ask_about(look: Look, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run ``navai doctor`` with a key and a model, and return what it says about that."""

    def ask(openai: str, model: str = "gpt-realtime-2.1") -> dict[str, Any]:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-key-of-the-owner")
        monkeypatch.setenv("OPENAI_BASE_URL", openai)
        monkeypatch.setenv("OPENAI_REALTIME_MODEL", model)
        return look("--url", "http://127.0.0.1:9", "--timeout", "60")["model"]

    return ask


def test_without_a_key_nobody_is_asked_about_a_model(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    assert "model" not in look("--url", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("end", "level", "said", "remedy"),
    [
        ('"2027-01-20"', "warn", "gpt-realtime-2.1 shuts down on 2027-01-20", SET_ANOTHER),
        ("null", "ok", "gpt-realtime-2.1, whose end is not announced", None),
    ],
)
def test_openai_is_asked_when_the_model_ends(  # noqa: PLR0917 - two fixtures, four values
    ask_about: Callable[..., dict[str, Any]],
    reply: Reply,
    end: str,
    level: str,
    said: str,
    remedy: str | None,
) -> None:
    openai = reply(MODEL % end)
    found = ask_about(f"{openai.url}/v1?api-version=preview")
    assert (found["level"], found["message"], found["remedy"]) == (level, said, remedy)
    ((path, head, _),) = openai.arrived
    assert path == "/v1/models/gpt-realtime-2.1?api-version=preview"
    assert b"authorization: bearer sk-key-of-the-owner" in bytes(head).lower()


def test_a_model_without_the_field_has_no_announced_end(
    ask_about: Callable[..., dict[str, Any]], reply: Reply
) -> None:
    assert ask_about(reply('{"id": "a/b", "object": "model"}').url, "a/b")["level"] == "ok"


@pytest.mark.parametrize(
    ("status", "body", "level", "said"),
    [
        ("401 Unauthorized", '{"error": {"message": "sk-key"}}', "fail", "OpenAI refuses the key"),
        ("404 Not Found", "{}", "warn", "OpenAI has no model gpt-realtime-2.1 for this key"),
        ("500 Oops", "{}", "warn", "not examined: HTTP 500, and not about a model"),
        ("200 OK", "[]", "warn", "not examined: HTTP 200, and not about a model"),
        ("200 OK", "<html>", "warn", "not examined: HTTP 200, and not about a model"),
    ],
)
def test_other_responses_about_the_model(  # noqa: PLR0917 - as above
    ask_about: Callable[..., dict[str, Any]], reply: Reply, status: str, body: str, level: str, said: str
) -> None:
    found = ask_about(reply(body, status=status).url)
    assert (found["level"], found["message"]) == (level, said)


def test_an_openai_out_of_reach_and_settings_that_cannot_work_are_warnings(
    ask_about: Callable[..., dict[str, Any]],
) -> None:
    with reserved_port() as port:
        found = ask_about(f"http://127.0.0.1:{port}")
    assert found["message"].startswith("not examined, as OpenAI did not respond: ")
    assert found["level"] == "warn"
    found = ask_about("ftp://api.example")
    assert found["level"] == "warn"
    assert found["message"].startswith("not examined: openai_base_url (OPENAI_BASE_URL) ")

"""What a module exports, who is authorized, and what must not leave the backend."""

import logging
from pathlib import Path
from typing import Any

import pytest

from navai_client.server import BackendOptions, NavaiBackend, discover_function_modules, load_functions


def names(tmp_path: Path, folders: str = "src") -> list[str]:
    return load_functions(discover_function_modules(tmp_path, folders).modules).names


def test_an_imported_name_is_never_a_tool(tmp_path: Path, write: Any) -> None:
    write(
        "src/a.py",
        "import os\nfrom os import system\nfrom json import dumps, JSONDecoder\n"
        "run = system\ndef mine(): ...\n",
    )
    assert names(tmp_path) == ["mine"]


def test_a_name_in_all_is_offered_on_purpose_wherever_it_was_defined(tmp_path: Path, write: Any) -> None:
    write("src/a.py", "from math import sqrt, floor\n__all__ = ['sqrt']\ndef mine(): ...\n")
    assert names(tmp_path) == ["sqrt"]


def test_objects_are_offered_through_all_only(tmp_path: Path, write: Any) -> None:
    text = "class _Box:\n    def open(self): ...\nbox = _Box()\ntools = {'run': print}\ndef mine(): ...\n"
    write("src/a.py", text)
    assert names(tmp_path) == ["mine"]
    write("src/b.py", text + "__all__ = ['box', 'tools']\n")
    assert names(tmp_path) == ["mine", "box_open", "tools_run"]


@pytest.mark.parametrize("entry", ["../out", "/etc", "{out}", "src/../../out", "../out/...", "../**", "**"])
def test_nothing_outside_the_base_directory_is_imported(tmp_path: Path, write: Any, entry: str) -> None:
    out = write("out/evil.py", "def evil(): ...\n").parent
    write("base/src/ok.py", "def ok(): ...\n")
    base = tmp_path / "base"
    (base / "src" / "link").symlink_to(out)
    (base / "src" / "linked.py").symlink_to(out / "evil.py")
    assert "evil" not in names(base, entry.format(out=out))


def test_a_package_that_is_a_link_to_outside_is_not_imported(tmp_path: Path, write: Any) -> None:
    outside = write("out.py", "raise SystemExit\n")
    write("base/src/ok.py", "def ok(): ...\n")
    (tmp_path / "base/src/__init__.py").symlink_to(outside)
    found = load_functions(discover_function_modules(tmp_path / "base", "src").modules)
    assert found.names == []
    assert "link to a place outside" in found.warnings[0]


def test_only_allowed_origins_get_cors_headers(tmp_path: Path, ask: Any) -> None:
    env = {"NAVAI_CORS_ORIGIN": "https://app.example.com"}
    backend = NavaiBackend(env=env, functions_base_dir=tmp_path)
    for origin, granted in (
        ("https://app.example.com", True),
        ("http://localhost:5173", True),
        ("http://127.0.0.1", True),
        ("https://evil.example", False),
        ("http://localhost.evil.example", False),
        ("null", False),
    ):
        preflight = {"origin": origin, "access-control-request-method": "POST"}
        answer = ask(backend, "OPTIONS", "/navai/functions/execute", headers=preflight)
        assert answer.status_code == (204 if granted else 403)
        assert (answer.headers.get("access-control-allow-origin") == origin) is granted


def test_every_route_but_health_and_preflight_requires_the_access_token(tmp_path: Path, ask: Any) -> None:
    backend = NavaiBackend(env={"NAVAI_ACCESS_TOKEN": "let-me-in"}, functions_base_dir=tmp_path)
    assert ask(backend, "GET", "/navai/functions").status_code == 401
    assert ask(backend, "GET", "/navai/functions", headers={"authorization": "Bearer x"}).status_code == 401
    assert (
        ask(backend, "GET", "/navai/functions", headers={"authorization": "Bearer let-me-in"}).status_code
        == 200
    )
    assert ask(backend, "GET", "/health").status_code == 200
    assert "let-me-in" not in repr(backend.settings)


def test_no_response_contains_a_key_or_a_path_outside_the_base_directory(
    tmp_path: Path, execute: Any
) -> None:
    backend = NavaiBackend(
        BackendOptions(openai_api_key="secret-of-ours"), env={}, functions_base_dir=tmp_path
    )

    @backend.function
    def leak() -> None:
        raise OSError(f"secret-of-ours sk-proj-abcdef123456 '/etc/ssl/private/x.pem' {tmp_path}/data.txt")

    details = execute(backend, "leak")["details"]
    assert details == "*** *** 'x.pem' data.txt"
    assert "secret-of-ours" not in repr(backend.options)


def test_words_that_resemble_a_key_are_not_masked(tmp_path: Path, execute: Any) -> None:
    backend = NavaiBackend(env={}, functions_base_dir=tmp_path)

    @backend.function
    def fail() -> None:
        raise OSError("the task_manager wrote no disk-usage-report for my_sk_live_abcdef123456")

    assert execute(backend, "fail")["details"] == "the task_manager wrote no disk-usage-report for my_***"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "[Errno 2] No such file or directory: '/etc/a/b.txt'",
            "[Errno 2] No such file or directory: 'b.txt'",
        ),
        ("cat:/etc/a/b.txt", "cat:b.txt"),
        ("see file:///etc/a/b.txt", "see b.txt"),
        ("file:/etc/a/b.txt", "file:b.txt"),
        (r"C:\Users\me\b.txt", "b.txt"),
        ("https://example.com/etc/a", "https://example.com/etc/a"),
        ("and/or, /nowhere-at-all/x", "and/or, /nowhere-at-all/x"),
        ("/etc", "/etc"),
        ("/etc{base}/a.py", "a.py"),
        ("{base}/a.py", "a.py"),
        ("Authorization: Bearer abcdefgh", "Authorization: Bearer ***"),
    ],
)
def test_paths_are_cut_to_what_callers_may_see(
    tmp_path: Path, execute: Any, message: str, shown: str
) -> None:
    backend = NavaiBackend(env={}, functions_base_dir=tmp_path)

    @backend.function
    def fails() -> None:
        raise OSError(message.replace("{base}", str(tmp_path)))

    assert execute(backend, "fails")["details"] == shown


def test_names_and_paths_cannot_inject_into_the_log(
    backend: NavaiBackend, ask: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="navai_client")
    ask(backend, "GET", "/x%0aFAKE%1b[31m")
    ask(backend, "POST", "/navai/functions/execute", json={"function_name": "a\nFAKE", "payload": "b\nFAKE"})
    for record in caplog.records:
        if record.name.startswith("navai_client"):
            assert "\n" not in record.getMessage()
            assert "\x1b" not in record.getMessage()


def test_duplicate_keys_and_huge_numbers_do_no_harm(backend: NavaiBackend, ask: Any) -> None:
    backend.function(name="echo")(lambda x: x)
    headers = {"content-type": "application/json"}
    body = b'{"function_name":"no","function_name":"echo","payload":{"x":%s}}'
    path = "/navai/functions/execute"
    assert (
        ask(backend, "POST", path, content=body % b"12345678901234567890123", headers=headers).json()["ok"]
        is True
    )
    assert ask(backend, "POST", path, content=body % (b"9" * 500_000), headers=headers).status_code == 400

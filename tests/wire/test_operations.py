"""The table of operations, and how URLs are joined."""

import pytest
from hypothesis import given, strategies as st

from navai_client.wire._operations import OPERATIONS, join_url, normalize_path
from tests.properties import PROPERTY


@pytest.mark.parametrize(
    ("base_url", "path", "url"),
    [
        ("http://x", "/a", "http://x/a"),
        ("http://x", "a", "http://x/a"),
        ("http://x/", "/a", "http://x/a"),
        ("http://x///", "a/", "http://x/a/"),
        ("http://x/api/", "/a?b=c", "http://x/api/a?b=c"),
        ("http://x", "//y/a", "http://x//y/a"),
        ("http://x", "http://y", "http://x/http://y"),
        ("http://x", "", "http://x/"),
    ],
)
def test_trailing_slashes_are_dropped_and_a_leading_one_is_added(base_url: str, path: str, url: str) -> None:
    assert join_url(base_url, path) == url


@PROPERTY
@given(st.text(), st.text())
def test_the_path_begins_with_a_slash_and_follows_the_base(base_url: str, path: str) -> None:
    url = join_url(base_url, path)
    assert url.startswith(base_url.rstrip("/") + "/")
    assert url.endswith(path)
    assert normalize_path(normalize_path(path)) == normalize_path(path)


def test_the_default_paths_are_those_of_the_contract() -> None:
    requests = {operation.name: (operation.method, operation.path) for operation in OPERATIONS}
    assert requests.items() >= {
        ("create_client_secret", ("POST", "/navai/realtime/client-secret")),
        ("list_functions", ("GET", "/navai/functions")),
        ("execute_function", ("POST", "/navai/functions/execute")),
        ("synthesize_speech", ("POST", "/navai/speech/synthesize")),
    }

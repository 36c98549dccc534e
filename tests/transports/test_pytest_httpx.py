"""pytest-httpx mocks the default transport of both clients, as it does httpx itself."""

import httpx
import pytest
from pytest_httpx import HTTPXMock

from navai_client import NavaiTransportError
from tests.clients import make_client


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_its_responses_and_errors_arrive_and_its_records_are_right(kind: str, httpx_mock: HTTPXMock) -> None:
    url = "http://backend.test/navai/functions/execute"
    httpx_mock.add_response(
        method="POST",
        url=url,
        match_json={"function_name": "f", "payload": {"a": 1}},
        json={"ok": True, "result": 1},
        is_reusable=True,
    )
    httpx_mock.add_exception(httpx.ConnectError("mocked"), url="http://backend.test/navai/speech/synthesize")
    client = make_client(kind, base_url="http://backend.test", max_retries=0, headers={"X-Own": "2"})
    try:
        assert client.execute_function("f", {"a": 1}) == 1
        assert client.execute_function("f", {"a": 1}) == 1
        with pytest.raises(NavaiTransportError, match="mocked") as caught:
            client.synthesize_speech("hello")
        assert not caught.value.may_have_executed
    finally:
        client.close()
    first, second, _ = httpx_mock.get_requests()
    assert first.headers["x-own"] == second.headers["X-Own"] == "2"

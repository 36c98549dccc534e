"""What came to a backend under test, in order: requests, and the calls that they make up."""

import threading
from collections.abc import Mapping
from typing import Final

from navai_client.server._settings import ServerSettings
from navai_client.testing._recording import Headers, RecordedCall, RecordedRequest
from navai_client.wire._decode import trim

OPERATIONS: Final = ("create_client_secret", "list_functions", "execute_function", "synthesize_speech")


def read_request(
    settings: ServerSettings, method: str, path: str, headers: Mapping[bytes, bytes], content: bytes
) -> RecordedRequest:
    """Read what a request is about, as a backend with *settings* would."""
    paths = (
        settings.client_secret_path,
        settings.functions_list_path,
        settings.functions_execute_path,
        settings.speech_synthesize_path,
    )
    operation = dict(zip(paths, OPERATIONS, strict=True)).get(path)
    request = RecordedRequest(method, path, Headers(headers), content, operation)
    if operation == "execute_function":
        record = request.json()
        name = record.get("function_name")
        request.function_name = trim(name).lower() if isinstance(name, str) else None
        request.payload = record.get("payload")
    return request


class Journal:
    """The requests that arrived, in order, from any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[RecordedRequest] = []

    def write(self, request: RecordedRequest) -> None:
        """Note *request*."""
        with self._lock:
            self._requests.append(request)

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far."""
        with self._lock:
            return list(self._requests)

    @property
    def calls(self) -> list[RecordedCall]:
        """Every call so far, in the order of their first attempts."""
        attempts: dict[object, list[RecordedRequest]] = {}
        for request in self.requests:
            if request.function_name is not None:
                key = request.headers.get("idempotency-key")
                same = request if key is None else (key, request.content)
                attempts.setdefault(same, []).append(request)
        return [
            RecordedCall(each[0].function_name or "", each[0].payload, tuple(each))
            for each in attempts.values()
        ]

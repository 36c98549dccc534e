"""A request is sent in one packet."""

import socket
import threading

from tests.clients import make_client
from tests.waiting import PATIENCE_S

ANSWER = b'HTTP/1.1 200 OK\r\nContent-Length: 22\r\n\r\n{"ok":true,"result":1}'


def test_the_head_and_the_body_of_a_request_leave_together(kind: str, through: str) -> None:
    first_reads: list[bytes] = []

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        connection.settimeout(PATIENCE_S)
        with connection:
            for _ in range(2):
                first_reads.append(connection.recv(65536))
                connection.sendall(ANSWER)

    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        thread = threading.Thread(target=serve, args=(server,))
        thread.start()
        client = make_client(kind, through=through, base_url=f"http://127.0.0.1:{server.getsockname()[1]}")
        assert [client.execute_function("f", {"a": 1}), client.execute_function("f", {"a": 2})] == [1, 1]
        client.close()
        thread.join()
    assert [read.endswith(b'"payload":{"a":%d}}' % number) for number, read in enumerate(first_reads, 1)] == [
        True,
        True,
    ]

"""The main job, end to end: start the bundled server, mint a secret, list the functions, execute some.

Needs: pip install 'navai-client[server]'; no key: ``--demo`` has sample functions, and secrets that open no
    session.
Run: make demo
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from navai_client import FunctionFailedError, NavaiBackendClient, UnknownFunctionError


@contextmanager
def demo_server() -> Iterator[str]:
    """Run the bundled server on a free port and give its URL."""
    command = [sys.executable, "-m", "navai_client.server", "--demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                sys.exit("The server did not start:\n" + process.communicate()[1])
            yield line.split()[-1]
        finally:
            process.terminate()
            process.communicate()


def timed(call: Callable[[], Any]) -> tuple[Any, str]:
    """Return the result of *call*, and how long it took."""
    began = time.perf_counter()
    result = call()
    return result, f"{(time.perf_counter() - began) * 1000:.1f} ms"


def main() -> None:
    with demo_server() as url, NavaiBackendClient(url) as client:
        print(f"The bundled server listens on {url}\n")

        secret, took = timed(lambda: client.create_client_secret(voice="marin", language="Spanish"))
        print(f"1. A client secret for one voice session ({took})")
        print(f"   {secret!r}")
        print(f"   expires in {secret.expires_in():.0f} s\n")

        functions, took = timed(client.list_functions)
        print(f"2. The functions that an agent may call ({took})")
        for function in functions:
            print(f"   {function.name:<20} {function.description}")
        print()

        print("3. Some of them, executed")
        order = {"customer_id": "ana", "items": [{"product": "coffee", "quantity": 2}, {"product": "cake"}]}
        calls: list[tuple[str, dict[str, Any]]] = [
            ("get_weather", {"location": "San Francisco"}),
            ("create_order", order),
            ("make_report", {"seconds": 0.5}),
            ("calculator_add_tax", {"amount": 100}),
        ]
        for name, payload in calls:
            result, took = timed(lambda name=name, payload=payload: client.execute_function(name, payload))  # type: ignore[misc]
            print(f"   {name}({json.dumps(payload)})\n     -> {json.dumps(result)}   ({took})")

        print("\n4. Calls that fail say why")
        try:
            client.execute_function("cancel_order", {"order_id": "order-1"})
        except FunctionFailedError as error:
            print(f"   cancel_order: {error}")
        try:
            client.execute_function("send_fax")
        except UnknownFunctionError as error:
            print(f"   send_fax: {error.error} Available: {', '.join(error.available_functions)}")


if __name__ == "__main__":
    main()

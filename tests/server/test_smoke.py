"""A demo backend responds on its routes."""

import json
import re
import signal
import subprocess
import sys
import urllib.request


def test_the_command_prints_its_url_and_serves_the_demo() -> None:
    command = [sys.executable, "-m", "navai_client.server", "--port", "0", "--demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.fullmatch(
                r"Navai backend listening on (http://127\.0\.0\.1:\d+)\n", server.stdout.readline()
            )
            assert found is not None
            with urllib.request.urlopen(f"{found[1]}/navai/functions", timeout=5) as answer:
                names = [item["name"] for item in json.load(answer)["items"]]
            assert "get_weather" in names
            assert "calculator_add_tax" in names
        finally:
            server.send_signal(signal.SIGTERM)

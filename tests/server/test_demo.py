"""``--demo``: it is served, and its functions work."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from navai_client.server import NavaiBackend


def test_the_command_prints_its_url_and_serves_the_demo() -> None:
    command = [sys.executable, "-m", "navai_client.server", "--port", "0", "--demo"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            found = re.fullmatch(
                r"Navai backend listening on (http://127\.0\.0\.1:\d+)\n", server.stdout.readline()
            )
            assert found is not None
            with urllib.request.urlopen(f"{found[1]}/navai/functions", timeout=60) as answer:
                names = [item["name"] for item in json.load(answer)["items"]]
            assert "get_weather" in names
            assert "calculator_add_tax" in names
        finally:
            server.send_signal(signal.SIGTERM)


def test_the_functions_of_the_demo_work(tmp_path: Path, execute: Any, ask: Any) -> None:
    demo = NavaiBackend(env={}, functions_base_dir=tmp_path, demo=True)
    weather = execute(demo, "get_weather", {"location": "Oslo", "unit": "fahrenheit"})["result"]
    assert (weather["location"], weather["unit"]) == ("Oslo", "fahrenheit")
    order = {"items": [{"product": "tea", "quantity": 2}], "customer_id": "7"}
    placed = execute(demo, "create_order", order)["result"]
    assert (placed["order_id"], placed["total"]) == ("order-7", "4.80")
    nothing = {**order, "items": [{"product": "tea", "quantity": 0}]}
    assert "quantity" in execute(demo, "create_order", nothing)["details"]
    assert execute(demo, "cancel_order", {"order_id": "9"})["details"] == "There is no order '9'."
    assert execute(demo, "make_report", {"seconds": 0})["result"]["orders"] == 42
    assert execute(demo, "tell_time")["result"].endswith("Z")
    assert execute(demo, "calculator_add_tax", {"amount": 100})["result"] == 119
    for silence in ({}, {"text": " "}):
        assert ask(demo, "POST", "/navai/speech/synthesize", json=silence).status_code == 400

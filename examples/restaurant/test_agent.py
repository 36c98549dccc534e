"""A complete call, offline: the caller and the model are scripted, everything between them is real."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_agent_looks_up_free_tables_and_books_one() -> None:
    command = [sys.executable, "-W", "error", "-m", "examples.restaurant.agent", "--offline"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert '"result":["18:00","20:00"]' in finished.stdout
    assert '"mushroom risotto":"14.5"' in finished.stdout
    assert '"seating":"20:00","party":4' in finished.stdout
    assert "agent:  Your table is booked, Ana: eight o'clock on the 17th of May.\n" in finished.stdout
    assert "The person did not approve the call." in finished.stdout
    assert finished.stdout.endswith("agent:  Then it stays booked.\n")

"""Make the pictures of README and the documentation: ``make pictures``. The inspector's needs Chromium."""

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
COLUMNS = 92
SHOWN = (
    ["navai", "functions"],
    ["navai", "call", "get_weather", "-p", "location=Bogotá"],
    ["navai", "secret", "--voice", "marin"],
)


@contextmanager
def demo_server() -> Iterator[str]:
    """The URL of the demo, served for as long as it is needed."""
    command = [sys.executable, "-m", "navai_client.server", "--demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().split()[-1]
        finally:
            server.terminate()


def in_a_terminal(command: list[str], url: str) -> str:
    """Return what *command* writes to a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "NAVAI_API_URL": url}
    program = [str(BIN / command[0]), *command[1:]]
    with subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, env=environment):
        os.close(theirs)
        written = b""
        try:
            while chunk := os.read(ours, 65_536):
                written += chunk
        except OSError:  # how Linux says that the other side is closed
            pass
    os.close(ours)
    return written.decode().replace("\r\n", "\n").strip("\n")


def terminal(url: str) -> None:
    """Draw what the commands in ``SHOWN`` look like."""
    with Path(os.devnull).open("w") as nowhere:
        console = Console(record=True, width=COLUMNS, file=nowhere)
        for command in SHOWN:
            console.print(Text.assemble(("$ ", "green"), (" ".join(command), "bold")))
            console.print(Text.from_ansi(in_a_terminal(command, url)), "")
        drawing = console.export_svg(title="navai", unique_id="navai")
    # The fonts would come from another host.
    drawing = re.sub(r"\s*@font-face \{.*?\}", "", drawing, flags=re.DOTALL)
    drawing = drawing.replace(
        "Fira Code, monospace", "ui-monospace, SFMono-Regular, Menlo, Consolas, monospace"
    )
    (HERE / "terminal.svg").write_text(drawing)


def inspector(url: str) -> None:
    """Take a photograph of the inspector after a call."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or "chromium"
    for flag in ("headless", "no-sandbox", "disable-gpu", "hide-scrollbars", "disable-background-networking"):
        options.add_argument(f"--{flag}")
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.set_window_size(1280, 940)
        browser.get(f"{url}/navai/#get_weather")
        wait = WebDriverWait(browser, 20)
        place = wait.until(lambda page: page.find_element(By.CSS_SELECTOR, "main textarea, main input"))
        place.send_keys("Bogotá")
        next(each for each in browser.find_elements(By.TAG_NAME, "button") if each.text == "Run").click()
        wait.until(lambda page: "condition" in page.find_element(By.TAG_NAME, "main").text)
        wait.until(lambda page: "get_weather" in page.find_element(By.ID, "calls").text)
        browser.execute_script("scrollTo(0, 0)")
        browser.save_screenshot(str(HERE / "inspector.png"))
    finally:
        browser.quit()


if __name__ == "__main__":
    with demo_server() as url:
        terminal(url)
        inspector(url)

"""A headless browser, and a backend with an inspector."""

import contextlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeVar

import pytest
import uvicorn
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from navai_client.server import NavaiBackend
from navai_client.server._serving import bind, url_of
from tests.interop import peers

T = TypeVar("T")

PATIENCE_S: Final = 30
_FLAGS: Final = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
)


@contextlib.contextmanager
def serving(backend: NavaiBackend, port: int = 0) -> Iterator[str]:
    """Serve *backend*, by default on a free port, and give its URL."""
    config = uvicorn.Config(backend, log_config=None, access_log=False, lifespan="on")
    server = uvicorn.Server(config)
    with bind("127.0.0.1", port) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield url_of(listener)
        finally:
            server.should_exit = True
            thread.join()


class Page:
    """The inspector as a person sees and uses it."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self.driver = driver
        self.url = url
        self.open()

    def open(self, name: str = "") -> None:
        """Open the page at a function, in a document of its own."""
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}/navai/" + (f"#{name}" if name else ""))

    def find(self, selector: str) -> WebElement:
        """Wait for the only visible element of a selector."""
        return self.wait(
            lambda: next((each for each in self.all(selector) if each.is_displayed()), None), selector
        )

    def all(self, selector: str) -> list[WebElement]:
        """Return all elements of a selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def field(self, name: str) -> WebElement:
        """Wait for the control that is labelled *name*."""

        def labelled() -> WebElement | None:
            for label in self.all("main label"):
                if label.find_element(By.CLASS_NAME, "name").text == name:
                    return self.driver.find_element(By.ID, label.get_attribute("for") or "")
            return None

        return self.wait(labelled, f"the field {name}")

    def button(self, text: str) -> WebElement:
        """Wait for the button that says *text*."""
        return self.wait(
            lambda: next(
                (each for each in self.all("button") if each.is_displayed() and each.text == text), None
            ),
            f"the button {text}",
        )

    def outcome(self) -> tuple[str, str]:
        """Wait for an outcome: its title, and its whole text."""
        badge = self.wait(
            lambda: next((each for each in self.all(".badge") if each.text not in ("", "Waiting")), None),
            "an outcome",
        )
        return badge.text, self.find(".outcome").text

    def result(self) -> Any:
        """Wait for the result of a call."""
        return json.loads(self.find(".outcome pre").text)

    def wait(self, look: Callable[[], T | None], what: str) -> T:
        """Look until there is an element, also while the page replaces it."""

        def seen(_: WebDriver) -> T | Literal[False]:
            return look() or False

        waiting = WebDriverWait(self.driver, PATIENCE_S, 0.02, (StaleElementReferenceException,))
        return waiting.until(seen, f"There is no {what}.")

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        self.driver.switch_to.active_element.send_keys(*keys)

    @property
    def focused(self) -> WebElement:
        """The element that has the focus."""
        return self.driver.switch_to.active_element


def _find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        reason = f"{program} is not installed: it is needed to look at the inspector."
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="session", name="driver")
def _driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """One browser for all tests; each begins in a new document."""
    options = webdriver.ChromeOptions()
    options.binary_location = _find("chromium")
    service = webdriver.ChromeService(_find("chromedriver"))
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, service)
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="session", name="axe")
def _axe() -> str:
    """The source of axe-core, which finds what keeps people out of a page."""
    try:
        peers.install()
    except peers.PeersMissingError as error:
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
    return (peers.HERE / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture(name="backend")
def _backend() -> NavaiBackend:
    """A backend with the sample functions."""
    return NavaiBackend(env={}, discover=False, demo=True)


@pytest.fixture(name="refusals")
def _refusals() -> list[str]:
    """The browser errors that a test expects, such as a 401 response."""
    return []


@pytest.fixture(name="page")
def _page(driver: Any, backend: NavaiBackend, refusals: list[str]) -> Iterator[Page]:
    """The inspector of *backend*; checks at the end for browser errors and requests to other hosts."""
    for log in ("browser", "performance"):
        driver.get_log(log)
    with serving(backend) as url:
        yield Page(driver, url)
        driver.get("about:blank")
    said = [each["message"] for each in driver.get_log("browser")]
    assert [each for each in said if not any(refusal in each for refusal in refusals)] == []
    asked = [json.loads(each["message"])["message"] for each in driver.get_log("performance")]
    urls = [
        each["params"]["request"]["url"] for each in asked if each["method"] == "Network.requestWillBeSent"
    ]
    assert [each for each in urls if not each.startswith((f"{url}/", "about:", "data:", "chrome"))] == []
    assert f"{url}/navai/" in [each.partition("#")[0] for each in urls]

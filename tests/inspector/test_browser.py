"""The inspector in a real browser."""

import ast
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import attrs
import msgspec
import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from navai_client import NavaiBackendClient, UnknownFunctionError
from navai_client.server import FunctionContext, NavaiBackend
from navai_client.server._http import BackendRequest
from tests.inspector.conftest import Page, serving
from tests.ports import reserved_port

STRANGE = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def names(page: Page) -> list[str]:
    return [each.text for each in page.all("#functions .name")]


def latest(page: Page) -> str:
    """Return the name of the latest call, if there is one."""
    return next((each.text for each in page.all("#calls .name")), "")


def press_until(page: Page, is_there: Callable[[], bool], *keys: str) -> None:
    """Press *keys* until the focus is where it should be."""
    for _ in range(200):  # more than there are places
        if is_there():
            return
        page.press(*keys)
    pytest.fail("The focus never comes there.")


def test_every_function_is_listed_and_found_by_name_or_description(page: Page) -> None:
    page.wait(lambda: len(names(page)) == 6, "list of six functions")
    assert page.find("#state").text == "6 functions"
    page.find("#search").send_keys("tax")
    assert names(page) == ["calculator_add_tax"]
    page.find("#search").send_keys("x")
    assert "No function" in page.find("#nothing").text


def test_a_function_is_run_and_shows_its_result_and_its_time(page: Page) -> None:
    page.open("get_weather")
    page.field("location").send_keys("Oslo")
    Select(page.field("unit")).select_by_visible_text("fahrenheit")
    page.button("Run").click()
    title, said = page.outcome()
    assert title == "Done"
    assert " ms" in said
    assert page.result()["location"] == "Oslo"
    assert page.result()["unit"] == "fahrenheit"


def test_a_function_that_fails_shows_why(page: Page) -> None:
    page.open("cancel_order")
    page.field("order_id").send_keys("17")
    page.button("Run").click()
    title, said = page.outcome()
    assert title == "Failed"
    assert "There is no order '17'." in said


def test_lists_of_objects_can_be_filled_in_and_empty_fields_are_omitted(page: Page) -> None:
    page.open("create_order")
    page.field("customer_id").send_keys("7")
    Select(page.field("product")).select_by_visible_text("tea")
    page.button("Add").click()
    products = [each for each in page.all("main select") if each.is_displayed()]
    assert page.focused == products[1]
    Select(products[1]).select_by_visible_text("cake")
    page.button("Run").click()
    assert page.outcome()[0] == "Done"
    assert [each["product"] for each in page.result()["items"]] == ["tea", "cake"]
    assert page.result()["items"][0]["quantity"] == 1


def test_an_invalid_value_is_reported_at_its_field_before_anything_is_sent(
    page: Page, backend: NavaiBackend
) -> None:
    page.open("create_order")
    page.button("Run").click()
    product = page.field("product")
    assert product.get_attribute("aria-invalid") == "true"
    assert page.focused == product
    Select(product).select_by_visible_text("tea")
    page.field("quantity").send_keys("1.5")
    page.button("Run").click()
    assert page.find(".error").text == "Must be a whole number."
    page.field("quantity").clear()
    page.field("quantity").send_keys("21")
    page.button("Run").click()
    assert page.find(".error").text == "Must be 1 to 20."
    recent = backend.recent_calls
    assert recent is not None
    assert b"execute" not in recent.respond(BackendRequest("GET", "/navai/inspector/calls", {})).body


def test_a_payload_can_be_written_as_json_and_begins_with_the_forms(page: Page) -> None:
    page.open("get_weather")
    page.field("location").send_keys("Oslo")
    page.button("Edit as JSON").click()
    area = page.field("payload")
    assert area.get_property("value") == '{\n  "location": "Oslo",\n  "unit": "celsius"\n}'
    area.clear()
    area.send_keys("{")
    page.button("Run").click()
    assert "not JSON" in page.find(".error").text
    area.send_keys('"location": "Rome"}')
    page.button("Run").click()
    page.outcome()
    assert page.result()["location"] == "Rome"
    page.button("Back to the form").click()
    assert page.field("location").get_property("value") == "Oslo"


def test_json_begins_with_what_the_schema_says_and_keeps_what_was_typed(page: Page) -> None:
    page.open("create_order")
    page.field("customer_id").send_keys("7 Elm")
    page.field("quantity").send_keys("many")
    page.button("Edit as JSON").click()
    area = page.field("payload")
    drafted = json.loads(str(area.get_property("value")))
    assert drafted["customer_id"] == "7 Elm"
    assert drafted["items"] == [{"product": "coffee", "quantity": "many"}]
    area.clear()
    area.send_keys("[1]")
    page.button("Back to the form").click()
    page.button("Edit as JSON").click()
    assert page.field("payload").get_property("value") == "[1]"
    page.button("Back to the form").click()
    page.field("customer_id").send_keys("!")
    page.button("Edit as JSON").click()
    assert '"7 Elm!"' in str(page.field("payload").get_property("value"))


def test_a_name_that_does_not_exist_is_shown_where_it_was_asked_for(page: Page, driver: Any) -> None:
    page.open("send_fax")
    page.wait(lambda: page.find("main h2").text == "send_fax", "name that was asked for")
    assert "no such function" in page.find("main .lead").text
    with NavaiBackendClient(page.url) as client, pytest.raises(UnknownFunctionError):
        client.execute_function("send_fax")
    page.wait(lambda: [each.text for each in page.all("#calls .name")] == ["send_fax"], "call of send_fax")
    page.open("get_weather")
    page.open()
    assert page.wait(lambda: page.all("#calls .name"), "latest call")[0].text == "send_fax"
    assert len(page.all("#calls li")) == 1  # the page's own lists are not among them


def test_a_secret_is_minted_masked_and_shown_on_demand(page: Page, driver: Any) -> None:
    page.find("#secret-button").click()
    page.field("language").send_keys("Spanish")
    page.button("Mint").click()
    assert page.outcome()[0] == "Minted"
    secret = page.find(".secret")
    assert secret.text.startswith("ek_•")
    assert "ek_demo_" not in driver.page_source
    page.button("Reveal").click()
    assert secret.text.startswith("ek_demo_")
    page.button("Hide").click()
    assert "ek_demo_" not in driver.page_source
    title = page.wait(lambda: next(iter(page.all("#calls .name")), None), "latest call")
    assert title.text == "client secret"
    assert "ek_demo_" not in driver.page_source


def test_calls_appear_as_they_arrive_with_request_and_response(page: Page) -> None:
    page.open("cancel_order")
    page.field("order_id").send_keys("17")
    page.button("Run").click()
    page.wait(lambda: latest(page) == "cancel_order", "call of cancel_order")
    page.find("#calls button").click()
    shown = [each.text for each in page.all("#calls li:first-child pre")]
    assert '"order_id": "17"' in shown[0]
    assert "There is no order" in shown[1]
    assert "failed" in page.find("#calls button").text


def test_the_page_can_be_used_by_keyboard_alone(page: Page) -> None:
    page.find("#functions button")
    page.press(Keys.TAB)
    assert page.focused.text == "Skip to the form"
    page.find("#search").send_keys("weather")
    page.wait(lambda: names(page) == ["get_weather"], "one function")
    page.press(Keys.ARROW_DOWN)
    page.press(Keys.ENTER)
    page.wait(
        lambda: page.focused.text == "get_weather" and page.focused.tag_name == "h2", "focus on the title"
    )
    page.press(Keys.TAB)
    assert page.focused == page.field("location")
    page.press("Oslo")
    outline = page.focused.value_of_css_property("outline-style")
    assert outline == "solid"
    page.press(Keys.CONTROL, Keys.ENTER)
    assert page.outcome()[0] == "Done"
    said = page.find(".said")
    assert said.get_attribute("role") == "status"
    page.wait(lambda: page.all("#calls button"), "latest call")
    press_until(page, lambda: page.focused.get_attribute("aria-controls") is not None, Keys.TAB)
    row = page.focused
    assert row.get_attribute("aria-expanded") == "false"
    page.press(Keys.ENTER)
    assert row.get_attribute("aria-expanded") == "true"
    assert "Oslo" in page.find(f"#{row.get_attribute('aria-controls')}").text
    page.press(Keys.SPACE)
    assert row.get_attribute("aria-expanded") == "false"
    press_until(page, lambda: page.focused.accessible_name == "curl", Keys.SHIFT, Keys.TAB)
    page.press(Keys.ENTER)
    assert "curl " in page.find("main form pre").text


def test_every_control_has_a_label_and_every_button_a_name(page: Page) -> None:
    for name in ("create_order", "get_weather", "%2Fsecret"):
        page.open(name)
        page.find("main h2")
        for control in page.all("main input, main select, main textarea, #search"):
            assert control.accessible_name, control.get_attribute("outerHTML")
        for button in page.all("button"):
            assert not button.is_displayed() or button.accessible_name


@attrs.frozen
class Place:
    """Where."""

    street: str
    number: int


@contextlib.contextmanager
def emulated(driver: Any, scheme: str, width: int) -> Iterator[None]:
    """Let the page be *width* pixels wide, and light or dark."""
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        yield
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


class TestForms:
    """Every kind of value that a schema can ask for."""

    @pytest.fixture(name="backend")
    def _backend(self) -> NavaiBackend:
        """A backend whose function returns its arguments."""
        backend = NavaiBackend(env={}, discover=False, inspector=True)

        @backend.function
        def echo(  # noqa: PLR0917 - as many kinds as there are
            whole: int,
            share: Annotated[float, msgspec.Meta(gt=0, le=1)],
            certain: bool,
            anything: Any,
            note: str | None,
            place: Place | None = None,
            tags: list[str] = [],  # noqa: B006 - as functions are
            level: Literal[1, 2] | None = None,
            **more: int,
        ) -> dict[str, Any]:
            return {**locals(), **more}

        return backend

    def test_values_of_every_kind_travel_as_they_were_typed(self, page: Page) -> None:
        page.open("echo")
        page.field("whole").send_keys("9007199254740993")
        page.field("share").send_keys("0")
        Select(page.field("certain")).select_by_visible_text("true")
        page.field("anything").send_keys("[1e2]")
        page.button("Run").click()
        assert page.find(".error").text == "Must be more than 0 to 1."
        page.field("share").clear()
        page.field("share").send_keys("0.5")
        Select(page.field("level")).select_by_visible_text("2")
        page.button("Give it").click()
        page.field("street").send_keys("Elm")
        page.field("number").send_keys("3")
        page.button("Add").click()
        page.press("red")
        page.field("more").send_keys('{"extra": 4}')
        page.button("Run").click()
        assert page.outcome()[0] == "Done"
        assert "9007199254740993" in page.find(".outcome pre").text
        result = page.result()
        assert result.pop("more") == {"extra": 4}
        assert result == {
            "whole": 9007199254740993,
            "share": 0.5,
            "certain": True,
            "anything": [100.0],
            "note": None,
            "place": {"street": "Elm", "number": 3},
            "tags": ["red"],
            "level": 2,
            "extra": 4,
        }


class TestForeignTexts:
    """Names and texts that contain HTML."""

    @pytest.fixture(name="backend")
    def _backend(self) -> NavaiBackend:
        """A backend with unusual names and texts."""
        backend = NavaiBackend(env={}, discover=False, inspector=True)

        @backend.function(name="strange", description=STRANGE)
        def strange(text: Annotated[str, STRANGE] = STRANGE) -> str:
            if text == "fail":
                raise ValueError(STRANGE)
            return STRANGE

        return backend

    def test_nothing_from_the_backend_becomes_html(self, page: Page) -> None:
        page.open("strange")
        page.button("Run").click()
        assert page.outcome()[0] == "Done"
        assert page.result() == STRANGE
        page.field("text").send_keys("fail")
        page.button("Run").click()
        page.wait(lambda: page.outcome()[0] == "Failed", "failure")
        assert STRANGE in page.outcome()[1]
        assert page.all("main img, main script, nav img, aside img") == []


class TestToken:
    """A backend that requires a token."""

    @pytest.fixture(name="backend")
    def _backend(self) -> NavaiBackend:
        """A backend with an access token."""
        return NavaiBackend(env={}, discover=False, demo=True, access_token="let-me-in")

    @pytest.fixture(name="refusals")
    def _refusals(self) -> list[str]:
        """The browser logs each 401 response."""
        return ["401 (Unauthorized)"]

    def test_the_page_requests_the_token_and_keeps_it_in_memory_only(self, page: Page, driver: Any) -> None:
        page.find("#token").send_keys("wrong", Keys.ENTER)
        assert "rejected" in page.find("#token-error").text
        page.find("#token").send_keys("let-me-in", Keys.ENTER)
        page.wait(lambda: len(names(page)) == 6, "list of six functions")
        page.open("tell_time")
        page.find("#token").send_keys("let-me-in", Keys.ENTER)
        page.button("Run").click()
        assert page.outcome()[0] == "Done"
        page.wait(lambda: "tell_time" in page.find("#calls").text, "call of tell_time")
        kept = driver.execute_script("return [localStorage.length, sessionStorage.length, document.cookie]")
        assert kept == [0, 0, ""]

    def test_without_the_token_nothing_is_shown(self, page: Page) -> None:
        page.button("Not now").click()
        page.wait(lambda: page.find("#state").text == "Access token required", "word of it")
        assert names(page) == []
        assert page.all("#calls li") == []


class TestApprovals:
    """A backend with a function that needs approval, open except for that."""

    @pytest.fixture(name="ran")
    def _ran(self) -> list[int]:
        return []

    @pytest.fixture(name="backend")
    def _backend(self, ran: list[int]) -> NavaiBackend:
        backend = NavaiBackend(
            env={},
            discover=False,
            demo=True,
            inspector_token="inspectors-own-token",
            access_token="agents-token",
        )
        backend.function(ran.append, name="pay", approval=True)
        return backend

    @pytest.fixture(name="refusals")
    def _refusals(self) -> list[str]:
        """The browser logs each 401 and 403 response."""
        return ["401 (Unauthorized)", "403 (Forbidden)"]

    def test_a_person_approves_one_call_and_rejects_another(self, page: Page, ran: list[int]) -> None:
        page.find("#token").send_keys("inspectors-own-token", Keys.ENTER)
        page.wait(lambda: page.find("#no-approvals").is_displayed(), "list of what waits")
        for amount in ("12345678901234567890123", "7"):
            page.open("pay")
            page.find("#token").send_keys("inspectors-own-token", Keys.ENTER)
            page.button("Edit as JSON").click()
            page.field("payload").clear()
            page.field("payload").send_keys(f'{{"args":[{amount}]}}')
            page.button("Run").click()
            assert page.outcome()[0] == "Waits for approval"
        page.wait(lambda: len(page.all("#approvals li")) == 2, "two calls that wait")
        first, second = page.all("#approvals li")
        assert "12345678901234567890123" in first.text
        assert "Asked by inspector" in first.text
        second.find_element("css selector", "input").send_keys("No.")
        second.find_elements("css selector", "button")[1].click()
        page.wait(lambda: len(page.all("#approvals li")) == 1, "one call that waits")
        page.button("Approve").click()
        page.wait(lambda: page.all("#approvals li") == [], "decision")
        page.wait(lambda: ran == [12345678901234567890123], "execution")

    def test_who_may_only_call_sees_neither_what_waits_nor_the_calls(self, page: Page) -> None:
        page.find("#token").send_keys("agents-token", Keys.ENTER)
        page.open("pay")
        page.find("#token").send_keys("agents-token", Keys.ENTER)
        page.wait(lambda: len(names(page)) == 7, "list of functions")
        page.wait(lambda: page.find("#token-button").is_displayed(), "way to another token")
        assert not page.driver.find_element("id", "approvals-part").is_displayed()
        assert page.all("#calls li") == []


def test_a_backend_that_stops_and_starts_again_is_noticed(driver: Any) -> None:
    def backend() -> NavaiBackend:
        return NavaiBackend(env={}, discover=False, demo=True)

    with reserved_port() as port:
        _stop_and_start(driver, backend, port)


def _stop_and_start(driver: Any, backend: Callable[[], NavaiBackend], port: int) -> None:
    with serving(backend(), port) as url:
        page = Page(driver, url)
        page.open("get_weather")
        page.field("location").send_keys("Oslo")
    page.wait(lambda: page.find("#state").text == "The backend does not respond", "word of its absence")
    page.button("Run").click()
    assert page.outcome()[0] == "No response"
    with serving(backend(), port):
        page.wait(lambda: page.find("#state").text == "6 functions", "word of its return")
        page.button("Run").click()  # what was typed is still there
        page.wait(lambda: page.outcome()[0] == "Done", "result")
        assert page.result()["location"] == "Oslo"
        driver.get("about:blank")


class TestProgress:
    """A function that says how far it has come."""

    @pytest.fixture(name="goes_on")
    def _goes_on(self) -> threading.Event:
        return threading.Event()

    @pytest.fixture(name="backend")
    def _backend(self, goes_on: threading.Event) -> NavaiBackend:
        backend = NavaiBackend(env={}, discover=False, inspector=True)

        @backend.function
        def report(context: FunctionContext, *, fails: bool = False) -> int:
            context.progress("Looking at März")
            goes_on.wait(60)
            if fails:
                raise LookupError("There is no März.")
            return 12345678901234567890123

        return backend

    def test_it_is_shown_until_the_result(self, page: Page, goes_on: threading.Event) -> None:
        page.open("report")
        page.button("Run").click()
        page.wait(lambda: "Looking at März" in page.find(".said").text, "progress")
        goes_on.set()
        assert page.outcome()[0] == "Done"
        assert page.find(".outcome pre").text == "12345678901234567890123"
        assert "März" not in page.find(".said").text
        page.wait(lambda: latest(page) == "report", "latest call")
        Select(page.field("fails")).select_by_visible_text("true")
        page.button("Run").click()
        page.wait(lambda: page.outcome()[0] == "Failed", "failure")
        assert "There is no März." in page.outcome()[1]


class TestCopies:
    """A call as text that runs elsewhere."""

    @pytest.fixture(name="token", params=[None, "let's$(me)in"])
    def _token(self, request: pytest.FixtureRequest) -> str | None:
        """The backend's access token, if it needs one."""
        token: str | None = request.param
        return token

    @pytest.fixture(name="backend")
    def _backend(self, token: str | None) -> NavaiBackend:
        backend = NavaiBackend(env={}, discover=False, inspector=True, access_token=token)

        @backend.function
        def echo(**given: Any) -> dict[str, Any]:
            return given

        return backend

    @pytest.fixture(name="refusals")
    def _refusals(self) -> list[str]:
        """The browser logs each 401 response."""
        return ["401 (Unauthorized)"]

    @pytest.mark.parametrize("kind", ["curl", "Python", "navai call"])
    def test_it_runs_and_sends_the_same(
        self, page: Page, backend: NavaiBackend, token: str | None, kind: str
    ) -> None:
        payload = {
            "quotes": 'it\'s "here" \\ `id` $HOME ${x} !! $(id)\n\tnew',
            "ünïcode ☕": ["日本 \U0001f600 \u2028", None, True, False],
            "numbers": [12345678901234567890123, -0.5, 1e100],
            "deep": {"": [{}, []]},
        }
        page.open("echo")
        if token is not None:
            page.find("#token").send_keys(token, Keys.ENTER)
        page.button("Edit as JSON").click()
        area = page.field("payload")
        page.driver.execute_script("arguments[0].value = arguments[1]", area, json.dumps(payload, indent=1))
        page.button(kind).click()
        text = str(page.find("main form pre").get_property("textContent"))
        assert "let's" not in text
        assert ("NAVAI_ACCESS_TOKEN" in text) is (token is not None)
        command = [sys.executable, "-c", text] if kind == "Python" else ["bash", "-ec", text]
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "NO_PROXY": "*",
            **({} if token is None else {"NAVAI_ACCESS_TOKEN": token}),
        }
        ran = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=60, check=False
        )
        assert ran.returncode == 0, text + ran.stderr
        result = ast.literal_eval(ran.stdout) if kind == "Python" else json.loads(ran.stdout)
        assert (result["result"] if kind == "curl" else result) == payload


LONG_NAMES = [
    "calculator_add_tax_of_every_country_of_the_union_to_an_amount",
    "getWeatherOfEveryCityInTheWorldForOneWholeWeek",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
class TestAccessibility:
    """What axe finds, and what is cut, in every state of the page."""

    @pytest.fixture(name="backend")
    def _backend(self) -> NavaiBackend:
        """A backend with long names, and a function that needs approval."""
        backend = NavaiBackend(env={}, discover=False, demo=True, inspector_token="inspectors-own")
        for name in LONG_NAMES:
            backend.function(lambda: None, name=name)
        backend.function(lambda: None, name="pay_all_bills_of_the_month_that_are_due", approval=True)
        return backend

    @pytest.fixture(name="refusals")
    def _refusals(self) -> list[str]:
        """The browser logs each 401 response."""
        return ["401 (Unauthorized)"]

    def test_axe_finds_nothing_and_no_name_is_cut(
        self, page: Page, driver: Any, axe: str, scheme: str, width: int
    ) -> None:
        def look(state: str) -> None:
            driver.execute_script(axe)
            found = driver.execute_async_script("axe.run().then(arguments[0])")
            assert [
                (each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]
            ] == [], state
            # Each part of a name, between two places where a line may end, is a text of its own.
            cut = driver.execute_script(
                """
                const cut = [];
                for (const each of document.querySelectorAll(".name, article h2, article > .code")) {
                  if (each.getClientRects().length === 0) continue;
                  const whole = document.createRange();
                  for (const part of each.childNodes) {
                    whole.selectNode(part);
                    if (part.nodeType === 3 && whole.getClientRects().length > 1) cut.push(part.data);
                  }
                  const isInline = getComputedStyle(each).display === "inline";
                  if (!isInline && each.scrollWidth > each.clientWidth) cut.push(each.textContent);
                }
                return cut;
                """
            )
            assert cut == [], state
            assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth"), state

        with emulated(driver, scheme, width):
            page.open("create_order")
            page.find("#token")
            look("dialog")
            page.find("#token").send_keys("inspectors-own", Keys.ENTER)
            page.field("product")
            page.button("Run").click()
            look("invalid")
            page.find("#functions button[data-name=pay_all_bills_of_the_month_that_are_due]").click()
            page.wait(lambda: "pay" in page.find("main h2").text, "form")
            page.button("Run").click()
            assert page.outcome()[0] == "Waits for approval"
            page.wait(lambda: page.all("#approvals li"), "call that waits")
            look("approval")
            page.find("#functions button[data-name=cancel_order]").click()
            page.field("order_id").send_keys("17")
            page.button("Run").click()
            assert page.outcome()[0] == "Failed"
            page.button("curl").click()
            page.find("main form pre")
            page.wait(lambda: page.all("#calls button"), "latest call")[0].click()
            look("failure, copied call and open row")
            page.find(f"#functions button[data-name={LONG_NAMES[0]}]").click()
            page.wait(lambda: "calculator" in page.find("main h2").text, "form")
            page.button("Run").click()
            assert page.outcome()[0] == "Done"
            page.wait(lambda: latest(page) == LONG_NAMES[0], "latest call")
            look("long name")
            page.find("#secret-button").click()
            page.button("Mint").click()
            page.button("Reveal").click()
            look("secret")


# Holds the next request for the latest calls until it is let go, and says when its response was taken.
HOLD_POLL = """
const fetched = window.fetch;
window.fetch = async (url, options) => {
  if (!String(url).endsWith('/inspector/calls')) return fetched(url, options);
  window.fetch = fetched;
  await new Promise((resolve) => { window.letGo = resolve; });
  const response = await fetched(url, options);
  response.text = async () => {
    const text = await Response.prototype.text.call(response);
    setTimeout(() => { window.isTaken = true; });
    return text;
  };
  return response;
};
"""


def test_the_latest_calls_do_not_change_while_paused(page: Page, driver: Any) -> None:
    page.open("tell_time")
    driver.execute_script(HOLD_POLL)
    page.wait(lambda: driver.execute_script("return Boolean(window.letGo)"), "request under way")
    page.button("Pause").click()
    before = len(page.all("#calls li"))
    page.button("Run").click()
    assert page.outcome()[0] == "Done"
    driver.execute_script("window.letGo()")
    page.wait(lambda: driver.execute_script("return window.isTaken"), "response to it")
    assert len(page.all("#calls li")) == before
    page.button("Resume").click()
    page.wait(lambda: latest(page) == "tell_time", "call of tell_time")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_it_fits_every_width_and_can_be_read_in_light_and_dark(
    page: Page, driver: Any, scheme: str, width: int
) -> None:
    with emulated(driver, scheme, width):
        page.open("create_order")
        page.field("product")
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        for selector in ("h2", ".lead", ".hint", ".type", "#search", ".main", ".plain", ".choices .faint"):
            assert contrast(driver, selector) >= 4.5, selector


def contrast(driver: Any, selector: str) -> float:
    """Return the contrast of a text with its background, as WCAG 2 defines it."""
    front, behind = driver.execute_script(
        """
        const of = (element) => getComputedStyle(element).backgroundColor;
        let element = document.querySelector(`main ${arguments[0]}`) ?? document.querySelector(arguments[0]);
        const front = getComputedStyle(element).color;
        while (of(element).startsWith("rgba(") && element.parentElement) element = element.parentElement;
        return [front, of(element)];
        """,
        selector,
    )
    lighter, darker = sorted((luminance(front), luminance(behind)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    parts = [float(each) / 255 for each in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue

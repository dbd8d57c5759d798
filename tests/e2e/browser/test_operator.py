"""The operator's buttons in a real browser, on a real gateway and real databases: look, confirm, watch it go on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from migration_plan.journey import Stand
from tests.e2e.browser import chromium
from tests.integration.console.running import running_console, wait_for
from tests.integration.migration_plan.conftest import bare, toys  # noqa: F401
from tests.integration.migration_plan.toy import TOKEN, Toys, writing

MISSING = chromium.missing()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(MISSING is not None, reason=f"the browser tests need Chromium and chromedriver: {MISSING}"),
]
VIEWER = "a-viewer-s-token-of-the-tests"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium.chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def console(toys: Toys) -> Iterator[str]:  # noqa: F811
    toys.stop_gateway()
    (toys.folder / "tokens").write_text(f"viewer eve {VIEWER}\n")
    (toys.folder / "tokens").chmod(0o600)
    toys.start_gateway(GATEWAY_ADMIN_TOKENS=str(toys.folder / "tokens"))
    env = {name: value for name, value in toys.env.items() if name != "GATEWAY_ADMIN_TOKEN"}
    with running_console({**env, "GATEWAY_VIEWER_TOKEN": VIEWER}) as url:
        yield url


def text(browser: webdriver.Chrome, selector: str) -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector))


def buttons(browser: webdriver.Chrome) -> list[str]:
    return [str(one.get_attribute("data-verb")) for one in browser.find_elements(By.CSS_SELECTOR, "[data-verb]")]


def log_in(browser: webdriver.Chrome, console: str, token: str) -> None:
    browser.get(f"{console}/login")
    browser.find_element(By.ID, "token").send_keys(token)
    browser.find_element(By.CSS_SELECTOR, "form button").click()
    wait_for(lambda: browser.current_url == f"{console}/", "the page")
    wait_for(lambda: text(browser, "#live") == "live", "the first tick")


def press(browser: webdriver.Chrome, verb: str) -> None:
    browser.find_element(By.CSS_SELECTOR, f"[data-verb={verb}]").click()
    wait_for(lambda: verb in text(browser, "dialog[open] #act-title"), f"the look at {verb}")


def confirm(browser: webdriver.Chrome, reason: str, name: str = "") -> None:
    browser.find_element(By.ID, "reason").send_keys(reason)
    if name:
        browser.find_element(By.ID, "name").send_keys(name)
    browser.find_element(By.CSS_SELECTOR, ".confirm [type=submit]").click()


def complaints(browser: webdriver.Chrome) -> list[str]:
    return [str(entry["message"]) for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_an_operator_switches_by_the_page_and_sees_each_step(
    browser: webdriver.Chrome, console: str, toys: Toys  # noqa: F811
) -> None:  # fmt: skip
    toys.put_stand(Stand("canary", 50))
    browser.get_log("browser")
    browser.delete_all_cookies()
    browser.get(console)
    assert buttons(browser) == []
    log_in(browser, console, TOKEN)
    assert {"preflight", "shadow", "canary", "switch", "rollback", "freeze", "complete"} <= set(buttons(browser))
    with writing(toys, clients=1) as seen:
        press(browser, "switch")
        assert "the point of no return" in text(browser, "dialog")
        assert "predicted pause of writes" in text(browser, "dialog")
        button = browser.find_element(By.CSS_SELECTOR, ".confirm [type=submit]")
        browser.find_element(By.ID, "name").send_keys("another")
        assert not button.is_enabled(), "the name is not that of the domain"
        browser.find_element(By.ID, "name").clear()
        confirm(browser, "seen in a browser", toys.domain)
        wait_for(lambda: "✓ done" in text(browser, "dialog .end"), "the end of the switch", 60)
    assert "6 cross" in text(browser, "dialog .plan")
    assert seen.failed == []
    assert {owner for owner, _ in toys.ownership().values()} == {"service"}
    wait_for(lambda: "seen in a browser" in text(browser, ".ledger"), "the ledger on the page")
    assert complaints(browser) == []


def test_a_refusal_shows_the_gate_and_the_command_that_helps_and_nothing_to_confirm(
    browser: webdriver.Chrome, console: str, toys: Toys  # noqa: F811
) -> None:  # fmt: skip
    toys.put_stand(Stand("canary", 50))
    browser.delete_all_cookies()
    log_in(browser, console, TOKEN)
    press(browser, "freeze")
    confirm(browser, "the disk is full")
    wait_for(lambda: "✓ done" in text(browser, "dialog .end"), "the freeze", 30)
    browser.find_element(By.CSS_SELECTOR, "dialog form[method=dialog] button").click()
    press(browser, "switch")
    assert f"banyan unfreeze {toys.domain}" in text(browser, "dialog .stops")
    assert not browser.find_elements(By.CSS_SELECTOR, ".confirm")


def test_a_viewer_sees_no_buttons(browser: webdriver.Chrome, console: str) -> None:
    browser.delete_all_cookies()
    log_in(browser, console, VIEWER)
    assert "eve (viewer)" in text(browser, ".who")
    assert buttons(browser) == []

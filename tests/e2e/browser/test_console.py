"""The operator's page in a real browser: moves by itself, asks nobody else, complains of nothing, fits every screen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.e2e.browser import chromium
from tests.integration.console.players import Gateway, figures, live, playing, wave
from tests.integration.console.running import environment, running_console, wait_for

MISSING = chromium.missing()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(MISSING is not None, reason=f"the browser tests need Chromium and chromedriver: {MISSING}"),
]


@pytest.fixture(scope="module")
def gateway() -> Gateway:
    return Gateway(
        waves={"pricing": [wave()], "devices": [wave()]},
        live={"pricing": live(120, 0), "devices": live()},
    )


@pytest.fixture(scope="module")
def console(gateway: Gateway) -> Iterator[str]:
    with playing(gateway) as components, running_console(environment(components, ("PRICING", "DEVICES"))) as url:
        yield url


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium.chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture
def page(browser: webdriver.Chrome, console: str, gateway: Gateway) -> webdriver.Chrome:
    """Freshly loaded, at the journey's beginning, with its first tick received."""
    gateway.waves = {"pricing": [wave()], "devices": [wave()]}
    gateway.live["pricing"] = live(120, 0)
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(console)
    wait_for(lambda: text(browser, "#live") == "live", "the first tick")
    wait_for(lambda: "Nothing has moved yet" in text(browser, "h1"), "the beginning")
    return browser


def text(browser: webdriver.Chrome, selector: str) -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector))


def card(browser: webdriver.Chrome, domain: str, selector: str) -> str:
    return text(browser, f"article[aria-labelledby=title-{domain}] {selector}")


def points(browser: webdriver.Chrome) -> int:
    """How many of the pixels of the first chart are drawn in the monolith's colour."""
    return int(
        browser.execute_script(
            """const canvas = document.querySelector('.chart canvas');
            const probe = document.querySelector('.key.legacy');
            const wanted = getComputedStyle(probe).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number);
            const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            let found = 0;
            for (let i = 0; i < data.length; i += 4) {
              if (data[i + 3] > 200 && wanted.every((w, k) => Math.abs(w - data[i + k]) < 12)) found++;
            }
            return found;"""
        )
    )


def requests_elsewhere(browser: webdriver.Chrome, console: str) -> list[str]:
    """Addresses of other hosts that the page has asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if urlsplit(url).netloc not in (urlsplit(console).netloc, "")]


def test_the_page_follows_the_journey_by_itself_without_a_reload(page, console, gateway):
    page.execute_script("window.stillTheSamePage = true")
    gateway.put("pricing", wave("canary", 10))
    gateway.live["pricing"] = live(90, 10)
    wait_for(lambda: text(page, "h1") == "pricing: reads 10 % at the service, writes at the monolith", "the canary")
    assert card(page, "pricing", "[aria-current=step] .name").startswith("canary")
    wait_for(lambda: "10 %" in card(page, "pricing", ".ends"), "the split")

    gateway.put("pricing", wave("canary", 50, "moving", hold=True))
    wait_for(lambda: "changing hands" in text(page, "h1"), "the switch")

    gateway.put("pricing", wave("service", 0, "service", epoch=2))
    gateway.live["pricing"] = live(0, 100, held=17)
    wait_for(lambda: "reads and writes at the service" in text(page, "h1"), "the service")
    assert card(page, "pricing", "[aria-current=step] .name").startswith("service")
    wait_for(lambda: "17" in card(page, "pricing", ".tiles.three"), "the held writes")

    gateway.live["pricing"] = live(80, 0, fallbacks=3, breakers={"legacy": "closed", "service": "open"})
    wait_for(lambda: "fall back" in text(page, "h1"), "the fallback")
    assert text(page, ".headline .eyebrow").lower() == "needs attention"

    gateway.put("pricing", wave("canary", 50))
    gateway.live["pricing"] = live(50, 50)
    wait_for(lambda: text(page, "h1") == "pricing: reads 50 % at the service, writes at the monolith", "the way back")
    assert page.execute_script("return window.stillTheSamePage") is True
    assert [entry for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    assert requests_elsewhere(page, console) == []


def test_the_badge_says_live_with_the_first_message_and_does_not_wait_for_the_next_second(tmp_path, console):
    with chromium.chromium(tmp_path / "profile") as driver:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": MESSAGES_UNTIL_LIVE})
        for _ in range(4):  # one load may happen to fall just before a tick
            driver.get(console)
            wait_for(lambda: text(driver, "#live") == "live", "the badge")
            assert driver.execute_script("return window.seen.headlines") == 1
            assert driver.execute_script("return window.seen.tick - window.seen.open") < 500


MESSAGES_UNTIL_LIVE = """
    window.seen = {headlines: 0};
    const Plain = window.EventSource;
    window.EventSource = class extends Plain {
      constructor(...given) {
        super(...given);
        this.addEventListener("open", () => { window.seen.open = performance.now(); });
        this.addEventListener("headline", () => { if (!window.seen.tick) window.seen.headlines++; });
        this.addEventListener("tick", () => { window.seen.tick ??= performance.now(); });
      }
    };
"""


def test_the_charts_draw_what_is_measured(page, gateway):
    wait_for(
        lambda: page.execute_script("return document.querySelectorAll('.chart canvas').length") == 4, "four charts"
    )
    gateway.live["pricing"]["requests"]["legacy"] = figures(300)
    before = points(page)
    wait_for(lambda: points(page) > before + 8, "the line to grow")


def test_a_domain_that_turns_up_later_gets_its_card_without_a_reload(page, gateway):
    page.execute_script("window.stillTheSamePage = true")
    gateway.put("weather", wave("shadow"))
    gateway.live["weather"] = live(5, 0)
    wait_for(lambda: card(page, "weather", "h2") == "weather", "the new card")
    wait_for(lambda: page.execute_script("return document.querySelectorAll('.chart canvas').length") == 6, "its charts")
    gateway.put("weather", wave("canary", 25))
    wait_for(lambda: "canary 25 %" in card(page, "weather", ".pill"), "its card to move")
    assert page.execute_script("return window.stillTheSamePage") is True


def test_the_page_says_when_the_console_itself_has_gone(tmp_path):
    with playing(Gateway()) as components, chromium.chromium(tmp_path / "profile") as driver:
        with running_console(environment(components, ("PRICING",))) as url:
            driver.get(url)
            wait_for(lambda: text(driver, "#live") == "live", "the first tick")
            assert not driver.find_element(By.ID, "offline").is_displayed()
        wait_for(lambda: driver.find_element(By.ID, "offline").is_displayed(), "the page to notice")
        assert "has heard nothing from the console since" in text(driver, "#offline")
        assert "pricing" in text(driver, "h2#title-pricing"), "what was seen last stays"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)], ids=["desktop", "dark phone"])
def test_nothing_sticks_out_and_everything_can_be_read(tmp_path, console, width, dark):
    with chromium.chromium(tmp_path / "profile", width=width, dark=dark) as driver:
        driver.get(console)
        wait_for(lambda: text(driver, "#live") == "live", "the first tick")
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        assert low_contrast(driver) == []


def low_contrast(browser: webdriver.Chrome) -> list[str]:
    """Texts with less than 4.5 : 1 against what is behind them (WCAG 2.2, 1.4.3)."""
    found: list[str] = browser.execute_script(
        """const rgb = (c) => { const n = c.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
        const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
          .map((v) => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
          .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
        const behind = (e) => { for (; e; e = e.parentElement) {
          const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] === 1) return c; } return [255, 255, 255]; };
        const poor = [];
        for (const e of document.querySelectorAll('body *')) {
          if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
          if (!e.offsetParent || e.closest('.vh, .skip, svg')) continue;
          const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))];
          const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
          if (ratio < 4.5) poor.push(`${e.textContent.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
        }
        return poor;"""
    )
    return found

"""A real browser on the page, and the few things that a person does there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from page_double import Double

selenium = pytest.importorskip("selenium", reason="the page's tests need selenium: pip install selenium")

from selenium import webdriver  # noqa: E402
from selenium.common.exceptions import StaleElementReferenceException  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.remote.webelement import WebElement  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
PATIENCE = 8.0  # seconds that anything may take
# Runs before the page's own scripts: keeps what must not happen.
WATCH = """
window.seen = [];
window.pwned = (n) => window.seen.push('a script ran: ' + n);
for (const name of ['alert', 'confirm', 'prompt']) window[name] = window.pwned;
document.addEventListener('securitypolicyviolation', (e) => window.seen.push('policy: ' + e.violatedDirective + ' ' + e.blockedURI));
window.addEventListener('error', (e) => window.seen.push('error: ' + e.message));
window.addEventListener('unhandledrejection', (e) => window.seen.push('rejection: ' + e.reason));
"""


@contextmanager
def open_browser(downloads: Path | None = None, language: str = "en-US") -> Iterator[webdriver.Chrome]:
    """Chromium without a window; skips the test where there is none."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no Chromium here (Debian: apt install chromium chromium-driver fonts-noto-cjk)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    switches = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--lang={language}"]
    # Whatever the page might ask of another machine finds none.
    for switch in (*switches, "--window-size=1280,800", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"):
        options.add_argument(switch)
    options.add_experimental_option("prefs", {"intl.accept_languages": language})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": WATCH})
        if downloads is not None:
            behaviour = {"behavior": "allow", "downloadPath": str(downloads)}
            driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
        yield driver
    finally:
        driver.quit()


class Chat:
    """The page as a person has it before them."""

    def __init__(self, driver: webdriver.Chrome, server: Double) -> None:
        self.driver, self.server = driver, server

    def open(self, url: str | None = None, *, fresh: bool = True) -> Chat:
        self.driver.get("about:blank")
        if fresh:
            everything = {"origin": self.server.origin, "storageTypes": "all"}
            self.driver.execute_cdp_cmd("Storage.clearDataForOrigin", everything)
            self.size(1280, 800)
        self.driver.get(url or self.server.url)
        self.wait(lambda: self.js("return Boolean(document.documentElement.dataset.ready)"), "the page starts")
        return self

    def size(self, width: int, height: int, *, mobile: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def js_async(self, script: str, *arguments: Any) -> Any:
        """The value of an asynchronous function's body."""
        self.driver.set_script_timeout(60)
        wrapped = f"const done = arguments[arguments.length - 1]; (async () => {{ {script} }})().then(done, (e) => done('' + e));"
        return self.driver.execute_async_script(wrapped, *arguments)

    def wait(self, happens: Callable[[], Any], what: str) -> Any:
        end = time.monotonic() + PATIENCE
        while not (value := happens()):
            if time.monotonic() > end:
                raise AssertionError(f"never happened: {what}; the page says: {self.text('body')[:600]}")
            time.sleep(0.03)
        return value

    def all(self, selector: str, text: str = "") -> list[WebElement]:
        """Those that are seen and have this text; what goes away while one looks is not."""
        found = []
        for element in self.driver.find_elements("css selector", selector):
            with suppress(StaleElementReferenceException):
                if element.is_displayed() and (not text or text in element.text):
                    found.append(element)
        return found

    def one(self, selector: str, text: str = "") -> WebElement:
        """The first of `all`, once there is one."""
        return self.wait(lambda: next(iter(self.all(selector, text)), None), f"{selector} {text!r}")

    def text(self, selector: str) -> str:
        return self.js("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def texts(self, selector: str) -> list[str]:
        return self.js("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText.trim())", selector)

    def click(self, selector: str, text: str = "") -> None:
        self.one(selector, text).click()

    def press(self, *keys: str) -> None:
        """Keys to whatever has the focus, the last ones while the first are held down."""
        actions = webdriver.ActionChains(self.driver)
        for key in keys[:-1]:
            actions.key_down(key)
        actions.send_keys(keys[-1])
        for key in keys[:-1]:
            actions.key_up(key)
        actions.perform()

    def say(self, text: str, *, wait: bool = True) -> None:
        """Type a message, send it, and wait until its answer is complete."""
        before = len(self.server.asks)
        self.one("#ask").send_keys(text, Keys.ENTER)
        if wait:
            self.wait(lambda: len(self.server.asks) > before, f"{text!r} is sent")
            self.quiet()

    def quiet(self) -> None:
        """Wait until nothing is written any more."""
        self.wait(
            lambda: not self.js("return document.querySelector('.stopping, [aria-busy=true]')"), "the answer ends"
        )
        time.sleep(0.05)

    def answers(self) -> list[str]:
        return self.texts(".answer .prose")

    def questions(self) -> list[str]:
        return self.texts(".question .prose")

    def label(self, selector: str, name: str) -> WebElement:
        """A button by what a screen reader calls it."""
        return self.one(f"{selector} [aria-label^='{name}']")

    def hover(self, element: WebElement) -> None:
        webdriver.ActionChains(self.driver).move_to_element(element).perform()

    def troubles(self) -> list[str]:
        """Scripts that ran, breaches of the policy, errors in the console, requests to elsewhere."""
        seen = self.js("return window.seen")
        console = [entry["message"] for entry in self.driver.get_log("browser")]
        asked = self.js("return performance.getEntriesByType('resource').map((e) => e.name)")
        away = [name for name in asked if not name.startswith((self.server.origin, "blob:"))]
        return [*seen, *console, *(f"asked for {name}" for name in away)]

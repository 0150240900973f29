"""Make the pictures of the page from a real server and its model's own answers.

    camelid serve runs/quickstart --port 8000 --api-key a-key-for-pictures
    python docs/make_page_images.py http://127.0.0.1:8000/#key=a-key-for-pictures

Needs Chromium and its driver (Debian: `apt install chromium chromium-driver fonts-noto-cjk`) and selenium. Answers are
greedy, so that the pictures are the same each time; the compare picture votes, which adds a line to the votes file.
Writes docs/images/page-*.png.
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

IMAGES = Path(__file__).parent / "images"
TALKS = {
    "en": [
        "Who are you?",
        "Price list: tea: $12, cake: $81, soup: $94. How much is the cake?",
        "Sort these numbers from small to large: 9, 2, 7",
    ],
    "zh": ["你是谁？", "请提取name、age，写成JSON：李娜今年31岁。", "把这些数从小到大排列：9、2、7"],
}


@contextmanager
def browser(language: str, width: int, height: int, *, mobile: bool = False) -> Iterator[webdriver.Chrome]:
    """A window of this size."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--lang={language}"):
        options.add_argument(switch)
    options.add_experimental_option("prefs", {"intl.accept_languages": language})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
    try:
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        yield driver
    finally:
        driver.quit()


def start(driver: webdriver.Chrome, url: str, theme: str = "light") -> None:
    """Open the page in these colours, greedy."""
    driver.get(url)
    ready(driver)
    settings = {"theme": theme, "sampling": {"a": {"temperature": 0}, "b": {"temperature": 0}}}
    driver.execute_script("localStorage.setItem('camelid.settings', arguments[0])", json.dumps(settings))
    driver.get("about:blank")
    driver.get(url)
    ready(driver)


def ready(driver: webdriver.Chrome) -> None:
    """Wait for the page, and until nothing is written."""
    script = "return document.documentElement.dataset.ready && !document.querySelector('.stopping, [aria-busy=true]')"
    end = time.monotonic() + 120
    while not driver.execute_script(script):
        if time.monotonic() > end:
            raise SystemExit("the page does not answer")
        time.sleep(0.1)


def say(driver: webdriver.Chrome, text: str) -> None:
    """Ask, and wait for the answer."""
    count = "return document.querySelectorAll('.question').length"
    before = driver.execute_script(count)
    driver.find_element(By.ID, "ask").send_keys(text, Keys.ENTER)
    while driver.execute_script(count) == before:
        time.sleep(0.05)
    time.sleep(0.2)
    ready(driver)


def click(driver: webdriver.Chrome, selector: str, text: str) -> None:
    """Click what has this text."""
    next(e for e in driver.find_elements(By.CSS_SELECTOR, selector) if text in e.text and e.is_displayed()).click()


def shoot(driver: webdriver.Chrome, name: str) -> None:
    """Keep what is seen."""
    time.sleep(0.4)
    driver.save_screenshot(str(IMAGES / name))
    print(IMAGES / name, (IMAGES / name).stat().st_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="the page's address, with its key")
    url = parser.parse_args().url
    for language, code in (("en", "en-US"), ("zh", "zh-CN")):
        for theme in ("light", "dark"):
            with browser(code, 1180, 760) as driver:
                start(driver, url, theme)
                for text in TALKS[language]:
                    say(driver, text)
                shoot(driver, f"page-{language}-{theme}.png")
    with browser("en-US", 1180, 760) as driver:
        start(driver, url)
        click(driver, "#bar .chip", "Compare")
        say(driver, "Who are you, and who made you?")
        click(driver, ".vote", "A is better")
        shoot(driver, "page-compare.png")
    with browser("zh-CN", 390, 780, mobile=True) as driver:
        start(driver, url)
        for text in TALKS["zh"][:2]:
            say(driver, text)
        shoot(driver, "page-phone.png")


if __name__ == "__main__":
    main()

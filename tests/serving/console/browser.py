"""A headless Chromium for the console's pages: what people do, what the page shows, and what it complains about."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By

from tests.serving.programs import until

__all__ = ["NAME", "PageBrowser", "require_chromium"]

NAME = "fruits.example.com"
"""A name of this machine, for the browser alone."""

_OPTIONS = (
    "--headless=new", "--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    f"--host-resolver-rules=MAP {NAME} 127.0.0.1",
)  # fmt: skip
_SETTLED = """
return document.querySelectorAll("#strip li").length === arguments[0]
  && !document.querySelector("#result").classList.contains("busy")
  && [...document.querySelectorAll("#strip button")].every(item => !item.ariaLabel.includes("waiting for the answer"))
"""
_DROP = """
const files = arguments[0].map(([name, type, base64]) =>
  new File([Uint8Array.from(atob(base64), letter => letter.charCodeAt(0))], name, { type }));
const data = new DataTransfer();
for (const file of files) data.items.add(file);
const event = arguments[1] === "paste"
  ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
  : new DragEvent(arguments[1], { dataTransfer: data, bubbles: true, cancelable: true });
document.body.dispatchEvent(event);
"""


def require_chromium() -> tuple[str, str]:
    """Return the programs chromium and chromedriver; skip the test, naming what is missing, where one is not installed."""
    chromium = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
    )
    driver = shutil.which("chromedriver") or ""
    missing = [name for name, found in (("chromium", chromium), ("chromedriver", driver)) if not found]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not on the PATH (Debian: apt-get install chromium chromium-driver)")
    return chromium, driver


class PageBrowser:
    """One browser; each test opens its page anew."""

    def __init__(self, folder: Path) -> None:
        chromium, driver = require_chromium()
        options = Options()
        options.binary_location = chromium
        for option in (*_OPTIONS, f"--user-data-dir={folder}"):
            options.add_argument(option)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options, Service(driver))
        self.driver.set_page_load_timeout(60)

    def command(self, method: str, **parameters: Any) -> Any:
        """Send a command of Chromium's debugging protocol."""
        return self.driver.execute_cdp_cmd(method, parameters)

    def resize(self, width: int, height: int, *, touch: bool = False) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch
        )
        self.command("Emulation.setTouchEmulationEnabled", enabled=touch)

    def prefer(self, scheme: str) -> None:
        """`light` or `dark`."""
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def open(self, url: str) -> None:
        self.driver.get(url)
        self.errors()

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def text(self, selector: str) -> str:
        return self.texts(selector)[0]

    def texts(self, selector: str) -> list[str]:
        """The visible texts of elements, read at one moment."""
        found = self.run("return [...document.querySelectorAll(arguments[0])].map(item => item.innerText)", selector)
        return [text.replace("\t", " ").strip() for text in found]

    def click(self, selector: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, selector).click()

    def shown(self, selector: str) -> bool:
        return self.driver.find_element(By.CSS_SELECTOR, selector).is_displayed()

    def press(self, *keys: str) -> None:
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self) -> str:
        return str(self.run("return document.activeElement.id || document.activeElement.textContent.trim()"))

    def choose(self, *files: Path, by: str = "choose") -> None:
        """Choose files with an input, as a person does."""
        self.driver.find_element(By.ID, by).send_keys("\n".join(map(str, files)))

    def give(self, how: str, *files: tuple[str, str, str]) -> None:
        """Drop or paste files: name, type, and bytes in base64."""
        self.run(_DROP, [list(file) for file in files], how)

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        return until(condition, what, 20)

    def settled(self, photos: int) -> None:
        """Wait until so many photos of this session are answered."""
        self.wait(lambda: self.run(_SETTLED, photos), f"{photos} answers: {self.run('return document.body.innerText')}")

    def errors(self) -> list[str]:
        """What the console of the browser has received since the last call, without refusals that the page shows itself."""
        logged = self.driver.get_log("browser")
        return [
            item["message"] for item in logged if item["level"] == "SEVERE" and "status of 4" not in item["message"]
        ]

    def violations(self, axe: str, *rules: str) -> list[str]:
        """Return what axe-core finds wrong with the page for people with disabilities; with rules, by these alone."""
        if not self.run("return 'axe' in window"):
            self.run(axe)
        options = {"runOnly": list(rules)} if rules else {}
        found = self.driver.execute_async_script("axe.run(arguments[0]).then(arguments[1])", options)
        return [f"{one['id']}: {json.dumps([node['html'] for node in one['nodes']])}" for one in found["violations"]]

    def picture(self, path: Path) -> None:
        """Take a picture of the whole page."""
        self.driver.save_screenshot(str(path))

    def close(self) -> None:
        self.driver.quit()

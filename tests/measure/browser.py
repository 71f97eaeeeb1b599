"""A browser without a window, to look at pages with: Chromium or Chrome, from PATH or CHROMIUM."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
NO_BROWSER = "no Chromium or Chrome is found on PATH, nor by the variable CHROMIUM (apt-get install chromium)"


@dataclass(frozen=True)
class Sight:
    """What a browser saw.

    dom        the page after its script ran
    said       the console's lines
    outside    addresses that were asked for, beside the page itself and data: URIs
    """

    dom: str
    said: tuple[str, ...]
    outside: tuple[str, ...]

    def told(self, name: str) -> str:
        """An attribute data-NAME of the root."""
        found = re.search(rf'<html[^>]* data-{name}="([^"]*)"', self.dom)
        assert found is not None, f"data-{name} is not there: {self.said}"
        return found[1]


def find_browser() -> str | None:
    asked = os.environ.get("CHROMIUM")
    return asked or next((found for name in NAMES if (found := shutil.which(name))), None)


def look(
    page: Path, folder: Path, *, width: int, height: int, is_dark: bool, picture: Path | None = None
) -> Sight:
    """Open a page; a picture of it is written where one is asked for."""
    browser = find_browser()
    assert browser is not None
    log = folder / "net.json"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--log-net-log={log}", "--enable-logging=stderr"]
    command += [
        f"--blink-settings=preferredColorScheme={0 if is_dark else 1}",
        f"--window-size={width},{height}",
    ]
    command += ["--virtual-time-budget=3000"]
    command += [f"--screenshot={picture}"] if picture else ["--dump-dom"]
    done = subprocess.run([*command, page.as_uri()], capture_output=True, text=True, timeout=300, check=True)
    said = tuple(line for line in done.stderr.splitlines() if "CONSOLE" in line)
    asked = set(re.findall(r'"url":"((?:https?|wss?|ftp)://[^"]*)"', log.read_text(errors="replace")))
    # The browser's own calls home are about itself: they go to these, whatever page is open.
    own = ("google.com", "googleapis.com", "gvt1.com", "gstatic.com")
    outside = tuple(sorted(each for each in asked if not any(name in each for name in own)))
    return Sight(dom=done.stdout, said=said, outside=outside)


def data_of(page: str) -> dict[str, object]:
    """What the page was made from."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data: dict[str, object] = json.loads(found[1])
    return data

"""A real Chromium without a window, driven by its DevTools protocol."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp

NAMES = ("chromium", "chromium-browser", "google-chrome")


def installed() -> str | None:
    """The browser, if there is one."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Browser:
    """One page at a time; what it asks for and complains of is kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._process = subprocess.Popen(
            [
                str(installed()),
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
                *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
                *("--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._number = 0
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._run(self._connect())

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(asyncio.wait_for(work, timeout=60))

    async def _connect(self) -> None:
        told = self._folder / "DevToolsActivePort"
        deadline = time.monotonic() + 60
        while not told.exists() or not told.read_text().strip():
            assert self._process.poll() is None, "Chromium did not start"
            assert time.monotonic() < deadline, "Chromium does not answer"
            await asyncio.sleep(0.05)
        port = told.read_text().split()[0]
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{port}/json") as answer:
            pages = [found for found in await answer.json() if found["type"] == "page"]
        self._socket = await self._session.ws_connect(
            pages[0]["webSocketDebuggerUrl"], max_msg_size=0
        )
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self._send(f"{domain}.enable", {})

    async def _send(self, method: str, options: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        number = self._number
        await self._socket.send_json({"id": number, "method": method, "params": options})
        while True:
            told = await self._socket.receive_json()
            if told.get("id") == number:
                assert "error" not in told, told
                found: dict[str, Any] = told["result"]
                return found
            self._note(told)

    def _note(self, told: dict[str, Any]) -> None:
        options = told.get("params", {})
        if told["method"] == "Network.requestWillBeSent":
            self.asked.append(options["request"]["url"])
        elif told["method"] == "Runtime.exceptionThrown":
            self.complaints.append(str(options["exceptionDetails"]))
        elif told["method"] == "Log.entryAdded" and options["entry"]["level"] != "verbose":
            self.complaints.append(options["entry"]["text"])
        elif told["method"] == "Runtime.consoleAPICalled" and options["type"] != "log":
            self.complaints.append(str(options["args"]))

    def do(self, method: str, **options: Any) -> dict[str, Any]:
        """A command of the protocol."""
        found: dict[str, Any] = self._run(self._send(method, options))
        return found

    def open(self, page: Path, *, width: int, height: int = 900, mobile: bool = False) -> None:
        """Open a file, and wait until it is there."""
        self.asked.clear()
        self.complaints.clear()
        self.do(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=mobile,
        )
        self.do("Emulation.setTouchEmulationEnabled", enabled=mobile)
        self.do("Page.navigate", url=page.as_uri())
        deadline = time.monotonic() + 60
        there = f"document.readyState === 'complete' && location.href === {page.as_uri()!r}"
        while not self.value(there):
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def value(self, expression: str) -> Any:
        """What an expression is on the page; a promise is waited for."""
        found = self.do(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """A key on the keyboard."""
        for kind in ("keyDown", "keyUp"):
            self.do("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    def point(self, x: float, y: float) -> None:
        """Move the mouse, in pixels of the window."""
        self.do("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        x, y = self.middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def tap(self, x: float, y: float) -> None:
        """Touch and let go."""
        self.do("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.do("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def middle(self, selector: str) -> tuple[float, float]:
        """Where an element is in the window, once it is scrolled to."""
        x, y = self.value(
            f"""(() => {{
                const element = document.querySelector({selector!r});
                element.scrollIntoView({{block: "center", behavior: "instant"}});
                const box = element.getBoundingClientRect();
                return [box.left + box.width / 2, box.top + box.height / 2];
            }})()"""
        )
        return x, y

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._loop.run_until_complete(self._session.close())
        self._loop.close()

"""A real browser without a window, driven through DevTools' pipe: no port, no library.

    found()    the browser's path, or None
    Browser    one process; page() is a tab
    Page       shows a file; evaluates; moves the pointer; presses keys; prints

https://chromedevtools.github.io/devtools-protocol/ has the methods.
Errors: BrowserError with what the browser said; TimeoutError.
"""

import base64
import json
import os
import selectors
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
ANSWER_TIMEOUT_S = 60.0
"""Against hanging alone: a busy machine takes seconds to start one."""


class BrowserError(Exception):
    """The browser refused; one line."""


def found() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """Use as a context; at its end the process is gone, and what it kept."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._number = 0
        self._rest = b""
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> "Browser":
        self._profile = tempfile.TemporaryDirectory(
            prefix="fusefs-browser-", ignore_cleanup_errors=True
        )
        command_in, self._write_fd = os.pipe()
        self._read_fd, answers_out = os.pipe()
        flags = ["--headless", "--remote-debugging-pipe", "--no-first-run", "--disable-gpu"]
        flags += ["--hide-scrollbars", f"--user-data-dir={self._profile.name}"]
        flags += ["--no-sandbox"] if os.getuid() == 0 else []
        # the pipe is always of these two numbers
        script = f'exec "$0" "$@" 3<&{command_in} 4>&{answers_out} {command_in}<&- {answers_out}>&-'
        self._process = subprocess.Popen(
            ["bash", "-c", script, self.path, *flags, "about:blank"],
            pass_fds=(command_in, answers_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(command_in)
        os.close(answers_out)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._write_fd)
        os.close(self._read_fd)
        self._profile.cleanup()

    def call(self, method: str, session: str | None = None, **parameters: object) -> dict[str, Any]:
        """Ask, and wait for the answer; events that come meanwhile are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        message |= {"sessionId": session} if session else {}
        os.write(self._write_fd, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                break
            self.events.append(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def wait_for(self, method: str) -> dict[str, Any]:
        """The next event of a kind, or one that has come."""
        while True:
            for event in self.events:
                if event.get("method") == method:
                    self.events.remove(event)
                    return event
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + ANSWER_TIMEOUT_S
        with selectors.DefaultSelector() as selector:
            selector.register(self._read_fd, selectors.EVENT_READ)
            while b"\0" not in self._rest:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError("the browser does not answer")
                piece = os.read(self._read_fd, 1 << 20)
                if not piece:
                    raise BrowserError("the browser has ended")
                self._rest += piece
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def page(self) -> "Page":
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return Page(self, session)


class Page:
    """One tab.  complaints are what its console was told of as errors."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def show(self, path: Path, *, width: int = 1280, height: int = 900) -> None:
        """Load a file, and wait until it is there."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        self._browser.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        self._browser.wait_for("Page.loadEventFired")

    @property
    def complaints(self) -> list[dict[str, Any]]:
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        return [event for event in self._browser.events if event.get("method") in kinds]

    @property
    def loaded(self) -> list[str]:
        """All that the page asked for."""
        kind = "Network.requestWillBeSent"
        events = [event for event in self._browser.events if event.get("method") == kind]
        return [event["params"]["request"]["url"] for event in events]

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression, as JSON has it."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails']['text']}")
        return answer["result"].get("value")

    def box(self, selector: str) -> dict[str, float]:
        """Where the first such element is, in px of the window."""
        quoted = json.dumps(selector)
        box: dict[str, float] = self.value(
            f"document.querySelector({quoted}).getBoundingClientRect().toJSON()"
        )
        return box

    def point_at(self, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str) -> None:
        code = {"Tab": 9, "ArrowDown": 40, "ArrowUp": 38, "Home": 36, "End": 35, "Escape": 27}[key]
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                code=key,
                windowsVirtualKeyCode=code,
            )

    def media(self, **features: str) -> None:
        """media='print', or prefers_color_scheme='dark'."""
        named = [
            {"name": name.replace("_", "-"), "value": value}
            for name, value in features.items()
            if name != "media"
        ]
        self.call("Emulation.setEmulatedMedia", media=features.get("media", ""), features=named)

    def pdf(self) -> bytes:
        answer = self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)
        return base64.b64decode(answer["data"])

    def screenshot(self) -> bytes:
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

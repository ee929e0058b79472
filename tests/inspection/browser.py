"""A headless Chromium for tests, driven over a pipe with the DevTools protocol."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BINARY = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
_PATIENCE = 120.0  # seconds without a message from the browser
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--remote-debugging-pipe",
)
_CODES = {"Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowUp": 38}
_CODES |= {"ArrowRight": 39, "ArrowDown": 40}


@dataclass
class Browser:
    """A running browser, which reads commands from one pipe and writes replies to another."""

    commands: int
    replies: int
    received: bytes = b""
    last: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def start(cls, profile: Path) -> Iterator[Browser]:
        """Start a browser with this profile folder, and always stop it."""
        commands, replies = os.pipe(), os.pipe()
        # The protocol requires descriptors 3 and 4.
        line = f'exec "$0" "$@" 3<&{commands[0]} 4>&{replies[1]}'
        process = subprocess.Popen(
            ["bash", "-c", line, BINARY, *_FLAGS, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(commands[0], replies[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(commands[0])
        os.close(replies[1])
        try:
            yield cls(commands[1], replies[0])
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            os.close(commands[1])
            os.close(replies[0])

    def call(self, method: str, session: str = "", **parameters: object) -> dict[str, Any]:
        """Send a command and wait for its result; other messages are kept in ``events``."""
        self.last += 1
        command = {"id": self.last, "method": method, "params": parameters}
        os.write(self.commands, json.dumps(command | _session(session)).encode() + b"\0")
        while (message := self._message()).get("id") != self.last:
            self.events.append(message)
        if "error" in message:
            raise RuntimeError(f"{method}: {message['error']}")
        return message["result"]

    def wait_for(self, method: str, session: str) -> None:
        """Wait for an event."""
        while not any(
            (event["method"], event.get("sessionId")) == (method, session) for event in self.events
        ):
            self.events.append(self._message())

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self.received:
            if not select.select([self.replies], [], [], _PATIENCE)[0]:
                raise TimeoutError(f"no message from the browser for {_PATIENCE:.0f} s")
            part = os.read(self.replies, 1 << 20)
            if not part:
                raise EOFError("the browser exited")
            self.received += part
        message, _, self.received = self.received.partition(b"\0")
        return json.loads(message)

    def open(self, path: Path, fragment: str = "", size: tuple[int, int] = (1280, 900)) -> Tab:
        """Open a file in a new tab and wait until it has loaded."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        tab.call("Emulation.setDeviceMetricsOverride", **screen)
        tab.call("Page.navigate", url=path.as_uri() + fragment)
        self.wait_for("Page.loadEventFired", session)
        return tab


@dataclass
class Tab:
    """One page of a browser."""

    browser: Browser
    session: str

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Send a command to this page."""
        return self.browser.call(method, self.session, **parameters)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited if it is a promise."""
        reply = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in reply:
            raise RuntimeError(f"{expression}: {reply['exceptionDetails']}")
        return reply["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a condition holds in the page."""
        self.evaluate(
            "new Promise((done, fail) => { const end = performance.now() + 60000; "
            f"const look = () => ({condition}) ? done() : performance.now() > end "
            f"? fail({json.dumps(condition)}) : setTimeout(look, 5); look(); }})"
        )

    def press(self, *keys: str) -> None:
        """Press keys like a user; single characters are typed."""
        for key in keys:
            text = "\r" if key == "Enter" else key if len(key) == 1 else ""
            code = _CODES.get(key, ord(key[0].upper()))
            down = {"type": "keyDown", "key": key, "windowsVirtualKeyCode": code, "text": text}
            self.call("Input.dispatchKeyEvent", **down)
            self.call("Input.dispatchKeyEvent", **(down | {"type": "keyUp", "text": ""}))

    def events(self, *methods: str) -> list[dict[str, Any]]:
        """The events of these kinds that this page has reported so far."""
        self.evaluate("new Promise(done => requestAnimationFrame(() => setTimeout(done)))")
        mine = (event for event in self.browser.events if event.get("sessionId") == self.session)
        return [event["params"] for event in mine if event["method"] in methods]

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """Exceptions, console messages, violations of the security policy, and dialogs."""
        return self.events(
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
            "Page.javascriptDialogOpening",
        )

    @property
    def requests(self) -> list[str]:
        """Every address that the page requested, its own first."""
        return [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]


def _session(session: str) -> dict[str, str]:
    return {"sessionId": session} if session else {}

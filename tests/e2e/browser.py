"""A headless Chromium, driven over its own pipe: DevTools messages, JSON with a NUL behind each.

Owns one page: what it asked the network for and what it complained of is kept from the first moment on. Knows nothing
of what is shown.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Dict, List, Optional

Message = Dict[str, Any]

# A browser that has not answered by then never will, seconds.
PATIENCE = 60.0

OPTIONS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--remote-debugging-pipe",
)


class Browser:
    """Close it: it is a process. asked: what the page requested; complaints: of its console, in words."""

    def __init__(self, program: str) -> None:
        self.asked: List[str] = []
        self.complaints: List[str] = []
        self.events: List[Message] = []
        self.last = 0
        self.rest = b""
        self.session = ""
        # A test's own directories make paths that are too long for its sockets.
        self.home = Path(tempfile.mkdtemp(prefix="kache-browser-", dir="/tmp"))
        mine_in, its_out = self._pipe()
        its_in, mine_out = self._pipe()

        def as_three_and_four() -> None:
            os.dup2(its_in, 3)
            os.dup2(its_out, 4)

        self.process = subprocess.Popen(
            [program, *OPTIONS, f"--user-data-dir={self.home}/profile", "about:blank"],
            preexec_fn=as_three_and_four,  # noqa: PLW1509  # a test has no threads, and only dup2 gives a number
            close_fds=False,
            env={**os.environ, "TMPDIR": str(self.home)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.home / "log").open("w"),
        )
        os.close(its_in)
        os.close(its_out)
        self.reader = mine_in
        self.writer = mine_out
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")

    @staticmethod
    def _pipe() -> "tuple[int, int]":
        """A pipe whose ends are not 3 or 4, where the browser's will be."""
        ends = os.pipe()
        moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
        for end in ends:
            os.close(end)
        return moved[0], moved[1]

    def close(self) -> None:
        """End the browser and all that it started."""
        try:
            os.write(self.writer, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
            self.process.wait(timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.writer)
        os.close(self.reader)
        shutil.rmtree(self.home, ignore_errors=True)

    def call(self, method: str, **params: Any) -> Message:
        """Ask and wait for the answer; fails with what the browser says."""
        self.last += 1
        number = self.last
        message = {"id": number, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.writer, data) :]
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = self._next(deadline)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return dict(answer["result"])

    def wait(self, method: str) -> Message:
        """The parameters of the next event of that name, of those that came already the first."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for event in self.events:
                if event["method"] == method:
                    self.events.remove(event)
                    return dict(event["params"])
            self._next(deadline)

    def open(self, url: str) -> None:
        """Go there, and wait until all is loaded; to another part of the page that is shown as well."""
        for place in ("about:blank", url):
            self.events.clear()
            self.call("Page.navigate", url=place)
            self.wait("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def look(self, width: int, height: int, scheme: str) -> None:
        """The window's size in pixels, and whether the reader prefers ``light`` or ``dark``."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def key(self, name: str, code: int = 0, text: str = "") -> None:
        """Press and release a key: its DOM name, its Windows code, and what it types."""
        words: Message = {"key": name, "windowsVirtualKeyCode": code}
        self.call("Input.dispatchKeyEvent", type="keyDown", **words, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **words)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """A mouse event, such as ``mouseMoved``, at a place in the window."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def picture(self) -> bytes:
        """What the window shows, as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _next(self, deadline: float) -> Message:
        while b"\0" not in self.rest:
            left = deadline - time.monotonic()
            ready = select.select([self.reader], [], [], max(0.0, left))[0]
            assert ready, f"the browser said nothing for {PATIENCE:.0f} s"
            more = os.read(self.reader, 1 << 20)
            assert more, f"the browser is gone:\n{(self.home / 'log').read_text()}"
            self.rest += more
        line, self.rest = self.rest.split(b"\0", 1)
        message: Message = json.loads(line)
        if "method" in message:
            self._note(message["method"], message.get("params", {}))
            self.events.append({"method": message["method"], "params": message.get("params", {})})
        return message

    def _note(self, method: str, params: Message) -> None:
        complaint: Optional[str] = None
        if method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            complaint = params["entry"]["text"]
        elif method == "Runtime.exceptionThrown":
            complaint = json.dumps(params["exceptionDetails"])
        elif method == "Runtime.consoleAPICalled":
            complaint = json.dumps(params["args"])
        if complaint is not None:
            self.complaints.append(complaint)

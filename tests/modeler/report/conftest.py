"""Headless Chromium, spoken to over a pipe, so that a test needs the browser and nothing else."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fedprobe.runs import Run

PROGRAM = shutil.which("chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage", "--hide-scrollbars"),
)
# A busy machine is no bug; one that says nothing for so long is.
_SECONDS = 120


PRIVACY = {
    "delta": 1e-6,
    "participation": "poisson",
    "users_per_round": 4,
    "population": 40,
    "conditional_on": None,
    "simulation": False,
    "population_id": "one",
    "measurement": None,
    "run_id": "some1",
    "study": None,
    "ledger": {
        "spent": {"epsilon": 1.25, "delta": 1e-7},
        "budget": {"epsilon": 4.0, "delta": 1e-6},
        "left": {"epsilon": 2.75, "delta": 9e-7},
        "rule": "plans one after another",
    },
}


class Page:
    """One tab. What it asked the network for and what it said on its console are in `requests` and `said`."""

    def __init__(self, user_data: Path) -> None:
        ours, theirs = os.pipe(), os.pipe()
        # Chromium reads commands from descriptor 3 and answers on 4.
        pipes = f'exec "$@" 3<&{ours[0]} 4>&{theirs[1]}'
        command = [PROGRAM, *FLAGS, "--remote-debugging-pipe", f"--user-data-dir={user_data}", "about:blank"]
        self._process = subprocess.Popen(
            ["bash", "-c", pipes, "bash", *command],
            pass_fds=(ours[0], theirs[1]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(ours[0])
        os.close(theirs[1])
        self._commands, self._answers = os.fdopen(ours[1], "wb", 0), os.fdopen(theirs[0], "rb", 0)
        self._number, self._left, self._session = 0, b"", None
        self.requests: list[str] = []
        self.said: list[str] = []
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: object) -> dict:
        """Send one command of the Chrome DevTools Protocol, and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer)

    def _next(self) -> dict:
        until = time.monotonic() + _SECONDS
        while b"\0" not in self._left:
            assert time.monotonic() < until, "the browser does not answer"
            read = os.read(self._answers.fileno(), 1 << 20)
            assert read, "the browser has gone"
            self._left += read
        line, self._left = self._left.split(b"\0", 1)
        return json.loads(line)

    def _note(self, event: dict) -> None:
        about = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(about["request"]["url"])
            case "Log.entryAdded":
                self.said.append(about["entry"]["text"])
            case "Runtime.consoleAPICalled" | "Runtime.exceptionThrown":
                self.said.append(json.dumps(about))

    def show(self, file: Path, width: int, dark: bool = False) -> None:
        """Open `file` in a window of this width."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.requests.clear()
        self.said.clear()
        self.call("Page.navigate", url=file.as_uri())
        while self.run("document.readyState") != "complete" or self.run("location.href") == "about:blank":
            pass

    def run(self, expression: str) -> object:
        """The value of a JavaScript expression in the page, awaited."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def press(self, key: str, code: int, text: str | None = None) -> None:
        """Press and let go of a key."""
        about = {"key": key, "code": key, "windowsVirtualKeyCode": code, **({"text": text} if text else {})}
        self.call("Input.dispatchKeyEvent", type="keyDown", **about)
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def picture(self, path: Path, whole: bool = True) -> Path:
        """Write what the page looks like, all of it or the window alone, as PNG; return `path`."""
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        path.write_bytes(base64.b64decode(data))
        return path

    def close(self) -> None:
        self._session = None
        self.call("Browser.close")
        self._commands.close()
        self._answers.close()
        self._process.wait(_SECONDS)


@pytest.fixture(scope="session")
def page(tmp_path_factory) -> Iterator[Page]:
    """A tab of headless Chromium."""
    if PROGRAM is None:
        pytest.skip("no chromium here; on Debian: apt-get install chromium")
    opened = Page(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@pytest.fixture
def reported(tmp_path) -> Callable[..., Run]:
    """A function that fills in what a training writes down of its run, so that it can be reported on.

    Without noise nothing is accounted for, which is quick; 0.25 is counted by Renyi DP, which is not slow.
    """

    def fill(run: Run, noise_multiplier: float = 0.0, **changes: object) -> Run:
        config = {
            "command": "train-gan",
            "method": "fedavg",
            "preset": "quick",
            "cohort": {"rule": {"criterion": "random"}, "primary": None, "count": 7, "count_is": "exact-simulation"},
            "population": 40,
            "participation": "poisson",
            "delta": 1e-6,
            "accountant": "auto",
            "text": None,
            "seed": 3,
            "shards": ["a shard.h5"],
            **run.config,
            **changes,
        }
        config["training"] = {"users_per_round": 4, "rounds": 2, "tied": False, **config.get("training", {})}
        (run.path / "config.json").write_text(json.dumps(config))
        event = {"event": "poisson-sampled-gaussian", "sampling_probability": 0.1, "rounds": 2}
        noise = {"noise_multiplier": noise_multiplier}
        (run.path / "privacy.json").write_text(json.dumps({"event": event | noise, **noise, **PRIVACY}))
        (run.path / "card.md").write_text("# A card\n\nof two lines.\n")
        return run

    return fill

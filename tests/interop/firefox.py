"""Debian's Firefox ESR, headless, driven by WebDriver BiDi: no geckodriver, no Playwright."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp

from tests.conftest import require_program
from tests.e2e.conftest import until

_START_SECONDS = 60.0
_REPLY_SECONDS = 30.0
_PREFERENCES = {
    "media.navigator.permission.disabled": True,  # nobody is there to answer the question
    # Nothing of this is tested, and it wants the network at start.
    "app.normandy.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
}


class Tab:
    """The page of a running Firefox.

    Args:
        socket: the connection to its BiDi server.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._context = ""
        self._numbers = count(1)
        self.errors: list[str] = []
        """What the page's own scripts failed with."""

    async def begin(self) -> None:
        """Open the BiDi session and find the page."""
        await self._command("session.new", capabilities={})
        await self._command("session.subscribe", events=["log.entryAdded"])
        tree = await self._command("browsingContext.getTree")
        self._context = tree["contexts"][0]["context"]

    async def goto(self, address: str) -> None:
        """Open a page and wait until it is loaded."""
        await self._command(
            "browsingContext.navigate", context=self._context, url=address, wait="complete"
        )

    async def evaluate(self, expression: str, seconds: float = _REPLY_SECONDS) -> Any:
        """An expression's value, awaited if it is a promise, as JSON carries it."""
        answer = await self._command(
            "script.evaluate",
            seconds,
            expression=f"(async () => JSON.stringify(await ({expression})))()",
            target={"context": self._context},
            awaitPromise=True,
        )
        assert answer["type"] == "success", f"{expression}: {answer['exceptionDetails']['text']}"
        text = answer["result"].get("value")
        return None if text is None else json.loads(text)

    async def until(self, condition: str, seconds: float = 20) -> None:
        """Wait for an expression to be true."""
        check = f"""new Promise((resolve) => {{
            const look = () => ({condition}) ? resolve() : setTimeout(look, 50);
            look();
        }})"""
        await self.evaluate(check, seconds)

    async def click(self, selector: str) -> None:
        """With the pointer, as only that counts as a user's act."""
        where = await self.evaluate(f"""(() => {{
            const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{ block: "center" }});
            const {{ x, y, width, height }} = element.getBoundingClientRect();
            return [Math.round(x + width / 2), Math.round(y + height / 2)];
        }})()""")
        steps: list[dict[str, Any]] = [
            {"type": "pointerMove", "x": where[0], "y": where[1]},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        pointer = {"type": "pointer", "id": "mouse", "actions": steps}
        await self._command("input.performActions", context=self._context, actions=[pointer])

    async def _command(
        self, method: str, seconds: float = _REPLY_SECONDS, /, **parameters: Any
    ) -> dict[str, Any]:
        number = next(self._numbers)
        async with asyncio.timeout(seconds):
            await self._socket.send_json({"id": number, "method": method, "params": parameters})
            while True:
                message = await self._socket.receive_json()
                if message.get("method") == "log.entryAdded":
                    self._note(message["params"])
                if message.get("id") != number:
                    continue
                assert message["type"] == "success", f"{method}: {message}"
                result: dict[str, Any] = message["result"]
                return result

    def _note(self, entry: dict[str, Any]) -> None:
        if entry["type"] == "javascript" and entry["level"] == "error":
            self.errors.append(entry["text"])


@asynccontextmanager
async def firefox(folder: Path, environment: Mapping[str, str]) -> AsyncIterator[Tab]:
    """A browser with a fresh profile; skips without Firefox, except in CI.

    Args:
        folder: empty, for the profile.
        environment: whose sound card it gets; without one its AudioContext stays suspended.
    """
    program = require_program("firefox-esr")
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});" for k, v in _PREFERENCES.items()]
    (folder / "user.js").write_text("\n".join(lines))
    options = ("--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port=0")
    with (folder / "firefox.log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            program, *options, "about:blank", stdout=log, stderr=log, env=dict(environment)
        )
    try:
        address = await _address(folder)
        async with aiohttp.ClientSession() as http, http.ws_connect(address) as socket:
            tab = Tab(socket)
            await tab.begin()
            yield tab
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _address(profile: Path) -> str:
    """Where the BiDi server listens: Firefox writes it into the profile."""
    said = profile / "WebDriverBiDiServer.json"
    await until(lambda: said.is_file() and bool(said.read_text()), _START_SECONDS, 0.1)
    server = json.loads(said.read_text())
    return f"ws://{server['ws_host']}:{server['ws_port']}/session"

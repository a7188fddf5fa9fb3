"""The corpus of bad inputs against a server on which somebody is being served."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.peer import RATE, LoopbackPeer
from engine.config import ServerConfig
from tests.badinputs.case import Message, Request
from tests.badinputs.corpus import corpus, guarded
from tests.badinputs.send import Outcome, Sender, send_all
from tests.e2e.conftest import serving, until
from tests.e2e.testcard import CardEngine
from tests.fakes import speechlike

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

LEAST = 200
RIGHT = "right"
SHOWN = 0.5
"""Share of the pictures due that must arrive on a machine busy with other things as well."""


def open_files() -> int:
    """Descriptors of this process."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def told(outcomes: list[Outcome]) -> str:
    """What was not as documented, a line each."""
    return "\n".join(f"{o.name}: {o.fault}" for o in outcomes if o.fault)


def test_the_corpus_is_large_and_its_inputs_are_distinct() -> None:
    cases = [*corpus(), *guarded()]
    assert len({case.key() for case in cases}) == len(cases) >= LEAST
    assert len({case.name for case in cases}) == len(cases)
    families = Counter(case.name.split("/")[0] for case in cases)
    assert {"sdp", "json", "trickle", "image", "sound", "message", "wire", "token"} <= set(families)
    assert sum(count for name, count in families.items() if name in ("sdp", "whip")) >= 40


def test_every_bad_input_is_answered_and_nobody_else_notices(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = CardEngine(capacity=8)
    cases = [case for case in corpus() if not (isinstance(case, Request) and case.needs_face)]

    async def scenario() -> tuple[list[Outcome], float, int, dict[str, int]]:
        async with serving(engine, ServerConfig(grace_s=0.5)) as (base, http):
            speaks = LoopbackPeer(http, base, speechlike(20, RATE), keep=False)
            attacks = LoopbackPeer(http, base, None, keep=False)
            await asyncio.gather(speaks.connect(), attacks.connect())
            await until(lambda: speaks.pictures and attacks.channel.readyState == "open", 20)
            served = next(s for s in engine.sessions if s.id == speaks.id)
            before = {"threads": threading.active_count(), "files": open_files()}
            started, shown = asyncio.get_running_loop().time(), len(speaks.pictures)
            outcomes = await send_all(base, cases, attacks)
            seconds = asyncio.get_running_loop().time() - started
            shown = len(speaks.pictures) - shown
            assert not served.closed and served.error is None
            async with http.get(f"{base}/healthz") as response:
                assert response.status == 200
            # What was refused has left nothing behind.
            await until(lambda: {s.id for s in engine.sessions} <= {speaks.id, attacks.id}, 20)
            await until(lambda: threading.active_count() <= before["threads"] + 4, 20)
            after = {"threads": threading.active_count(), "files": open_files()}
            await asyncio.gather(speaks.close(), attacks.close())
            return outcomes, seconds, shown, {k: after[k] - before[k] for k in after}

    outcomes, seconds, shown, grown = asyncio.run(scenario())
    assert len(outcomes) == len(cases)
    assert told(outcomes) == ""
    assert shown > SHOWN * 25 * seconds
    assert grown["files"] <= 8
    ours = [r for r in caplog.records if r.name.startswith("engine") and r.exc_info]
    assert not ours, ours


def test_without_the_right_token_there_is_only_one_answer() -> None:
    async def scenario() -> list[Outcome]:
        async with serving(CardEngine(), token=RIGHT) as (base, _):
            sender = Sender(base, RIGHT)
            outcomes = [await sender.send(case) for case in guarded()]
            known = await sender.request(Request("", "GET", "/avatars", 200))
            assert known.status == 200
            return outcomes

    assert told(asyncio.run(scenario())) == ""


def test_messages_are_part_of_the_corpus() -> None:
    assert sum(isinstance(case, Message) for case in corpus()) >= 30

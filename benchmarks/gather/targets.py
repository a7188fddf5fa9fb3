"""The targets of the design, section 8, and which figure measures each."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gather.sources import RESULTS, Source, value

REASONS = RESULTS / "reasons.toml"
_FRAME_MS = 40.0
_HOUR = 60.0


@dataclass(frozen=True, slots=True)
class Target:
    """A number to reach.

    Args:
        key: its name in ``reasons.toml``.
        what: is promised.
        known: the best known elsewhere.
        limit: that is allowed, or wanted.
        unit: of the limit.
        figure: that measures it, ``source:figure``; empty if no benchmark does.
        least: the limit is the least wanted, not the most allowed.
        scale: from the figure to the value that is judged.
    """

    key: str
    what: str
    known: str
    limit: float
    unit: str
    figure: str
    least: bool = False
    scale: Callable[[float], float] = float

    @property
    def wanted(self) -> str:
        """The limit in words."""
        return f"{'≥' if self.least else '≤'} {self.limit:g} {self.unit}".rstrip()

    def met(self, measured: float) -> bool:
        """Whether a value keeps the promise."""
        return measured >= self.limit if self.least else measured <= self.limit


TARGETS = (
    Target("algorithmic_delay", "algorithmic delay, microphone (look-ahead of the chain and the "
           "frame itself)", "170 ms claimed (VASA-1); 480 ms in Ditto's code", 200, "ms",
           "stages:lookahead_ms", scale=lambda ms: ms + _FRAME_MS),
    Target("encoder", "sound in to its frame at the encoder, p95, one session, 2 CPU cores",
           "unpublished", 280, "ms", "loopback:encoder_p95_ms"),
    Target("encoder_gpu", "the same on a GPU", "unpublished", 230, "ms",
           "gpu:audio_to_encoder_p95_ms"),
    Target("click_chromium", "click at the microphone to a moving mouth in Chromium, p95, loopback",
           "unpublished", 500, "ms", "browser:click_to_mouth_p95_ms"),
    Target("first_speaking", "first speaking frame, TTS, p95", "140 ms (LLIA)", 150, "ms",
           "speaking:first_frame_p95_ms"),
    Target("barge_in_audio", "barge-in to silence, p95", "2–3 s (LiveTalking)", 60, "ms",
           "loopback:barge_in_audio_p95_ms"),
    Target("barge_in_mouth", "barge-in to a shut mouth, p95", "2–3 s (LiveTalking)", 200, "ms",
           "loopback:barge_in_mouth_p95_ms"),
    Target("skew", "picture against sound, p95", "unpublished", 40, "ms", "loopback:skew_p95_ms"),
    Target("skew_growth", "its growth in an hour (none: less than a millisecond)", "unpublished",
           1, "ms", "soak:skew_slope_ms_per_min", scale=lambda ms: abs(ms) * _HOUR),
    Target("on_time", "frames on time, 25 fps at 512², one session, 2 cores, encode included",
           "30 fps on an i9 (LiteAvatar, looped video)", 99.5, "%", "loopback:slots_on_time",
           least=True, scale=lambda share: 100 * share),
    Target("sessions_h100", "sessions on one H100, 25 fps at 512²",
           "3 per L40 / 4090 (Maxine, FlashHead)", 40, "", "gpu:web_capacity", least=True),
    Target("gflop", "cMDT, per second of motion",
           "Ditto 1 800–3 600 GFLOP, Dimitra++ 312, JoyVASA 53", 10, "GFLOP",
           "motion:motion_gflop_per_s"),
    Target("cold_start", "cold start to ready, CPU, the slowest", "88 s", 10, "s",
           "startup:cold_ready_worst_s"),
    Target("cold_start_gpu", "the same with cached engines on a GPU", "88 s", 20, "s",
           "gpu:cold_ready_s"),
    Target("memory", "memory growth over an hour, 200 connects", "leaks reported everywhere", 1,
           "%", "soak:rss_growth", scale=abs),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a target is missed or not measured, by hand.

    Args:
        why: in a sentence or three.
        profile: where it can be seen, a path below docs.
    """

    why: str
    profile: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A target and what became of it; ``measured`` is None if nothing did."""

    target: Target
    measured: float | None
    reason: Reason | None

    @property
    def met(self) -> bool:
        """Whether it is measured and kept."""
        return self.measured is not None and self.target.met(self.measured)

    @property
    def needs_reason(self) -> bool:
        """Whether somebody has to say why."""
        return not self.met and self.reason is None


def reasons(path: Path = REASONS) -> dict[str, Reason]:
    """What is written by hand.

    Raises:
        ValueError: it explains a target that does not exist.
    """
    found = {key: Reason(**fields) for key, fields in tomllib.loads(path.read_text()).items()}
    if unknown := sorted(found.keys() - {target.key for target in TARGETS}):
        raise ValueError(f"{path.name} explains '{unknown[0]}', which is no target")
    return found


def outcomes(
    sources: Mapping[str, Source], why: Mapping[str, Reason], targets: Sequence[Target] = TARGETS
) -> list[Outcome]:
    """Every target with its measured value."""
    found = []
    for target in targets:
        measured = value(sources, target.figure) if target.figure else None
        measured = None if measured is None else target.scale(measured)
        found.append(Outcome(target, measured, why.get(target.key)))
    return found

"""Where the time from a click at the microphone to the light of the screen goes, and the floors.

Parts are medians of the committed results; a floor is what the part cannot be below with this
codec, frame rate, look-ahead and processor. The waiting is what is left of the measured whole, so
the bar is as long as what was measured end to end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gather.sources import Source, head, row, value

PICTURE = "latency_stack.png"
_PACKET_MS, _FRAME_MS, _OPUS_MS = 20.0, 40.0, 6.5
_DECODED_MS, _SHOWN_MS = 34.0, 65.0
"""Picture made to decoded, and to shown, in Chromium on loopback: docs/latency.md."""
_REFRESH_MS = 1000 / 60 / 2
"""Half a refresh of a 60 Hz screen: a picture comes at any moment of it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of the way.

    Args:
        name: of it.
        ms: measured, or by construction.
        floor: what it cannot be below.
        why: where both are from.
    """

    name: str
    ms: float
    floor: float
    why: str


@dataclass(frozen=True, slots=True)
class Stack:
    """The whole way.

    Args:
        parts: in order.
        tail_ms: what the 95th percentile of sound to encoder is above its median.
    """

    parts: tuple[Part, ...]
    tail_ms: float

    @property
    def ms(self) -> float:
        """Click to photon, as a sum."""
        return sum(part.ms for part in self.parts)

    @property
    def floor(self) -> float:
        """The least it could be."""
        return sum(part.floor for part in self.parts)


def stack(sources: Mapping[str, Source]) -> Stack | None:
    """The way's parts; None as long as a result is missing that they are made of."""

    def sum_of(*addresses: str) -> float | None:
        found = [value(sources, address) for address in addresses]
        return None if None in found else sum(v for v in found if v is not None)

    hop = value(sources, "stages:config.motion.hop")
    ahead = value(sources, "stages:config.motion.lookahead")
    computing = sum_of("stages:features_p50_ms", "stages:cmdt_call_p50_ms", "stages:render_p50_ms")
    encoder = value(sources, "loopback:audio_to_encoder_p50_ms")
    encoded = value(sources, "loopback:audio_to_encoded_p50_ms")
    slow = value(sources, "loopback:audio_to_encoder_p95_ms")
    if hop is None or ahead is None or computing is None:
        return None
    if encoder is None or encoded is None or slow is None:
        return None
    least = sum(_floor(sources, network) for network in ("cmdt_k2", "render_512"))
    encode = value(sources, "gpu_cpu_dryrun:stack_ms.encode, VP8") or 0.0
    before = (
        Part("packet", _PACKET_MS, _PACKET_MS, "20 ms of sound fill a packet before it leaves"),
        Part("Opus", _OPUS_MS, _OPUS_MS, "the encoder's own delay (RFC 6716, 2.1.9)"),
        Part("rest of the frame", _FRAME_MS - _PACKET_MS, _FRAME_MS - _PACKET_MS,
             "25 frames a second: a picture shows 40 ms of sound"),
        Part("hop", (hop - 1) * _FRAME_MS, 0.0,
             f"the motion network gives {hop:.0f} frames a call; 1 is possible and costs twice"),
        Part("look-ahead", ahead * _FRAME_MS, ahead * _FRAME_MS,
             f"{ahead:.0f} frames: lips are shaped by the sound to come"),
        Part("computing", computing, least,
             "features, motion, picture (`stages`); floor: operations or bytes of both networks at "
             "the processor's measured best (`gpu_cpu_dryrun`)"),
    )  # fmt: skip
    waiting = _PACKET_MS + encoder - sum(part.ms for part in before)
    after = (
        Part("waiting", waiting, 0.0,
             "what is left of `loopback`'s sound to encoder: jitter buffer, queues, whole slots, "
             "one thread instead of two, and the reserve that keeps slots on time"),
        Part("encode, send", encoded - encoder, min(encode, encoded - encoder),
             "`loopback`; floor: VP8 alone"),
        Part("Chromium, to decoded", _DECODED_MS, 0.0,
             "jitter buffer and decoder, measured before (latency.md); floor: no jitter to buffer"),
        Part("Chromium, to shown", _SHOWN_MS - _DECODED_MS, _REFRESH_MS,
             "measured before (latency.md); floor: half a refresh of 60 Hz"),
    )  # fmt: skip
    return Stack((*before, *after), slow - encoder)


def _floor(sources: Mapping[str, Source], network: str) -> float:
    source = sources.get("gpu_cpu_dryrun")
    for one in source.document.get("floors", []) if source else []:
        if one["network"] == network and one["batch"] == 1:
            return float(max(one["flop_ms"], one["byte_ms"]))
    return 0.0


def table(found: Stack) -> list[str]:
    """The parts in Markdown."""
    lines = head("part", "ms", "floor", "")
    lines += [row(p.name, f"{p.ms:.1f}", f"{p.floor:.1f}", p.why) for p in found.parts]
    whole = f"{found.ms / found.floor:.1f} times the floor" if found.floor else ""
    return [*lines, row("**whole**", f"**{found.ms:.0f}**", f"**{found.floor:.0f}**", whole)]


def draw(found: Stack, path: Path) -> None:
    """Three stacked bars: the floor, the median, and the slow end."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(12, 3.8))
    colours = pyplot.get_cmap("tab10")
    rows: Sequence[tuple[str, Sequence[float]]] = (
        ("floor", [part.floor for part in found.parts]),
        ("measured, p50", [part.ms for part in found.parts]),
        ("measured, p95\nof sound to encoder",
         [p.ms + (found.tail_ms if p.name == "waiting" else 0) for p in found.parts]),
    )  # fmt: skip
    for place, (_, values) in enumerate(rows):
        left = 0.0
        for index, (part, width) in enumerate(zip(found.parts, values, strict=True)):
            name = part.name if place == 0 else None
            axis.barh(place, width, left=left, color=colours(index), label=name, edgecolor="white")
            if width >= 6:
                axis.text(left + width / 2, place, f"{width:.3g}", ha="center", va="center",
                          fontsize=8, color="white")  # fmt: skip
            left += width
        axis.text(left + 3, place, f"{left:.0f} ms", va="center", fontsize=10)
    axis.set_yticks(range(len(rows)), [name for name, _ in rows])
    axis.invert_yaxis()
    axis.margins(x=0.08)
    axis.set(xlabel="milliseconds", title="from the click at the microphone to the screen")
    axis.legend(ncols=5, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)

"""Sound against picture at the receiver, and how old the sound is that a picture shows.

``docs/latency.md`` says what each figure means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.analysis import Float64, Heard, arrival_by_slot, lag, loudness, match, media_time
from benchmarks.peer import PACKET, RATE, Arrival, SenderReport, Stream, Voice
from engine.media import FPS, Float32
from engine.slots import SLOT_SAMPLES

VIDEO_TICKS = 90_000 // FPS
OPUS_SAMPLES = 312
"""Samples by which an Opus encoder delays its input (6.5 ms, RFC 6716 section 2.1.9)."""
_WINDOW_S = 0.5
_SEARCH_S = 1.2
_ALIKE = 0.8
_CONTENT_S = 10.0
_MOST_LAG_S = 0.3
_CORRELATED = 0.3


def arrival_skew(audio: Sequence[Arrival], video: Sequence[Arrival]) -> tuple[Float64, Float64]:
    """When slots came, and by how much each picture was complete after its first sound packet.

    Both streams begin with the same slot: the pump fills both tracks at once.
    """
    sound = arrival_by_slot(audio, SLOT_SAMPLES, last=False)
    picture = arrival_by_slot(video, VIDEO_TICKS, last=True)
    slots = sorted(sound.keys() & picture.keys())
    times = np.array([sound[slot] for slot in slots])
    return times, np.array([picture[slot] - sound[slot] for slot in slots])


def report_skew(audio: Stream, video: Stream) -> Float64:
    """By how much later a picture than its sound is meant to be shown, by the sender's reports.

    A browser plays by these (RFC 3550, 6.4.1). One value for every report on the pictures, compared
    with the latest one on the sound.
    """
    found = []
    for report in video.reports:
        before = [r for r in audio.reports if r.at <= report.at]
        if before and audio.arrivals and video.arrivals:
            of_sound = _zero(before[-1], audio.arrivals[0].timestamp, RATE)
            of_picture = _zero(report, video.arrivals[0].timestamp, 90_000)
            found.append(of_picture - of_sound)
    return np.array(found)


def _zero(report: SenderReport, first: int, rate: int) -> float:
    """Sender's time of the stream's first packet."""
    return report.seconds - float(media_time([first, report.timestamp])[1]) / rate


def content_lags(
    heard: Heard, slots: Sequence[int], gaps: Float64, window_s: float = _CONTENT_S
) -> list[tuple[float, float, float]]:
    """How much later the mouth opens than the sound gets loud.

    Args:
        heard: received sound.
        slots: of received pictures, rising; windows lie where they are dense.
        gaps: lip opening in each.
        window_s: seconds compared at once.

    Returns:
        For every window: its middle in seconds of the stream, lag in seconds, correlation. The lag
        of content that is in step is not 0: lips open ahead of the sound and loudness peaks later.
        Windows in which mouth and sound have little in common are left out.
    """
    loud = loudness(heard.line, SLOT_SAMPLES).astype(float)
    size = round(window_s * FPS)
    opening = dict(zip(slots, gaps.tolist(), strict=True))
    found = []
    begin = min(opening, default=0)
    while begin + size <= min(len(loud), max(opening, default=0) + 1):
        wanted = [slot for slot in range(begin, begin + size) if slot in opening]
        if len(wanted) < 0.8 * size:
            begin += FPS
            continue
        line = np.interp(np.arange(begin, begin + size), wanted, [opening[s] for s in wanted])
        late, agreement = lag(loud[begin : begin + size], line, 1 / FPS, _MOST_LAG_S)
        if agreement > _CORRELATED:
            found.append(((begin + size / 2) / FPS, late, agreement))
        begin += size
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Ages:
    """How old the oldest sound of each slot was, in seconds; by slot.

    Args:
        at: when the slot's sound arrived at the peer.
        handed: packet with the slot's first sample at the server, to the slot leaving.
        encoded: the same, to its picture being complete at the peer.
    """

    at: Float64
    handed: Float64
    encoded: Float64


def ages(
    heard: Heard, audio: Sequence[Arrival], video: Sequence[Arrival], voice: Voice,
    said: Float32, departures: Sequence[float],
) -> Ages:  # fmt: skip
    """Find the received sound in the sent one, and so what every slot was made of.

    Args:
        heard: received sound.
        audio: its packets.
        video: the pictures' packets.
        voice: the microphone.
        said: what it says, again and again.
        departures: when each of its packets left.
    """
    sound = arrival_by_slot(audio, SLOT_SAMPLES, last=False)
    picture = arrival_by_slot(video, VIDEO_TICKS, last=True)
    rows = []
    size = round(_WINDOW_S * RATE) // SLOT_SAMPLES * SLOT_SAMPLES
    for begin in range(0, len(heard.line) - size, size):
        shift = _shift(heard, begin, size, voice, said)
        if shift is None:
            continue
        for slot in range(begin // SLOT_SAMPLES, (begin + size) // SLOT_SAMPLES):
            # Where the encoder puts the slot's first sample, and the packet that brought it.
            packet = (slot * SLOT_SAMPLES + OPUS_SAMPLES - shift + OPUS_SAMPLES) // PACKET
            if slot in sound and slot in picture and 0 <= packet < len(departures):
                left = departures[packet]
                rows.append((sound[slot], sound[slot] - left, picture[slot] - left))
    columns = np.array(rows, float).reshape(-1, 3).T
    return Ages(*columns)


def _shift(heard: Heard, begin: int, size: int, voice: Voice, said: Float32) -> int | None:
    """Samples by which received sound lies behind the sent one; None where it is not found."""
    part = heard.line[begin : begin + size]
    came = heard.came[begin // PACKET]
    if np.isnan(came) or loudness(part, size)[0] < 0.01:
        return None
    sent = int(np.searchsorted(voice.emitted, came)) * PACKET
    first = sent - round(_SEARCH_S * RATE)
    place, score = match(part, said.take(np.arange(first, sent + size), mode="wrap"))
    return begin - (first + place) if score > _ALIKE else None


def by_second(times: Float64, values: Float64) -> tuple[list[float], list[float]]:
    """Medians of every second: seconds since the first, values."""
    if not len(times):
        return [], []
    seconds = (times - times[0]).astype(int)
    found = [int(second) for second in np.unique(seconds)]
    return [float(second) for second in found], [
        float(np.median(values[seconds == second])) for second in found
    ]


def spread(values: Float64) -> list[float]:
    """The 101 percentiles 0 to 100, in milliseconds: a distribution in few numbers."""
    good = values[np.isfinite(values)]
    if not len(good):
        return []
    return [round(float(v) * 1000, 2) for v in np.percentile(good, range(101))]


def reference_lag(opening: Mapping[int, float], sound: Float32) -> float:
    """Lag of the mouth behind the loudness when both are exactly in step: the motion itself.

    Args:
        opening: commanded lip opening by media frame.
        sound: 48 kHz; frame 0 begins with its first sample.
    """
    frames = sorted(opening)
    loud = loudness(sound, SLOT_SAMPLES).astype(float)
    frames = [frame for frame in frames if frame < len(loud)]
    gaps = np.array([opening[frame] for frame in frames])
    return lag(loud[frames], gaps, 1 / FPS, _MOST_LAG_S)[0]

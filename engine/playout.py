"""Pairs pictures with their sound: every 40 ms one frame and the 40 ms of audio it was made from.

Audio is the master. It waits for its picture, so the whole stream runs behind the microphone by a
delay that settles by itself and then stays:

* Pre-roll: the first content leaves one slot after ``preroll`` frames are ready.
* A frame is not ready in time: its audio is *held* one slot (silence, last frame), which makes the
  delay one slot longer and the next such miss less likely. At ``max_delay`` holding ends: audio
  goes on, the last frame is repeated, late frames are shown as they come.
* Audio is late: silence, the last frame, and the clock runs on.
* The caller is late by whole slots: they are skipped, in output time and, as far as newer content
  is ready, in content too. Nothing is ever sent in a burst.
* Frames have long been ready early: one *quiet* slot is dropped, and the delay shrinks again.
* Interrupt: everything of older epochs dies; what was about to be heard fades out over 8 ms, also
  in the half of a slot that has been handed out and not sent. Pictures that bridge the time until
  new content may be given; they are shown one a slot.
* Speech that is not live (``patient``) is never dropped: whoever supplies it asks for ``room``.
* Silence before speech that is in a hurry is dropped (``cut_quiet``); so are pictures that nobody
  will render (``omit``).

Synchronous and thread-safe; it knows no asyncio and never reads a clock: ``now`` is handed in.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import replace

import numpy as np

from engine.media import FPS, AudioChunk, Float32, VideoFrame
from engine.slots import RATE, SLOT_SAMPLES, SLOT_SECONDS, AudioLine, PlayoutStats, Slack, Slot

__all__ = ["RATE", "SLOT_SAMPLES", "SLOT_SECONDS", "Playout", "PlayoutStats", "Slot"]

_FADE = RATE // 125
_HALF = SLOT_SAMPLES // 2
_TAIL = RATE // 400
_BLEND = RATE // 200
_MAX_FRAMES = 2 * FPS
"""Pictures kept if nobody fetches them."""
_QUIET_RMS = 0.01
"""Slots below -40 dBFS may be dropped to shorten the delay."""
_HEAD_START = 2
"""Frames a late renderer is sent ahead."""


class Playout:
    """See the module's docstring.

    Args:
        preroll: frames that must be ready before content starts.
        max_delay: seconds the stream may run behind the audio that has arrived.
        idle: picture shown before the first frame arrives.

    Raises:
        ValueError: for a pre-roll below one frame or one that ``max_delay`` cannot hold.
    """

    def __init__(
        self, preroll: int = 2, max_delay: float = 0.4, idle: VideoFrame | None = None
    ) -> None:
        if preroll < 1 or preroll * SLOT_SECONDS >= max_delay:
            raise ValueError(f"pre-roll of {preroll} frames with a maximum delay of {max_delay} s")
        self._preroll = preroll
        self._max_depth = round(max_delay * RATE)
        self._lock = threading.Lock()
        self._stats = PlayoutStats()
        self._lateness: deque[float] = deque(maxlen=10 * FPS)
        self._shown = idle
        self._origin: float | None = None
        self._last_pts = -1
        self._last_sample = 0.0
        self._epoch = 0
        self._position = 0
        self._slack = Slack()
        self._fade: Float32 | None = None
        self.patient = False
        """Nothing is dropped to catch up. For sound that is not live."""
        self._sounding = False
        self._half: Slot | None = None
        self._faded: tuple[int, Float32] | None = None
        self._halves = False
        self._clear()

    def _clear(self) -> None:
        self._audio = AudioLine()
        self._frames: dict[int, VideoFrame] = {}
        self._bridge: deque[VideoFrame] = deque()
        self._omitted: set[int] = set()
        self._cut: tuple[int, int] | None = None
        self._dropped = 0
        self._held = self._dry = self._hurried = False
        self._since = 0
        self._next = 0
        self._shown_pts = -1
        self._playing = False
        self._waited = 0
        self._behind = False
        self._slack.restart()

    @property
    def due(self) -> float | None:
        """When the next slot should be fetched; None before the first one (any time is right)."""
        with self._lock:
            if self._origin is None:
                return None
            return self._origin + (self._last_pts + 1) * SLOT_SECONDS

    @property
    def has_picture(self) -> bool:
        """Whether there is anything to show yet."""
        with self._lock:
            return self._shown is not None or bool(self._frames)

    @property
    def position(self) -> int:
        """First media frame whose picture is still of use; 0 before any sound has left.

        While pictures come late it lies a little ahead of the sound: whoever leaves out what lies
        before it gains time and is punctual again, instead of staying late for good.
        """
        with self._lock:
            return self._position + (_HEAD_START if self._behind else 0)

    @property
    def room(self) -> int:
        """Samples that may still be queued before the delay is longer than allowed."""
        with self._lock:
            first, end = self._cut or (0, 0)
            leaving = SLOT_SAMPLES * max(0, end - max(first, self._next))
            return max(0, self._max_depth - self._depth() + leaving)

    @property
    def shown(self) -> VideoFrame | None:
        """The picture that left last."""
        with self._lock:
            return self._shown

    @property
    def since_interrupt(self) -> int:
        """Slots handed out since this epoch began."""
        with self._lock:
            return self._since

    def wanted(self, pts: int) -> bool:
        """Whether the picture of this media frame may still be shown."""
        with self._lock:
            first, end = self._cut or (0, self._dropped)
            return pts >= self._dropped and not first <= pts < end

    def stats(self) -> PlayoutStats:
        """A copy of the counters and gauges."""
        with self._lock:
            copy = replace(self._stats)
            copy.depth_ms = self._depth() * 1000 / RATE
            if self._lateness:
                copy.late_ms = float(np.percentile(self._lateness, 95)) * 1000
            return copy

    def push_audio(self, chunk: AudioChunk, epoch: int = 0) -> None:
        """Queue audio on the session's media timeline. Gaps become silence.

        Raises:
            ValueError: unless the rate is 48 kHz.
        """
        if chunk.rate != RATE:
            raise ValueError(f"playout runs at {RATE} Hz, the chunk at {chunk.rate} Hz")
        with self._lock:
            if not self._current(epoch):
                return
            if self._audio.empty:
                self._next = chunk.pts // SLOT_SAMPLES
            self._audio.push(chunk)
            # Nobody fetches: keep what is newest.
            self._jump_to_depth(self._max_depth + RATE)

    def push_frame(self, frame: VideoFrame, epoch: int = 0) -> None:
        """Queue a picture; its ``pts`` is the index of the slot of audio it belongs to."""
        with self._lock:
            if not self._current(epoch):
                return
            self._behind = frame.pts < self._position
            self._frames[frame.pts] = frame
            if len(self._frames) > _MAX_FRAMES:
                del self._frames[min(self._frames)]
                self._stats.skipped += 1

    def push_bridge(self, frame: VideoFrame, epoch: int) -> None:
        """Queue a picture without sound, shown in the next slot before this epoch's content."""
        with self._lock:
            if self._current(epoch) and not self._playing:
                self._bridge.append(frame)

    def omit(self, pts: int, epoch: int) -> None:
        """The picture of this media frame will not come: its sound need not wait."""
        with self._lock:
            if self._current(epoch) and pts >= self._position:
                self._omitted.add(pts)
                if len(self._omitted) > _MAX_FRAMES:
                    self._omitted.remove(min(self._omitted))

    def cut_quiet(self, slot: int) -> int:
        """Drop the silence that ends where media frame ``slot`` begins, when it would be heard.

        Returns:
            Slots dropped, now or when what comes before them has left.
        """
        with self._lock:
            if self._audio.empty or not self._playing or self._cut is not None:
                return 0
            slot = first = min(slot, self._audio.end // SLOT_SAMPLES)
            while first > self._next and not self._audio.peek(first - 1).any():
                first -= 1
            if slot <= first:
                return 0
            self._cut = (first, slot)
            if self._next >= first:
                self._drop_quiet(slot)
            return slot - first

    def interrupt(self, epoch: int) -> int:
        """Drop everything older than ``epoch``; an epoch already reached changes nothing.

        Returns:
            The sample of the media timeline up to which sound has left unattenuated.
        """
        with self._lock:
            heard = self._position * SLOT_SAMPLES
            if epoch > self._epoch:
                if self._half is not None and self._half.content is not None:
                    heard = self._half.content * SLOT_SAMPLES + _HALF
                self._begin(epoch)
            return heard

    def pause(self) -> None:
        """Nobody fetches for a while: slots not fetched until the next one are not missed."""
        with self._lock:
            self._origin = None
            self._half = None

    def second_half(self, slot: Slot) -> Float32:
        """The last 20 ms of a slot handed out, to be sent now: faded out if it was interrupted.

        Who sends a slot whole need not ask.
        """
        with self._lock:
            self._halves = True
            if self._half is not None and self._half.pts == slot.pts:
                self._half = None
                return slot.audio[_HALF:]
            if self._faded is not None and self._faded[0] == slot.pts:
                return self._faded[1]
            return slot.audio[_HALF:]

    def next_slot(self, now: float) -> Slot:
        """The slot that is due.

        Args:
            now: seconds, from the clock that ``due`` is compared with.
        """
        with self._lock:
            missed = self._tick(now)
            if self._cut is not None and self._next >= self._cut[0]:
                self._drop_quiet(self._cut[1])
            if missed and self._playing and not self.patient:
                self._jump(missed)
            if not self.patient:
                self._jump_to_depth(self._max_depth + 2 * SLOT_SAMPLES)
            slot = self._content() if self._may_play() else self._silent()
            self._since += 1
            self._sounding = not slot.silence
            self._last_sample = float(slot.audio[-1])
            self._half = slot if self._halves else None
            return slot

    # Everything below runs under the lock.

    def _current(self, epoch: int) -> bool:
        if epoch < self._epoch:
            self._stats.stale += 1
            return False
        if epoch > self._epoch:
            self._begin(epoch)
        return True

    def _begin(self, epoch: int) -> None:
        if self._half is not None:
            tail = self._half.audio[_HALF:]
            self._faded = (
                self._half.pts,
                fade_out(tail, float(self._half.audio[_HALF - 1]), _HALF),
            )
            self._last_sample = 0.0
            self._half = self._fade = None
        elif self._sounding:
            known = max(0, self._audio.end - self._next * SLOT_SAMPLES)
            upcoming = self._audio.peek(self._next)[:known]
            self._fade = fade_out(upcoming, self._last_sample, _FADE)
        self._epoch = epoch
        self._clear()

    def _tick(self, now: float) -> int:
        if self._origin is None:
            self._origin = now - (self._last_pts + 1) * SLOT_SECONDS
        late = now - (self._origin + (self._last_pts + 1) * SLOT_SECONDS)
        # Up to one slot late is sent at once; the epsilon keeps exact multiples on their slot.
        missed = max(0, int(late / SLOT_SECONDS + 1e-6))
        self._lateness.append(max(0.0, late))
        self._last_pts += 1 + missed
        self._stats.slots += 1
        self._stats.missed += missed
        return missed

    def _depth(self) -> int:
        return max(0, self._audio.end - self._next * SLOT_SAMPLES)

    def _jump_to_depth(self, depth: int) -> None:
        if self._depth() > depth:
            self._jump((self._depth() - self._max_depth) // SLOT_SAMPLES)

    def _jump(self, count: int) -> None:
        """Skip content, but only as far as newer content is complete."""
        target = self._next
        while target < self._next + count and self._audio.ready(target + 1):
            target += 1
        count = target - self._next
        if not count:
            return
        self._stats.jumped += count
        self._skip_to(target)

    def _skip_to(self, target: int) -> None:
        """Go on at ``target``, blended over 5 ms from what would have been heard."""
        if self._playing:
            ramp = np.linspace(0, 1, _BLEND, dtype=np.float32)
            before = self._audio.peek(self._next)[:_BLEND]
            after = self._audio.slots.get(target)
            if after is not None:
                after[:_BLEND] = before * (1 - ramp) + after[:_BLEND] * ramp
        self._audio.forget(target)
        self._next = target

    def _drop_quiet(self, target: int) -> None:
        self._cut, self._dropped = None, target
        count = target - self._next
        if count > 0:
            self._stats.trimmed += count
            self._skip_to(target)
            self._slack.restart()
            # What was silent until now is waited for: it is not late.
            self._hurried = True
            # The face waits where it is: what comes is led over from there.
            dropped = [pts for pts in self._frames if pts < target]
            self._stats.skipped += len(dropped)
            for pts in dropped:
                del self._frames[pts]
            self._omitted = {pts for pts in self._omitted if pts >= target}

    def _may_play(self) -> bool:
        """Whether the next content leaves now."""
        index = self._next
        self._held = self._dry = False
        if self._bridge:
            return False
        if not self._audio.ready(index):
            self._dry = self._playing
            self._stats.underrun += self._dry
            return False
        if not self._playing:
            ready = sum(pts >= index for pts in (*self._frames, *self._omitted))
            self._waited += ready >= self._preroll
            # Frames come in hops: starting at once would leave the next hop no time to be late.
            self._playing = self._waited > self._slack.margin or self._depth() >= self._max_depth
            return self._playing
        # A newer frame says that this one will not come: waiting would be in vain.
        ready = index in self._omitted or any(pts >= index for pts in self._frames)
        if ready or self._depth() >= self._max_depth:
            return True
        if not self._hurried:
            self._held = True
            self._stats.held += 1
            self._slack.missed()
        return False

    def _content(self) -> Slot:
        self._trim()
        index = self._next
        self._next = self._position = index + 1
        self._hurried = False
        omitted = index in self._omitted
        self._omitted = {pts for pts in self._omitted if pts > index}
        fresh = self._show(index)
        missed = not fresh and not omitted
        self._stats.repeated += missed
        audio = self._audio.take(index)
        if self._fade is not None:
            audio[: len(self._fade)] += self._fade
            self._fade = None
        return Slot(self._last_pts, audio, self._shown, index, not fresh, False, missed)

    def _silent(self) -> Slot:
        audio = np.zeros(SLOT_SAMPLES, np.float32)
        if self._fade is not None:
            audio[: len(self._fade)] = self._fade
            self._fade = None
        else:
            # Let the waveform come to rest instead of cutting it.
            audio[:_TAIL] = self._last_sample * np.linspace(1, 0, _TAIL, dtype=np.float32)
        self._stats.silence += 1
        # Keep the face moving with late frames, but never show one before its sound.
        fresh = self._playing and self._show(self._next - 1)
        if self._bridge:
            self._shown, fresh = self._bridge.popleft(), True
        if self._shown is None and self._frames:
            self._shown = self._frames[min(self._frames)]
        held, dry = self._held, self._dry
        return Slot(self._last_pts, audio, self._shown, None, not fresh, True, held, dry)

    def _show(self, index: int) -> bool:
        """Make the newest frame up to ``index`` the picture; False if there is no newer one."""
        due = sorted(pts for pts in self._frames if pts <= index)
        if not due:
            return False
        frames = [self._frames.pop(pts) for pts in due]
        newest = frames[-1]
        self._stats.skipped += len(frames) - 1
        if newest.pts <= self._shown_pts:
            self._stats.skipped += 1
            return False
        self._stats.late += newest.pts < index
        self._shown, self._shown_pts = newest, newest.pts
        return True

    def _trim(self) -> None:
        """Drop the next slot if frames were early for long and nobody will hear it."""
        if not self._slack.observe(self._run_length(self._next) - 1) or self.patient:
            return
        samples = self._audio.peek(self._next)
        if float(np.sqrt(np.mean(np.square(samples)))) < _QUIET_RMS:
            self._stats.trimmed += 1
            self._skip_to(self._next + 1)
            self._slack.restart()

    def _run_length(self, index: int) -> int:
        """Slots from ``index`` on that have both audio and frame."""
        length = 0
        while self._audio.ready(index + length) and (
            index + length in self._frames or index + length in self._omitted
        ):
            length += 1
        return length


def fade_out(samples: Float32, last: float, length: int) -> Float32:
    """Sound that comes to rest within 8 ms, without a click.

    Args:
        samples: float32 [N], what would have been heard next; may be too short.
        last: the sample before it.
        length: samples returned, silence after the fade.
    """
    out = np.zeros(length, np.float32)
    count = min(_FADE, length)
    known = samples[:count]
    out[: len(known)] = known
    out[len(known) : count] = known[-1] if len(known) else last
    # A raised cosine: no corner at either end.
    ramp = 0.5 + 0.5 * np.cos(np.pi * np.arange(1, count + 1, dtype=np.float32) / count)
    out[:count] *= ramp
    return out

"""The sliding window: sound features in, motion out, one network call per hop.

The network sees 32 past frames of its own motion (a clean prefix that is never regenerated) and
fills 8 new ones. ``hop`` of them are final and come out; ``lookahead`` more have their sound
already and steady the seam; the rest have no sound yet and are drafts. Hop and look-ahead are free
at run time because the network was trained with every number of known frames.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np

from engine.audio.features import SILENCE
from engine.config import MotionConfig
from engine.errors import ConfigError
from engine.media import FPS, FeatureFrame, Float32, MotionFrame
from engine.motion.condition import SPEECH_THRESHOLD, Conditions
from engine.motion.diffusion import NoiseTape
from engine.motion.refine import HeadFilter, decide, recentre, scale_head, seal, steady, touch
from engine.runtime.base import Array, Backend

_SHAPES = 52  # the blendshapes, which live in [0, 1]
_LIPS_LEAD = 2  # frames
_QUIET_SHARE = 0.25  # of the head's gain above 1, while nobody speaks through the avatar
_GAIN_FRAMES = 20  # in which that gain changes by 1 - 1/e: slower than a nod
_OTHER_KEPT = 250  # frames of the other speaker remembered: input may run ahead of the face
_OTHER_LASTS = 25  # frames after which who fell silent no longer counts as speaking


class MotionWindow:
    """Stage from ``FeatureFrame`` to ``MotionFrame``.

    Args:
        backend: a ``cmdt_k*`` network; used by this stage alone (see ``Backend.fork``).
        config: hop, look-ahead, guidance, seed.
        conditions: reference, style, emotion, listening; replace ``conditions`` at any time.

    Raises:
        ConfigError: hop and look-ahead do not fit the network's window.
    """

    def __init__(
        self, backend: Backend, config: MotionConfig, conditions: Conditions | None = None
    ) -> None:
        self.conditions = conditions or Conditions()
        self._backend = backend
        self._new, self._size = backend.inputs["noise"].shape[1:]
        self._past = backend.inputs["past"].shape[1]
        self._features = backend.inputs["audio"].shape[2]
        if config.hop + config.lookahead > self._new:
            raise ConfigError(
                f"motion.hop {config.hop} + motion.lookahead {config.lookahead} exceed the "
                f"network's {self._new} new frames"
            )
        self._hop = config.hop
        self._ahead = config.lookahead
        self._guidance = np.full((1,), config.guidance, np.float32)
        self._tape = NoiseTape(config.seed, self._size)
        self._head = HeadFilter()
        self.reset()

    @property
    def backend(self) -> Backend:
        """The network in use."""
        return self._backend

    def use(self, backend: Backend) -> None:
        """Go on with another network of the same inputs: fewer or more denoising steps."""
        self._backend = backend

    @property
    def lookahead(self) -> Fraction:
        """The first frame of a hop waits for the rest of the hop and the look-ahead."""
        return Fraction(self._hop - 1 + self._ahead, FPS)

    def push(self, item: FeatureFrame, /) -> Iterable[MotionFrame]:
        """Take one frame of sound; every ``hop``-th returns ``hop`` frames of motion."""
        self._pending.append(item)
        if len(self._pending) < self._hop + self._ahead:
            return []
        return self._emit(self._hop)

    def hear(self, frame: FeatureFrame) -> None:
        """Take what someone else says to the avatar during frame ``frame.pts``.

        Optional, and may come early, late or never: the face listens as far as it has heard.
        """
        self._others[frame.pts] = frame
        for pts in [pts for pts in self._others if pts < frame.pts - _OTHER_KEPT]:
            del self._others[pts]

    def flush(self) -> Iterable[MotionFrame]:
        """Emit the tail, its missing look-ahead unknown."""
        tail: list[MotionFrame] = []
        while self._pending:
            tail += self._emit(min(self._hop, len(self._pending)))
        self.reset()
        return tail

    def reset(self) -> None:
        """Forget sound and motion; the next frame continues from the portrait's own pose."""
        self._pending: list[FeatureFrame] = []
        self._others: dict[int, FeatureFrame] = {}
        self._heard = np.zeros((self._past, self._features), np.float32)
        self._heard_known = np.zeros(self._past, np.float32)
        self._moved = np.zeros((self._past, self._size), np.float32)
        self._moved_known = np.zeros(self._past, np.float32)
        self._gain = 1.0
        self.resume_from(self.conditions.reference)

    def resume_from(self, values: Float32) -> None:
        """Continue from a pose: forget the motion so far, as if the last frame had been ``values``.

        After an interruption, ``reset`` and then pass the last frame that was shown.

        Args:
            values: float32 [58].
        """
        self._moved[:] = 0.0
        self._moved_known[:] = 0.0
        self._moved[-1] = scale_head(values, 1.0 / self._gain)
        self._head.reset()
        self._touched = 0.0
        self._moved_known[-1] = 1.0

    def rest(self, values: Float32) -> None:
        """Begin as if the face had rested at ``values``, float32 [58], in silence for long."""
        self.resume_from(values)
        self._moved[:] = self._moved[-1]
        self._moved_known[:] = 1.0
        self._heard[:] = SILENCE
        self._heard_known[:] = 1.0

    def _emit(self, count: int) -> list[MotionFrame]:
        frames = self._pending[:count]
        # Lips move before the sound they make: speech heard ahead counts already.
        speeches = [
            max(frame.speech for frame in self._pending[i : i + 1 + _LIPS_LEAD])
            for i in range(count)
        ]
        values = self._refined(count)[:count]
        heard = np.stack([frame.values for frame in frames])
        self._heard = np.concatenate([self._heard[count:], heard])
        self._heard_known = np.concatenate([self._heard_known[count:], np.ones(count, np.float32)])
        self._moved = np.concatenate([self._moved[count:], values])
        self._moved_known = np.concatenate([self._moved_known[count:], np.ones(count, np.float32)])
        self._pending = self._pending[count:]
        # Scaled on the way out only: the network goes on from motion of the size it knows.
        return [
            MotionFrame(scale_head(row, self._gain_at(speech)), speech, frame.pts, frame.rate)
            for row, speech, frame in zip(values, speeches, frames, strict=True)
        ]

    def _gain_at(self, speech: float) -> float:
        """The head's gain in the next frame: who listens or waits keeps it calmer."""
        full = self.conditions.head_gain
        wanted = full if speech > SPEECH_THRESHOLD else 1.0 + _QUIET_SHARE * (full - 1.0)
        self._gain += (wanted - self._gain) / _GAIN_FRAMES
        return self._gain

    def _refined(self, count: int) -> Float32:
        """All new frames [N,58] of one network call, drafts beyond ``count`` included."""
        outputs = self._backend.run(self._feeds())
        known = int(self._moved_known.sum())
        past = self._moved[len(self._moved) - known :]
        values = recentre(past, outputs["motion"][0])
        values = decide(steady(past, self._head.apply(past, values, count)))
        values[:, :_SHAPES] = values[:, :_SHAPES].clip(0.0, 1.0)
        share = touch(outputs["contact"][0], self._touched)
        self._touched = float(share[count - 1])
        return seal(values, share)

    def _feeds(self) -> dict[str, Array]:
        """Inputs of one call; the pending frames' sound is known, the rest of the window is not."""
        known = self._pending[: self._new]
        audio = np.zeros((self._past + self._new, self._features), np.float32)
        audio[: self._past] = self._heard
        audio[self._past : self._past + len(known)] = [frame.values for frame in known]
        audio_known = np.zeros(self._past + self._new, np.float32)
        audio_known[: self._past] = self._heard_known
        audio_known[self._past : self._past + len(known)] = 1.0
        other, other_known, other_speech = self._overheard(known[0].pts, len(known))
        state = self.conditions.state(max(frame.speech for frame in known), other_speech)
        return {
            "past": self._moved[None],
            "past_known": self._moved_known[None],
            "audio": audio[None],
            "audio_known": audio_known[None],
            "reference": self.conditions.reference[None],
            "state": state[None],
            "style": self.conditions.style[None],
            "guidance": self._guidance,
            "emotion": self.conditions.emotion[None],
            "other": other[None],
            "other_known": other_known[None],
            "noise": self._tape.window(known[0].pts, self._new)[None],
        }

    def _overheard(self, first: int, count: int) -> tuple[Float32, Float32, float]:
        """The other speaker around frame ``first``: features [F,320], flags [F], speech."""
        values = np.zeros((self._past + self._new, self._features), np.float32)
        known = np.zeros(self._past + self._new, np.float32)
        speech = 0.0
        for place in range(self._past + count):
            heard = self._others.get(first - self._past + place)
            if heard is None:
                continue
            values[place], known[place] = heard.values, 1.0
            if place >= self._past + count - _OTHER_LASTS:
                speech = max(speech, heard.speech)
        return values, known, speech

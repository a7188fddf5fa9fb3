"""Voice activity: is somebody speaking in these 640 samples?

Two detectors behind one protocol. Silero (a small recurrent network, MIT) is the default; WebRTC's
energy model costs nothing but fires on any noise (measured: docs/decisions/0002-audio.md).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from engine.media import SAMPLE_RATE, Float32
from engine.runtime.base import Backend


class Vad(Protocol):
    """A detector with state of its own."""

    def push(self, samples: Float32, /) -> float:
        """Speech probability in [0, 1] after hearing float32 [N] at 16 kHz."""
        ...

    def reset(self) -> None:
        """Forget the past."""
        ...


class SileroVad:
    """Silero VAD v6: 512-sample hops with 64 samples of context.

    Args:
        backend: the ``silero_vad`` network; forked, so that the state here is the session's own.
    """

    _HOP = 512
    _CONTEXT = 64

    def __init__(self, backend: Backend) -> None:
        self._backend = backend.fork()
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        self._held: Float32 = np.zeros(0, np.float32)
        self._context: Float32 = np.zeros(self._CONTEXT, np.float32)
        self._state = np.zeros((2, 1, 128), np.float32)
        self._probability = 0.0

    def push(self, samples: Float32, /) -> float:
        """Probability after the last whole hop."""
        held = np.concatenate([self._held, samples])
        while len(held) >= self._HOP:
            window = np.concatenate([self._context, held[: self._HOP]])
            result = self._backend.run({"input": window[None], "state": self._state})
            self._probability = float(result["output"][0, 0])
            self._state = result["stateN"]
            self._context = window[-self._CONTEXT :]
            held = held[self._HOP :]
        self._held = held
        return self._probability


class WebRtcVad:
    """WebRTC's detector in 20 ms steps; the answer is the share of steps judged as speech.

    Args:
        mode: 0 (lets most through) to 3 (strictest).
    """

    _STEP = SAMPLE_RATE // 50

    def __init__(self, mode: int = 3) -> None:
        self._mode = mode
        self.reset()

    def reset(self) -> None:
        """Forget the past."""
        # Imported where it is used: the motion network's training and GPU runs do without it.
        import webrtcvad

        self._vad = webrtcvad.Vad(self._mode)
        self._held = b""

    def push(self, samples: Float32, /) -> float:
        """Share of the 20 ms steps completed by these samples that are speech."""
        pcm = (np.clip(samples, -1.0, 1.0) * 32767).astype("<i2").tobytes()
        held = self._held + pcm
        size = self._STEP * 2
        steps = [held[i : i + size] for i in range(0, len(held) - size + 1, size)]
        self._held = held[len(steps) * size :]
        if not steps:
            return 0.0
        voiced = sum(bool(self._vad.is_speech(step, SAMPLE_RATE)) for step in steps)
        return voiced / len(steps)

"""Flow matching arithmetic and the noise tape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.motion.diffusion import (
    NoiseTape,
    estimate,
    interpolate,
    sample,
    smooth_noise,
    two_half_steps,
    velocity,
)

RNG = np.random.default_rng(0)
CLEAN, NOISE = RNG.standard_normal((2, 8, 5))


@given(st.floats(0, 1))
def test_velocity_and_estimate_agree_with_the_path(time: float) -> None:
    noisy = interpolate(CLEAN, NOISE, time)
    np.testing.assert_allclose(estimate(noisy, velocity(CLEAN, NOISE), time), CLEAN, atol=1e-9)


def test_estimate_at_the_end_is_the_input_whatever_the_network_says() -> None:
    np.testing.assert_array_equal(estimate(CLEAN, NOISE * 1e3, 1.0), CLEAN)


@pytest.mark.parametrize("steps", [1, 2, 4, 7])
def test_sampler_is_exact_for_one_target(steps: int) -> None:
    """With a single clean point the true velocity at z is (clean - z) / (1 - t)."""
    made = sample(lambda z, t, _: (CLEAN - z) / (1 - t), NOISE, steps)
    np.testing.assert_allclose(made, CLEAN, atol=1e-9)


def test_sampler_converges_to_the_known_flow() -> None:
    """N(0,1) noise to N(m, s^2): the flow maps noise z to m + s z (Gaussian closed form)."""
    mean, std = 2.0, 0.5

    def denoise(z: np.ndarray, t: float, _: float) -> np.ndarray:
        variance = (1 - t) ** 2 + (t * std) ** 2
        slope = (t * std**2 - (1 - t)) / variance
        return mean + slope * (z - t * mean)

    errors = [
        np.abs(sample(denoise, NOISE, steps) - (mean + std * NOISE)).max() for steps in (4, 16, 64)
    ]
    assert errors[0] > 3 * errors[1] > 9 * errors[2]
    assert errors[2] < 0.03


def test_sampler_tells_time_and_step() -> None:
    calls = []

    def denoise(z: np.ndarray, time: float, step: float) -> np.ndarray:
        calls.append((time, step))
        return z * 0

    sample(denoise, NOISE, 4)
    assert calls == [(0, 0.25), (0.25, 0.25), (0.5, 0.25), (0.75, 0.25)]
    with pytest.raises(ValueError, match="at least 1"):
        sample(denoise, NOISE, 0)


def test_shortcut_target_is_two_half_steps() -> None:
    def denoise(z: np.ndarray, time: float, step: float) -> np.ndarray:
        return np.sin(z) + time + step

    half = 0.25
    middle = NOISE + half * denoise(NOISE, 0.5, half)
    end = middle + half * denoise(middle, 0.75, half)
    np.testing.assert_allclose(NOISE + 0.5 * two_half_steps(denoise, NOISE, 0.5, 0.5), end)


@given(st.integers(0, 10**7), st.integers(1, 8), st.integers(0, 7), st.integers(0, 2**62))
def test_noise_belongs_to_the_frame(first: int, count: int, shift: int, seed: int) -> None:
    tape = NoiseTape(seed, 5)
    whole = tape.window(first, count + shift)
    np.testing.assert_array_equal(tape.window(first + shift, count), whole[shift:])


def test_noise_is_standard_and_smooth_and_seeded() -> None:
    noise = NoiseTape(1, 58).window(0, 2000)
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 1) < 0.02
    neighbours = (noise[1:] * noise[:-1]).mean()
    far = (noise[4:] * noise[:-4]).mean()
    assert 0.7 < neighbours < 0.8  # 15 / 20 for the kernel 1 3 3 1
    assert abs(far) < 0.02
    assert not np.array_equal(noise, NoiseTape(2, 58).window(0, 2000))


def test_training_noise_is_the_same_kind() -> None:
    white = np.random.default_rng(0).standard_normal((64, 103, 7))
    smooth = smooth_noise(white)
    assert smooth.shape == (64, 100, 7)
    assert abs(smooth.std() - 1) < 0.02

"""What teacher and student learn from a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from engine.motion.arkit import LIPS
from engine.motion.diffusion import interpolate, sample, two_half_steps, velocity
from engine.motion.network import CMDT, Condition
from engine.motion.unrolled import Scale
from training.motion.ema import Ema
from training.motion.losses import (
    audio_branch,
    draw_noise,
    draw_times,
    dynamics,
    group_weights,
    opening_vector,
    weighted,
)
from training.motion.train import Objective
from training.motion.windows import Batch, Windows, way_back

GUIDANCE = (1.0, 2.5)
"""Audio guidance a student learns to imitate."""
_STEPS = (0.125, 0.25, 0.5, 1.0)
_STEP_SHARES = (0.2, 0.25, 0.35, 0.2)
_ROLLOUT_STEPS = 4
BOOTSTRAPPED = 0.25
"""Share of a student's batch that learns large steps."""


def compiled(function: Callable[..., Any], wanted: bool) -> Callable[..., Any]:
    """``torch.compile`` for a fixed batch size, or the function itself."""
    if not wanted:
        return function
    fast: Callable[..., Any] = torch.compile(function, dynamic=False)
    return fast


def ear_objective(compile_network: bool) -> Objective:
    """Phonetic supervision of the audio branch alone: what it hears, before it moves a face."""
    listen = compiled(_listen, compile_network)

    def objective(network: CMDT, batch: Batch) -> dict[str, Tensor]:
        terms = audio_branch(listen(network, batch.condition), batch)
        return {"flow": terms.pop("viseme")} | terms

    return objective


def teacher_objective(scale: Scale, compile_network: bool) -> Objective:
    """Flow matching with the auxiliary terms."""
    groups, opening = group_weights(), opening_vector(scale)
    forward = compiled(_forward, compile_network)

    def objective(network: CMDT, batch: Batch) -> dict[str, Tensor]:
        size, frames = batch.clean.shape[:2]
        noise, time = draw_noise(size, frames), draw_times(size)
        noisy = interpolate(batch.clean, noise, time[:, None, None])
        guess, context = forward(network, noisy, time, torch.zeros(size), batch.condition)
        error = (guess - velocity(batch.clean, noise)).square()
        terms = {"flow": weighted(error, batch, groups)}
        terms |= dynamics(guess, noisy, time, batch, opening, groups)
        return terms | audio_branch(context.scores, batch)

    return objective


def rollout_objective(
    scale: Scale,
    ema: Ema[CMDT],
    hop: Callable[[], int],
    share: Callable[[], float],
    compile_network: bool,
) -> Callable[[CMDT, list[Batch]], dict[str, Tensor]]:
    """Flow matching on strings of windows whose past is the averaged network's own motion.

    Against exposure bias, after DART (Zhao et al., arXiv 2410.05260): in ``share`` of the strings
    each window continues what the network made for the one before, and the truth it is trained
    towards starts from there and leads back (``way_back``).

    Args:
        scale: units.
        ema: makes the motion that is continued.
        hop: frames between the windows of the string at hand.
        share: of strings on their own past, 0..1.
        compile_network: see ``compiled``.
    """
    plain = teacher_objective(scale, compile_network)
    make = compiled(_make, compile_network)

    def objective(network: CMDT, string: list[Batch]) -> dict[str, Tensor]:
        size = len(string[0].clean)
        own = torch.rand(size, 1, 1) < share()
        past = string[0].condition.past
        back = way_back(string[0].clean.shape[1])
        sums: dict[str, Tensor] = {}
        for given in string:
            batch = from_own_past(given, torch.where(own, past, given.condition.past), back)
            for name, value in plain(network, batch).items():
                sums[name] = sums.get(name, torch.zeros(())) + value / len(string)
            with torch.no_grad():
                noise = draw_noise(*batch.clean.shape[:2])
                made = make(ema.network, batch.condition, noise)
            past = torch.cat([batch.condition.past, made], 1)[:, hop() : hop() + past.shape[1]]
        return sums

    return objective


def from_own_past(batch: Batch, past: Tensor, back: Tensor) -> Batch:
    """The window with another past [B,P,58]; its truth starts there and leads back to itself."""
    offset = (past - batch.condition.past)[:, -1:]  # [B,1,58]
    return batch._replace(
        condition=batch.condition._replace(past=past), clean=batch.clean + offset * back
    )


def _make(network: CMDT, condition: Condition, noise: Tensor) -> Tensor:
    return rollout(network, condition, noise, _ROLLOUT_STEPS, shortcut=False)


def student_objective(
    scale: Scale, teacher: CMDT, ema: Ema[CMDT], compile_network: bool, steps: int | None = None
) -> Objective:
    """Joint shortcut distillation with the guidance baked in.

    Most rows imitate the guided teacher's velocity (step 0); the rest learn that one step of size
    d is two of size d/2, taken by the averaged student (Frans et al., arXiv 2410.12557).

    Args:
        scale: units.
        teacher: frozen.
        ema: the averaged student.
        compile_network: see ``compiled``.
        steps: K of a student for one number of steps: most large steps are of its size; None
            for all.
    """
    groups, opening = group_weights(), opening_vector(scale)
    shares = step_shares(steps)
    forward = compiled(_forward, compile_network)
    guide = compiled(guided, compile_network)
    halves = compiled(_halves, compile_network)

    def objective(network: CMDT, batch: Batch) -> dict[str, Tensor]:
        size, frames = batch.clean.shape[:2]
        large = round(size * BOOTSTRAPPED)
        low, high = GUIDANCE
        guidance = torch.rand(size) * (high - low) + low
        condition = batch.condition._replace(guidance=guidance)
        noise, time, step = draw_noise(size, frames), draw_times(size), torch.zeros(size)
        time[:large], step[:large] = draw_steps(large, shares)
        noisy = interpolate(batch.clean, noise, time[:, None, None])
        with torch.no_grad():
            first = halves(ema.network, *rows(slice(0, large), noisy, time, step, condition))
            plain = rows(slice(large, None), noisy, time, condition, guidance)
            rest = guide(teacher, *plain)
            target = torch.cat([first, rest])
        guess, context = forward(network, noisy, time, step, condition)
        terms = {"flow": weighted((guess - target).square(), batch, groups)}
        implied = batch._replace(clean=noisy + target * (1.0 - time)[:, None, None])
        terms |= dynamics(guess, noisy, time, implied, opening, groups)
        return terms | audio_branch(context.scores, batch)

    return objective


def step_shares(steps: int | None) -> tuple[float, ...]:
    """How often each of the step sizes is trained by a student of K ``steps``."""
    if steps is None:
        return _STEP_SHARES
    # A step of 1/K is learned from two of half its size, which must not be forgotten meanwhile.
    wanted = [0.7 if d == 1 / steps else 0.3 if d == 0.5 / steps else 0.0 for d in _STEPS]
    return tuple(wanted)


def draw_steps(size: int, shares: tuple[float, ...] = _STEP_SHARES) -> tuple[Tensor, Tensor]:
    """Times [B] on the grid of their step sizes [B]."""
    index = torch.multinomial(torch.tensor(shares), size, replacement=True)
    step = torch.tensor(_STEPS)[index]
    return (torch.rand(size) / step).floor() * step, step


def rows(part: slice, *values: Any) -> list[Any]:
    """The same rows of tensors and conditions."""
    return [
        Condition(*(x[part] for x in v)) if isinstance(v, Condition) else v[part] for v in values
    ]


def _listen(network: CMDT, condition: Condition) -> Any:
    return network.listen(condition.audio, condition.audio_known)[1]


def _forward(
    network: CMDT, noisy: Tensor, time: Tensor, step: Tensor, condition: Condition
) -> tuple[Tensor, Any]:
    return network(noisy, time, step, condition)  # type: ignore[no-any-return]


def guided(
    teacher: CMDT, noisy: Tensor, time: Tensor, condition: Condition, guidance: Tensor
) -> Tensor:
    """The teacher's velocity with audio guidance w: null + w (conditional - null).

    Lips only: sound says little about glances and posture, and guiding them makes them restless.
    """
    condition = condition._replace(guidance=torch.ones_like(guidance))
    null = condition._replace(audio_known=torch.zeros_like(condition.audio_known))
    both = Condition(*(torch.cat(pair) for pair in zip(condition, null, strict=True)))
    step = torch.zeros_like(time)
    output, _ = teacher(noisy.repeat(2, 1, 1), time.repeat(2), step.repeat(2), both)
    heard, deaf = output.chunk(2)
    share = torch.zeros(noisy.shape[-1])
    share[list(LIPS)] = 1.0
    mixed: Tensor = heard + (guidance[:, None, None] - 1.0) * share * (heard - deaf)
    return mixed


def _halves(
    network: CMDT, noisy: Tensor, time: Tensor, step: Tensor, condition: Condition
) -> Tensor:
    context = network.encode(condition)
    smallest = min(_STEPS)

    def denoise(z: Tensor, at: Tensor, half: Tensor) -> Tensor:
        # Below the grid the velocity is the instantaneous one.
        meant = torch.where(half < smallest, torch.zeros_like(half), half)
        return network.denoise(z, at[:, 0, 0], meant[:, 0, 0], context)

    target: Tensor = two_half_steps(denoise, noisy, time[:, None, None], step[:, None, None])
    return target


def held_out_check(
    windows: Windows, steps: tuple[int, ...], shortcut: bool, batches: int = 4, size: int = 64
) -> Callable[[CMDT], dict[str, float]]:
    """Figures on fixed held-out windows: correlation of lip opening and error after K steps."""
    state = torch.random.get_rng_state()
    torch.manual_seed(1)
    fixed = [windows.draw(size) for _ in range(batches)]
    noises = [draw_noise(*batch.clean.shape[:2]) for batch in fixed]
    torch.random.set_rng_state(state)
    opening = opening_vector(windows.scale)

    @torch.no_grad()
    def check(network: CMDT) -> dict[str, float]:
        figures = {}
        for count in steps:
            pairs = []
            for batch, noise in zip(fixed, noises, strict=True):
                made = rollout(network, batch.condition, noise, count, shortcut)
                heard = (batch.heard > 0) & (batch.condition.audio_known.sum(1) > 0)[:, None]
                pairs.append(torch.stack([made @ opening, batch.clean @ opening], -1)[heard])
            both = torch.cat(pairs).T
            figures[f"r{count}"] = round(float(torch.corrcoef(both)[0, 1]), 4)
            figures[f"gap{count}"] = round(float((both[0] - both[1]).square().mean()), 4)
        return figures

    return check


def heard_check(
    windows: Windows, groups: Mapping[str, tuple[str, ...]], size: int = 256
) -> Callable[[CMDT], dict[str, float]]:
    """Share of visemes heard right, silence apart, on fixed held-out windows.

    Args:
        windows: held out.
        groups: name of a figure -> beginnings of the voices it is about.
        size: windows of each group.
    """
    drawn = {name: windows.of_voices(voices, size) for name, voices in groups.items()}
    fixed = {name: batch for name, batch in drawn.items() if batch is not None}

    @torch.no_grad()
    def check(network: CMDT) -> dict[str, float]:
        figures = {}
        for name, batch in fixed.items():
            scores = _listen(network, batch.condition)
            spoken = batch.viseme > 0
            right = (scores.visemes.argmax(-1) == batch.viseme)[spoken].float().mean()
            figures[f"heard_{name}"] = round(float(right), 4)
            touch, asked = scores.contact[spoken] > 0, batch.closure[spoken] > 0
            figures[f"touch_{name}"] = round(
                float(2 * (touch & asked).sum() / (touch.sum() + asked.sum()).clamp_min(1)), 4
            )
        return figures

    return check


def rollout(
    network: CMDT, condition: Condition, noise: Tensor, steps: int, shortcut: bool
) -> Tensor:
    """Sample [B,N,58] with K Euler steps."""
    context = network.encode(condition)
    ones = torch.ones(len(noise))

    def denoise(z: Tensor, time: float, step: float) -> Tensor:
        return network.denoise(z, ones * time, ones * (step if shortcut else 0.0), context)

    made: Tensor = sample(denoise, noise, steps)
    return made

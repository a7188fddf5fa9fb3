"""Training loop of the refiner: time-limited, resumable, judged on people it has not seen."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from training.refiner.checkpoint import save
from training.refiner.data import Windows
from training.refiner.model import COARSE, Refiner


@dataclass(frozen=True, kw_only=True)
class RefinerConfig:
    """How to train."""

    minutes: float = 25.0
    """Wall-clock limit of this call."""
    steps: int = 1200
    """Length of the learning-rate schedule."""
    batch: int = 12
    rate: float = 1e-3
    """Peak learning rate."""
    smooth: float = 0.99
    """Decay of the weights' moving average, which is what is kept."""
    seed: int = 0


def batch_of(data: Windows, index: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
    """Drawn [B,3,H,W] and real [B,3,H,W] in 0..255, masks [B,2,H,W] in [0, 1]."""
    drawn = torch.from_numpy(data.drawn[index]).float()
    real = torch.from_numpy(data.real[index]).float()
    return drawn, real, torch.from_numpy(data.masks[index]).float() / 255


def augment(
    drawn: Tensor, real: Tensor, masks: Tensor, rng: np.random.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mirror; change light and colour of both alike, and the light inside the drawn mouth alone.

    The latter is what there is to learn: how bright a mouth is in a face so lit.
    """
    if rng.random() < 0.5:
        drawn, real, masks = drawn.flip(3), real.flip(3), masks.flip(3)
    shape = (len(drawn), 3, 1, 1)
    gain = torch.from_numpy(rng.uniform(0.75, 1.25, (len(drawn), 1, 1, 1))).float()
    tint = torch.from_numpy(rng.uniform(0.92, 1.08, shape)).float()
    power = torch.from_numpy(rng.uniform(0.8, 1.25, (len(drawn), 1, 1, 1))).float()

    def light(picture: Tensor) -> Tensor:
        return (255 * (picture / 255).pow(power) * gain * tint).clamp(0, 255)

    own = torch.from_numpy(rng.uniform(0.8, 1.25, (len(drawn), 1, 1, 1))).float()
    wrong = drawn * (1 + masks[:, 1:] * (own - 1))
    return light(wrong.clamp(0, 255)), light(real), masks


def smooth(picture: Tensor, where: Tensor) -> tuple[Tensor, Tensor]:
    """Mean colour of the mouth's inside in cells of ``COARSE`` pixels, and how much of it each has.

    Args:
        picture: [B,3,H,W].
        where: [B,1,H,W] in [0, 1].
    """
    share = F.avg_pool2d(where, COARSE, COARSE // 2)
    return F.avg_pool2d(picture * where, COARSE, COARSE // 2) / (share + 1e-3), share


def objective(refined: Tensor, real: Tensor, where: Tensor) -> Tensor:
    """Mean absolute error of colour in cells inside the mouth, levels.

    Teeth and tongue of one picture are never exactly where they are in the other; cells compare
    what a gain can change.
    """
    (ours, share), (theirs, _) = smooth(refined, where), smooth(real, where)
    return ((ours - theirs).abs() * share).sum() / (3 * share.sum() + 1e-3)


@torch.no_grad()
def judge(refiner: Refiner, data: Windows) -> dict[str, float]:
    """Inside the mouth, as drawn and refined: PSNR of pixels, and mean error of colour in cells."""
    squares, cells = np.zeros(2), np.zeros(2)
    weight = areas = 0.0
    for start in range(0, len(data.drawn), 32):
        index = np.arange(start, min(start + 32, len(data.drawn)))
        drawn, real, masks = batch_of(data, index)
        where = masks[:, 1:]
        refined = refiner(drawn, masks[:, :1], where).clamp(0, 255)
        area = float(where.sum())
        for k, picture in enumerate((drawn, refined)):
            squares[k] += float(((picture - real) ** 2 * where).sum())
            cells[k] += float(objective(picture, real, where)) * area
        weight += 3 * area
        areas += area
    drawn_psnr, refined_psnr = 10 * np.log10(255**2 / np.maximum(squares / weight, 1e-6))
    return {
        "psnr_drawn": float(drawn_psnr),
        "psnr_refined": float(refined_psnr),
        "colour_drawn": float(cells[0] / areas),
        "colour_refined": float(cells[1] / areas),
    }


def train(config: RefinerConfig, data: Windows, held_out: Windows, folder: Path) -> dict[str, Any]:
    """Train from the last state in ``folder``, if any; keep the latest moving average.

    The end of the schedule is kept, not the best score on those held out: with two of them, the
    best is luck.

    Returns:
        The facts stored with the weights.
    """
    torch.manual_seed(config.seed)
    refiner, mean = Refiner(), Refiner()
    mean.load_state_dict(refiner.state_dict())
    optimiser = torch.optim.AdamW(refiner.parameters(), config.rate, weight_decay=1e-3)
    facts: dict[str, Any] = {}
    state_path, step = folder / "state.pt", 0
    if state_path.is_file():
        stored = torch.load(state_path, weights_only=True)
        refiner.load_state_dict(stored["refiner"])
        mean.load_state_dict(stored["mean"])
        optimiser.load_state_dict(stored["optimiser"])
        step, facts = stored["step"], stored["facts"]
    rng = np.random.default_rng(config.seed + step)
    chances = 1 / np.bincount(data.clip)[data.clip]
    chances /= chances.sum()
    deadline = time.monotonic() + 60 * config.minutes
    with tqdm(total=config.steps, initial=step, desc="refiner", unit="step") as bar:
        while step < config.steps and time.monotonic() < deadline:
            loss = _step(refiner, optimiser, config, step, data, rng.choice(
                len(data.drawn), config.batch, p=chances), rng)  # fmt: skip
            step += 1
            bar.update()
            with torch.no_grad():
                decay = min(config.smooth, step / (step + 10))
                for kept, new in zip(mean.parameters(), refiner.parameters(), strict=True):
                    kept.lerp_(new, 1 - decay)
            if step % 50 == 0 or step == config.steps or time.monotonic() >= deadline:
                scores = judge(mean.eval(), held_out)
                _log(folder, {"step": step, "loss": loss, **scores})
                bar.set_postfix(loss=f"{loss:.2f}", colour=f"{scores['colour_refined']:.2f}")
                facts = {**scores, "step": step, **asdict(config)}
                save(folder / "refiner.pt", mean, facts)
                stored = {"refiner": refiner.state_dict(), "mean": mean.state_dict(),
                          "optimiser": optimiser.state_dict(),
                          "step": step, "facts": facts}  # fmt: skip
                torch.save(stored, state_path)
    return facts


def _step(
    refiner: Refiner,
    optimiser: torch.optim.Optimizer,
    config: RefinerConfig,
    step: int,
    data: Windows,
    index: np.ndarray,
    rng: np.random.Generator,
) -> float:
    warm = min(1.0, (step + 1) / 50)
    rate = config.rate * warm * 0.5 * (1 + math.cos(math.pi * step / config.steps))
    for group in optimiser.param_groups:
        group["lr"] = rate
    drawn, real, masks = augment(*batch_of(data, index), rng)
    refined = refiner(drawn, masks[:, :1], masks[:, 1:])
    loss = objective(refined, real, masks[:, 1:])
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(refiner.parameters(), 5.0)
    optimiser.step()
    return float(loss.detach())


def _log(folder: Path, row: dict[str, Any]) -> None:
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")

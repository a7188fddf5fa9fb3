"""One visible training loop, for the teacher and for its students.

What differs between the two is one function from a batch to named loss terms (``Objective``).
Learning rate and stop follow whichever runs out first, steps or minutes, so that a run on a busy
machine still ends annealed. Interrupt it at any time; ``--resume`` goes on from the last
checkpoint.
"""

from __future__ import annotations

import json
import math
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from engine.motion.network import CMDT
from engine.motion.unrolled import Scale
from training.motion import checkpoint
from training.motion.ema import Ema
from training.motion.losses import Weights, total
from training.motion.windows import Batch

Objective = Callable[[CMDT, Batch], dict[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast.

    Args:
        steps: at most.
        minutes: at most, over all resumed runs.
        batch: windows per step.
        rate: peak learning rate; falls to 5 % by a cosine.
        warmup: steps.
        decay: of the EMA.
        bf16: matrix products in bfloat16: twice as fast where the processor computes in it.
    """

    steps: int = 8000
    minutes: float = 45.0
    batch: int = 64
    rate: float = 1e-3
    warmup: int = 300
    decay: float = 0.999
    clip: float = 1.0
    bf16: bool = False
    log_every: int = 25
    save_seconds: float = 150.0
    check_every: int = 500


class Progress:
    """Steps and seconds spent, the running means, and the log file."""

    def __init__(self, plan: Plan, log: Path) -> None:
        self.plan = plan
        self.log = log
        self.step = 0
        self.before = 0.0
        self.began = time.monotonic()
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.counted = 0

    @property
    def seconds(self) -> float:
        """Time spent in all runs."""
        return self.before + time.monotonic() - self.began

    @property
    def done(self) -> float:
        """Share of the plan, 0..1."""
        return min(1.0, max(self.step / self.plan.steps, self.seconds / 60 / self.plan.minutes))

    @property
    def rate(self) -> float:
        """Learning rate now."""
        warm = min(1.0, (self.step + 1) / self.plan.warmup)
        return self.plan.rate * warm * (0.05 + 0.475 * (1 + math.cos(math.pi * self.done)))

    def add(self, terms: dict[str, Tensor]) -> None:
        """Count one step's terms."""
        self.step += 1
        self.counted += 1
        for name, value in terms.items():
            self.sums[name] += float(value.detach())

    def write(self, extra: dict[str, float]) -> dict[str, float]:
        """Append the means since the last line to the log, and return the line."""
        line = {"step": self.step, "seconds": round(self.seconds, 1), "rate": self.rate}
        line |= {name: round(value / self.counted, 5) for name, value in self.sums.items()} | extra
        self.sums.clear()
        self.counted = 0
        with self.log.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return line


class Trainer:
    """A network being trained, with everything a checkpoint holds.

    Args:
        network: trained in place.
        scale: its units, stored with it.
        plan: length and rates.
        facts: stored with the checkpoint (``shortcut``, stage).
        target: checkpoint file; the log lies beside it.
    """

    def __init__(
        self, network: CMDT, scale: Scale, plan: Plan, facts: dict[str, Any], target: Path
    ) -> None:
        self.network, self.scale, self.plan = network, scale, plan
        self.facts, self.target = facts, target
        self.ema = Ema(network, plan.decay)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        self.progress = Progress(plan, target.with_suffix(".jsonl"))

    def resume(self) -> None:
        """Go on from the checkpoint. Raises FileNotFoundError without one."""
        content = checkpoint.load(self.target)
        self.network.load_state_dict(content["raw"])
        self.ema.network.load_state_dict(content["weights"])
        self.ema.updates = content["step"]
        self.optimizer.load_state_dict(content["optimizer"])
        self.scale.load_state_dict(content["scale"])
        self.progress.step, self.progress.before = content["step"], content["seconds"]

    def save(self) -> None:
        """Write the checkpoint."""
        facts = self.facts | {"train_steps": self.progress.step, "plan": asdict(self.plan)}
        content = checkpoint.network_content(
            self.network, self.ema.network.state_dict(), self.scale, facts
        )
        content["raw"] = self.network.state_dict()
        content["optimizer"] = self.optimizer.state_dict()
        content["step"], content["seconds"] = self.progress.step, self.progress.seconds
        checkpoint.save(self.target, content)

    def run(
        self,
        draw: Callable[[], Any],
        objective: Callable[[CMDT, Any], dict[str, Tensor]],
        weights: Weights,
        check: Callable[[CMDT], dict[str, float]],
    ) -> None:
        """Train until the plan ends.

        Args:
            draw: makes a batch.
            objective: batch to loss terms, run on the raw network.
            weights: of the auxiliary terms.
            check: figures of the EMA network on held-out windows, for the log.
        """
        progress, saved = self.progress, time.monotonic()
        bar = tqdm(total=self.plan.steps, initial=progress.step, mininterval=5.0)
        while progress.done < 1.0:
            terms = self.update(draw(), objective, weights)
            progress.add(terms)
            bar.update()
            if progress.step % self.plan.log_every == 0:
                due = progress.step % self.plan.check_every == 0
                line = progress.write(check(self.ema.network) if due else {})
                bar.set_postfix({k: f"{v:.3f}" for k, v in line.items() if k in ("loss", "flow")})
            if time.monotonic() - saved > self.plan.save_seconds:
                self.save()
                saved = time.monotonic()
        self.save()
        bar.close()

    def update(
        self, batch: Any, objective: Callable[[CMDT, Any], dict[str, Tensor]], weights: Weights
    ) -> dict[str, Tensor]:
        """One optimizer step; returns the terms."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.progress.rate
        device = torch.get_default_device().type
        with torch.autocast(device, torch.bfloat16, enabled=self.plan.bf16):
            terms = objective(self.network, batch)
        terms["loss"] = total(terms, weights)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(terms["loss"])
        terms["norm"] = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.plan.clip)
        self.optimizer.step()
        self.ema.update(self.network)
        return terms

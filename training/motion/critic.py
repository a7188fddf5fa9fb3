"""The paper's adversarial term (Dimitra trains with one; its form is not public): an option.

A small critic looks at eight past and the new frames and says whether the new ones were recorded or
made. Hinge loss (Lim and Ye, arXiv 1705.02894); what came of it is in ``docs/decisions``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.motion.network import CMDT
from training.motion.losses import draw_noise
from training.motion.objective import rollout
from training.motion.windows import Batch

_SEEN_PAST = 8
_WIDTH = 96


class Critic(nn.Module):
    """Motion [B,T,M] and its speed to a score per frame [B,T]; positive: recorded."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(2 * size, _WIDTH, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv1d(_WIDTH, _WIDTH, 3, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv1d(_WIDTH, 1, 3, padding=1),
        )

    def forward(self, motion: Tensor) -> Tensor:
        speed = F.pad(motion.diff(dim=1), (0, 0, 1, 0))  # [B,T,M]
        both = torch.cat([motion, speed], dim=-1).transpose(1, 2)  # [B,2M,T]
        scores: Tensor = self.layers(both)[:, 0]  # [B,T]
        return scores


class Adversary:
    """Trains a critic beside a student and gives the student's term.

    Args:
        size: numbers per frame.
        steps: K with which the student samples what is judged.
        rate: of the critic.
    """

    def __init__(self, size: int, steps: int, rate: float = 2e-4) -> None:
        self.critic = Critic(size)
        self.steps = steps
        self.optimizer = torch.optim.AdamW(self.critic.parameters(), lr=rate, betas=(0.5, 0.99))

    def around(
        self, objective: Callable[[CMDT, Batch], dict[str, Tensor]]
    ) -> Callable[[CMDT, Batch], dict[str, Tensor]]:
        """The objective with the term ``adversarial`` added; each call trains the critic once."""

        def judged(network: CMDT, batch: Batch) -> dict[str, Tensor]:
            terms = objective(network, batch)
            noise = draw_noise(*batch.clean.shape[:2])
            made = rollout(network, batch.condition, noise, self.steps, shortcut=True)
            before = batch.condition.past[:, -_SEEN_PAST:]
            real, false = torch.cat([before, batch.clean], 1), torch.cat([before, made], 1)
            terms["critic"] = self._train(real, false.detach())
            self.critic.requires_grad_(False)
            terms["adversarial"] = -self.critic(false)[:, _SEEN_PAST:].mean()
            self.critic.requires_grad_(True)
            return terms

        return judged

    def _train(self, real: Tensor, false: Tensor) -> Tensor:
        scores = self.critic(torch.cat([real, false]))[:, _SEEN_PAST:].chunk(2)
        loss: Tensor = F.relu(1 - scores[0]).mean() + F.relu(1 + scores[1]).mean()
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach()

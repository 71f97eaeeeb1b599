"""Muon: momentum made orthogonal by Newton-Schulz, for the weight matrices inside the blocks.

Worth about 10 % of rate against AdamW in the same minutes on this codec. Matrices of one shape are stacked, so that a
step is a few large products. source: K. Jordan, "Muon", 2024
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from engines.training.model import has_bfloat16

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class Muon(torch.optim.Optimizer):
    """For 1x1 convolutions only; everything else stays with AdamW."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momentum.mul_(group["momentum"]).add_(parameter.grad)
                update = (parameter.grad + group["momentum"] * momentum).flatten(1)
                by_shape.setdefault((update.shape[0], update.shape[1]), []).append((parameter, update))
            for (rows, columns), members in by_shape.items():
                updates = orthogonal(torch.stack([update for _, update in members]))
                rate = group["lr"] * max(1.0, rows / columns) ** 0.5
                for (parameter, _), update in zip(members, updates, strict=True):
                    parameter.add_(update.reshape(parameter.shape), alpha=-rate)


def orthogonal(matrices: Tensor, steps: int = 5) -> Tensor:
    """[N, rows, columns] -> the nearest orthogonal matrices, roughly: singular values pulled to about 1."""
    a, b, c = _COEFFICIENTS
    x = matrices.bfloat16() if has_bfloat16(matrices.device) else matrices.float()
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.transpose(1, 2)
        x = a * x + (b * square + c * square @ square) @ x
    return (x.transpose(1, 2) if tall else x).float()

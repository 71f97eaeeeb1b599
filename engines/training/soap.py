"""SOAP: Adam in the slowly turning eigenbasis of the gradients' second moments, for weights that are matrices.

source: arXiv 2409.11321; on learned image codecs arXiv 2601.20769
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

LARGEST_SIDE = 1024  # longer sides are not turned
BASIS_EVERY_STEPS = 10


class Soap(torch.optim.Optimizer):
    """For 1x1 convolutions; everything else stays with AdamW."""

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.95, 0.95),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    _update(parameter, parameter.grad.flatten(1).float(), self.state[parameter], group)


def _update(parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
    fast, slow = group["betas"]
    if not state:
        moments = [gradient @ gradient.T, gradient.T @ gradient]
        state["moments"] = [each if len(each) <= LARGEST_SIDE else None for each in moments]
        state["basis"] = [None if each is None else _eigenbasis(each) for each in state["moments"]]
        state["step"] = 0
        state["mean"], state["square"] = torch.zeros_like(gradient), torch.zeros_like(gradient)
        return  # the first gradient only chooses the basis
    state["step"] += 1
    step = state["step"]
    state["mean"].lerp_(gradient, 1 - fast)
    turned = _turn(gradient, state["basis"])
    state["square"].lerp_(turned * turned, 1 - slow)
    spread = (state["square"] / (1 - slow**step)).sqrt() + group["eps"]
    update = _turn_back(_turn(state["mean"], state["basis"]) / (1 - fast**step) / spread, state["basis"])
    parameter.add_(update.reshape(parameter.shape).to(parameter.dtype), alpha=-group["lr"])
    for moment, fresh in zip(state["moments"], (gradient @ gradient.T, gradient.T @ gradient), strict=True):
        if moment is not None:
            moment.lerp_(fresh, 1 - slow)
    if step % BASIS_EVERY_STEPS == 0:
        for side, basis in enumerate(state["basis"]):
            if basis is not None:
                _turn_basis(state, side, basis)


def _turn_basis(state: dict[str, Any], side: int, basis: Tensor) -> None:
    """One step of power iteration; the axes stay sorted by their moments, and the squares with them."""
    turned = state["moments"][side] @ basis
    order = torch.einsum("ij,ij->j", basis, turned).argsort(descending=True)
    state["square"] = state["square"].index_select(side, order)
    state["basis"][side] = torch.linalg.qr(turned[:, order]).Q


def _eigenbasis(moment: Tensor) -> Tensor:
    steady = moment + 1e-12 * torch.eye(len(moment), device=moment.device)
    return torch.linalg.eigh(steady).eigenvectors.flip(1)


def _turn(matrix: Tensor, basis: list[Tensor | None]) -> Tensor:
    left, right = basis
    matrix = matrix if left is None else left.T @ matrix
    return matrix if right is None else matrix @ right


def _turn_back(matrix: Tensor, basis: list[Tensor | None]) -> Tensor:
    left, right = basis
    matrix = matrix if left is None else left @ matrix
    return matrix if right is None else matrix @ right.T

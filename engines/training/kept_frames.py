"""Frames that were coded a while ago, kept with what they were predicted from, to be trained on again one by one."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from engines.training.inter import Given


class KeptFrame(NamedTuple):
    """Frames of one kind: features in 0..1 [B, 96, h, w], what they are coded given, and q [B]."""

    features: Tensor
    given: Given
    q: Tensor


class KeptFrames:
    """At most so many frames of one kind and size on one device; the oldest give way.

    Features are kept in 8 bits, which is what they came in, everything else in float16.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._added = 0
        self._kept: list[Tensor] = []

    def __len__(self) -> int:
        return min(self._added, self._most)

    def add(self, frame: KeptFrame) -> None:
        predictions, extra = frame.given
        arrays = [(frame.features * 255).round().to(torch.uint8), frame.q.float(), extra.half()]
        arrays += [each.half() for each in predictions]
        if not self._kept:
            self._kept = [each.new_empty((self._most, *each.shape[1:])) for each in arrays]
        count = len(frame.q)
        places = torch.arange(self._added, self._added + count, device=frame.q.device) % self._most
        for kept, array in zip(self._kept, arrays, strict=True):
            kept[places] = array
        self._added += count

    def drawn(self, count: int) -> KeptFrame:
        """Frames drawn at random."""
        chosen = torch.randint(len(self), (count,), device=self._kept[0].device)
        features, q, extra, *predictions = (each[chosen].float() for each in self._kept)
        return KeptFrame(features / 255, Given(tuple(predictions), extra), q)

"""How many frames a group has: long pyramids where the pictures are alike, short ones where they are not.

A group runs from one anchor to the next. Two of them become one where the later anchor still looks like the earlier
one, moved block by block: so frames are merged in pairs, pairs in fours, and so on. Decided from small pictures and
nothing else, so that both of two passes decide alike.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from zvc69_cli.codec.plan.scenecut import F32, intra_errors, moved_errors

REACH: Final = 3  # small samples that a block may have moved
# Groups of half as many frames become one where the error of the later anchor, predicted from the earlier one, is less
# than this share of its error by itself, and some. Fitted to 38 pieces of 8 frames, 19 clips that are not test clips,
# coded in groups of 1, 2, 4 and 8 each: 6.3 % fewer bits than always 4, where the best choice for each piece takes
# 8.0 % fewer, always 8 1.0 %. 16 goes on like the others.
MOST_SHARE: Final = {2: 0.9, 4: 0.8, 8: 0.7, 16: 0.6}
_ANY_ERROR: Final = 0.25  # 8-bit samples of the small picture: what a still picture has left, flat or not


class GroupChoice:
    """Chooses the groups of the frames that wait behind an anchor."""

    def __init__(self) -> None:
        self._anchor = 0
        self._pictures: list[F32] = []  # of the anchor and of the frames behind it
        self._shares: dict[tuple[int, int], float] = {}

    def start(self, picture: F32) -> None:
        """A keyframe, by its small picture: the first anchor, and nothing waits."""
        self._anchor, self._pictures, self._shares = 0, [picture], {}

    def add(self, picture: F32) -> None:
        """The small picture of one more frame that waits."""
        self._pictures.append(picture)

    def take_group(self) -> int:
        """How many of the frames that wait form the first group; the last of them becomes the anchor."""
        length = self._lengths(self._anchor, self._anchor + len(self._pictures) - 1)[0]
        self._anchor += length
        del self._pictures[:length]
        self._shares = {frames: share for frames, share in self._shares.items() if frames[0] >= self._anchor}
        return length

    def _lengths(self, anchor: int, last: int) -> list[int]:
        """Of the groups from an anchor to the last of some frames."""
        if last - anchor == 1:
            return [1]
        middle = (anchor + last + 1) // 2
        groups = [*self._lengths(anchor, middle), *self._lengths(middle, last)]
        return [last - anchor] if len(groups) == 2 and self._is_alike(anchor, last) else groups

    def _is_alike(self, anchor: int, last: int) -> bool:
        distance = 1 << (last - anchor - 1).bit_length()
        return self._share_left(anchor, last) < MOST_SHARE[distance]

    def _share_left(self, anchor: int, last: int) -> float:
        """Of a picture's own error what is left when the anchor helps, each block in its cheaper way."""
        if (anchor, last) not in self._shares:
            picture = self._pictures[last - self._anchor]
            own = intra_errors(picture)
            left = np.minimum(moved_errors(picture, self._pictures[anchor - self._anchor], REACH), own)
            self._shares[anchor, last] = (float(left.mean()) - _ANY_ERROR) / max(float(own.mean()), 1e-6)
        return self._shares[anchor, last]

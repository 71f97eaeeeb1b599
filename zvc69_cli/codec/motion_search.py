"""Which vectors an encoder codes: those that the search found and that pay for their bits."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy import SYMBOL_LIMIT
from zvc69_cli.codec.motion import CELL_SIDES, FIELD_LIMIT, CellOdds, moved
from zvc69_cli.codec.networks import F32, Networks, Tensor
from zvc69_cli.codec.planes import search_plane
from zvc69_cli.codec.prior import SCALE_LEVELS
from zvc69_cli.codec.rate import VECTOR_SHARE, error_price
from zvc69_cli.codec.tables import InterTables
from zvc69_cli.frames import FrameKind

I32 = NDArray[np.int32]


class SearchedPlane(NamedTuple):
    """The luma of a frame that motion is searched for.

    whole   as the search is given it
    levels  as its error is measured at each level: whole cells
    """

    whole: Tensor
    levels: tuple[Tensor, ...]


class MotionWeigher:
    """What vectors cost, by one bundle's tables; makes a chooser of vectors for each frame and reference.

    effort  CodecSettings.motion_search
    """

    def __init__(self, networks: Networks, tables: InterTables, precision: int, effort: str) -> None:
        self.networks = networks
        self.precision = precision
        self.effort = effort
        prices, self.farthest = tables.motion.prices()
        self.prices = prices[:SCALE_LEVELS]
        # Indexed by the rows of the motion tables; those before the significances are never asked for.
        self.significant_bits = prices[:, self.farthest + 1] - prices[:, self.farthest]

    def source(self, y: F32) -> SearchedPlane:
        """A padded luma plane in 0..1, ready to be searched for in references."""
        plane = search_plane(y)
        rows, columns = (-(-side // CELL_SIDES[0]) * CELL_SIDES[0] for side in y.shape)
        sizes = [(rows, columns), *(y.shape for _ in CELL_SIDES[1:])]
        whole = self.networks.put(plane)
        cut = {size: self.networks.put(plane[: size[0], : size[1]]) for size in set(sizes)}
        return SearchedPlane(whole, tuple(cut[size] for size in sizes))

    def chooser(self, source: SearchedPlane, samples: Tensor, kind: FrameKind, q_256: int) -> MotionChooser:
        """A chooser for a frame and a reference.

        samples  codec.planes.quarter_samples of the reference's luma, as `search_plane` yields it
        """
        return MotionChooser(self, source, samples, VECTOR_SHARE[kind], error_price(q_256))


class MotionChooser:
    """Chooses the vectors of one frame to one reference; satisfies codec.motion_coding.Choose.

    share  of the bits saved that count
    price  lambda: bits a sample that a mean squared error of 1 is worth
    """

    def __init__(
        self, weigher: MotionWeigher, source: SearchedPlane, samples: Tensor, share: float, price: float
    ) -> None:
        self._weigher = weigher
        self._source, self._samples = source, samples
        self._share, self._price = share, price
        self._found = weigher.networks.search(source.whole, samples, weigher.effort)
        self._level = -1
        self._units: I32 = np.zeros((2, 0), np.int32)
        self._gains: F32 = np.zeros(0, np.float32)

    def __call__(
        self, level: int, cells: NDArray[np.intp], parent: I32, odds: CellOdds
    ) -> tuple[NDArray[np.bool_], I32]:
        if level != self._level:
            self._level = level
            self._weigh(level, parent)
        weigher = self._weigher
        symbols = self._units[:, cells] - odds.means
        letters = np.clip(symbols, -weigher.farthest, weigher.farthest) + weigher.farthest
        bits = weigher.prices[odds.spreads, letters].sum(0) + weigher.significant_bits[odds.significances]
        significant = (self._gains[cells] > bits) & (np.abs(symbols).max(0) <= SYMBOL_LIMIT)
        return significant, symbols[:, significant]

    def _weigh(self, level: int, parent: I32) -> None:
        """The candidate of every cell of a level, in units from its parent, and the bits that it saves."""
        precision = self._weigher.precision
        _, rows, columns = parent.shape
        found = np.clip(self._found[level][:, :rows, :columns], -FIELD_LIMIT, FIELD_LIMIT)
        units = np.floor((found - parent) / (1 << precision) + 0.5).astype(np.int32)
        side = CELL_SIDES[level]
        saved = self._worth(level, parent) - self._worth(level, moved(parent, units, precision))
        gains = np.where(units.any(0), saved * np.float32(self._share * side * side), np.float32(-np.inf))
        self._units, self._gains = units.reshape(2, -1), gains.ravel()

    def _worth(self, level: int, field: I32) -> F32:
        """Bits a sample that the error costs which a field leaves, by reverse water-filling.

        Below the water level 1 / (2 ln 2 lambda) an error stays and costs lambda times itself; above it, it is coded
        away at half a bit a factor of 2.
        """
        source = self._source.levels[level]
        error = self._weigher.networks.motion_error(level, source, self._samples, field.astype(np.float32))
        return worth(error, self._price)


def worth(error: F32, price: float) -> F32:
    """Bits a sample that a mean squared error costs at lambda `price`."""
    water = 1 / (2 * math.log(2) * price)
    above = 0.5 * np.log2(np.maximum(error / water, 1)) + 1 / (2 * math.log(2))
    return np.where(error > water, above, error * price).astype(np.float32)

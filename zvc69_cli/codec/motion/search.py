"""Which vectors an encoder codes: those that the search found and that pay for their bits."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.codec.entropy.coder import SYMBOL_LIMIT
from zvc69_cli.codec.entropy.layers import SCALE_LEVELS
from zvc69_cli.codec.entropy.tables import InterTables
from zvc69_cli.codec.motion.fields import CELL_SIDES, FIELD_LIMIT, CellOdds, moved
from zvc69_cli.codec.networks import F32, Networks, Tensor
from zvc69_cli.codec.picture.exchange import continued
from zvc69_cli.codec.picture.planes import SEARCH_BLOCK
from zvc69_cli.codec.rate.quality import VECTOR_SHARE, error_price
from zvc69_cli.frames import FrameKind

I32 = NDArray[np.int32]

# How often each cell of a level looks whether the vector of a neighbour, or its parent's, would do as well, by the
# effort of the search; and what it counts a vector that is unlike them, in bits a doubling of the distance.
# (One round -0.4 % BD-rate for a tenth more time, seven clips that are not test clips.)
NEIGHBOUR_ROUNDS: Final = {"fast": 0, "full": 0, "thorough": 2}
_DOUBLING_BITS: Final = 0.7
_DOUBLINGS: Final = np.log2(1 + np.arange(64, dtype=np.float32))  # of distances; farther is no more
_CANDIDATES: Final = 4  # neighbours whose vectors are tried


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

    def source(self, y: Tensor) -> SearchedPlane:
        """A padded luma plane in 0..1, where the networks run, ready to be searched for in references."""
        coarse = continued(y, self.networks, CELL_SIDES[0])
        return SearchedPlane(continued(coarse, self.networks, SEARCH_BLOCK), (coarse, y, y))

    def chooser(self, source: SearchedPlane, samples: Tensor, kind: FrameKind, q_256: int) -> MotionChooser:
        """A chooser for a frame and a reference.

        samples  codec.picture.planes.quarter_samples of the reference's luma, as `search_plane` yields it
        """
        return MotionChooser(self, source, samples, VECTOR_SHARE[kind], error_price(q_256))


class MotionChooser:
    """Chooses the vectors of one frame to one reference; satisfies codec.motion.coding.Choose.

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
        parent_bits = self._bits(level, parent)
        found, bits = self._settled(level, parent, parent_bits)
        units = np.floor((found - parent) / (1 << precision) + 0.5).astype(np.int32)
        if precision:
            bits = self._bits(level, moved(parent, units, precision))
        gains = np.where(units.any(0), parent_bits - bits, np.float32(-np.inf))
        self._units, self._gains = units.reshape(2, -1), gains.ravel()

    def _settled(self, level: int, parent: I32, parent_bits: F32) -> tuple[I32, F32]:
        """The vectors found, those that hardly fit better than their surroundings' exchanged for these; their bits.

        The prior tells in few bits what is like its surroundings.
        """
        _, rows, columns = parent.shape
        field = np.clip(self._found[level][:, :rows, :columns], -FIELD_LIMIT, FIELD_LIMIT).astype(np.int32)
        bits = self._bits(level, field)
        for _ in range(NEIGHBOUR_ROUNDS[self._weigher.effort]):
            near = _neighbours(field)
            around = [*near, parent]
            candidates = [(each, self._bits(level, each)) for each in near[:_CANDIDATES]]
            least, chosen, chosen_bits = bits + _strangeness(field, around), field, bits
            for candidate, candidate_bits in [*candidates, (parent, parent_bits)]:
                cost = candidate_bits + _strangeness(candidate, around)
                is_less = cost < least
                least = np.where(is_less, cost, least)
                chosen = np.where(is_less, candidate, chosen)
                chosen_bits = np.where(is_less, candidate_bits, chosen_bits)
            field, bits = chosen, chosen_bits
        return field, bits

    def _bits(self, level: int, field: I32) -> F32:
        """Bits that the errors of a field's cells count."""
        return np.float32(self._share * CELL_SIDES[level] ** 2) * self._worth(level, field)

    def _worth(self, level: int, field: I32) -> F32:
        """Bits a sample that the error costs which a field leaves, by reverse water-filling.

        Below the water level 1 / (2 ln 2 lambda) an error stays and costs lambda times itself; above it, it is coded
        away at half a bit a factor of 2.
        """
        source = self._source.levels[level]
        error = self._weigher.networks.motion_error(level, source, self._samples, field.astype(np.float32))
        return worth(error, self._price)


def _neighbours(field: I32) -> list[I32]:
    """The vectors above, below, to the left and to the right of each; its own at an edge."""
    padded = np.pad(field, ((0, 0), (1, 1), (1, 1)), mode="edge")
    return [padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:]]


def _strangeness(field: I32, around: list[I32]) -> F32:
    """About how many bits it takes to tell each vector to one who knows its surroundings, the strangest left out."""
    doublings = _DOUBLINGS[np.minimum([np.abs(field - each).sum(0) for each in around], len(_DOUBLINGS) - 1)]
    bits: F32 = np.float32(_DOUBLING_BITS / (len(around) - 1)) * (doublings.sum(0) - doublings.max(0))
    return bits


def worth(error: F32, price: float) -> F32:
    """Bits a sample that a mean squared error costs at lambda `price`."""
    water = 1 / (2 * math.log(2) * price)
    above = 0.5 * np.log2(np.maximum(error / water, 1)) + 1 / (2 * math.log(2))
    return np.where(error > water, above, error * price).astype(np.float32)

"""Tables fitted to the symbols that a trained model really produces."""

from __future__ import annotations

import math

import numpy as np

from engines.training.scales import (
    SIGNIFICANCE_PER_NAT,
    SPREAD_LOW,
    SPREAD_PER_NAT,
    scale_of_index,
)
from zvc69_cli.codec.entropy.layers import INDEX_FRACTION, SCALE_LEVELS
from zvc69_cli.codec.entropy.tables import TOTAL_FREQUENCY, SymbolTables

PRIOR_STRENGTH = 200.0  # symbols that the Gaussian counts for beside those that were seen
LEVEL_REACH = 1024  # levels beyond it count as one of this size
TAIL = 2**-18  # mass on each side that is left to the escape
SKIP_PROBABILITY = 3e-4  # a row whose symbols are rarer than this is not coded


class SymbolCounts:
    """Histograms of symbols, one a table."""

    def __init__(self, reach: int = 512, rows: int = SCALE_LEVELS) -> None:
        self._reach = reach
        self.counts = np.zeros((rows, 2 * reach + 1), np.int64)

    def add(self, symbols: np.ndarray, indexes: np.ndarray) -> None:
        letters = np.clip(symbols.ravel(), -self._reach, self._reach) + self._reach
        flat = indexes.ravel().astype(np.int64) * self.counts.shape[1] + letters
        self.counts += np.bincount(flat, minlength=self.counts.size).reshape(self.counts.shape)


def gaussian_tables() -> SymbolTables:
    """Tables for symbols that nobody has counted yet."""
    return fit_tables(SymbolCounts(), skip=False)


def fit_tables(counts: SymbolCounts, *, skip: bool = True) -> SymbolTables:
    """Integer tables of what was counted, leaning on a Gaussian where little was."""
    reach = counts.counts.shape[1] // 2
    letters = np.arange(-reach, reach + 1)
    rows, skip_below = [], 0
    for index in range(SCALE_LEVELS):
        seen = counts.counts[index].astype(np.float64)
        # Both signs are equally likely: what was seen of one teaches the other.
        seen = (seen + seen[::-1]) / 2
        model = _gaussian(letters, _scale(index, seen, letters))
        mass = (seen + PRIOR_STRENGTH * model) / (seen.sum() + PRIOR_STRENGTH)
        rows.append(_frequencies(mass, reach))
        if skip and skip_below == index and 1 - mass[reach] < SKIP_PROBABILITY:
            skip_below = index + 1
    return SymbolTables(rows, skip_below)


def fit_motion_tables(counts: SymbolCounts) -> SymbolTables:
    """128 rows: 64 of vectors' spreads, then 64 of whether a cell is coded, leaning on the trained prior's shapes.

    counts  of 128 rows
    """
    reach = counts.counts.shape[1] // 2
    letters = np.arange(-reach, reach + 1)
    rows = []
    for index in range(SCALE_LEVELS):
        seen = counts.counts[index].astype(np.float64)
        seen = (seen + seen[::-1]) / 2
        mass = (seen + PRIOR_STRENGTH * _laplace(letters, index)) / (seen.sum() + PRIOR_STRENGTH)
        rows.append(_frequencies(mass, reach))
    for index in range(SCALE_LEVELS):
        zeros, ones = counts.counts[SCALE_LEVELS + index, reach : reach + 2].astype(np.float64)
        odds = (index - SCALE_LEVELS / 2) * INDEX_FRACTION / SIGNIFICANCE_PER_NAT
        share = (ones + PRIOR_STRENGTH / (1 + math.exp(-odds))) / (zeros + ones + PRIOR_STRENGTH)
        row = np.array([1, 0, max(1, round(share * (TOTAL_FREQUENCY - 3))), 1], np.int64)  # -1, 0, 1, escape
        row[1] = TOTAL_FREQUENCY - row.sum()
        rows.append(row)
    return SymbolTables(rows, 0)


def fit_level_tables(counts: SymbolCounts, trained: np.ndarray) -> SymbolTables:
    """192 rows for the levels of residuals, leaning on the rows that the entropy model was trained with.

    counts   of 192 rows: index 0..63 of frequency group g is row 3 index + g
    trained  ResidualPrior.tables, [3, 64, 3]
    """
    reach = counts.counts.shape[1] // 2
    sizes = np.abs(np.arange(-reach, reach + 1))
    groups = len(trained)
    rows, skip_below = [], 0
    for number in range(groups * SCALE_LEVELS):
        seen = counts.counts[number].astype(np.float64)
        seen = (seen + seen[::-1]) / 2  # both signs are equally likely
        row = trained[number % groups, number // groups]
        model = _level_model(sizes, row.astype(np.float64)) + 1e-12
        mass = (seen + PRIOR_STRENGTH * model / model.sum()) / (seen.sum() + PRIOR_STRENGTH)
        rows.append(_frequencies(mass, reach))
        if skip_below == number and 1 - mass[reach] < SKIP_PROBABILITY:
            skip_below = number + 1
    return SymbolTables(rows, skip_below)


def _level_model(sizes: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Mass of levels of these sizes, either sign alone, by logits as engines.training.residual.level_nats has them."""
    some, many, more = 1 / (1 + np.exp(-row))
    beyond = many * (1 - more) * more ** np.maximum(sizes - 2.0, 0)
    return np.where(sizes == 0, 1 - some, some / 2 * np.where(sizes == 1, 1 - many, beyond))


def fit_class_tables(counts: SymbolCounts) -> SymbolTables:
    """A row for each context of a unit's class; classes 0..CLASSES - 1 are the symbols from 0 on."""
    reach = counts.counts.shape[1] // 2
    rows = []
    for seen in counts.counts[:, reach:-1].astype(np.float64):
        mass = (seen + 1) / (seen + 1).sum()
        row = np.ones(2 * reach + 2, np.int64)
        row[reach : 2 * reach] = np.maximum(1, np.floor(mass * (TOTAL_FREQUENCY - len(row))))
        row[reach] += TOTAL_FREQUENCY - row.sum()
        rows.append(row)
    return SymbolTables(rows, 0)


def _laplace(letters: np.ndarray, index: int) -> np.ndarray:
    """Mass of each letter under the spread that a row stands for."""
    spread = math.exp((index * INDEX_FRACTION) / SPREAD_PER_NAT - SPREAD_LOW)
    tail = 0.5 * np.exp(-np.abs(np.append(letters, letters[-1] + 1) - 0.5) / spread)
    edges = np.append(letters, letters[-1] + 1) - 0.5
    mass = np.diff(np.where(edges > 0, 1 - tail, tail))
    floor = np.exp(-np.abs(letters) / (2 * spread + 0.5))
    return 0.99 * mass / mass.sum() + 0.01 * floor / floor.sum()


def _scale(index: int, seen: np.ndarray, letters: np.ndarray) -> float:
    """The deviation that was seen, or the nominal one while too little was."""
    nominal = float(scale_of_index(np.array(index)))
    if seen.sum() < PRIOR_STRENGTH:
        return nominal
    return max(float(np.sqrt((seen * letters**2).sum() / seen.sum())), 0.03)


def _gaussian(letters: np.ndarray, scale: float) -> np.ndarray:
    edges = np.append(letters, letters[-1] + 1) - 0.5
    cumulative = np.array([0.5 * (1 + math.erf(edge / (scale * math.sqrt(2)))) for edge in edges])
    # A wide, thin floor: a model that gives a symbol no chance at all pays without end when it comes.
    floor = np.exp(-np.abs(letters) / (2 * scale + 0.5))
    mass = np.diff(cumulative) / np.diff(cumulative).sum()
    return 0.99 * mass + 0.01 * floor / floor.sum()


def _frequencies(mass: np.ndarray, centre: int) -> np.ndarray:
    """One row: the shortest symmetric range that leaves at most TAIL a side, and the escape."""
    right = np.cumsum(mass[::-1])[::-1][centre + 1 :]  # mass from each letter 1, 2, ... on
    reach = int(np.count_nonzero(right > TAIL))
    reach = max(reach, 1)
    inside = mass[centre - reach : centre + reach + 1]
    escape = max(1.0 - inside.sum(), 2**-20)
    share = np.append(inside, escape)
    row = np.maximum(1, np.floor(share / share.sum() * (TOTAL_FREQUENCY - len(share)))).astype(np.int64)
    row[reach] += TOTAL_FREQUENCY - row.sum()
    return row

"""A codec of eight numbers a block: the real codec's arithmetic without a model, in microseconds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from engines.training.tables import SymbolCounts, fit_class_tables, gaussian_tables
from zvc69_cli.codec.entropy.tables import TOTAL_FREQUENCY, CodecTables, InterTables, SymbolTables
from zvc69_cli.codec.motion.fields import CELL_SIDES
from zvc69_cli.codec.picture.planes import SEARCH_MARGIN
from zvc69_cli.codec.plan.gop import PlannedFrame
from zvc69_cli.codec.residual.layout import (
    BAND_ORDER,
    CLASS_CONTEXTS,
    CLASSES,
    FREQUENCIES,
    GROUP_SIZES,
    GROUPS,
    basis,
    group_of_pass,
)
from zvc69_cli.codec.residual.prior import row_of
from zvc69_cli.codec.residual.steps import quantiser_steps
from zvc69_cli.codec.settings import INTRA_Q_LEVELS
from zvc69_cli.frames import FrameKind


class PriorOutput(NamedTuple):
    means: np.ndarray
    indexes: np.ndarray
    state: np.ndarray


LATENT_CHANNELS = 8
HYPER_CHANNELS = 2
_BASIS = basis()
SHIFTS = tuple((x, y) for y in (0, -4, -2, 2, 4) for x in (0, -8, -4, -2, 2, 4, 8))  # whole luma samples


class ToyNetworks:
    """Satisfies codec.networks.Networks: block means up and down, a prior that looks at its neighbours.

    Motion is searched among a few whole samples and moves whole blocks. A P or B frame codes the whole transform of
    what its prediction leaves; the tables follow from simple sums.
    """

    latent_channels = LATENT_CHANNELS
    hyper_channels = HYPER_CHANNELS
    has_inter = True
    has_gradients = True
    makes_samples = False
    keeps_arrays = False

    def put(self, array):
        return array

    def each_frame(self):
        """Called once for each frame that is coded, of any kind, for tests that count, delay or fail."""

    def analyse(self, y, u, v, q_256):
        self.each_frame()
        quarters = _means(y, 8)
        height, width = quarters.shape[0] // 2, quarters.shape[1] // 2
        luma = quarters.reshape(height, 2, width, 2).transpose(1, 3, 0, 2).reshape(4, height, width)
        chroma = np.stack([_means(u, 8), _means(v, 8)])
        detail = np.stack([y[::16, ::16], y[15::16, 15::16]])
        latent = (np.concatenate([luma, chroma, detail]) * _steps(q_256)).astype(np.float32)
        padded = np.pad(luma[:2], ((0, 0), (0, -height % 4), (0, -width % 4)), mode="edge")
        hyper = np.stack([_means(each, 4) for each in padded]) * 8
        return latent, hyper.astype(np.float32)

    def predict_first(self, hyper, height, width, offsets):
        grid = np.repeat(np.repeat(hyper, 4, 1), 4, 2)[:, :height, :width]
        means = np.repeat(grid, LATENT_CHANNELS // HYPER_CHANNELS, 0) * 16
        state = np.concatenate([means, means]).astype(np.float32)
        return PriorOutput(means.astype(np.float32), _indexes(means, offsets), state)

    def predict_second(self, known, state, offsets):
        near = np.roll(known, 1, 1) + np.roll(known, 1, 2)
        means = np.floor(near / 2 + 0.5).astype(np.float32)
        return PriorOutput(means, _indexes(means, offsets), state)

    def synthesise(self, latent, q_256, peak):
        return tuple(_samples(plane, peak) for plane in _decoded(latent, q_256))

    def gradient(self, planes, latent, q_256):
        """The toy's synthesis is linear: the error of every sample of a block, together."""
        left = [made - plane for made, plane in zip(_decoded(latent, q_256), planes, strict=True)]
        quarters = 64 * 1.5 * _means(left[0], 8)
        height, width = quarters.shape[0] // 2, quarters.shape[1] // 2
        luma = quarters.reshape(height, 2, width, 2).transpose(1, 3, 0, 2).reshape(4, height, width)
        chroma = [64 * _means(each, 8) for each in left[1:]]
        unseen = np.zeros((2, height, width))
        return (np.concatenate([luma, chroma, unseen]) / _steps(q_256)).astype(np.float32)

    def search(self, y, samples, effort):
        whole, reference = (np.rint(plane * 1020).astype(np.int64) for plane in (y, _whole_samples(samples)))
        fine = np.stack([_means(np.abs(whole - _shifted(reference, *shift)), 8) for shift in SHIFTS])
        fine += 2 * np.array([abs(x) + abs(y) for x, y in SHIFTS])[:, None, None]
        return tuple(_best(fine, side // 8) for side in CELL_SIDES)

    def motion_error(self, level, y, samples, field):
        side = CELL_SIDES[level]
        reference = _whole_samples(samples)[: y.shape[0], : y.shape[1]]
        return _means((y - _moved(reference, field, side)) ** 2, side).astype(np.float32)

    def predict_motion(self, level, second, inputs):
        """Significant where the neighbours are, as large as the predicted motion says; all of it integers."""
        last, coded = inputs[4:6], inputs[8:10].sum(0)
        near = np.zeros_like(coded)
        if second:
            near = np.roll(inputs[12], 1, 0) + np.roll(inputs[12], 1, 1)
        significance = 20 * coded + 30 * near - 40 + 4 * level
        spread = 20 + np.floor(np.abs(inputs[0:2]) + np.abs(inputs[2:4])) - 4 * level
        return np.concatenate([significance[None], np.floor(last / 2), spread]).astype(np.float32)

    def warp(self, y, u, v, field, peak):
        planes = (_moved(y, field, 8), _moved(u, field / 2, 4), _moved(v, field / 2, 4))
        return np.concatenate([_unshuffled(planes[0], 8), *(_unshuffled(each, 4) for each in planes[1:])]) / (
            np.float32(peak)
        )

    def blend(self, first, second):
        return (first + second) / np.float32(2)

    def residual_costs(self, planes, prediction, steps):
        self.each_frame()
        picture, predicted = (
            _transformed(each) / steps[:, None, None] for each in (_features(planes), prediction)
        )
        left = (picture - weight[:, None, None] * predicted for weight in _class_weights())
        costs = np.stack([np.log2(each**2 + 0.5).sum(0) / 2 for each in left])
        classes, rows, columns = costs.shape
        units = costs.reshape(classes, rows // 2, 2, columns // 2, 2).sum((2, 4))
        return picture.astype(np.float32), predicted.astype(np.float32), units.astype(np.float32)

    def residual_coefficients(self, picture, prediction, classes):
        return picture - _weights_of(classes) * prediction

    def residual_state(self, inputs):
        """What the inputs say of how much each cell codes: one plane of integers."""
        return np.floor(inputs[9:27].sum(0, keepdims=True) / 18 + inputs[0:1] / 64).astype(np.float32)

    def residual_pass(self, number, known, levels, state):
        """Expects as much as the state says, and as was coded in the cell and in its neighbours."""
        group = group_of_pass(number)
        if known is None:
            known = np.zeros_like(state)
        else:
            known = known + np.minimum(np.abs(levels), 64).sum(0, keepdims=True).astype(np.float32)
        near = np.roll(known, 1, 1) + np.roll(known, 1, 2)
        indexes = np.clip(np.floor((state + 4 * known + near) / 2), 0, 63).astype(np.uint8)
        rows = np.broadcast_to(row_of(indexes, group), (GROUP_SIZES[group], *indexes.shape[1:]))
        return known, rows.astype(np.uint8)

    def rebuild(self, levels, classes, prediction, steps):
        coefficients = _weights_of(classes) * _transformed(prediction)
        shrunk = _untransformed(coefficients)
        return _untransformed(coefficients + levels * steps[:, None, None]), shrunk

    def loop_filter(self, pictures, edges, steps, q_256):
        """A fourth of the way to what the moved references show, where they are near."""
        picture, _, first, last = pictures
        apart = (first + last) / np.float32(2) - picture
        return (np.clip(apart, -steps[0], steps[0]) / np.float32(4)).astype(np.float32)

    def filter_sums(self, planes, picture, correction):
        lack = _features(planes) - picture
        products = (lack * correction, correction * correction, lack * lack)
        sums = [[part.sum() for part in np.split(each, (64, 80))] for each in products]
        return np.array(sums, np.float32)

    def finish(self, picture, correction, strength, peak):
        return tuple(_samples(plane, peak) for plane in _planes(picture + np.float32(strength) * correction))


class ToyIntraNetworks(ToyNetworks):
    """Those of a bundle that codes I frames only."""

    has_inter = False


def plan_of(
    frame, kind=FrameKind.I, coding_index=0, references=(), stored_in=None, q_offset=0, temporal_layer=0
):
    """A frame as a scheduler would plan it, an I frame that nobody refers to where nothing else is said."""
    return PlannedFrame(
        frame=frame,
        kind=kind,
        coding_index=coding_index,
        dts=frame.pts,
        q_offset=q_offset,
        temporal_layer=temporal_layer,
        references=references,
        stored_in=stored_in,
    )


def toy_tables() -> CodecTables:
    """Tables of the toy: scales that grow with q, as a trained model's do."""
    rows = (60 + np.arange(INTRA_Q_LEVELS) * 140 / 63).astype(np.int64)
    latents = {
        "latent": gaussian_tables(),
        "hyper": gaussian_tables(),
        "scale_offsets": np.repeat(rows[:, None], LATENT_CHANNELS, 1),
        "hyper_offsets": np.full((INTRA_Q_LEVELS, HYPER_CHANNELS), 120, np.int64),
        "hyper_means": np.array([1, -2], np.int64),
    }
    inter = InterTables(
        motion=toy_motion_tables(),
        levels=toy_level_tables(),
        classes=fit_class_tables(SymbolCounts(CLASSES, CLASS_CONTEXTS)),
        steps=quantiser_steps(),
        weights=np.rint(256 * _class_weights()).astype(np.int64),
    )
    return CodecTables(**latents, inter=inter)


def toy_level_tables() -> SymbolTables:
    """Rows of the toy's latents for each frequency group; those of the lowest index code nothing."""
    rows = [row for row in gaussian_tables().rows for _ in GROUPS]
    return SymbolTables(rows, len(GROUPS))


def toy_intra_tables() -> CodecTables:
    """Those of a bundle that codes I frames only."""
    tables = toy_tables()
    names = ("latent", "hyper", "scale_offsets", "hyper_offsets", "hyper_means")
    return CodecTables(**{name: getattr(tables, name) for name in names})


def toy_motion_tables() -> SymbolTables:
    """Spreads as the toy's latents; significances of 1/2 in the middle row, a logit of 1/4 a row."""
    chances = 1 / (1 + np.exp(-(np.arange(64) - 32) / 4))
    significances = []
    for chance in chances:
        ones = int(chance * (TOTAL_FREQUENCY - 4)) + 1
        significances.append(np.array([1, TOTAL_FREQUENCY - 2 - ones, ones, 1], np.int64))
    return SymbolTables([*gaussian_tables().rows, *significances], 0)


def _steps(q_256):
    return 4 * 2 ** (q_256 / 256 / 12)


def _indexes(means, offsets, more=0):
    quarters = np.abs(means) % 16 + offsets[:, None, None] + more
    return np.clip((quarters + 2) // 4, 0, 63).astype(np.uint8)


def _means(plane, size):
    height, width = plane.shape
    return plane.reshape(height // size, size, width // size, size).mean((1, 3))


def _repeat(plane, size):
    return np.repeat(np.repeat(plane, size, 0), size, 1)


def _class_weights():
    """Band weights [classes, 96] that fall with the frequency, the steeper the higher the class."""
    frequencies = FREQUENCIES[BAND_ORDER]
    falls = np.exp(-np.multiply.outer(np.arange(CLASSES) / 4, frequencies))
    return np.rint(256 * falls).astype(np.float32) / np.float32(256)


def _weights_of(classes):
    """The band weights of every cell [96, h, w] of units with these classes."""
    return _class_weights()[classes].repeat(2, 0).repeat(2, 1).transpose(2, 0, 1)


def _features(planes):
    y, u, v = planes
    return np.concatenate([_unshuffled(y, 8), _unshuffled(u, 4), _unshuffled(v, 4)])


def _transformed(features):
    """Rounded to 1 / 2^16, so that no machine's order of summation shows."""
    exact = np.einsum("kc,chw->khw", _BASIS, features.astype(np.float64) - 0.5)
    return (np.rint(exact * 65536) / 65536).astype(np.float32)


def _untransformed(coefficients):
    exact = np.einsum("kc,khw->chw", _BASIS, coefficients.astype(np.float64)) + 0.5
    return (np.rint(exact * 65536) / 65536).astype(np.float32)


def _decoded(latent, q_256):
    values = latent / 16 / _steps(q_256)
    _, height, width = values.shape
    luma = values[:4].reshape(2, 2, height, width).transpose(2, 0, 3, 1).reshape(2 * height, 2 * width)
    return [_repeat(plane, 8) for plane in (luma, values[4], values[5])]


def _samples(plane, peak):
    return np.clip(np.rint(plane * peak), 0, peak).astype(np.float32)


def _shifted(plane, x, y):
    """plane[row + y, column + x], edges replicated."""
    rows = np.clip(np.arange(plane.shape[0]) + y, 0, plane.shape[0] - 1)
    columns = np.clip(np.arange(plane.shape[1]) + x, 0, plane.shape[1] - 1)
    return plane[np.ix_(rows, columns)]


def _best(errors, size):
    """The shift of least error in each cell of size x size blocks, in quarter samples; [2, rows, columns]."""
    cells = np.stack([_means(each, size) for each in errors])
    return np.array(SHIFTS, np.float32)[cells.argmin(0)].transpose(2, 0, 1) * 4


def _whole_samples(samples):
    """The luma in 0..1 of which these are the quarter samples."""
    return samples[0, SEARCH_MARGIN:-SEARCH_MARGIN, SEARCH_MARGIN:-SEARCH_MARGIN] / np.float32(255)


def _moved(plane, field, side):
    """Whole samples, a block of `side` to each cell; field in quarter samples of this plane."""
    whole = np.floor(field / 4 + 0.5).astype(np.int64).repeat(side, 1).repeat(side, 2)
    rows, columns = np.indices(plane.shape)
    height, width = plane.shape
    return plane[np.clip(rows + whole[1], 0, height - 1), np.clip(columns + whole[0], 0, width - 1)]


def _unshuffled(plane, size):
    height, width = plane.shape[0] // size, plane.shape[1] // size
    return plane.reshape(height, size, width, size).transpose(1, 3, 0, 2).reshape(size * size, height, width)


def _shuffled(features, size):
    _, height, width = features.shape
    return (
        features.reshape(size, size, height, width).transpose(2, 0, 3, 1).reshape(height * size, width * size)
    )


def _planes(features):
    return _shuffled(features[:64], 8), _shuffled(features[64:80], 4), _shuffled(features[80:], 4)

"""What an encoder decides of a residual: classes of band weights, levels, and the strength of the loop filter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zvc69_cli.codec.entropy.tables import InterTables
from zvc69_cli.codec.motion.fields import Motion
from zvc69_cli.codec.networks import F32, Networks, Picture
from zvc69_cli.codec.picture.loop_filter import STRENGTH_UNIT, best_strength
from zvc69_cli.codec.picture.reconstruct import Rebuilder
from zvc69_cli.codec.quantised import CodedResidual, Prediction
from zvc69_cli.codec.residual.coding import code_levels
from zvc69_cli.codec.residual.context import ReferenceLevels, state_inputs
from zvc69_cli.codec.residual.layout import CELL
from zvc69_cli.codec.residual.quantise import LevelChooser, worth_of
from zvc69_cli.codec.residual.shrink import choose_classes
from zvc69_cli.frames import FrameKind, VideoFormat


class EncodedResidual(NamedTuple):
    """A residual, and the decoded planes where they had to be made to choose the filter's strength."""

    residual: CodedResidual
    picture: Picture | None


class ResidualEncoder:
    """Codes the residuals of one video.

    rdoq_level  CodecSettings.rdoq_level
    """

    def __init__(
        self, rebuilder: Rebuilder, networks: Networks, tables: InterTables, rdoq_level: int, video: VideoFormat
    ) -> None:
        self._rebuilder = rebuilder
        self._networks = networks
        self._tables = tables
        self._rdoq_level = rdoq_level
        self._shown_rows = -(-video.height // CELL)
        self._shown_columns = -(-video.width // CELL)

    def coded(
        self,
        planes: Picture,
        prediction: Prediction,
        references: Sequence[ReferenceLevels],
        motions: tuple[Motion, ...],
        kind: FrameKind,
        q_256: int,
        *,
        is_stored: bool,
    ) -> EncodedResidual:
        """The residual of one frame.

        planes      padded, in 0..1, where the networks run
        references  what each leaves of its levels
        is_stored   whether other frames are predicted from this one
        """
        networks, steps = self._networks, self._rebuilder.steps(q_256)
        picture, blend, bits = networks.residual_costs(planes, prediction.blend, steps)
        classes = choose_classes(bits)
        coefficients = networks.residual_coefficients(picture, blend, classes)
        self._clear_padding(coefficients)
        inputs = state_inputs(q_256, classes, references, motions, self._tables)
        worth = worth_of(kind, is_stored)
        chooser = LevelChooser(coefficients, self._tables.levels, self._rdoq_level, worth)
        levels, rows = code_levels(networks, inputs, chooser)
        if not is_stored:
            # Nobody refers to this frame: it is not worth the time to measure the filter on it.
            return EncodedResidual(CodedResidual(classes, levels, rows, STRENGTH_UNIT), None)
        unfiltered, shrunk = self._rebuilder.unfiltered(levels, classes, prediction, q_256)
        correction = self._rebuilder.correction(unfiltered, shrunk, prediction, motions, q_256)
        products, squares, errors = networks.filter_sums(planes, unfiltered, correction)
        strength = best_strength(products, squares, errors, q_256)
        decoded = self._rebuilder.finished(unfiltered, correction, strength)
        return EncodedResidual(CodedResidual(classes, levels, rows, strength), decoded)

    def _clear_padding(self, coefficients: F32) -> None:
        """Leave nothing of the cells that lie outside the picture: nobody sees them."""
        coefficients[:, self._shown_rows :] = np.float32(0)
        coefficients[:, :, self._shown_columns :] = np.float32(0)

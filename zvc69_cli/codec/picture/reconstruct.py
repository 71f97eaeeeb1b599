"""From integers to the picture: one road for the encoder's references and the decoder's output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zvc69_cli.codec.entropy.tables import InterTables
from zvc69_cli.codec.motion.fields import Motion
from zvc69_cli.codec.networks import F32, U8, Networks, Picture, Tensor
from zvc69_cli.codec.picture.loop_filter import STRENGTH_UNIT, edge_planes
from zvc69_cli.codec.quantised import I32, Prediction, QuantisedFrame
from zvc69_cli.codec.residual.steps import steps_of_coefficients


def predict_picture(
    motions: Sequence[Motion], references: Sequence[Picture], networks: Networks, peak: int
) -> Prediction:
    """The prediction of a P or B frame: its references, each moved by the finest field to it, and their blend."""
    moved = [
        networks.warp(*planes, motion.fields[-1].astype(np.float32), peak)
        for planes, motion in zip(references, motions, strict=True)
    ]
    blend = moved[0] if len(moved) == 1 else networks.blend(moved[0], moved[1])
    return Prediction(moved[0], moved[-1], blend)


class Rebuilder:
    """Makes the pictures of P and B frames; encoder and decoder share it.

    peak  the largest number in decoded planes
    """

    def __init__(self, networks: Networks, tables: InterTables, peak: int) -> None:
        self._networks = networks
        self._tables = tables
        self._peak = peak

    def steps(self, q_256: int) -> F32:
        """The quantiser step of each coefficient, float32 [96]."""
        return steps_of_coefficients(self._tables.steps_at(q_256))

    def unfiltered(self, levels: I32, classes: U8, prediction: Prediction, q_256: int) -> tuple[Tensor, Tensor]:
        """The picture before the loop filter, and the shrunk prediction: features [96, h, w]."""
        return self._networks.rebuild(levels, classes, prediction.blend, self.steps(q_256))

    def correction(
        self,
        picture: Tensor,
        shrunk: Tensor,
        prediction: Prediction,
        motions: tuple[Motion, ...],
        q_256: int,
    ) -> Tensor:
        """What the loop filter adds at full strength: features [96, h, w]."""
        pictures = (picture, shrunk, prediction.first, prediction.last)
        return self._networks.loop_filter(pictures, edge_planes(motions), self.steps(q_256), q_256)

    def finished(self, picture: Tensor, correction: Tensor, strength: int) -> Picture:
        """Padded planes of whole numbers in 0..peak."""
        return self._networks.finish(picture, correction, strength / STRENGTH_UNIT, self._peak)

    def picture(self, quantised: QuantisedFrame, prediction: Prediction) -> Picture:
        """The padded planes that everybody makes of a coded P or B frame (within a rounding between backends)."""
        residual, motion = quantised.residual, quantised.motion
        if residual is None or motion is None:
            raise ValueError(f"frame {quantised.coding_index} codes no residual")
        q_256 = quantised.q_256
        picture, shrunk = self.unfiltered(residual.levels, residual.classes, prediction, q_256)
        correction = picture
        if residual.strength:
            correction = self.correction(picture, shrunk, prediction, motion.motions, q_256)
        return self.finished(picture, correction, residual.strength)

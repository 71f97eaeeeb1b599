"""From integers to the picture: one road for the encoder's references and the decoder's output."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zvc69_cli.codec.motion.fields import Motion
from zvc69_cli.codec.networks import Networks, Picture, Tensor
from zvc69_cli.codec.quantised import QuantisedFrame


def predict_picture(
    motions: Sequence[Motion], references: Sequence[Picture], networks: Networks, peak: int
) -> Tensor:
    """What a P or B frame is conditioned on: its references, each moved by the finest field to it."""
    return networks.context(
        tuple(
            networks.warp(*planes, motion.fields[-1].astype(np.float32), peak)
            for planes, motion in zip(references, motions, strict=True)
        )
    )


def synthesise(quantised: QuantisedFrame, context: Tensor | None, networks: Networks, peak: int) -> Picture:
    """The padded planes that everybody makes of these integers (within a rounding of the pixels between backends).

    context  None in an I frame
    """
    if context is None:
        return networks.synthesise(quantised.latent, quantised.q_256, peak)
    return networks.synthesise_inter(quantised.latent, context, quantised.q_256, peak)

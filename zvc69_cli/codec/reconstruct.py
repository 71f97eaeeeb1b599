"""From integers to the picture: one function for the encoder's reference and the decoder's output."""

from __future__ import annotations

from zvc69_cli.codec.networks import Networks
from zvc69_cli.codec.planes import cropped_frame
from zvc69_cli.codec.quantised import QuantisedFrame
from zvc69_cli.frames import Frame, VideoFormat


def reconstruct(quantised: QuantisedFrame, networks: Networks, video: VideoFormat) -> Frame:
    """The picture that everybody shows for these integers (within a rounding of the pixels between backends)."""
    planes = networks.synthesise(quantised.latent, quantised.q_256, video.peak)
    return cropped_frame(planes, video, quantised.pts)

"""What the codec asks of the networks, whatever runs them."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.frames import Samples

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
U8 = NDArray[np.uint8]


class Tensor(Protocol):
    """An array wherever the networks have it, in their shape; np.asarray brings it here. Arrays are tensors too."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __array__(self) -> NDArray[Any]: ...


Picture = tuple[Tensor, Tensor, Tensor]  # y, u and v


class PriorOutput(Protocol):
    """codec.intra.prior.Prediction as a backend yields it."""

    @property
    def means(self) -> Tensor:
        """float32 [C, H, W], integers: sixteenths of a step"""

    @property
    def indexes(self) -> Tensor:
        """uint8 [C, H, W], rows of the tables"""

    @property
    def state(self) -> Tensor:
        """float32 [2C, H, W], integers; what `predict_second` is given back"""


class RoundingRule(Protocol):
    """codec.intra.rounding.Rounding, as far as a device needs it."""

    @property
    def thresholds(self) -> F32: ...

    @property
    def skip_below(self) -> int: ...


class Networks(Protocol):
    """The neural half of the codec. H and W are those of the padded planes, multiples of 16; h = H/16, w = W/16.

    What only goes from one network to another is a Tensor, and may stay on a device all the while. What follows
    `has_inter` is called only where that is true. Fields are float32 [2, rows, columns], x then y.
    """

    @property
    def latent_channels(self) -> int: ...

    @property
    def hyper_channels(self) -> int: ...

    def put(self, array: NDArray[Any]) -> Tensor:
        """Quarter samples, put where the networks run: searches and errors of motion are given them often."""

    @property
    def keeps_arrays(self) -> bool:
        """Whether arrays lie where the networks run: the next eight are asked then, and not what they stand for."""

    def take(self, samples: tuple[Samples, Samples, Samples], height: int, width: int, peak: int) -> Picture:
        """codec.picture.planes.padded_planes of a frame's samples, to that height and width of luma."""

    def give(
        self, picture: Picture, size: tuple[int, int], chroma: tuple[int, int], bit_depth: int
    ) -> tuple[Samples, Samples, Samples]:
        """The upper left of planes in parts of a sample, rounded: rows and columns of luma, then of chroma."""

    def picture_error(self, source: Picture, decoded: Picture, peak: int) -> float:
        """codec.picture.skipping.picture_error, but for the last bits of a sum."""

    def continued(self, plane: Tensor, height: int, width: int) -> Tensor:
        """A plane continued to that size by its last column and row."""

    def known_half(self, symbols: I32, means: Tensor) -> Tensor:
        """codec.quantised.known_half."""

    def decoded_latent(self, symbols: I32, first: Tensor, second: Tensor) -> Tensor:
        """codec.quantised.decoded_latent."""

    def rounded_half(self, latent: Tensor, first: PriorOutput, rule: RoundingRule) -> tuple[Tensor, Tensor]:
        """The symbols of a first pass, 0 elsewhere, and what the second one is given; by codec.intra.rounding.Rounding.

        latent  [C, h, w] in steps, as `analyse` yields it
        """

    def rounded(
        self, latent: Tensor, half: Tensor, first: PriorOutput, second: PriorOutput, rule: RoundingRule
    ) -> tuple[I32, U8, Tensor]:
        """Symbols, the table of each, and the decoded latent.

        half  the symbols that `rounded_half` yields
        """

    def analyse(self, y: Tensor, u: Tensor, v: Tensor, q_256: int) -> tuple[Tensor, F32]:
        """Latent [C, h, w] in quantisation steps and hyper latent [Z, ceil(h/4), ceil(w/4)], both unrounded.

        y        [H, W] in 0..1
        u, v     [H/2, W/2]
        """

    def predict_first(self, hyper: F32, height: int, width: int, offsets: F32) -> PriorOutput:
        """codec.intra.prior.IntegerPrior.first, equal to it in every element."""

    def predict_second(self, known: Tensor, state: Tensor, offsets: F32) -> PriorOutput:
        """codec.intra.prior.IntegerPrior.second, equal in every element; `state` of the result is the given one."""

    def synthesise(self, latent: Tensor, q_256: int, peak: int) -> Picture:
        """Planes [H, W] and twice [H/2, W/2] of whole numbers in 0..peak.

        latent  [C, h, w] in sixteenths of a step
        """

    @property
    def has_inter(self) -> bool:
        """Whether P and B frames can be coded."""

    @property
    def has_gradients(self) -> bool:
        """Whether `gradient` can be had."""

    def gradient(self, planes: Picture, latent: Tensor, q_256: int) -> F32:
        """By each element of a latent in steps, [C, h, w]: how the error of the picture made of it grows.

        The error is the squared one a luma sample, samples in 0..1, planes weighted as in training, summed over the
        luma's samples.

        planes  as `analyse` is given them
        latent  in sixteenths of a step
        """

    def search(self, y: Tensor, samples: Tensor, effort: str) -> tuple[F32, F32, F32]:
        """Where blocks of 32, 16 and 8 samples of a picture lie in another: whole numbers of quarter samples.

        y        [H', W'] in 0..1, sides multiples of 64
        samples  codec.picture.planes.quarter_samples of the other
        effort   CodecSettings.motion_search
        """

    @property
    def makes_samples(self) -> bool:
        """Whether `quarter_samples` is to be asked, and not codec.picture.planes."""

    def quarter_samples(self, y: Tensor, peak: int) -> Tensor:
        """codec.picture.planes.quarter_samples of a plane where the networks run, continued as by `search_plane`.

        y  [H, W], whole numbers in 0..peak
        """

    def motion_error(self, level: int, y: Tensor, samples: Tensor, field: F32) -> F32:
        """Mean squared error of each cell [rows, columns] of a level, when it lies at its vector of a field.

        y        [rows * s, columns * s] in 0..1
        samples  codec.picture.planes.quarter_samples of a picture at least as large
        field    quarter samples
        """

    def predict_motion(self, level: int, second: bool, inputs: F32) -> F32:
        """codec.motion.prior.IntegerMotionPrior, equal to it in every element."""

    def warp(self, y: Tensor, u: Tensor, v: Tensor, field: F32, peak: int) -> Tensor:
        """A reference moved by a field [2, H/8, W/8] of quarter luma samples: features [96, H/8, W/8] in 0..1.

        y, u, v  the reference, as `synthesise` yields it
        """

    def blend(self, first: Tensor, second: Tensor) -> Tensor:
        """The prediction [96, H/8, W/8] from two moved references, features as `warp` yields them."""

    def residual_costs(self, planes: Picture, prediction: Tensor, steps: F32) -> tuple[Tensor, Tensor, F32]:
        """DCT of a picture and of its prediction in steps, [96, H/8, W/8], and what each class would leave.

        The coefficients are in the order of codec.residual.layout.BAND_ORDER, less mid-grey. The costs are estimates of
        bits for each class of band weights and unit, [classes, H/16, W/16].

        planes      as `analyse` is given them
        prediction  features [96, H/8, W/8]
        steps       quantiser steps [96], in the samples' range
        """

    def residual_coefficients(self, picture: Tensor, prediction: Tensor, classes: U8) -> F32:
        """The residual in steps, [96, H/8, W/8]: the picture less the prediction times its class's band weights.

        picture, prediction  as `residual_costs` yields them
        classes              [H/16, W/16]
        """

    def residual_state(self, inputs: F32) -> Tensor:
        """codec.residual.prior.IntegerResidualPrior.state, equal to it in every element."""

    def residual_pass(
        self, number: int, known: Tensor | None, levels: I32 | None, state: Tensor
    ) -> tuple[Tensor, U8]:
        """What is known of the levels so far, for the next pass, and the row of the table of each coefficient.

        The rows are those of codec.residual.prior.IntegerResidualPrior.rows, [group, H/8, W/8], equal in every element.

        known   what the pass before it yielded; None in the first one
        levels  of the pass before it, [group, H/8, W/8], 0 where another pass codes; None in the first one
        """

    def rebuild(self, levels: I32, classes: U8, prediction: Tensor, steps: F32) -> tuple[Tensor, Tensor]:
        """The picture before the loop filter and the shrunk prediction, features [96, H/8, W/8].

        levels  [96, H/8, W/8]; the others as for `residual_costs` and `residual_coefficients`
        """

    def loop_filter(
        self, pictures: tuple[Tensor, Tensor, Tensor, Tensor], edges: F32, steps: F32, q_256: int
    ) -> Tensor:
        """What the loop filter adds at full strength, features [96, H/8, W/8].

        pictures  the unfiltered picture, the shrunk prediction, the first and the last moved reference
        edges     codec.picture.loop_filter.edge_planes
        """

    def filter_sums(self, planes: Picture, picture: Tensor, correction: Tensor) -> F32:
        """Of Y, U and V: what the picture lacks times the correction, the correction squared, the error squared.

        planes              as `analyse` is given them
        picture, correction features; the sums are float32 [3, 3]
        """

    def finish(self, picture: Tensor, correction: Tensor, strength: float, peak: int) -> Picture:
        """Planes of whole numbers in 0..peak: features plus `strength` times the correction."""

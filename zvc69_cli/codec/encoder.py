"""Pictures to packets. The encoder contains the decoder: what it predicts from is what a decoder shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from zvc69_cli.codec.entropy.packing import Packer
from zvc69_cli.codec.entropy.tables import CodecTables, LatentTables
from zvc69_cli.codec.intra.latent import (
    CodedLatent,
    intra_prior,
    quantise_latent,
    whole_hyper,
)
from zvc69_cli.codec.intra.prior import HYPER_LIMIT
from zvc69_cli.codec.intra.refinement import Refinement
from zvc69_cli.codec.intra.rounding import Rounding
from zvc69_cli.codec.motion.coding import Choose, as_expected, code_motion
from zvc69_cli.codec.motion.fields import PRECISIONS
from zvc69_cli.codec.motion.search import MotionWeigher
from zvc69_cli.codec.networks import F32, Networks, Picture, Tensor
from zvc69_cli.codec.picture.exchange import PictureExchange
from zvc69_cli.codec.picture.planes import check_frame, quarter_samples, search_plane
from zvc69_cli.codec.picture.reconstruct import Rebuilder, predict_picture
from zvc69_cli.codec.picture.references import (
    REFERENCE_COUNTS,
    Claim,
    EmptySlot,
    ReferenceState,
    Slots,
    in_order,
    state_of,
)
from zvc69_cli.codec.picture.skipping import pays_to_skip, same_picture
from zvc69_cli.codec.plan.gop import PlannedFrame
from zvc69_cli.codec.quantised import I32, QuantisedFrame
from zvc69_cli.codec.rate.quality import SMALLER_TRIES, base_q_256, error_price, smaller_q_256
from zvc69_cli.codec.residual.encoder import ResidualEncoder
from zvc69_cli.codec.settings import SPARSE_SEARCH, CodecSettings
from zvc69_cli.frames import Frame, FrameKind, Packet, VideoFormat


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Reference:
    """What an encoder keeps of a frame that others are predicted from.

    picture       padded planes, as every decoder has them
    source        the frame that was to be coded
    q_256, error  of the coded frame whose picture this is: itself, or one before it (codec.picture.skipping)
    samples       of the picture's luma, for the search
    """

    state: ReferenceState
    picture: Picture
    source: Frame
    q_256: int
    error: float
    samples: Tensor


class _Task(NamedTuple):
    """A frame about to be coded.

    slots, references  what it refers to, in order of time
    planes             padded, in 0..1, where the networks run
    """

    planned: PlannedFrame
    slots: tuple[int, ...]
    references: Sequence[_Reference]
    planes: Picture


class _Promise(NamedTuple):
    """What a slot of the encoder holds: a frame that is coded, or is going to be."""

    pts: int
    reference: Future[_Reference]


CodingClaim = Claim[PlannedFrame, _Reference]


class Encoder:
    """Turns frames of one video into packets, in steps that a pipeline may run on as many threads as it likes:

    claim (in the order of coding, one thread), code and pack (any frame on any thread). The packets are the same.

    raises  ValueError where the tables and the networks are not of one bundle
    """

    def __init__(
        self, video: VideoFormat, settings: CodecSettings, networks: Networks, tables: CodecTables
    ) -> None:
        self.video = video
        self.settings = settings
        self.base_q_256 = base_q_256(settings)
        self._networks = networks
        self._exchange = PictureExchange(video, networks)
        self._tables = tables
        self._rounding = Rounding(settings.rounding, tables.latent)
        self._refinement = Refinement(tables.latent)
        self._packer = Packer(tables, settings.slices)
        self._precision = PRECISIONS.index(settings.motion_precision)
        self._slots: Slots[_Promise] = Slots()
        if tables.scale_offsets.shape[1] != networks.latent_channels:
            raise ValueError("the tables and the networks are not of one bundle")
        self._has_inter = tables.inter is not None and networks.has_inter
        if tables.inter is not None:
            self._weigher = MotionWeigher(networks, tables.inter, self._precision, settings.search_effort)
            self._rebuilder = Rebuilder(networks, tables.inter, self._exchange.peak)
            self._residual = ResidualEncoder(
                self._rebuilder, networks, tables.inter, settings.rdoq_level, video
            )

    def quantise(self, planned: PlannedFrame) -> QuantisedFrame:
        """Run the networks on one frame; frames come in the order of coding. Raises as `claim` does."""
        return self.code(self.claim(planned))

    def claim(self, planned: PlannedFrame) -> CodingClaim:
        """Give the next frame in the order of coding its references and its slot; takes no time.

        raises  ValueError where the frame is not of the encoder's format, is of a kind that the bundle cannot code,
                or refers to what is not there
        """
        check_frame(planned.frame, self.video)
        slots, promises = self._references(planned)
        references = tuple(each.reference for each in promises)
        claim: CodingClaim = Claim(subject=planned, slots=slots, references=references)
        if self._has_inter:
            promise = _Promise(planned.frame.pts, claim.outcome)
            self._slots.store(promise, planned.kind, planned.stored_in)
        return claim

    def code(self, claim: CodingClaim) -> QuantisedFrame:
        """Run the networks on one frame, on any thread; waits for its references.

        raises  what went wrong with this frame, or with one that it refers to
        """
        try:
            references = [each.result() for each in claim.references]
            planned = claim.subject
            task = _Task(planned, claim.slots, references, self._exchange.source(planned.frame))
            quantised = self._fitting(task)
            if not self._has_inter or planned.stored_in is None:
                return quantised
            quantised, kept = self._kept(quantised, task)
        except BaseException as failure:
            claim.outcome.set_exception(failure)
            raise
        claim.outcome.set_result(kept)
        return quantised

    def pack(self, quantised: QuantisedFrame) -> Packet:
        """Entropy-code one frame; touches no state, so that several may run at once."""
        return Packet(
            kind=quantised.kind,
            coding_index=quantised.coding_index,
            pts=quantised.pts,
            dts=quantised.dts,
            payload=self._packer.payload(quantised),
            symbol_crc=quantised.symbol_crc(),
            q_offset=quantised.q_256 - self.base_q_256,
            temporal_layer=quantised.temporal_layer,
            references=sum(1 << slot for slot in quantised.references),
            stored_in=quantised.stored_in,
        )

    def reconstruct(self, quantised: QuantisedFrame) -> Frame:
        """The picture that a decoder makes of this frame."""
        return self._exchange.shown(self._picture(quantised), quantised.pts)

    def _picture(self, quantised: QuantisedFrame) -> Picture:
        """The decoded padded planes of a frame."""
        if quantised.picture is not None:
            return quantised.picture
        if quantised.prediction is not None:
            return self._rebuilder.picture(quantised, quantised.prediction)
        return self._networks.synthesise(quantised.latent, quantised.q_256, self._exchange.peak)

    def _references(self, planned: PlannedFrame) -> tuple[tuple[int, ...], list[_Promise]]:
        """The slots that a frame refers to, in order of time, and what will lie in them."""
        if planned.kind is not FrameKind.I and not self._has_inter:
            raise ValueError(f"this bundle codes I frames only, not {planned.kind.name}")
        if len(set(planned.references)) != REFERENCE_COUNTS.get(planned.kind):
            raise ValueError(f"a frame of type {planned.kind.name} has references {planned.references}")
        try:
            return in_order(planned.references, self._slots, lambda each: each.pts)
        except EmptySlot as error:
            raise ValueError(f"frame {planned.coding_index}: {error}") from error

    def _fitting(self, task: _Task) -> QuantisedFrame:
        """The frame at its q, or at the first lower one tried at which it is no larger than it may be."""
        planned = task.planned
        quantised = self._quantised(task)
        tries = 0 if planned.most_bytes is None else SMALLER_TRIES
        while tries and quantised.q_256 and not quantised.is_skipped:
            size = len(self._packer.payload(quantised))
            if size <= (planned.most_bytes or 0):
                break
            tries -= 1
            q_256 = smaller_q_256(quantised.q_256, size, planned.most_bytes or 1) if tries else 0
            task = task._replace(planned=replace(planned, q_offset=q_256 - self.base_q_256))
            quantised = self._quantised(task)
        return quantised

    def _quantised(self, task: _Task) -> QuantisedFrame:
        planned = task.planned
        q_256 = self.base_q_256 + planned.q_offset
        if task.references and self._skips(task, q_256):
            return self._skipped(planned, task.slots, task.references[0])
        if task.references:
            return self._coded_inter(task, q_256)
        return self._coded_intra(task, q_256)

    def _skips(self, task: _Task, q_256: int) -> bool:
        reference = task.references[0]
        if same_picture(task.planned.frame, reference.source):
            return True
        if q_256 > reference.q_256:
            return False
        error = self._exchange.error(task.planes, reference.picture)
        return pays_to_skip(error, reference.error, math.prod(task.planes[0].shape), q_256)

    def _skipped(self, planned: PlannedFrame, slots: tuple[int, ...], reference: _Reference) -> QuantisedFrame:
        picture = reference.picture
        return QuantisedFrame(**self._facts(planned), references=slots, picture=picture, is_skipped=True)

    def _coded_inter(self, task: _Task, q_256: int) -> QuantisedFrame:
        planned, references = task.planned, task.references
        states = [each.state for each in references]
        choosers = self._choosers(task, q_256)
        motion = code_motion(planned.frame.pts, states, self._precision, self._networks, choosers)
        pictures = [each.picture for each in references]
        prediction = predict_picture(motion.motions, pictures, self._networks, self._exchange.peak)
        levels = [each.levels for each in states]
        is_stored = planned.stored_in is not None
        coded = self._residual.coded(
            task.planes, prediction, levels, motion.motions, planned.kind, q_256, is_stored=is_stored
        )
        return QuantisedFrame(
            **self._facts(planned),
            references=task.slots,
            motion=motion,
            residual=coded.residual,
            prediction=prediction,
            picture=coded.picture,
        )

    def _choosers(self, task: _Task, q_256: int) -> list[Choose]:
        """What chooses the vectors to each reference."""
        kind, references = task.planned.kind, task.references
        is_needed = kind is not FrameKind.B or task.planned.stored_in is not None
        if self.settings.motion_search == SPARSE_SEARCH and not is_needed:
            return [as_expected] * len(references)
        source = self._weigher.source(task.planes[0])
        return [self._weigher.chooser(source, each.samples, kind, q_256) for each in references]

    def _coded_intra(self, task: _Task, q_256: int) -> QuantisedFrame:
        """The symbols of an I frame."""
        tables, price = self._tables, error_price(q_256)
        latent, hyper = self._networks.analyse(*task.planes, q_256)
        hyper_symbols = _hyper_symbols(hyper, q_256, tables)
        offsets = tables.latent_offsets(q_256).astype(np.float32)
        prior = intra_prior(self._networks)

        def coded_as(latent: Tensor) -> CodedLatent:
            return quantise_latent(prior, whole_hyper(hyper_symbols, tables), latent, offsets, self._rounding)

        coded = coded_as(latent)
        for number in range(self.settings.refine):
            gradient = self._networks.gradient(task.planes, coded.latent, q_256)
            latent = self._refinement.moved(
                np.asarray(latent), gradient, coded.symbols, coded.indexes, price, number
            )
            coded = coded_as(latent)
        return QuantisedFrame(
            **self._facts(task.planned),
            hyper=hyper_symbols,
            symbols=coded.symbols,
            indexes=coded.indexes,
            latent=coded.latent,
        )

    def _facts(self, planned: PlannedFrame) -> dict[str, Any]:
        """What a plan says of a frame, as fields of QuantisedFrame."""
        return {
            "kind": planned.kind,
            "coding_index": planned.coding_index,
            "pts": planned.frame.pts,
            "dts": planned.dts,
            "q_256": self.base_q_256 + planned.q_offset,
            "temporal_layer": planned.temporal_layer,
            "stored_in": planned.stored_in,
        }

    def _kept(self, quantised: QuantisedFrame, task: _Task) -> tuple[QuantisedFrame, _Reference]:
        """The frame with its picture, and what those need that are predicted from it."""
        references = task.references
        picture = self._picture(quantised)
        q_256, error = quantised.q_256, 0.0
        if quantised.is_skipped:
            q_256, error = references[0].q_256, references[0].error
        else:
            error = self._exchange.error(task.planes, picture)
        kept = _Reference(
            state=state_of(quantised, [each.state for each in references]),
            picture=picture,
            source=task.planned.frame,
            q_256=q_256,
            error=error,
            samples=self._samples(picture[0]),
        )
        return replace(quantised, picture=picture, prediction=None), kept

    def _samples(self, y: Tensor) -> Tensor:
        """Quarter samples of a decoded luma plane, for the search."""
        if self._networks.makes_samples:
            return self._networks.quarter_samples(y, self._exchange.peak)
        return self._networks.put(quarter_samples(search_plane(np.asarray(y)), self._exchange.peak))


def _hyper_symbols(hyper: F32, q_256: int, tables: LatentTables) -> I32:
    """Integers less their means; 0 in the channels whose table codes nothing."""
    whole = np.clip(np.rint(hyper), -HYPER_LIMIT, HYPER_LIMIT).astype(np.int32)
    symbols: I32 = whole - tables.hyper_means[:, None, None].astype(np.int32)
    symbols[tables.hyper_indexes(q_256) < tables.hyper.skip_below] = 0
    return symbols

"""Packets to pictures: the integers first, whatever the pixels, then the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from zvc69_cli.codec.entropy.coder import BrokenString, StringReader
from zvc69_cli.codec.entropy.payload import BrokenPayload, MotionSection, unpack_sections
from zvc69_cli.codec.entropy.tables import CodecTables, InterTables
from zvc69_cli.codec.intra.latent import (
    LatentReader,
    code_latent,
    inter_prior,
    intra_prior,
    read_hyper,
    whole_hyper,
)
from zvc69_cli.codec.motion.coding import MotionReader, code_motion
from zvc69_cli.codec.networks import Networks, Picture
from zvc69_cli.codec.picture.exchange import PictureExchange
from zvc69_cli.codec.picture.planes import hyper_size, latent_size
from zvc69_cli.codec.picture.reconstruct import predict_picture, synthesise
from zvc69_cli.codec.picture.references import (
    REFERENCE_COUNTS,
    Claim,
    EmptySlot,
    ReferenceState,
    Slots,
    in_order,
    state_of,
)
from zvc69_cli.codec.plan.gop import SLOTS
from zvc69_cli.codec.quantised import CodedMotion, QuantisedFrame, skipped_frame
from zvc69_cli.codec.settings import MAX_Q
from zvc69_cli.errors import DamagedPacket, MissingReference, SymbolMismatch
from zvc69_cli.frames import Frame, FrameKind, Packet, VideoFormat

PictureClaim = Claim[QuantisedFrame, Picture]


class Decoder:
    """Turns packets of one stream into frames, in steps that a pipeline may run on several threads:

    parse and claim (each in coding order, on one thread), show (any frame on any thread).
    """

    def __init__(self, video: VideoFormat, base_q_256: int, networks: Networks, tables: CodecTables) -> None:
        self.video = video
        self._base_q_256 = base_q_256
        self._networks = networks
        self._exchange = PictureExchange(video, networks)
        self._tables = tables
        self._states: Slots[ReferenceState] = Slots()  # of parse
        self._pictures: Slots[Future[Picture]] = Slots()  # of claim

    def parse(self, packet: Packet) -> QuantisedFrame:
        """The integers of one frame; packets come in coding order. One that is refused leaves its slot empty.

        raises  DamagedPacket where the payload is not one, MissingReference where a slot that it refers to is empty,
                SymbolMismatch where it does not decode to the encoder's symbols
        """
        try:
            return self._parsed(packet)
        except (DamagedPacket, SymbolMismatch):
            self.lose(packet)
            raise

    def lose(self, packet: Packet | None) -> None:
        """A packet could not be had: the slot that it goes to holds nothing from now on.

        packet  None where nothing is known of it: every slot is lost
        """
        if packet is None or packet.is_key:
            self._states.empty()
        elif packet.stored_in is not None and 0 <= packet.stored_in < SLOTS:
            self._states.empty(packet.stored_in)

    def reconstruct(self, quantised: QuantisedFrame) -> Frame:
        """The picture; frames come in coding order, and none that is stored may be left out. Raises as `claim`."""
        return self.show(self.claim(quantised))

    def claim(self, quantised: QuantisedFrame) -> PictureClaim:
        """Give the next frame in coding order its references and its slot; none that is stored may be left out.

        raises  MissingReference where one that it refers to was left out
        """
        try:
            references = tuple(self._pictures[slot] for slot in quantised.references)
        except EmptySlot as error:
            raise _missing(quantised.coding_index, error) from error
        claim: PictureClaim = Claim(subject=quantised, slots=quantised.references, references=references)
        self._pictures.store(claim.outcome, quantised.kind, quantised.stored_in)
        return claim

    def show(self, claim: PictureClaim) -> Frame:
        """The picture of one frame, on any thread; waits for its references.

        raises  what went wrong with this frame, or with one that it refers to
        """
        quantised = claim.subject
        try:
            picture = self._picture(quantised, [each.result() for each in claim.references])
        except BaseException as failure:
            claim.outcome.set_exception(failure)
            raise
        claim.outcome.set_result(picture)
        return self._exchange.shown(picture, quantised.pts)

    def _picture(self, quantised: QuantisedFrame, references: Sequence[Picture]) -> Picture:
        if quantised.is_skipped:
            return references[0]
        context = None
        if quantised.motion is not None:
            motions = quantised.motion.motions
            context = predict_picture(motions, references, self._networks, self._exchange.peak)
        return synthesise(quantised, context, self._networks, self._exchange.peak)

    def _parsed(self, packet: Packet) -> QuantisedFrame:
        where = f"packet {packet.coding_index}"
        q_256 = self._base_q_256 + packet.q_offset
        self._check_header(packet, q_256, where)
        try:
            numbers = [slot for slot in range(SLOTS) if packet.references >> slot & 1]
            slots, references = in_order(numbers, self._states, lambda each: each.pts)
            quantised = self._integers(packet, q_256, slots, references)
        except EmptySlot as error:
            raise _missing(packet.coding_index, error) from error
        except BrokenPayload as error:
            raise DamagedPacket(where, str(error), _DAMAGED) from error
        except BrokenString as error:
            raise SymbolMismatch(where, str(error), _DIFFERS) from error
        crc = quantised.symbol_crc()
        if crc != packet.symbol_crc:
            raise SymbolMismatch(
                where, f"crc of the symbols is {crc:08x}, should be {packet.symbol_crc:08x}", _DIFFERS
            )
        if packet.is_key or packet.stored_in is not None:
            self._states.store(state_of(quantised, references), packet.kind, packet.stored_in)
        return quantised

    def _check_header(self, packet: Packet, q_256: int, where: str) -> None:
        """Raises DamagedPacket where the frame is none that this stream can hold."""
        kind = packet.kind
        if kind not in REFERENCE_COUNTS:
            raise DamagedPacket(where, f"frame type is {kind.name}, which is reserved", _NEWER)
        if kind is not FrameKind.I and (self._tables.inter is None or not self._networks.has_inter):
            raise DamagedPacket(where, f"frame type is {kind.name}, this bundle codes I frames only", _NEWER)
        found, due = packet.references.bit_count(), REFERENCE_COUNTS[kind]
        if found != due or packet.references >> SLOTS:
            raise DamagedPacket(
                where, f"references are {packet.references:#x} in a frame of type {kind.name}", _DAMAGED
            )
        if packet.stored_in is not None and not 0 <= packet.stored_in < SLOTS:
            raise DamagedPacket(where, f"it goes to slot {packet.stored_in} of {SLOTS}", _DAMAGED)
        if not 0 <= q_256 <= MAX_Q:
            raise DamagedPacket(where, f"q is {q_256}/256, should be 0..{MAX_Q}/256", _DAMAGED)

    def _integers(
        self, packet: Packet, q_256: int, slots: tuple[int, ...], references: Sequence[ReferenceState]
    ) -> QuantisedFrame:
        size = (self._networks.latent_channels, *latent_size(self.video))
        facts: dict[str, Any] = {
            "kind": packet.kind,
            "coding_index": packet.coding_index,
            "pts": packet.pts,
            "dts": packet.dts,
            "q_256": q_256,
            "temporal_layer": packet.temporal_layer,
            "references": slots,
            "stored_in": packet.stored_in,
        }
        if references and not packet.payload:
            return skipped_frame(size, **facts)
        tables = self._tables.of_kind(packet.kind)
        sections = unpack_sections(packet.payload, size[1], has_motion=bool(references))
        motion, prior = None, intra_prior(self._networks)
        if isinstance(tables, InterTables) and sections.motion is not None:
            motion = self._motion(packet.pts, sections.motion, references, tables)
            prior = inter_prior(self._networks, references, motion.motions)
        picture = StringReader(sections.picture)
        hyper = read_hyper(picture, hyper_size(self.video), q_256, tables)
        reader = LatentReader(sections, picture, size, tables)
        offsets = tables.latent_offsets(q_256).astype(np.float32)
        coded = code_latent(prior, whole_hyper(hyper, tables), size, offsets, reader)
        reader.finish()
        return QuantisedFrame(
            **facts,
            hyper=hyper,
            symbols=coded.symbols,
            indexes=coded.indexes,
            latent=coded.latent,
            motion=motion,
        )

    def _motion(
        self, pts: int, section: MotionSection, references: Sequence[ReferenceState], tables: InterTables
    ) -> CodedMotion:
        reader = MotionReader(section.string, tables)
        motion = code_motion(pts, references, section.precision, self._networks, [reader] * len(references))
        reader.finish()
        return motion


def _missing(coding_index: int, cause: EmptySlot) -> MissingReference:
    return MissingReference(
        f"packet {coding_index}",
        f"missing reference: {cause}",
        "A frame before it was lost. `zvc69 decode --on-error conceal` writes what can be saved.",
    )


_DAMAGED = "The file is damaged. `zvc69 decode --on-error conceal` writes what can be saved."
_NEWER = "Update zvc69: `pip install --upgrade zvc69`."
_DIFFERS = (
    "The bytes are as written, so this machine computes the prior differently from the one that encoded. "
    "Try `--device cpu`; if that fails too, report both machines."
)

"""Packets to pictures: the integers first, whatever the pixels, then the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from zvc69_cli.codec.entropy.coder import BrokenString, StringReader
from zvc69_cli.codec.entropy.payload import BrokenPayload, InterSection, Sections, unpack_sections
from zvc69_cli.codec.entropy.tables import CodecTables, InterTables
from zvc69_cli.codec.intra.latent import (
    LatentReader,
    code_latent,
    intra_prior,
    read_hyper,
    whole_hyper,
)
from zvc69_cli.codec.motion.coding import MotionReader, code_motion
from zvc69_cli.codec.networks import Networks, Picture
from zvc69_cli.codec.picture.exchange import PictureExchange
from zvc69_cli.codec.picture.planes import hyper_size, latent_size
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
from zvc69_cli.codec.plan.gop import SLOTS
from zvc69_cli.codec.quantised import CodedMotion, CodedResidual, QuantisedFrame
from zvc69_cli.codec.rate.quality import highest_q_256
from zvc69_cli.codec.residual.coding import LevelReader, code_levels, read_classes
from zvc69_cli.codec.residual.context import state_inputs
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
        if tables.inter is not None:
            self._rebuilder = Rebuilder(networks, tables.inter, self._exchange.peak)
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
        peak = self._exchange.peak
        if quantised.motion is None:
            return self._networks.synthesise(quantised.latent, quantised.q_256, peak)
        prediction = predict_picture(quantised.motion.motions, references, self._networks, peak)
        return self._rebuilder.picture(quantised, prediction)

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
        most = highest_q_256(kind)
        if not 0 <= q_256 <= most:
            raise DamagedPacket(where, f"q is {q_256}/256, should be 0..{most}/256", _DAMAGED)

    def _integers(
        self, packet: Packet, q_256: int, slots: tuple[int, ...], references: Sequence[ReferenceState]
    ) -> QuantisedFrame:
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
            return QuantisedFrame(**facts, is_skipped=True)
        rows, _ = latent_size(self.video)
        sections = unpack_sections(packet.payload, rows, is_inter=bool(references))
        if self._tables.inter is not None and sections.inter is not None:
            motion = self._motion(packet.pts, sections.inter, references, self._tables.inter)
            residual = self._residual(sections, sections.inter, q_256, references, motion, self._tables.inter)
            return QuantisedFrame(**facts, motion=motion, residual=residual)
        return QuantisedFrame(**facts, **self._latent(sections, q_256))

    def _latent(self, sections: Sections, q_256: int) -> dict[str, Any]:
        """The arrays of an I frame, as fields of QuantisedFrame."""
        size = (self._networks.latent_channels, *latent_size(self.video))
        picture = StringReader(sections.picture)
        hyper = read_hyper(picture, hyper_size(self.video), q_256, self._tables)
        reader = LatentReader(sections, picture, size, self._tables)
        offsets = self._tables.latent_offsets(q_256).astype(np.float32)
        prior = intra_prior(self._networks)
        coded = code_latent(prior, whole_hyper(hyper, self._tables), size, offsets, reader)
        reader.finish()
        return {"hyper": hyper, "symbols": coded.symbols, "indexes": coded.indexes, "latent": coded.latent}

    def _residual(
        self,
        sections: Sections,
        section: InterSection,
        q_256: int,
        references: Sequence[ReferenceState],
        motion: CodedMotion,
        tables: InterTables,
    ) -> CodedResidual:
        size = latent_size(self.video)
        picture = StringReader(sections.picture)
        classes = np.zeros(size, np.uint8)
        if section.has_classes:
            classes = read_classes(picture, size, tables)
        levels_of = [each.levels for each in references]
        inputs = state_inputs(q_256, classes, levels_of, motion.motions, tables)
        reader = LevelReader(sections, picture, size[0], tables.levels)
        levels, rows = code_levels(self._networks, inputs, reader)
        reader.finish()
        return CodedResidual(classes, levels, rows, section.strength)

    def _motion(
        self, pts: int, section: InterSection, references: Sequence[ReferenceState], tables: InterTables
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

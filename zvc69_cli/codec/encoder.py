"""Pictures to packets. The encoder contains the decoder: `reconstruct` is the one that a decoder calls."""

from __future__ import annotations

import numpy as np

from zvc69_cli.codec.entropy import Pass, pack_string
from zvc69_cli.codec.networks import F32, Networks
from zvc69_cli.codec.payload import IntraSections, Slice, pack_sections, slice_rows
from zvc69_cli.codec.planes import check_frame, padded_planes
from zvc69_cli.codec.prior import HYPER_LIMIT
from zvc69_cli.codec.quantised import I32, QuantisedFrame, checkerboard, known_half, merge_passes
from zvc69_cli.codec.rate import base_q_256
from zvc69_cli.codec.reconstruct import reconstruct
from zvc69_cli.codec.rounding import Rounding
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.codec.tables import CodecTables
from zvc69_cli.frames import Frame, FrameKind, Packet, VideoFormat


class Encoder:
    """Turns frames of one video into packets, in three steps that a pipeline may run on three threads.

    raises  ValueError where the tables and the networks are not of one bundle
    """

    def __init__(
        self, video: VideoFormat, settings: CodecSettings, networks: Networks, tables: CodecTables
    ) -> None:
        self.video = video
        self.settings = settings
        self.base_q_256 = base_q_256(settings)
        self._networks = networks
        self._tables = tables
        self._rounding = Rounding(settings.rounding, tables.latent)
        self._hyper_means = tables.hyper_means[:, None, None].astype(np.int32)
        self._coding_index = 0
        if tables.scale_offsets.shape[1] != networks.latent_channels:
            raise ValueError("the tables and the networks are not of one bundle")

    def quantise(self, frame: Frame) -> QuantisedFrame:
        """Run the networks on one frame; frames come in the order of display.

        raises  ValueError where the frame is not of the encoder's format
        """
        check_frame(frame, self.video)
        q_256 = self.base_q_256
        latent, hyper = self._networks.analyse(*padded_planes(frame, self.video), q_256)
        hyper_symbols = self._hyper_symbols(hyper, q_256)
        whole_hyper = (hyper_symbols + self._hyper_means).astype(np.float32)

        offsets = self._tables.latent_offsets(q_256).astype(np.float32)
        channels, height, width = latent.shape
        board = checkerboard(channels, height, width, 0, height).first
        first = self._networks.predict_first(whole_hyper, height, width, offsets)
        symbols = np.where(board, self._rounding.symbols(latent, first.means, first.indexes), 0)
        second = self._networks.predict_second(known_half(symbols, first), first.state, offsets)
        symbols = np.where(board, symbols, self._rounding.symbols(latent, second.means, second.indexes))
        indexes, reconstructed = merge_passes(symbols, first, second)

        quantised = QuantisedFrame(
            kind=FrameKind.I,
            coding_index=self._coding_index,
            pts=frame.pts,
            q_256=q_256,
            hyper=hyper_symbols,
            symbols=symbols,
            indexes=indexes,
            latent=reconstructed,
        )
        self._coding_index += 1
        return quantised

    def _hyper_symbols(self, hyper: F32, q_256: int) -> I32:
        """Integers less their means; 0 in the channels whose table codes nothing."""
        whole = np.clip(np.rint(hyper), -HYPER_LIMIT, HYPER_LIMIT).astype(np.int32)
        symbols: I32 = whole - self._hyper_means
        symbols[self._tables.hyper_indexes(q_256) < self._tables.hyper.skip_below] = 0
        return symbols

    def pack(self, quantised: QuantisedFrame) -> Packet:
        """Entropy-code one frame; touches no state, so that several may run at once."""
        channels, height, width = quantised.symbols.shape
        grid = quantised.hyper[0].size
        hyper_indexes = np.repeat(self._tables.hyper_indexes(quantised.q_256), grid)
        hyper = pack_string([Pass(quantised.hyper.ravel(), hyper_indexes)], self._tables.hyper)
        symbols, indexes = quantised.symbols.ravel(), quantised.indexes.ravel()
        slices = []
        for start, rows in slice_rows(height, self.settings.slices):
            positions = checkerboard(channels, height, width, start, rows).passes
            passes = [Pass(symbols[each], indexes[each]) for each in positions]
            slices.append(Slice(start, rows, pack_string(passes, self._tables.latent)))
        return Packet(
            kind=quantised.kind,
            coding_index=quantised.coding_index,
            pts=quantised.pts,
            dts=quantised.pts,
            payload=pack_sections(IntraSections(hyper=hyper, slices=tuple(slices))),
            symbol_crc=quantised.symbol_crc(),
            q_offset=quantised.q_256 - self.base_q_256,
        )

    def reconstruct(self, quantised: QuantisedFrame) -> Frame:
        """The picture that a decoder makes of this frame."""
        return reconstruct(quantised, self._networks, self.video)

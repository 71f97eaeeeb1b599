"""Packets to pictures: the integers first, whatever the pixels, then the pixels."""

from __future__ import annotations

import numpy as np

from zvc69_cli.codec.entropy import BrokenString, StringReader
from zvc69_cli.codec.networks import Networks
from zvc69_cli.codec.payload import BrokenPayload, unpack_sections
from zvc69_cli.codec.planes import hyper_size, latent_size
from zvc69_cli.codec.prior import HYPER_LIMIT
from zvc69_cli.codec.quantised import QuantisedFrame, checkerboard, known_half, merge_passes
from zvc69_cli.codec.reconstruct import reconstruct
from zvc69_cli.codec.settings import MAX_Q
from zvc69_cli.codec.tables import CodecTables
from zvc69_cli.errors import DamagedPacket, SymbolMismatch
from zvc69_cli.frames import Frame, FrameKind, Packet, VideoFormat


class Decoder:
    """Turns packets of one stream into frames, in two steps that a pipeline may run on two threads."""

    def __init__(self, video: VideoFormat, base_q_256: int, networks: Networks, tables: CodecTables) -> None:
        self.video = video
        self._base_q_256 = base_q_256
        self._networks = networks
        self._tables = tables

    def parse(self, packet: Packet) -> QuantisedFrame:
        """The integers of one frame; packets come in coding order.

        raises  DamagedPacket where the payload is not one, SymbolMismatch where it does not decode to the
                encoder's symbols
        """
        where = f"packet {packet.coding_index}"
        if packet.kind is not FrameKind.I:
            raise DamagedPacket(
                where,
                f"frame type is {packet.kind.name}, this version decodes I frames",
                "Update zvc69: `pip install --upgrade zvc69`.",
            )
        q_256 = self._base_q_256 + packet.q_offset
        if not 0 <= q_256 <= MAX_Q:
            raise DamagedPacket(where, f"q is {q_256}/256, should be 0..{MAX_Q}/256", _DAMAGED)
        try:
            quantised = self._integers(packet, q_256)
        except BrokenPayload as error:
            raise DamagedPacket(where, str(error), _DAMAGED) from error
        except BrokenString as error:
            raise SymbolMismatch(where, str(error), _DIFFERS) from error
        crc = quantised.symbol_crc()
        if crc != packet.symbol_crc:
            raise SymbolMismatch(
                where, f"crc of the symbols is {crc:08x}, should be {packet.symbol_crc:08x}", _DIFFERS
            )
        return quantised

    def reconstruct(self, quantised: QuantisedFrame) -> Frame:
        """The picture; the same function makes the encoder's reference."""
        return reconstruct(quantised, self._networks, self.video)

    def _integers(self, packet: Packet, q_256: int) -> QuantisedFrame:
        tables, networks = self._tables, self._networks
        height, width = latent_size(self.video)
        channels = networks.latent_channels
        sections = unpack_sections(packet.payload, height)

        hyper_rows, hyper_columns = hyper_size(self.video)
        reader = StringReader(sections.hyper, tables.hyper)
        hyper = reader.read(np.repeat(tables.hyper_indexes(q_256), hyper_rows * hyper_columns))
        reader.finish()
        hyper = hyper.reshape(-1, hyper_rows, hyper_columns)
        whole_hyper = hyper + tables.hyper_means[:, None, None].astype(np.int32)
        if np.abs(whole_hyper).max() > HYPER_LIMIT:
            raise BrokenString(f"a hyper latent is beyond {HYPER_LIMIT}")

        offsets = tables.latent_offsets(q_256).astype(np.float32)
        first = networks.predict_first(whole_hyper.astype(np.float32), height, width, offsets)
        symbols = np.zeros(channels * height * width, np.int32)
        readers = [StringReader(each.string, tables.latent) for each in sections.slices]
        places = [
            checkerboard(channels, height, width, each.start_row, each.rows).passes for each in sections.slices
        ]
        flat = first.indexes.ravel()
        for slice_reader, (positions, _) in zip(readers, places, strict=True):
            symbols[positions] = slice_reader.read(flat[positions])

        grid = symbols.reshape(channels, height, width)
        second = networks.predict_second(known_half(grid, first), first.state, offsets)
        flat = second.indexes.ravel()
        for slice_reader, (_, positions) in zip(readers, places, strict=True):
            symbols[positions] = slice_reader.read(flat[positions])
            slice_reader.finish()

        indexes, latent = merge_passes(grid, first, second)
        return QuantisedFrame(
            kind=packet.kind,
            coding_index=packet.coding_index,
            pts=packet.pts,
            q_256=q_256,
            hyper=hyper,
            symbols=grid,
            indexes=indexes,
            latent=latent,
        )


_DAMAGED = "The file is damaged. `zvc69 decode --on-error conceal` writes what can be saved."
_DIFFERS = (
    "The bytes are as written, so this machine computes the prior differently from the one that encoded. "
    "Try `--device cpu`; if that fails too, report both machines."
)

"""The sections of a coded frame, as bytes.

A head byte comes first: the precision of motion, whether the frame is cut in slices, and one more bit. In an I frame
that bit says that its channels' tables are shifted; in a P or B frame it says that units have classes of band weights.
A P or B frame goes on with the strength of the loop filter, one byte, and its motion string, whose length comes before
it as a varint. The rest is one string: in an I frame of the hyper latent, the shifts and the latent; in a P or B frame
of the classes and the levels. Where a frame is cut in slices, that string holds neither latent nor levels and its
length comes before it; the parallel form ZVCP follows, with a string for each slice. A skipped frame has no byte.

source  FORMAT.md 6.2
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final, NamedTuple

from zvc69_cli.codec.entropy.varint import VarintError, pack_varint, unpack_varint
from zvc69_cli.codec.motion.fields import PRECISIONS
from zvc69_cli.codec.settings import MAX_SLICES

_PRECISION_BITS: Final = 0b11  # of the head
_IS_SLICED: Final = 1 << 2
_IS_SHIFTED: Final = 1 << 3  # of an I frame
_HAS_CLASSES: Final = 1 << 3  # of a P or B frame
_RESERVED_BITS: Final = 0xF0
_INTER_HEAD_BYTES: Final = 2  # of a P or B frame: the head and the strength of the loop filter
SLICED_MAGIC: Final = b"ZVCP"
SLICED_VERSION: Final = 1
_SLICED_HEAD_BYTES: Final = 8
_SLICE_ENTRY_BYTES: Final = 16


class BrokenPayload(ValueError):
    """The sections of a payload are not what `pack_sections` writes."""


class Slice(NamedTuple):
    """Rows of the latent's grid and the string that codes them."""

    start_row: int
    rows: int
    string: bytes


class InterSection(NamedTuple):
    """What only a P or B frame has.

    precision    steps of the vectors, a place in codec.motion.fields.PRECISIONS
    string       codes the vectors
    strength     of the loop filter, 0..255
    has_classes  whether the classes of band weights are coded; else every unit has the first
    """

    precision: int
    string: bytes
    strength: int = 0
    has_classes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """What the bytes of a frame hold.

    picture     the string of the hyper latent and the shifts, or of the classes; where there are no slices, then of
                the latent or the levels
    slices      in order, covering every row of the grid once; none where the frame is not cut
    inter       None in an I frame
    is_shifted  whether the channels' tables of an I frame are shifted (codec.intra.channel_shifts)
    """

    picture: bytes
    slices: tuple[Slice, ...] = ()
    inter: InterSection | None = None
    is_shifted: bool = False


def slice_rows(rows: int, slices: int) -> list[tuple[int, int]]:
    """Start and count of rows of each slice: as equal as they can be, none empty."""
    count = max(1, min(slices, rows))
    edges = [rows * number // count for number in range(count + 1)]
    return [(start, end - start) for start, end in itertools.pairwise(edges)]


def pack_sections(sections: Sections) -> bytes:
    """The payload of a frame that is not skipped; undone by `unpack_sections`."""
    head = _IS_SHIFTED * sections.is_shifted | _IS_SLICED * bool(sections.slices)
    parts = []
    if sections.inter is not None:
        head |= sections.inter.precision | _HAS_CLASSES * sections.inter.has_classes
        parts += [bytes([sections.inter.strength])]
        parts += [pack_varint(len(sections.inter.string)), sections.inter.string]
    if sections.slices:
        parts += [pack_varint(len(sections.picture)), sections.picture, _pack_slices(sections.slices)]
    else:
        parts.append(sections.picture)
    return bytes([head]) + b"".join(parts)


def unpack_sections(payload: bytes, grid_rows: int, *, is_inter: bool = False) -> Sections:
    """The sections of a payload.

    grid_rows  rows of 16x16 samples, which the slices must cover
    is_inter   of a P or B frame
    raises     BrokenPayload
    """
    if not payload:
        raise BrokenPayload("no byte, should be 1 or more")
    head, offset, inter = payload[0], 1, None
    precision = head & _PRECISION_BITS
    if head & _RESERVED_BITS:
        raise BrokenPayload(f"reserved bits of the head {head:#04x} are not 0")
    if precision and not is_inter:
        raise BrokenPayload(f"precision of the motion is {precision} where there is no motion")
    if precision >= len(PRECISIONS):
        raise BrokenPayload(f"precision of the motion is {precision}, should be 0..{len(PRECISIONS) - 1}")
    if is_inter:
        if len(payload) < 2:
            raise BrokenPayload("1 byte, should be 2 or more: the strength of the loop filter is missing")
        string, offset = _section(payload, _INTER_HEAD_BYTES, "motion")
        inter = InterSection(precision, string, payload[1], bool(head & _HAS_CLASSES))
    is_shifted = not is_inter and bool(head & _IS_SHIFTED)
    if not head & _IS_SLICED:
        return Sections(picture=payload[offset:], inter=inter, is_shifted=is_shifted)
    picture, offset = _section(payload, offset, "classes" if is_inter else "hyper")
    slices = _unpack_slices(payload[offset:], grid_rows)
    return Sections(picture=picture, slices=slices, inter=inter, is_shifted=is_shifted)


def motion_bytes(payload: bytes) -> int:
    """Bytes of the motion string of a P or B frame, its length included; 0 where nothing can be read of it."""
    try:
        length, begin = unpack_varint(payload, _INTER_HEAD_BYTES)
    except VarintError:
        return 0
    size = begin - _INTER_HEAD_BYTES + length
    return min(size, max(0, len(payload) - _INTER_HEAD_BYTES))


def _section(payload: bytes, offset: int, name: str) -> tuple[bytes, int]:
    try:
        length, begin = unpack_varint(payload, offset)
    except VarintError as error:
        raise BrokenPayload(str(error)) from error
    if length > len(payload) - begin:
        raise BrokenPayload(f"the {name} section has {length} bytes, but {len(payload) - begin} remain")
    return payload[begin : begin + length], begin + length


def _pack_slices(slices: tuple[Slice, ...]) -> bytes:
    head = SLICED_MAGIC + bytes([SLICED_VERSION, len(slices), 0, 0])
    entries, offset = b"", 0
    for each in slices:
        fields = (each.start_row, each.rows, offset, len(each.string))
        entries += b"".join(field.to_bytes(4, "big") for field in fields)
        offset += len(each.string)
    return head + entries + b"".join(each.string for each in slices)


def _unpack_slices(body: bytes, grid_rows: int) -> tuple[Slice, ...]:
    if len(body) < _SLICED_HEAD_BYTES or body[:4] != SLICED_MAGIC:
        raise BrokenPayload("the sliced form does not begin with ZVCP")
    version, count = body[4], body[5]
    if version != SLICED_VERSION:
        raise BrokenPayload(f"ZVCP version is {version}, should be {SLICED_VERSION}")
    if body[6:8] != b"\0\0":
        raise BrokenPayload("reserved bytes of ZVCP are not zero")
    if not 2 <= count <= min(MAX_SLICES, grid_rows):
        raise BrokenPayload(f"{count} slices, should be 2..{min(MAX_SLICES, grid_rows)}")
    begin = _SLICED_HEAD_BYTES + count * _SLICE_ENTRY_BYTES
    if begin > len(body):
        raise BrokenPayload(f"{count} slice entries do not fit into {len(body)} bytes")
    strings, row, end = body[begin:], 0, 0
    slices = []
    for number in range(count):
        entry = body[_SLICED_HEAD_BYTES + number * _SLICE_ENTRY_BYTES :][:_SLICE_ENTRY_BYTES]
        start, rows, offset, size = (int.from_bytes(entry[at : at + 4], "big") for at in (0, 4, 8, 12))
        if start != row or not 1 <= rows <= grid_rows - row:
            raise BrokenPayload(f"slice {number} has rows {start}+{rows}, should go on from row {row}")
        if offset != end or size > len(strings) - end:
            raise BrokenPayload(f"slice {number} has bytes {offset}+{size} of {len(strings)}")
        row, end = row + rows, end + size
        slices.append(Slice(start, rows, strings[offset:end]))
    if row != grid_rows or end != len(strings):
        raise BrokenPayload(f"the slices cover {row} of {grid_rows} rows and {end} of {len(strings)} bytes")
    return tuple(slices)

"""The sections of a coded frame, as bytes.

A head byte comes first: how precise motion is, whether the latent is cut in slices, whether its channels' tables are
shifted. A P or B frame's motion string follows, with its length before it as a varint. The rest is one string, of the
hyper latent, the shifts and the latent; where the latent is cut, that one holds no latent and has its length before
it, and the parallel form ZVCP follows, with a string a slice. A skipped frame has no byte at all.

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
_IS_SHIFTED: Final = 1 << 3
_RESERVED_BITS: Final = 0xF0
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


class MotionSection(NamedTuple):
    """The steps of the vectors, a place in codec.motion.fields.PRECISIONS, and the string that codes them."""

    precision: int
    string: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """What the bytes of a frame hold.

    picture     the string of the hyper latent, the shifts and, where there are no slices, the latent
    slices      in order, covering every row of the grid once; none where the latent is not cut
    motion      None in an I frame
    is_shifted  whether channels' tables are shifted (codec.intra.channel_shifts)
    """

    picture: bytes
    slices: tuple[Slice, ...] = ()
    motion: MotionSection | None = None
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
    if sections.motion is not None:
        head |= sections.motion.precision
        parts += [pack_varint(len(sections.motion.string)), sections.motion.string]
    if sections.slices:
        parts += [pack_varint(len(sections.picture)), sections.picture, _pack_slices(sections.slices)]
    else:
        parts.append(sections.picture)
    return bytes([head]) + b"".join(parts)


def unpack_sections(payload: bytes, grid_rows: int, *, has_motion: bool = False) -> Sections:
    """The sections of a payload.

    grid_rows   rows of the latent's grid, which the slices must cover
    has_motion  of a P or B frame
    raises      BrokenPayload
    """
    if not payload:
        raise BrokenPayload("no byte, should be 1 or more")
    head, offset, motion = payload[0], 1, None
    precision = head & _PRECISION_BITS
    if head & _RESERVED_BITS:
        raise BrokenPayload(f"reserved bits of the head {head:#04x} are not 0")
    if precision and not has_motion:
        raise BrokenPayload(f"precision of the motion is {precision} where there is no motion")
    if precision >= len(PRECISIONS):
        raise BrokenPayload(f"precision of the motion is {precision}, should be 0..{len(PRECISIONS) - 1}")
    if has_motion:
        string, offset = _section(payload, offset, "motion")
        motion = MotionSection(precision, string)
    is_shifted = bool(head & _IS_SHIFTED)
    if not head & _IS_SLICED:
        return Sections(picture=payload[offset:], motion=motion, is_shifted=is_shifted)
    picture, offset = _section(payload, offset, "hyper")
    slices = _unpack_slices(payload[offset:], grid_rows)
    return Sections(picture=picture, slices=slices, motion=motion, is_shifted=is_shifted)


def motion_bytes(payload: bytes) -> int:
    """Bytes of the motion string of a P or B frame, its length included; 0 where nothing can be read of it."""
    try:
        length, begin = unpack_varint(payload, 1)
    except VarintError:
        return 0
    return min(begin - 1 + length, max(0, len(payload) - 1))


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

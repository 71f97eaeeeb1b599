"""The sections of a coded frame, as bytes.

An I frame is a hyper section and a latent section, each with its length before it as a varint; in a P or B frame a
motion section stands before them, and a skipped frame has no byte at all. The motion section is a precision and one
string (codec.entropy), the hyper section one string. The latent section says how it predicts and how it is cut, then
holds one string, or the parallel form ZVCP with a string a slice.

source  FORMAT.md 6.2
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Final, NamedTuple

from zvc69_cli.codec.motion import PRECISIONS
from zvc69_cli.codec.settings import MAX_SLICES
from zvc69_cli.codec.varint import VarintError, pack_varint, unpack_varint

CONTEXT_CHECKERBOARD: Final = 1
FORM_WHOLE: Final = 0
FORM_SLICED: Final = 1
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
    """The steps of the vectors, a place in codec.motion.PRECISIONS, and the string that codes them."""

    precision: int
    string: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Sections:
    """hyper: one string; slices: in order, covering every row of the grid once; motion: None in an I frame."""

    hyper: bytes
    slices: tuple[Slice, ...]
    motion: MotionSection | None = None


def slice_rows(rows: int, slices: int) -> list[tuple[int, int]]:
    """Start and count of rows of each slice: as equal as they can be, none empty."""
    count = max(1, min(slices, rows))
    edges = [rows * number // count for number in range(count + 1)]
    return [(start, end - start) for start, end in itertools.pairwise(edges)]


def pack_sections(sections: Sections) -> bytes:
    """The payload of a frame that is not skipped; undone by `unpack_sections`."""
    if len(sections.slices) == 1:
        body = bytes([FORM_WHOLE]) + sections.slices[0].string
    else:
        body = bytes([FORM_SLICED]) + _pack_slices(sections.slices)
    latent = bytes([CONTEXT_CHECKERBOARD]) + body
    parts = [sections.hyper, latent]
    if sections.motion is not None:
        parts.insert(0, bytes([sections.motion.precision]) + sections.motion.string)
    return b"".join(pack_varint(len(part)) + part for part in parts)


def unpack_sections(payload: bytes, grid_rows: int, *, has_motion: bool = False) -> Sections:
    """The sections of a payload.

    grid_rows   rows of the latent's grid, which the slices must cover
    has_motion  of a P or B frame
    raises      BrokenPayload
    """
    offset, motion = 0, None
    try:
        if has_motion:
            section, offset = _section(payload, offset, "motion")
            motion = _motion(section)
        hyper, offset = _section(payload, offset, "hyper")
        latent, offset = _section(payload, offset, "latent")
    except VarintError as error:
        raise BrokenPayload(str(error)) from error
    if offset != len(payload):
        raise BrokenPayload(f"{len(payload) - offset} bytes are left over after the sections")
    if len(latent) < 2:
        raise BrokenPayload(f"the latent section has {len(latent)} bytes, should be 2 or more")
    context, form, body = latent[0], latent[1], latent[2:]
    if context != CONTEXT_CHECKERBOARD:
        raise BrokenPayload(f"context mode is {context}, should be {CONTEXT_CHECKERBOARD}")
    if form == FORM_WHOLE:
        return Sections(hyper=hyper, slices=(Slice(0, grid_rows, body),), motion=motion)
    if form == FORM_SLICED:
        return Sections(hyper=hyper, slices=_unpack_slices(body, grid_rows), motion=motion)
    raise BrokenPayload(f"form of the latent section is {form}, should be {FORM_WHOLE} or {FORM_SLICED}")


def _section(payload: bytes, offset: int, name: str) -> tuple[bytes, int]:
    length, begin = unpack_varint(payload, offset)
    if length > len(payload) - begin:
        raise BrokenPayload(f"the {name} section has {length} bytes, but {len(payload) - begin} remain")
    return payload[begin : begin + length], begin + length


def _motion(section: bytes) -> MotionSection:
    if not section:
        raise BrokenPayload("the motion section has 0 bytes, should be 1 or more")
    if section[0] >= len(PRECISIONS):
        raise BrokenPayload(f"precision of the motion is {section[0]}, should be 0..{len(PRECISIONS) - 1}")
    return MotionSection(section[0], section[1:])


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

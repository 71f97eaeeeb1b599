"""The header of YUV4MPEG2: a line of tags, read and written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Final

from zvc69_cli.errors import InputError
from zvc69_cli.frames import VideoFormat

MAGIC: Final = b"YUV4MPEG2"
FRAME_MAGIC: Final = b"FRAME"
MAX_HEADER_BYTES: Final = 4096
PROGRESSIVE: Final = ("p", "?")

_LOCATIONS: Final = {"420jpeg": 2, "420mpeg2": 1, "420paldv": 3}
_RANGES: Final = {"LIMITED": 1, "FULL": 2}
_BASES: Final = {
    "420": "yuv420p",
    "422": "yuv422p",
    "444": "yuv444p",
    "411": "yuv411p",
    "440": "yuv440p",
    "mono": "gray",
}
_DEPTHS: Final = ("9", "10", "12", "14", "16")
_MAX_TERM: Final = 1 << 31


@dataclass(frozen=True, slots=True, kw_only=True)
class Y4mHeader:
    """What the header line says.

    pixel_format     FFmpeg's name of the samples' layout
    frame_rate       None where the tag is missing or 0:0
    sample_aspect    0 where unknown
    interlacing      "p", "t", "b", "m" or "?"
    chroma_location  as in ColourTags
    colour_range     as in ColourTags
    """

    width: int
    height: int
    pixel_format: str = "yuv420p"
    frame_rate: Fraction | None = None
    sample_aspect: Fraction = Fraction(0)
    interlacing: str = "?"
    chroma_location: int = 0
    colour_range: int = 0


def parse_header(line: bytes, where: str) -> Y4mHeader:
    """The header of its first line, newline left out; raises InputError naming the tag that is wrong."""
    words = line.decode("latin-1").split()
    if not words or words[0] != MAGIC.decode():
        raise InputError(
            where, f"begins with {line[:16]!r}, should be {MAGIC!r}", "Leave --y4m out, or give a y4m."
        )
    tags: dict[str, str] = {}
    for word in words[1:]:
        if word.startswith("XCOLORRANGE="):
            tags["range"] = word.partition("=")[2]
        elif word[0] != "X":
            tags[word[0]] = word[1:]
    chroma = tags.get("C", "420")
    return Y4mHeader(
        width=_side(tags, "W", where),
        height=_side(tags, "H", where),
        pixel_format=_pixel_format(chroma, where),
        frame_rate=_ratio(tags, "F", where),
        sample_aspect=_ratio(tags, "A", where) or Fraction(0),
        interlacing=_interlacing(tags, where),
        chroma_location=_LOCATIONS.get(chroma, 0),
        colour_range=_RANGES.get(tags.get("range", ""), 0),
    )


def header_line(video: VideoFormat, bit_depth: int, frame_rate: Fraction) -> bytes:
    """The header for a video, newline included; undone by `parse_header`."""
    if bit_depth == 10:
        chroma = "420p10 XYSCSS=420P10"
    else:
        chroma = {number: name for name, number in _LOCATIONS.items()}.get(
            video.colour.chroma_location, "420jpeg"
        )
    words = [
        MAGIC.decode(),
        f"W{video.width}",
        f"H{video.height}",
        f"F{frame_rate.numerator}:{frame_rate.denominator}",
        "Ip",
        f"A{video.sample_aspect.numerator}:{video.sample_aspect.denominator if video.sample_aspect else 0}",
        f"C{chroma}",
    ]
    words += [f"XCOLORRANGE={name}" for name, number in _RANGES.items() if number == video.colour.colour_range]
    return " ".join(words).encode() + b"\n"


def _pixel_format(chroma: str, where: str) -> str:
    if chroma in _LOCATIONS:
        return "yuv420p"
    if chroma == "444alpha":
        return "yuva444p"
    found = re.fullmatch(r"(420|422|444|411|440|mono)(?:p?(\d+))?", chroma)
    if found is None or (found[2] is not None and found[2] not in _DEPTHS):
        raise InputError(
            where,
            f"y4m header: C{chroma[:16]} is no chroma layout that zvc69 knows",
            "Convert it first: `ffmpeg -i IN.y4m -pix_fmt yuv420p OUT.y4m`.",
        )
    return _BASES[found[1]] + (f"{found[2]}le" if found[2] else "")


def _side(tags: dict[str, str], tag: str, where: str) -> int:
    text = tags.get(tag, "")
    if re.fullmatch(r"[0-9]{1,9}", text) is None:
        found = f"{tag}{text[:16]}" if tag in tags else "no tag"
        raise InputError(where, f"y4m header: {found}, should be {tag} and a number", "Make the file again.")
    return int(text)


def _ratio(tags: dict[str, str], tag: str, where: str) -> Fraction | None:
    if tag not in tags:
        return None
    found = re.fullmatch(r"([0-9]{1,10}):([0-9]{1,10})", tags[tag])
    if found is None or max(int(found[1]), int(found[2])) > _MAX_TERM:
        raise InputError(
            where, f"y4m header: {tag}{tags[tag][:32]}, should be {tag}number:number", "Make the file again."
        )
    if 0 in (int(found[1]), int(found[2])):
        return None
    return Fraction(int(found[1]), int(found[2]))


def _interlacing(tags: dict[str, str], where: str) -> str:
    kind = tags.get("I", "?") or "?"
    if kind not in ("p", "t", "b", "m", "?"):
        raise InputError(
            where, f"y4m header: I{kind[:16]}, should be one of Ip It Ib Im I?", "Make the file again."
        )
    return kind

"""Pages: one HTML file each that needs nothing from outside, made of sections that a script in it draws.

The drawing is web/page.js; its charts are web/charts.js.
"""

from __future__ import annotations

import base64
import html
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from string import Template
from typing import Any, Final

import av
import numpy as np

from zvc69_cli.errors import OutputError
from zvc69_cli.frames import ColourTags, Frame
from zvc69_cli.measure.program_encoder import PIXEL_FORMATS
from zvc69_cli.measure.quality import Scale
from zvc69_cli.media.pictures import picture_of

WEB: Final = Path(__file__).parent / "web"
PICTURE_BUDGET_BYTES: Final = 2_000_000  # of all crops in one page, which is to stay below 3 MB
LUMA_709: Final = 1
LUMA_601: Final = 5
HD_HEIGHT: Final = 576  # untagged video above this is taken for BT.709, as players do
FINEST_JPEG, COARSEST_JPEG = 2, 12  # MJPEG's quantisers
MAX_BARS: Final = 2000
KINDS: Final = "IPB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of a table; tone is "good", "bad", "faint" or ""."""

    text: str
    tone: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    cells: tuple[Cell, ...]
    strong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    type: str = field(default="table", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and what is to be said of them."""

    title: str
    items: tuple[tuple[str, str], ...]
    note: str = ""
    type: str = field(default="facts", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    name: str
    value: str
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """A few figures, large."""

    title: str
    items: tuple[Tile, ...]
    note: str = ""
    type: str = field(default="tiles", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePoint:
    """One encode; values by the name of their scale."""

    label: str
    bits_per_pixel: float
    kbps: float
    values: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveLine:
    """The encodes of one codec; `codec` is its place in Curves.codecs, and chooses the colour."""

    codec: int
    points: tuple[CurvePoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CurvePanel:
    title: str
    lines: tuple[CurveLine, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Rate-distortion curves, a panel a clip, one measure at a time."""

    title: str
    codecs: tuple[str, ...]
    measures: tuple[Scale, ...]
    panels: tuple[CurvePanel, ...]
    note: str = ""
    type: str = field(default="curves", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeedPoint:
    name: str
    codec: int
    encode_fps: float
    decode_fps: float
    bd_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Speeds:
    """Frames a second against bits at equal quality."""

    title: str
    anchor: str
    points: tuple[SpeedPoint, ...]
    note: str = ""
    type: str = field(default="speed", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One stream, frame by frame as watched; empty tuples where nothing is known. `quality` is by scale.

    step  frames that each value stands for, their mean; of their kinds the rarest: I before P before B
    """

    name: str
    codec: int
    kinds: tuple[str, ...] = ()
    bytes: tuple[float, ...] = ()
    motion: tuple[float, ...] = ()
    q: tuple[float, ...] = ()
    quality: dict[str, tuple[float, ...]] = field(default_factory=dict)
    step: int = 1

    def shortened(self) -> Run:
        """The same in at most MAX_BARS values, which is as many as a screen can show."""
        count = max([len(self.kinds), *(len(values) for values in self.quality.values())])
        step = -(-count // MAX_BARS)
        if step <= 1:
            return self
        return replace(
            self,
            step=step,
            kinds=tuple(
                min(self.kinds[at : at + step], key=lambda kind: KINDS.find(kind[0]))
                for at in range(0, len(self.kinds), step)
            ),
            bytes=_means(self.bytes, step),
            motion=_means(self.motion, step),
            q=_means(self.q, step),
            quality={name: _means(values, step) for name, values in self.quality.items()},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunGroup:
    title: str
    runs: tuple[Run, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """Bits, kinds and quality of every frame."""

    title: str
    groups: tuple[RunGroup, ...]
    measures: tuple[Scale, ...] = ()
    note: str = ""
    type: str = field(default="frames", init=False)

    def shortened(self) -> Frames:
        """The same with every run shortened."""
        groups = (replace(each, runs=tuple(run.shortened() for run in each.runs)) for each in self.groups)
        return replace(self, groups=tuple(groups))


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture of a slider; src is a data: URI."""

    name: str
    detail: str
    src: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    title: str
    width: int
    height: int
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slider:
    """Crops that lie on each other, with an edge between them that can be drawn."""

    title: str
    scenes: tuple[Scene, ...]
    note: str = ""
    type: str = field(default="slider", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    name: str
    value: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    title: str
    items: tuple[Bar, ...]
    note: str = ""
    type: str = field(default="bars", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlameNode:
    """One place in the program: seconds in it and in what it called."""

    name: str
    value: float
    children: tuple[FlameNode, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flame:
    title: str
    root: FlameNode
    note: str = ""
    type: str = field(default="flame", init=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """A short while of a run, up to `at_s`: threads of each stage at work, and the frames that came out."""

    at_s: float
    busy: tuple[float, ...]
    frames_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """How busy stages were as time went by."""

    title: str
    stages: tuple[str, ...]
    moments: tuple[Moment, ...]
    note: str = ""
    type: str = field(default="timeline", init=False)


Section = Table | Facts | Tiles | Curves | Speeds | Frames | Slider | Bars | Flame | Timeline


def page_html(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole page; text from outside is escaped, and the page's own policy lets it load nothing."""
    short = [each.shortened() if isinstance(each, Frames) else each for each in sections]
    data = json.dumps(_plain([asdict(each) for each in short]), separators=(",", ":"), allow_nan=False)
    return Template((WEB / "page.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        style=(WEB / "page.css").read_text(encoding="utf-8"),
        data=f'{{"sections":{data}}}'.replace("<", "\\u003c"),
        charts=(WEB / "charts.js").read_text(encoding="utf-8"),
        script=(WEB / "page.js").read_text(encoding="utf-8"),
    )


def write_text(name: str, text: str) -> None:
    """Write a report, whole or not at all; raises OutputError."""
    path = Path(name)
    unfinished = path.with_name(path.name + ".part")
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    except OSError as cause:
        raise OutputError(
            name, f"cannot be written: {cause.strerror or cause}", "Name another file."
        ) from cause


def png_of(frame: Frame, colour: ColourTags, width: int, height: int, bit_depth: int) -> bytes:
    """A frame as an RGB picture in PNG, with the matrix and the range that it says, or that players take."""
    form = PIXEL_FORMATS[bit_depth]
    picture = picture_of([frame.y, frame.u, frame.v], form, width, height)
    if colour.matrix == 1:
        matrix = LUMA_709
    elif colour.matrix in (5, 6):
        matrix = LUMA_601
    else:
        matrix = LUMA_709 if height > HD_HEIGHT else LUMA_601
    shown = picture.reformat(
        format="rgb24", src_colorspace=matrix, src_color_range=2 if colour.colour_range == 2 else 1
    )
    return _one_picture(shown, "png", "rgb24", {})


def data_uris(pictures: Sequence[bytes], budget_bytes: int = PICTURE_BUDGET_BYTES) -> list[str]:
    """PNGs as data: URIs, as they are where all of them fit, as finer or coarser JPEGs where they do not."""
    form, chosen = "png", list(pictures)
    for quantiser in (FINEST_JPEG, 4, 8, COARSEST_JPEG):
        if sum(map(len, chosen)) * 4 / 3 <= budget_bytes:
            break
        form, chosen = "jpeg", [_jpeg_of(each, quantiser) for each in pictures]
    return [f"data:image/{form};base64,{base64.b64encode(each).decode()}" for each in chosen]


def _jpeg_of(png: bytes, quantiser: int) -> bytes:
    with av.open(io.BytesIO(png), "r") as container:
        picture = next(container.decode(video=0))
    full = picture.reformat(format="yuvj444p", dst_colorspace=LUMA_601, dst_color_range=2)
    return _one_picture(full, "mjpeg", "yuvj444p", {"qmin": str(quantiser), "qmax": str(quantiser)})


def _one_picture(picture: av.VideoFrame, codec: str, form: str, options: dict[str, str]) -> bytes:
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = picture.width, picture.height, form
    context.time_base = Fraction(1, 25)
    context.options = options
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*context.encode(picture), *context.encode(None)])


def crop_of(frame: Frame, left: int, top: int, width: int, height: int) -> Frame:
    """A part of a frame; all four even."""
    luma = (slice(top, top + height), slice(left, left + width))
    chroma = (slice(top // 2, (top + height) // 2), slice(left // 2, (left + width) // 2))
    return Frame(y=frame.y[luma], u=frame.u[chroma], v=frame.v[chroma], pts=frame.pts)


def busiest_part(frame: Frame, width: int, height: int) -> tuple[int, int]:
    """Left and top, both even, of the part of this size where luma changes most: there codecs differ most."""
    luma = frame.y.astype(np.float32)
    change = np.zeros_like(luma)
    change[:, 1:] += np.abs(np.diff(luma, axis=1))
    change[1:] += np.abs(np.diff(luma, axis=0))
    # The square root keeps one hard edge from outweighing a whole texture.
    total = np.pad(np.sqrt(change).cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    rows = np.arange(0, luma.shape[0] - height + 1, 2)
    columns = np.arange(0, luma.shape[1] - width + 1, 2)
    sums = (
        total[np.ix_(rows + height, columns + width)]
        - total[np.ix_(rows, columns + width)]
        - total[np.ix_(rows + height, columns)]
        + total[np.ix_(rows, columns)]
    )
    at = np.unravel_index(int(sums.argmax()), sums.shape)
    return int(columns[at[1]]), int(rows[at[0]])


def _means(values: Sequence[float], step: int) -> tuple[float, ...]:
    parts = (values[at : at + step] for at in range(0, len(values), step))
    return tuple(sum(part) / len(part) for part in parts)


def _plain(value: Any) -> Any:
    """What JSON can hold: numbers short, none of them infinite."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value

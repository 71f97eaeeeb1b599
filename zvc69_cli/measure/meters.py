"""Measures of quality that take pairs of frames as they come, without keeping them.

PSNR is NumPy's, SSIM and XPSNR are filters of the FFmpeg in PyAV, VMAF and MS-SSIM are libvmaf's (measure.vmaf).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from types import TracebackType
from typing import Final, Protocol, Self

import av
import av.filter
from av.filter.context import FilterContext

from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.frames import Frame, VideoFormat
from zvc69_cli.measure.ffmpeg_program import HOW_TO_GET, find_program
from zvc69_cli.measure.metrics import EQUAL_DB, PlanePsnr, frame_psnr
from zvc69_cli.measure.program_encoder import PIXEL_FORMATS, RATE_OF_THE_RATELESS
from zvc69_cli.measure.quality import SCALES, Quality, Series
from zvc69_cli.measure.vmaf import MS_SSIM_MIN_SIDE, VmafMeter
from zvc69_cli.media.pictures import picture_of

# What each filter writes beside a frame, under which name of ours.
_SSIM_KEYS: Final = {"ssim": "All", "ssim_y": "Y", "ssim_u": "U", "ssim_v": "V"}
XPSNR_MIN_SAMPLES: Final = (
    64 * 48
)  # FFmpeg 8's filter divides by zero, which ends the process, below about 2025
_XPSNR_KEYS: Final = {"xpsnr_y": "xpsnr.y", "xpsnr_u": "xpsnr.u", "xpsnr_v": "xpsnr.v"}


class Meter(Protocol):
    """One measure under way; a context manager, so that nothing of it outlives an error."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def add(self, reference: Frame, distorted: Frame) -> None:
        """Take the next pair."""
        ...

    def finish(self) -> tuple[Series, ...]:
        """What was measured, once every pair was added."""
        ...


class PsnrMeter:
    """PSNR of each plane, and 6:1:1."""

    def __init__(self) -> None:
        self._each: list[PlanePsnr] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def add(self, reference: Frame, distorted: Frame) -> None:
        self._each.append(frame_psnr(reference, distorted))

    def finish(self) -> tuple[Series, ...]:
        return (
            Series(name="psnr", values=tuple(each.weighted for each in self._each)),
            Series(name="psnr_y", values=tuple(each.y for each in self._each)),
            Series(name="psnr_u", values=tuple(each.u for each in self._each)),
            Series(name="psnr_v", values=tuple(each.v for each in self._each)),
        )


class FilterMeter:
    """One of FFmpeg's filters that hold two videos against each other and note the result beside each frame.

    keys  our name of each value, and the filter's
    """

    def __init__(self, filter_name: str, keys: dict[str, str], video: VideoFormat) -> None:
        self._name = filter_name
        self._keys = keys
        self._video = video
        self._format = PIXEL_FORMATS[video.bit_depth]
        self._rate = video.frame_rate or RATE_OF_THE_RATELESS
        self._values: dict[str, list[float]] = {name: [] for name in keys}
        self._count = 0
        graph = av.filter.Graph()
        inputs = [graph.add("buffer", self._described) for _ in range(2)]
        compared, sink = graph.add(filter_name), graph.add("buffersink")
        for number, each in enumerate(inputs):
            each.link_to(compared, 0, number)
        compared.link_to(sink)
        graph.configure()
        self._graph, self._inputs, self._sink = graph, inputs, sink

    @property
    def _described(self) -> str:
        """The frame rate too: XPSNR weighs motion by it."""
        rate = self._rate
        return (
            f"video_size={self._video.width}x{self._video.height}:pix_fmt={self._format}"
            f":time_base={rate.denominator}/{rate.numerator}:frame_rate={rate.numerator}/{rate.denominator}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def add(self, reference: Frame, distorted: Frame) -> None:
        # The filters take the distorted picture first; XPSNR's weights are those of the second.
        for target, frame in zip(self._inputs, (distorted, reference), strict=True):
            target.push(self._picture(frame))
        self._count += 1
        self._collect(self._sink)

    def finish(self) -> tuple[Series, ...]:
        for target in self._inputs:
            target.push(None)
        self._collect(self._sink)
        found = [Series(name=name, values=tuple(values)) for name, values in self._values.items()]
        if any(len(each.values) != self._count for each in found):
            raise RuntimeUnavailable(
                self._name, f"FFmpeg's filter gave {len(found[0].values)} of {self._count} frames", HOW_TO_GET
            )
        return tuple(found)

    def _picture(self, frame: Frame) -> av.VideoFrame:
        video = self._video
        picture = picture_of([frame.y, frame.u, frame.v], self._format, video.width, video.height)
        picture.pts, picture.time_base = self._count, 1 / Fraction(self._rate)
        return picture

    def _collect(self, sink: FilterContext) -> None:
        while True:
            try:
                picture = sink.pull()
            except (av.BlockingIOError, av.EOFError):
                return
            assert isinstance(picture, av.VideoFrame)
            for name, key in self._keys.items():
                self._values[name].append(float(picture.metadata[f"lavfi.{self._name}.{key}"]))


class XpsnrMeter(FilterMeter):
    """XPSNR of each plane, and 6:1:1; equal planes count EQUAL_DB.

    The last columns and rows of some sizes are left out, the odd one at 8 bits and up to seven columns at 10:
    FFmpeg 8's filter reads past the end of such pictures, and its results are at random then.
    """

    def __init__(self, video: VideoFormat) -> None:
        multiple = 2 if video.bit_depth == 8 else 8
        even = replace(video, width=video.width // multiple * multiple, height=video.height // 2 * 2)
        super().__init__("xpsnr", _XPSNR_KEYS, even)

    def add(self, reference: Frame, distorted: Frame) -> None:
        super().add(self._even(reference), self._even(distorted))

    def _even(self, frame: Frame) -> Frame:
        height, width = self._video.height, self._video.width
        chroma = (slice(height // 2), slice(width // 2))
        return replace(frame, y=frame.y[:height, :width], u=frame.u[chroma], v=frame.v[chroma])

    def finish(self) -> tuple[Series, ...]:
        planes = [
            Series(name=each.name, values=tuple(min(EQUAL_DB, value) for value in each.values))
            for each in super().finish()
        ]
        together = zip(*(each.values for each in planes), strict=True)
        weighted = tuple(PlanePsnr(y=y, u=u, v=v).weighted for y, u, v in together)
        return (Series(name="xpsnr", values=weighted), *planes)


class Meters:
    """Several measures at once.

    metrics  of quality.METRICS
    missing  a sentence for each that cannot be had here, or not of such a video
    """

    def __init__(self, video: VideoFormat, metrics: Sequence[str], *, threads: int = 0) -> None:
        self.missing: list[str] = []
        self._stack = ExitStack()
        self._meters: list[Meter] = []
        if "psnr" in metrics:
            self._meters.append(PsnrMeter())
        if "ssim" in metrics and self._has_filter("ssim", "SSIM"):
            self._meters.append(FilterMeter("ssim", _SSIM_KEYS, video))
        if "xpsnr" in metrics and video.width * video.height < XPSNR_MIN_SAMPLES:
            self.missing.append("XPSNR is left out: it needs pictures of 64x48 or as many samples")
        elif "xpsnr" in metrics and self._has_filter("xpsnr", "XPSNR"):
            self._meters.append(XpsnrMeter(video))
        by_libvmaf = [each for each in metrics if each in ("vmaf", "ms-ssim")]
        if "ms-ssim" in by_libvmaf and min(video.width, video.height) < MS_SSIM_MIN_SIDE:
            by_libvmaf.remove("ms-ssim")
            self.missing.append(
                f"MS-SSIM is left out: it needs pictures of {MS_SSIM_MIN_SIDE}x{MS_SSIM_MIN_SIDE} or more"
            )
        if by_libvmaf:
            program = find_program(filter_name="libvmaf")
            if program is None:
                names = " and ".join(each.upper() for each in by_libvmaf)
                self.missing.append(f"{names} left out: no ffmpeg with libvmaf is found. {HOW_TO_GET}")
            else:
                self._meters.append(VmafMeter(program, video, by_libvmaf, threads=threads))

    def __enter__(self) -> Self:
        for each in self._meters:
            self._stack.enter_context(each)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, reference: Frame, distorted: Frame) -> None:
        for each in self._meters:
            each.add(reference, distorted)

    def finish(self) -> Quality:
        """Everything measured, in the order of quality.SCALES; raises RuntimeUnavailable."""
        found = {series.name: series for each in self._meters for series in each.finish()}
        return Quality(
            series=tuple(found[scale.name] for scale in SCALES if scale.name in found),
            missing=tuple(self.missing),
        )

    def _has_filter(self, name: str, title: str) -> bool:
        is_there = name in av.filter.filters_available
        if not is_there:
            self.missing.append(f"{title} is left out: the FFmpeg in this PyAV has no filter {name}")
        return is_there


def measure_quality(
    pairs: Iterable[tuple[Frame, Frame]], video: VideoFormat, metrics: Sequence[str], *, threads: int = 0
) -> Quality:
    """Every pair of (reference, distorted) frames, both of this size and depth; raises RuntimeUnavailable."""
    with Meters(video, metrics, threads=threads) as meters:
        for reference, distorted in pairs:
            meters.add(reference, distorted)
        return meters.finish()

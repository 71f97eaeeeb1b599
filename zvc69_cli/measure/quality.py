"""How good a video is, frame by frame and over all, in several measures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

METRICS: Final = ("psnr", "ssim", "ms-ssim", "vmaf", "xpsnr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What one series of values means.

    metric    the one of METRICS that it belongs to
    unit      "dB", or "" for what has none
    is_main   whether it is the one that stands for its metric
    decimals  that are worth printing
    """

    name: str
    metric: str
    title: str
    unit: str = ""
    is_main: bool = False
    decimals: int = 3


# In the order of columns. 6:1:1 is (6 Y + U + V) / 8.
SCALES: Final = (
    Scale(name="psnr", metric="psnr", title="PSNR 6:1:1", unit="dB", is_main=True),
    Scale(name="psnr_y", metric="psnr", title="PSNR Y", unit="dB"),
    Scale(name="psnr_u", metric="psnr", title="PSNR U", unit="dB"),
    Scale(name="psnr_v", metric="psnr", title="PSNR V", unit="dB"),
    Scale(name="ssim", metric="ssim", title="SSIM", is_main=True, decimals=5),
    Scale(name="ssim_y", metric="ssim", title="SSIM Y", decimals=5),
    Scale(name="ssim_u", metric="ssim", title="SSIM U", decimals=5),
    Scale(name="ssim_v", metric="ssim", title="SSIM V", decimals=5),
    Scale(name="ms_ssim", metric="ms-ssim", title="MS-SSIM", is_main=True, decimals=5),
    Scale(name="vmaf", metric="vmaf", title="VMAF", is_main=True, decimals=2),
    Scale(name="xpsnr", metric="xpsnr", title="XPSNR 6:1:1", unit="dB", is_main=True),
    Scale(name="xpsnr_y", metric="xpsnr", title="XPSNR Y", unit="dB"),
    Scale(name="xpsnr_u", metric="xpsnr", title="XPSNR U", unit="dB"),
    Scale(name="xpsnr_v", metric="xpsnr", title="XPSNR V", unit="dB"),
)
BY_NAME: Final = {each.name: each for each in SCALES}
LEAST_UNLIKENESS: Final = 1e-10  # 100 dB, what equal pictures count


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One value a frame, in display order; `name` is that of a scale."""

    name: str
    values: tuple[float, ...]

    @property
    def scale(self) -> Scale:
        return BY_NAME[self.name]

    @property
    def mean(self) -> float:
        """The mean over frames: of decibels, where these are the unit; of XPSNR as FFmpeg's filter has it.

        That one averages the roots of weighted squared errors, since a first frame has no motion to be weighed by
        and is many decibels from the others.
        """
        if self.scale.metric == "xpsnr":
            roots = [10 ** (-value / 20) for value in self.values]
            return -20 * math.log10(sum(roots) / len(roots))
        return sum(self.values) / len(self.values)

    @property
    def least(self) -> float:
        return min(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """All that was measured of one video against another; `missing` says what could not be, and why."""

    series: tuple[Series, ...]
    missing: tuple[str, ...] = ()

    @property
    def frame_count(self) -> int:
        return len(self.series[0].values) if self.series else 0

    def find(self, name: str) -> Series | None:
        return next((each for each in self.series if each.name == name), None)

    @property
    def main(self) -> tuple[Series, ...]:
        """The series that stand for their metrics."""
        return tuple(each for each in self.series if each.scale.is_main)


def comparable(name: str, value: float) -> float:
    """A mean on a scale on which equal steps are about equally much, for BD figures: SSIM in decibels."""
    if "ssim" in name:
        return -10 * math.log10(max(1 - value, LEAST_UNLIKENESS))
    return value

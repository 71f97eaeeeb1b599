"""How many bits a stream may take, and when: what x265 calls rate control."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from zvc69_cli.codec.rate.zones import parse_zones
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import UsageError
from zvc69_cli.flags import check_flags, flag

# Flags that each say what a stream is to be like, of which there is one: `resolve` drops the earlier layers' for it.
MODES: Final = ("crf", "qp", "bitrate", "target_size", "target_psnr", "target_ssim", "target_vmaf")
LEAST_KBPS: Final = 1
MOST_KBPS: Final = 10_000_000
DEFAULT_QCOMP: Final = 0.6  # x265's
USUAL_BUFFER_S: Final = 1.0  # of a constant bitrate whose buffer nobody gave
_DEFAULT_INIT: Final = 0.9
_KILO: Final = {"": 1.0, "b": 0.001, "k": 1.0, "m": 1000.0, "g": 1_000_000.0}
_BYTES: Final = {"": 1, "b": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_BINARY: Final = {"ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_NUMBER: Final = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateSettings:
    """What a stream may weigh; nothing given is constant quality, as CodecSettings say."""

    bitrate: str = flag(
        "", "Average bitrate instead of --crf: 2M, 800k; a bare number counts kbps as in x265.", unit="kbps"
    )
    rc: str = flag(
        "",
        "What is held: the quality (crf), the quantiser (cqp), the average rate (vbr), the rate (cbr). Else as given.",
        choices=("", "crf", "cqp", "vbr", "cbr"),
    )
    vbv_maxrate: int = flag(
        0, "Rate that fills the decoder's buffer; 0 is no limit.", unit="kbps", low=0, high=MOST_KBPS
    )
    vbv_bufsize: int = flag(
        0, "Size of the decoder's buffer; 0 is no limit.", unit="kbit", low=0, high=MOST_KBPS * 100
    )
    vbv_init: float = flag(
        _DEFAULT_INIT,
        "How full that buffer is at first: a share up to 1, above that kbit.",
        low=0,
        high=MOST_KBPS * 100,
    )
    strict_cbr: bool = flag(False, "The same as --rc cbr: the buffer fills at --bitrate and no faster.")
    pass_: int | None = flag(
        None,
        "Of two passes the first, that writes --stats, or the second, that reads them.",
        kind=int,
        name="pass",
        low=1,
        high=2,
    )
    stats: str = flag("", "File of what the first of two passes saw. Without it, OUT.stats.")
    passes: int = flag(1, "Passes over the input in one go; 2 needs a file to read twice.", low=1, high=2)
    slow_firstpass: bool = flag(
        False,
        "Search motion and refine in the first of two passes as in the second; else it is as fast as can be.",
    )
    qcomp: float = flag(
        DEFAULT_QCOMP,
        "In a second pass, how far bits follow complexity: 1 is one quality, 0 the same bits for every part.",
        low=0,
        high=1,
    )
    target_size: str = flag(
        "", "Size of the whole file, instead of --bitrate: 20M, 700k, 8000000.", unit="bytes"
    )
    target_psnr: float | None = flag(
        None, "Quality to reach, (6 Y + U + V) / 8, found by probing.", kind=float, unit="dB", low=10, high=60
    )
    target_ssim: float | None = flag(
        None,
        "Quality to reach, SSIM of all planes as FFmpeg has it, found by probing.",
        kind=float,
        low=0,
        high=1,
    )
    target_vmaf: float | None = flag(
        None, "Quality to reach, found by probing; needs an ffmpeg with libvmaf.", kind=float, low=0, high=100
    )
    zones: str = flag(
        "",
        "Other quality for parts: FIRST,LAST,q=QP or b=FACTOR of the bits, with / between: 0,99,q=78/100,200,b=0.5.",
    )
    qpfile: str = flag(
        "", "File that says kinds and quantisers of frames, one a line: 0 I 68, 8 P -1; K is a keyframe."
    )

    def __post_init__(self) -> None:
        check_flags(self)
        self._check_amounts()
        self._check_modes()
        self._check_buffer()
        self._check_passes()
        parse_zones(self.zones)

    @property
    def bitrate_kbps(self) -> float | None:
        """The average asked for; None where none is."""
        return _kbps(self.bitrate) if self.bitrate.strip() else None

    @property
    def target_bytes(self) -> int | None:
        """The size asked for; None where none is."""
        return _size_bytes(self.target_size) if self.target_size.strip() else None

    @property
    def has_rate(self) -> bool:
        """Whether an average rate or a size is asked for."""
        return bool(self.bitrate.strip() or self.target_size.strip())

    @property
    def is_steered(self) -> bool:
        """Whether a rate, a size or a buffer is: what a frame may take then depends on others."""
        return self.has_rate or self.buffer_kbit > 0

    @property
    def is_constant(self) -> bool:
        """Whether the buffer fills at the average rate."""
        return self.strict_cbr or self.rc == "cbr"

    @property
    def maxrate_kbps(self) -> float:
        """The rate that fills the buffer; 0 where nothing limits it."""
        return (self.bitrate_kbps or 0.0) if self.is_constant else float(self.vbv_maxrate)

    @property
    def buffer_kbit(self) -> float:
        """The size of the buffer; 0 where there is none."""
        if self.is_constant and not self.vbv_bufsize:
            return self.maxrate_kbps * USUAL_BUFFER_S
        return float(self.vbv_bufsize)

    @property
    def initial_kbit(self) -> float:
        """What lies in the buffer when the first frame is taken out."""
        share = self.vbv_init if self.vbv_init <= 1 else self.vbv_init / max(self.buffer_kbit, 1e-9)
        return min(1.0, share) * self.buffer_kbit

    @property
    def quality_target(self) -> tuple[str, float] | None:
        """Name of the metric that is aimed at and its value; None where none is."""
        for name in ("psnr", "ssim", "vmaf"):
            value = getattr(self, f"target_{name}")
            if value is not None:
                return name, value
        return None

    @property
    def has_two_passes(self) -> bool:
        return self.passes == 2 or self.pass_ is not None

    @property
    def is_plain(self) -> bool:
        """Whether nothing is asked for but a quality."""
        return self == RateSettings(rc=self.rc)

    def _check_amounts(self) -> None:
        rate = self.bitrate_kbps
        if rate is not None and not LEAST_KBPS <= rate <= MOST_KBPS:
            near = LEAST_KBPS if rate < LEAST_KBPS else MOST_KBPS
            raise UsageError(
                "--bitrate",
                f"{self.bitrate} is {rate:g} kbps, out of range {LEAST_KBPS}..{MOST_KBPS}",
                f"Take the nearest valid value, {near}; a bare number counts kbps.",
            )
        size = self.target_bytes
        if size is not None and size < 1:
            raise UsageError("--target-size", f"{self.target_size} is no size", "Write it as 20M or 700k.")

    def _check_modes(self) -> None:
        given = [name for name in MODES if getattr(self, name, None) not in ("", None)]
        if len(given) > 1:
            one, other = (_flag_name(name) for name in given[:2])
            raise UsageError(one, f"was given together with {other}", "Leave one of them out.")
        if self.rc in ("vbr", "cbr") and not self.has_rate:
            raise UsageError("--rc", f"{self.rc} has no rate to hold", "Give one with --bitrate.")
        if self.rc == "cbr" and not self.bitrate.strip():
            raise UsageError(
                "--rc", "cbr has no rate to hold", "Give it with --bitrate, not with --target-size."
            )
        if self.rc in ("crf", "cqp") and given:
            raise UsageError(
                "--rc",
                f"{self.rc} was given together with {_flag_name(given[0])}",
                "Leave one of them out.",
            )
        if self.strict_cbr and (not self.bitrate.strip() or self.rc == "vbr"):
            raise UsageError(
                "--strict-cbr",
                "was given together with --rc vbr" if self.rc == "vbr" else "has no rate to hold",
                "Leave --rc out." if self.rc == "vbr" else "Give it with --bitrate.",
            )

    def _check_buffer(self) -> None:
        rate = self.bitrate_kbps
        if self.is_constant and self.vbv_maxrate and rate is not None and self.vbv_maxrate != round(rate):
            raise UsageError(
                "--vbv-maxrate",
                f"{self.vbv_maxrate} is not the constant bitrate, {rate:g} kbps",
                "Leave it out: it is --bitrate then.",
            )
        if self.vbv_maxrate and not self.vbv_bufsize and not self.is_constant:
            raise UsageError(
                "--vbv-maxrate",
                "has no effect without a buffer",
                f"Add --vbv-bufsize, {self.vbv_maxrate} for one second.",
            )
        if self.vbv_bufsize and not self.vbv_maxrate and not self.is_constant:
            raise UsageError(
                "--vbv-bufsize",
                "has no effect without a rate that fills it",
                "Add --vbv-maxrate, or --strict-cbr with --bitrate.",
            )
        if rate is not None and 0 < self.vbv_maxrate < rate and not self.is_constant:
            raise UsageError(
                "--vbv-maxrate",
                f"{self.vbv_maxrate} is below the average asked for, {rate:g} kbps",
                f"Take {rate:g} or more, or a lower --bitrate.",
            )
        if self.vbv_init != _DEFAULT_INIT and not self.buffer_kbit:
            raise UsageError(
                "--vbv-init", "has no effect without a buffer", "Add --vbv-maxrate and --vbv-bufsize."
            )
        if self.vbv_init > 1 and self.vbv_init > self.buffer_kbit:
            raise UsageError(
                "--vbv-init",
                f"{self.vbv_init:g} kbit is more than the buffer of {self.buffer_kbit:g} kbit holds",
                "Take a share of it, 0..1.",
            )
        if self.buffer_kbit and self.quality_target is not None:
            metric = self.quality_target[0]
            raise UsageError(
                f"--target-{metric}",
                "was given together with a buffer, which would take the quality back",
                "Leave --vbv-maxrate and --vbv-bufsize out, or use --crf with them.",
            )

    def _check_passes(self) -> None:
        if self.pass_ is not None and self.passes == 2:
            raise UsageError("--pass", "was given together with --passes 2", "Leave one of them out.")
        if self.has_two_passes and not self.has_rate:
            raise UsageError(
                "--passes" if self.passes == 2 else "--pass",
                "two passes share out a rate, and there is none",
                "Add --bitrate or --target-size; constant quality needs one pass.",
            )
        if self.slow_firstpass and self.passes == 1 and self.pass_ != 1:
            raise UsageError(
                "--slow-firstpass", "has no effect without a first pass", "Add --pass 1 or --passes 2."
            )
        if self.stats and self.pass_ is None:
            raise UsageError("--stats", "has no effect without --pass", "Add --pass 1 or --pass 2.")


def check_rate(codec: CodecSettings, rate: RateSettings) -> None:
    """Raises UsageError where the two ask for what cannot be had together."""
    if rate.rc == "cqp" and codec.qp is None:
        raise UsageError("--rc", "cqp has no quantiser to hold", "Give it with --qp.")
    if codec.qp is None:
        return
    if rate.rc == "crf":
        raise UsageError("--rc", "crf was given together with --qp", "Leave one of them out.")
    if rate.buffer_kbit and not rate.has_rate:
        raise UsageError(
            "--vbv-maxrate",
            "was given together with --qp, which nothing may move",
            "Use --crf with a buffer, or leave the buffer out.",
        )


def _flag_name(field_name: str) -> str:
    return "--" + field_name.replace("_", "-")


def _kbps(text: str) -> float:
    """Kilobits a second; raises UsageError."""
    found = _NUMBER.fullmatch(re.sub(r"(?i)(bps|bits?/s)\s*$", "", text))
    unit = found[2].lower() if found else ""
    if not found or unit not in _KILO:
        raise UsageError("--bitrate", f"{text!r} is no bitrate", "Write it as 2M, 800k or 800 (kbps).")
    return float(found[1]) * _KILO[unit]


def _size_bytes(text: str) -> int:
    """A count of bytes; raises UsageError."""
    found = _NUMBER.fullmatch(re.sub(r"(?i)(?<=[kmgi])b\s*$", "", text))
    unit = found[2].lower() if found else ""
    if not found or unit not in _BYTES | _BINARY:
        raise UsageError("--target-size", f"{text!r} is no size", "Write it as 20M, 700k or 20MiB.")
    return int(float(found[1]) * (_BYTES | _BINARY)[unit])

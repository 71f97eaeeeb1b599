"""How rates are kept: `python -m zvc69_cli.measure.rate_bench --data FOLDER` encodes clips at rates and says what came.

Short clips are shown forwards and backwards until they last long enough, and those of one size once more in turn, as
the scenes of a film: what is alike all the time asks for no second pass. For a quick look:
`--clips foreman_cif --seconds 4 --modes abr,cbr --kbps 400`. With `--results FOLDER` what was encoded is kept, and a
run that ended goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from operator import attrgetter
from pathlib import Path
from typing import Any, Final

from zvc69_cli.errors import UsageError, Zvc69Error
from zvc69_cli.frames import Frame
from zvc69_cli.measure.clips import VIDEOS, Clip, find_clips, read_clip
from zvc69_cli.measure.kept_folder import KeptFolder
from zvc69_cli.measure.metrics import PlanePsnr, frame_psnr, mean_of, of_mean_error
from zvc69_cli.measure.one_engine import OneEngine, bundle_of
from zvc69_cli.measure.results import program_hash
from zvc69_cli.media.y4m import FRAME_MAGIC
from zvc69_cli.pipeline.crew import USUAL_GROUP_FRAMES, crew_for
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.engine import load_engine
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.runtime.bundle import DEFAULT_BUNDLE
from zvc69_cli.runtime.settings import RunSettings

# What is typed beside --bitrate.
MODES: Final[dict[str, dict[str, Any]]] = {
    "abr": {},
    "two-pass": {"passes": 2},
    "cbr": {"rc": "cbr"},
    "capped": {"vbv_maxrate": 1.5, "vbv_bufsize": 1.5},  # times the rate
}
BITS_A_SAMPLE: Final = (0.05, 0.15)  # rates that are taken where none are named
_USUAL_RATE: Final = Fraction(25)
_SCENE_S: Final = 2.5  # of clips that are shown in turn
_USUAL_SLOPE: Final = 2.0  # dB for twice the rate, where a clip was encoded at one rate only


@dataclass(frozen=True, slots=True, kw_only=True)
class RateResult:
    """What one encode came to.

    psnr_db         PSNR 6:1:1, the mean over frames
    global_psnr_db  that of the mean error
    """

    clip: str
    mode: str
    asked_kbps: float
    got_kbps: float
    miss_percent: float
    peak_kbps: float
    buffer_kbit: float | None
    least_kbit: float | None
    underflows: int
    unreachable: str
    psnr_db: float
    global_psnr_db: float
    wall_s: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    given = _parser().parse_args(arguments)
    try:
        results = list(_run(given))
    except Zvc69Error as refusal:
        print(f"rate_bench: {refusal.where}: {refusal.what}\n       {refusal.next_step}", file=sys.stderr)
        return refusal.exit_code
    for line in summary(results):
        print(line)
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(each) for each in results], indent=1), encoding="utf-8")
    return 0


def looped(frames: Sequence[Frame]) -> Iterator[Frame]:
    """The frames of a clip without end, forwards and backwards in turn, so that nothing is cut."""
    return itertools.cycle([*frames, *frames[-2:0:-1]])


def in_turn(clips: Sequence[Clip], scene_frames: int) -> Iterator[Frame]:
    """So many frames of each clip, again and again without end; each clip goes on where it was left."""
    for frames in itertools.cycle([looped(clip.frames) for clip in clips]):
        yield from itertools.islice(frames, scene_frames)


def films(clips: Sequence[Clip]) -> Iterator[list[Clip]]:
    """Each clip by itself, and those of one size together where there are several."""
    sizes: dict[tuple[int, int, int], list[Clip]] = {}
    for clip in clips:
        yield [clip]
        sizes.setdefault((clip.video.width, clip.video.height, clip.video.bit_depth), []).append(clip)
    yield from (alike for alike in sizes.values() if len(alike) > 1)


def summary(results: Sequence[RateResult]) -> Iterator[str]:
    """The largest miss and all underflows of each mode where the rate could be had, and two passes against one."""
    for mode in dict.fromkeys(each.mode for each in results):
        found = [each for each in results if each.mode == mode and not each.unreachable]
        if found:
            worst = max(found, key=lambda each: abs(each.miss_percent))
            yield (
                f"{mode}: {len(found)} encodes, worst miss {worst.miss_percent:+.2f} % ({worst.clip}), "
                f"{sum(each.underflows for each in found)} underflows"
            )
    for what, of in (("PSNR of frames", "psnr_db"), ("PSNR of the mean error", "global_psnr_db")):
        gains = list(_gains(results, attrgetter(of)))
        if gains:
            mean = sum(gains) / len(gains)
            yield f"two passes against one: {mean:+.3f} dB on average of {len(gains)}, {what}, at equal rates"


def _gains(results: Sequence[RateResult], of: Callable[[RateResult], float]) -> Iterator[float]:
    """What two passes give over one at the same asked rate, dB, less what a difference of the rates that came gives.

    of  PSNR of an encode
    """
    one = {(each.clip, each.asked_kbps): each for each in results if each.mode == "abr"}
    for two in results:
        other = one.get((two.clip, two.asked_kbps))
        if two.mode != "two-pass" or other is None or two.unreachable or other.unreachable:
            continue
        curve = sorted((math.log2(each.got_kbps), of(each)) for each in one.values() if each.clip == two.clip)
        (low, worst), (high, best) = curve[0], curve[-1]
        slope = (best - worst) / (high - low) if high > low else _USUAL_SLOPE
        yield of(two) - of(other) - slope * math.log2(two.got_kbps / other.got_kbps)


def _run(given: argparse.Namespace) -> Iterator[RateResult]:
    modes = [each.strip() for each in given.modes.split(",")]
    for mode in modes:
        if mode not in MODES:
            raise UsageError("--modes", f"there is no mode {mode!r}", f"The modes are {', '.join(MODES)}.")
    run = RunSettings(device=given.device, threads=given.threads)
    bundle = bundle_of(given.bundle)
    engines = OneEngine(load_engine(bundle, crew_for(run, USUAL_GROUP_FRAMES).networks))
    kept = KeptFolder(given.results, "--results")
    print(
        f"{'clip':24}{'mode':10}{'asked':>9}{'got':>9}{'miss %':>8}{'peak':>9}{'least':>8}{'under':>6}{'dB':>8}"
        f"{'global':>8}"
    )
    clips = [read_clip(path, given.data, None) for path in find_clips(given.data, given.clips, VIDEOS)]
    for film in films(clips):
        title = "+".join(clip.name for clip in film)
        content = " ".join(clip.content_hash for clip in film)
        with tempfile.TemporaryDirectory() as name:
            long = Path(name) / f"{title}.y4m"
            write_y4m(long, film, given.seconds)
            for kbps in rates_of(film[0], given.kbps):
                for mode in modes:
                    of_whom = f"{program_hash()} {bundle.sha256.hex()} {run.device}"
                    key = f"{of_whom} {content} {given.seconds} {mode} {kbps}"
                    found = kept.find(key)
                    if found is None:
                        result = measure(long, title, mode, kbps, engines, run)
                        kept.keep(key, asdict(result))
                    else:
                        result = RateResult(**found[0])
                    print(_line(result), flush=True)
                    yield result


def rates_of(clip: Clip, text: str) -> list[int]:
    """kbps: those that are named, else such that every sample takes BITS_A_SAMPLE."""
    if text:
        return [int(part) for part in text.split(",")]
    samples = clip.video.width * clip.video.height * (clip.video.frame_rate or _USUAL_RATE)
    return [round(float(samples) * share / 1000) for share in BITS_A_SAMPLE]


def measure(source: Path, name: str, mode: str, kbps: int, engines: OneEngine, run: RunSettings) -> RateResult:
    """One encode of a file at a rate; raises one of errors.py."""
    flags = {key: round(value * kbps) if key.startswith("vbv") else value for key, value in MODES[mode].items()}
    options = EncodeOptions.of(bitrate=str(kbps), device=run.device, threads=run.threads, **flags)
    psnrs: list[PlanePsnr] = []
    stats = encode(
        str(source),
        str(source.with_suffix(".zvc69")),
        options,
        engines=engines,
        may_overwrite=lambda name: True,
        compare=lambda frame, shown: psnrs.append(frame_psnr(frame, shown)),
    )
    rate = stats.rate
    assert rate is not None
    return RateResult(
        clip=name,
        mode=mode,
        asked_kbps=kbps,
        got_kbps=rate.got_kbps,
        miss_percent=100 * (rate.miss or 0.0),
        peak_kbps=rate.peak_kbps,
        buffer_kbit=rate.buffer_kbit,
        least_kbit=rate.least_kbit,
        underflows=rate.underflows,
        unreachable=rate.unreachable,
        psnr_db=mean_of(psnrs).weighted,
        global_psnr_db=of_mean_error(psnrs).weighted,
        wall_s=stats.wall_s,
    )


def write_y4m(path: Path, film: Sequence[Clip], seconds: float) -> None:
    """Clips of one size, in turn, as a file that lasts so long."""
    video = film[0].video
    rate = video.frame_rate or _USUAL_RATE
    kind = "420p10" if video.bit_depth == 10 else "420"
    frames = in_turn(film, round(float(rate) * _SCENE_S))
    with path.open("wb") as file:
        size = f"W{video.width} H{video.height}"
        file.write(f"YUV4MPEG2 {size} F{rate.numerator}:{rate.denominator} Ip A1:1 C{kind}\n".encode())
        for frame in itertools.islice(frames, round(float(rate) * seconds)):
            file.write(FRAME_MAGIC + b"\n")
            file.writelines(plane.tobytes() for plane in _planes(frame))


def _planes(frame: Frame) -> Iterable[Any]:
    return frame.y, frame.u, frame.v


def _line(result: RateResult) -> str:
    least = "" if result.least_kbit is None else f"{result.least_kbit:.0f}"
    return (
        f"{result.clip:24}{result.mode:10}{result.asked_kbps:9.0f}{result.got_kbps:9.1f}"
        f"{result.miss_percent:+8.2f}{result.peak_kbps:9.1f}{least:>8}{result.underflows:6d}{result.psnr_db:8.3f}"
        f"{result.global_psnr_db:8.3f}" + (f"  {result.unreachable}" if result.unreachable else "")
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m zvc69_cli.measure.rate_bench", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of mkv, mp4 and y4m files")
    parser.add_argument(
        "--clips", default="*", metavar="NAME,...", help="as a shell matches them (%(default)s)"
    )
    parser.add_argument("--modes", default=",".join(MODES), metavar="NAME,...", help="(%(default)s)")
    parser.add_argument("--kbps", default="", metavar="N,...", help="rates; else two that suit the size")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="(%(default)s)")
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, metavar="NAME|FOLDER", help="(%(default)s)")
    parser.add_argument("--device", default="cpu", help="(%(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="0 is every core (%(default)s)")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="keeps what was encoded")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""The crf of each step of --quality: `python -m zvc69_cli.measure.quality_ladder [ESTIMATES]`.

Reads what `python -m zvc69_cli.measure.preset_bench --estimates` measured, encodes nothing, and prints QUALITY_CRF
of codec/rate/quality.py and the rows of README.md. The highest step is where more crf gains little; the others follow
from their rates, which are geometric means over the clips.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from zvc69_cli.measure.bench import run_command
from zvc69_cli.pipeline.estimate import measured_bits
from zvc69_cli.pipeline.resolve import EncodeOptions

MULTIPLIERS: Final = {1: 0.25, 2: 0.40, 3: 0.60, 4: 1.00, 5: 1.50, 6: 2.20, 7: 3.50, 8: 5.50}
MIDDLE: Final = 4
TOP_CRF: Final = 18.0
LOWEST_CRF: Final = 51.0
_NO_LESS: Final = 1.01


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    return run_command("quality_ladder", _run, _parser().parse_args(arguments))


def _run(given: argparse.Namespace) -> None:
    crfs = ladder(given.estimates)
    print("QUALITY_CRF: Final = {" + ", ".join(f"{step}: {crf:g}" for step, crf in crfs.items()) + "}")
    for row in rows(crfs, given.estimates):
        print(row)


def ladder(path: Path | None = None) -> dict[int, float]:
    """The crf of each step, to a tenth; where no rate is low enough, the crf from which on it falls no more.

    path    of the figures; the shipped ones when left out
    raises  RuntimeUnavailable where there are none
    """
    top = max(MULTIPLIERS)
    middle_rate = _mean(clip_bits(TOP_CRF, path)) / MULTIPLIERS[top]
    found = {step: _crf_at(share * middle_rate, path) for step, share in MULTIPLIERS.items()}
    return {**found, top: TOP_CRF}


def rows(crfs: Mapping[int, float], path: Path | None = None) -> Iterator[str]:
    """Markdown: the rates meant, those of the clips together and of the one farthest off, and the crf."""
    middle = clip_bits(crfs[MIDDLE], path)
    together, farthest = [], []
    for step, crf in crfs.items():
        shares = {name: bits / middle[name] for name, bits in clip_bits(crf, path).items()}
        together.append(_mean(shares))
        farthest.append(max(shares.values(), key=lambda share: abs(math.log(share / MULTIPLIERS[step]))))
    yield _row("step", [str(step) for step in crfs])
    yield _row("---", ["---"] * len(crfs))
    yield _row("rate meant", [f"{MULTIPLIERS[step]:.2f}" for step in crfs])
    yield _row("on the test clips together", [f"{share:.2f}" for share in together])
    yield _row("on the clip farthest off", [f"{share:.2f}" for share in farthest])
    yield _row("crf", [f"{crf:g}" for crf in crfs.values()])


def clip_bits(crf: float, path: Path | None) -> dict[str, float]:
    """Bits a luma sample of each clip at a crf, by name."""
    return measured_bits(EncodeOptions.of(crf=crf), path)


def _crf_at(bits: float, path: Path | None) -> float:
    """Where the clips together take so many bits a sample."""
    low, high = TOP_CRF, LOWEST_CRF
    bits = max(bits, _NO_LESS * _mean(clip_bits(LOWEST_CRF, path)))
    for _ in range(20):
        middle = (low + high) / 2
        is_too_many = _mean(clip_bits(middle, path)) > bits
        low, high = (middle, high) if is_too_many else (low, middle)
    return round(high, 1)


def _mean(shares: Mapping[str, float]) -> float:
    """The geometric mean."""
    return math.exp(sum(map(math.log, shares.values())) / len(shares))


def _row(title: str, cells: Sequence[str]) -> str:
    return "| " + " | ".join([title, *cells]) + " |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m zvc69_cli.measure.quality_ladder", description=__doc__)
    parser.add_argument("estimates", type=Path, nargs="?", help="presets/estimates.json of another folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())

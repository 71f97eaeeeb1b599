"""The steps of --quality, from figures that are made up."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from zvc69_cli.codec.rate.quality import base_q_256
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.measure.quality_ladder import MULTIPLIERS, TOP_CRF, ladder, main, rows
from zvc69_cli.pipeline.estimate import SCHEMA, measured_bits
from zvc69_cli.pipeline.resolve import EncodeOptions


@pytest.fixture
def estimates(tmp_path: Path) -> Path:
    """Two clips whose bits double every 9 quality indexes, and one of which they double every 14."""
    clips = {
        "a": [0.01, 0.01 * 2 ** (79 / 9)],
        "b": [0.02, 0.02 * 2 ** (79 / 9)],
        "c": [0.02, 0.02 * 2 ** (79 / 14)],
    }
    table = {"q": [0, 79], "pixels_per_s": 1, "bits_per_pixel": clips}
    path = tmp_path / "estimates.json"
    facts = {"schema": SCHEMA, "machine": "m", "bundle": "b", "tables": {"medium": table}}
    path.write_text(json.dumps(facts))
    return path


def test_each_step_has_its_rate(estimates: Path) -> None:
    crfs = ladder(estimates)
    assert list(crfs) == list(MULTIPLIERS) and crfs[8] == TOP_CRF
    assert list(crfs.values()) == sorted(crfs.values(), reverse=True)

    def together(step: int) -> float:
        bits = measured_bits(EncodeOptions.of(crf=crfs[step]), estimates)
        return math.prod(bits.values()) ** (1 / 3)

    for step, share in MULTIPLIERS.items():
        assert together(step) / together(4) == pytest.approx(share, rel=0.03)


def test_the_clip_farthest_off_is_said(estimates: Path) -> None:
    crfs = ladder(estimates)
    table = list(rows(crfs, estimates))
    farthest = float(table[4].split("|")[-2])
    indexes = (base_q_256(CodecSettings(crf=crfs[8])) - base_q_256(CodecSettings(crf=crfs[4]))) / 256
    assert farthest == pytest.approx(2 ** (indexes / 14), abs=0.006)
    assert math.log(5.5 / farthest) > math.log(2 ** (indexes / 9) / 5.5) > 0


def test_it_prints_what_stands_in_the_source_and_refuses_what_is_none(
    estimates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(estimates)]) == 0
    assert capsys.readouterr().out.startswith("QUALITY_CRF: Final = {1: ")
    estimates.write_text("{}")
    assert main([str(estimates)]) == 5

"""What presets take and give, from measurements."""

import json

import pytest

from tests.pipeline.engines import ToyEngines, write_y4m
from zvc69_cli.measure import preset_bench
from zvc69_cli.measure.preset_bench import estimates, main, speed, table
from zvc69_cli.measure.store import Measurement
from zvc69_cli.pipeline.estimate import INTRA, estimate_bitrate
from zvc69_cli.pipeline.resolve import EncodeOptions


def measurement(codec, setting, size_bytes, seconds, psnr_db, clip="one"):
    return Measurement(
        clip=clip, group="", codec=codec, setting=setting, frame_count=2, pixels=8000, stream_bytes=size_bytes,
        text_bytes=0, y=psnr_db, u=psnr_db, v=psnr_db, psnr_db=psnr_db, encode_s=seconds, decode_s=1.0,
    )  # fmt: skip


def curve(codec, factor, seconds):
    """Four points whose sizes are `factor` times those of a straight curve."""
    return [
        measurement(codec, qp, round(factor * 1000 * 2**step), seconds, 30 + 3 * step)
        for step, qp in enumerate((98, 88, 78, 68))
    ]


MEASURED = [*curve("medium", 1, 2.0), *curve("fast", 1.1, 1.0), *curve(INTRA, 3, 0.5)]


def test_the_table_says_speed_and_rate_beside_medium():
    options = {name: EncodeOptions.of(preset=name) for name in ("fast", "medium")}
    lines = table(MEASURED, {**options, INTRA: options["medium"]}, "a machine").splitlines()
    assert "| 2.00 | +10.0 % |" in lines[2] and lines[2].startswith("| fast | bframes 7, ")
    assert "| 1.00 | 0 |" in lines[3]
    assert not any(line.startswith(f"| {INTRA}") for line in lines)
    assert "on a machine." in lines[-1]


def test_speed_is_of_all_samples_and_all_time():
    assert speed(MEASURED, "medium") == 4000
    assert speed(MEASURED, "nothing") == 0


def test_a_preset_alone_has_no_relation():
    assert "| ? | ? |" in table(curve("fast", 1, 1.0), {"fast": EncodeOptions.of()}, "a machine")


def test_what_was_measured_is_reckoned_with(tmp_path, monkeypatch):
    write_y4m(tmp_path / "clip.y4m", 3)
    engine = ToyEngines().for_encoding(None)
    monkeypatch.setattr(preset_bench, "load_engine", lambda bundle, run: engine)
    out, markdown = tmp_path / "estimates.json", tmp_path / "table.md"
    arguments = ["--data", tmp_path, "--presets", "medium,ultrafast,intra", "--qps", "108,78,51"]
    assert main([str(each) for each in (*arguments, "--estimates", out, "--markdown", markdown)]) == 0
    facts = json.loads(out.read_text())
    assert set(facts["tables"]) == {"medium", "ultrafast", INTRA}
    assert facts["tables"]["medium"]["q"] == [19, 49, 76]
    video = preset_bench.read_clip(tmp_path / "clip.y4m", tmp_path, None).video
    found = estimate_bitrate(video, EncodeOptions.of(qp=78), path=out)
    bits = facts["tables"]["medium"]["bits_per_pixel"]["clip"][1]
    assert found.likely_kbps == pytest.approx(bits * 48 * 32 * 25 / 1000)
    assert markdown.read_text().startswith("| preset |")


def test_estimates_pair_every_quality_with_its_bits():
    found = estimates(
        [*MEASURED, *[measurement("medium", qp, 500, 1.0, 30.0, "two") for qp in (68, 78, 88, 98)]]
    )
    assert found["medium"]["q"] == [29, 39, 49, 59]
    assert found["medium"]["bits_per_pixel"] == {"one": [1.0, 2.0, 4.0, 8.0], "two": [0.5] * 4}


@pytest.mark.parametrize(
    "arguments", [["--presets", "mediun"], ["--qps", "128"], ["--qps", "x"], ["--clips", "no"]]
)
def test_what_cannot_be_measured_is_refused(tmp_path, arguments, capsys):
    assert main(["--data", str(tmp_path), *arguments]) in (2, 3)
    assert "preset_bench: " in capsys.readouterr().err

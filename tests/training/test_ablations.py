"""What is switched off is off in encoder and decoder alike, and the table says what that costs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from engines.training import ablations
from engines.training.ablations import ABLATIONS, Ablation, CodingEncoder
from tests.pipeline.engines import ToyEngines, write_y4m
from tests.toy import ToyNetworks
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.measure.clips import Clip, read_clip
from zvc69_cli.measure.one_engine import OneEngine
from zvc69_cli.measure.peers import Coded
from zvc69_cli.measure.video_codec import VideoCodec
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.runtime.settings import RunSettings

pytest.importorskip("bjontegaard", reason="the extra [measure] is missing")

FRAMES = 6
BY_NAME = {each.name: each for each in ABLATIONS}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    write_y4m(tmp_path / "data" / "moving.y4m", FRAMES, 64, 48)
    frame = (tmp_path / "data" / "moving.y4m").read_bytes()
    head, _, _ = frame.partition(b"FRAME\n")
    first = frame[len(head) :][: (len(frame) - len(head)) // FRAMES]
    (tmp_path / "data" / "still.y4m").write_bytes(head + first * FRAMES)
    return tmp_path / "data"


def coded(folder: Path, name: str, ablation: Ablation | None) -> tuple[Coded, Clip]:
    """A clip coded with the toy, something switched off."""
    engine = ToyEngines().for_encoding(RunSettings())
    settings = CodecSettings(qp=68)
    if ablation is not None:
        engine = ablation.change(engine)
        settings = replace(settings, **dict(ablation.settings))
    clip = read_clip(folder / f"{name}.y4m", folder, None)
    return VideoCodec(OneEngine(engine), EncodeOptions.of()).code(settings, clip), clip


@pytest.mark.parametrize("ablation", ABLATIONS, ids=lambda each: each.name)
def test_a_codec_without_a_thing_still_decodes_what_it_encodes(ablation: Ablation, folder: Path) -> None:
    without, clip = coded(folder, "moving", ablation)
    whole, _ = coded(folder, "moving", None)
    assert len(without.frames) == FRAMES
    for before, after, unchanged in zip(clip.frames, without.frames, whole.frames, strict=True):
        # The toy codes keyframes by the means of blocks, which leaves an error of 14.
        error, usual = (np.abs(before.y.astype(int) - each.y).mean() for each in (after, unchanged))
        assert max(error, usual) < 16


def test_without_b_frames_there_are_none(folder: Path) -> None:
    assert "B" in {frame.kind for frame in coded(folder, "moving", None)[0].stored}
    assert "B" not in {frame.kind for frame in coded(folder, "moving", BY_NAME["B-frames"])[0].stored}


def test_without_inter_frames_there_are_keyframes_only(folder: Path) -> None:
    assert {frame.kind for frame in coded(folder, "moving", BY_NAME["inter frames"])[0].stored} == {"I"}


def test_without_skipping_a_still_is_coded_frame_by_frame(folder: Path) -> None:
    whole, without = (coded(folder, "still", each)[0] for each in (None, BY_NAME["skip"]))
    assert [frame.size_bytes for frame in whole.stored][1:] == [0] * (FRAMES - 1)
    assert all(frame.size_bytes for frame in without.stored)


def test_what_is_overridden_is_there_to_override() -> None:
    assert CodingEncoder._skips is not Encoder._skips


def test_without_motion_every_vector_is_zero() -> None:
    networks = ablations.StillNetworks(ToyNetworks())
    fields = networks.search(np.zeros((64, 128), np.float32), np.zeros((16, 128, 192), np.uint8), "full")
    assert [field.shape for field in fields] == [(2, 2, 4), (2, 4, 8), (2, 8, 16)]
    assert not any(field.any() for field in fields)
    assert networks.latent_channels == ToyNetworks.latent_channels


def test_what_is_hidden_from_the_entropy_model_is_zero() -> None:
    class Recorder:
        def residual_state(self, inputs):
            return inputs

        def residual_pass(self, number, known, levels, state):
            return levels, None

    inputs = np.ones((41, 4, 4), np.float32)
    seen = ablations.ForgetfulNetworks(Recorder()).residual_state(inputs)
    assert not seen[9:27].any() and seen[:9].all() and seen[27:].all()
    unaware = ablations.UnawareNetworks(Recorder())
    seen = unaware.residual_state(inputs)
    assert seen[:3].all() and not seen[3:].any()
    assert not unaware.residual_pass(1, None, np.ones((5, 4, 4), np.int32), seen)[0].any()
    assert unaware.residual_pass(0, None, None, seen)[0] is None
    assert inputs.all()


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command with the toy in the place of the installed bundle."""
    engine = ToyEngines().for_encoding(RunSettings())
    monkeypatch.setattr(ablations, "bundle_of", lambda name: SimpleNamespace(name="toy", sha256=bytes(32)))
    monkeypatch.setattr(ablations, "load_engine", lambda bundle, run: engine)


@pytest.mark.usefixtures("toy")
def test_the_command_gives_a_line_for_each_thing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ablations.json"
    arguments = ["--data", str(folder), "--clips", "moving", "--qps", "108,88,68,48"]
    arguments += ["--only", "B-frames,fitted tables", "--json", str(out)]
    assert ablations.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "| B-frames " in printed
    document = json.loads(out.read_text())
    assert document["text"] == printed
    assert set(document["percent"]) == {"B-frames", "fitted tables"}
    assert {each["codec"] for each in document["measurements"]} == {"whole codec", "B-frames", "fitted tables"}


@pytest.mark.usefixtures("toy")
def test_a_name_of_nothing_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ablations.main(["--data", str(folder), "--only", "colour"]) == 2
    assert "--only" in capsys.readouterr().err

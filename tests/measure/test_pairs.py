"""Videos side by side: what does not fit is refused with the flag that would make it fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.pipeline.engines import ToyEngines, picture, write_y4m
from zvc69_cli.errors import InputError, UsageError
from zvc69_cli.measure.compare import compare_files
from zvc69_cli.measure.pairs import Pairs, Video, deepened, parts_of, shallowed
from zvc69_cli.measure.settings import MetricSettings, PairSettings
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.pipeline.encode import encode
from zvc69_cli.pipeline.resolve import EncodeOptions
from zvc69_cli.runtime.settings import RunSettings


def numbers(one: Path, other: Path, pairing: PairSettings | None = None, **part: int) -> list[tuple[int, int]]:
    """The pairs as the numbers that the toy's pictures carry in their chroma."""
    pairing = pairing or PairSettings()
    first, second = parts_of(InputSettings(**part), pairing)
    engines = ToyEngines()
    with (
        Video(str(one), first, RunSettings(), engines=engines) as reference,
        Video(str(other), second, RunSettings(), engines=engines) as distorted,
    ):
        pairs = Pairs(reference, distorted, pairing)
        return [(round(a.u.mean()) - 100, round(b.u.mean()) - 100) for a, b in pairs]


@pytest.fixture
def six(tmp_path: Path) -> Path:
    return write_y4m(tmp_path / "six.y4m", 6)


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    return write_y4m(tmp_path / "eight.y4m", 8)


def test_frames_are_paired_by_their_number(six: Path) -> None:
    assert numbers(six, six) == [(number, number) for number in range(6)]
    assert numbers(six, six, seek=2, frames=2) == [(2, 2), (3, 3)]


@pytest.mark.parametrize(("offset", "first"), [(2, (0, 2)), (-3, (3, 0))])
def test_an_offset_skips_at_the_beginning_of_one(eight: Path, offset: int, first: tuple[int, int]) -> None:
    found = numbers(eight, eight, PairSettings(offset=offset, shortest=True))
    assert found[0] == first
    assert len(found) == 8 - abs(offset)


def test_the_one_that_ends_first_is_named(six: Path, eight: Path) -> None:
    for one, other in ((six, eight), (eight, six)):
        with pytest.raises(InputError, match=r"ends after 6 frames, .*eight\.y4m goes on") as refusal:
            numbers(one, other)
        assert refusal.value.where == str(six)
        assert "--shortest" in refusal.value.next_step and "--frames 6" in refusal.value.next_step
    assert len(numbers(six, eight, PairSettings(shortest=True))) == 6
    assert len(numbers(six, eight, frames=6)) == 6


def test_another_size_is_refused_or_scaled(six: Path, tmp_path: Path) -> None:
    larger = write_y4m(tmp_path / "larger.y4m", 6, 96, 64)
    with pytest.raises(InputError, match=r"96x64, .*48x32") as refusal:
        numbers(six, larger)
    assert "--scale" in refusal.value.next_step
    assert numbers(six, larger, PairSettings(scale=True)) == [(number, number) for number in range(6)]


def test_another_rate_is_refused_or_ignored(six: Path, tmp_path: Path) -> None:
    faster = tmp_path / "faster.y4m"
    faster.write_bytes(six.read_bytes().replace(b"F25:1", b"F50:1", 1))
    with pytest.raises(InputError, match="50 frames a second") as refusal:
        numbers(six, faster)
    assert "--ignore-rate" in refusal.value.next_step
    assert len(numbers(six, faster, PairSettings(ignore_rate=True))) == 6


def test_a_zvc69_is_one_of_the_two(six: Path, tmp_path: Path) -> None:
    stream = tmp_path / "six.zvc69"
    encode(str(six), str(stream), EncodeOptions.of(qp=48), engines=ToyEngines())
    found = numbers(six, stream, seek=1)
    assert [one for one, _ in found] == list(range(1, 6))
    assert all(abs(one - other) <= 1 for one, other in found)  # the toy is lossy


def test_depths_meet_at_the_greater_one() -> None:
    frame = picture(3)
    wide = deepened(frame, 10)
    assert wide.y.dtype == np.uint16
    assert np.array_equal(wide.y, frame.y.astype(int) * 4)
    assert np.array_equal(shallowed(wide, 8).y, frame.y)
    assert deepened(frame, 8) is frame
    assert shallowed(frame, 8) is frame


def test_10_bits_become_8_by_rounding() -> None:
    samples = np.array([[0, 1, 2, 5, 6, 1021, 1023]], np.uint16)
    frame = shallowed(type(picture(0))(y=samples, u=samples, v=samples, pts=0), 8)
    assert frame.y.tolist() == [[0, 0, 1, 1, 2, 255, 255]]


def test_standard_input_is_refused_where_it_would_be_read_twice(six: Path) -> None:
    for reference, *distorted in (["-", "-"], ["-", str(six), str(six)], [str(six), "-", "missing.mkv", "-"]):
        with pytest.raises(UsageError, match="standard input"):
            compare_files(
                reference,
                distorted,
                part=InputSettings(),
                pairing=PairSettings(),
                metrics=MetricSettings(),
                run=RunSettings(),
            )


def test_missing_files_are_refused(six: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        numbers(six, Path("missing.mkv"))

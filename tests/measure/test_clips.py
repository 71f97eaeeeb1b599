"""Test material from a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zvc69_cli.errors import InputError
from zvc69_cli.measure.clips import VIDEOS, find_clips, read_clip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A video of three frames (raw samples behind a y4m header), two pictures in a folder, and a text."""
    (tmp_path / "photos").mkdir()
    rows, columns = np.mgrid[:32, :48]
    rgb = np.stack([rows * 7, columns * 5, np.full_like(rows, 90)], -1).astype(np.uint8)
    for name in ("a", "b"):
        Image.fromarray(rgb).save(tmp_path / "photos" / f"{name}.png")
    frames = b"".join(b"FRAME\n" + bytes([50 * number]) * (48 * 32 * 3 // 2) for number in range(3))
    (tmp_path / "flat.y4m").write_bytes(b"YUV4MPEG2 W48 H32 F30:1 Ip A1:1 C420\n" + frames)
    (tmp_path / "notes.txt").write_text("not a clip")
    return tmp_path


def test_pictures_and_videos_are_found_in_order(folder: Path) -> None:
    assert [path.name for path in find_clips(folder, "*")] == ["flat.y4m", "a.png", "b.png"]
    assert [path.name for path in find_clips(folder, "[ab]")] == ["a.png", "b.png"]
    assert [path.name for path in find_clips(folder, "b,flat")] == ["flat.y4m", "b.png"]
    assert [path.name for path in find_clips(folder, "*", VIDEOS)] == ["flat.y4m"]


def test_a_folder_without_clips_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="holds no png"):
        find_clips(folder, "nothing*")
    with pytest.raises(InputError, match="'nothing'"):
        find_clips(folder, "flat,nothing")
    with pytest.raises(InputError, match="is not a folder"):
        find_clips(folder / "missing", "*")


def test_a_picture_becomes_one_frame_of_bt601_limited_range(folder: Path) -> None:
    clip = read_clip(folder / "photos" / "a.png", folder, None)
    assert (clip.name, clip.group, clip.pixels) == ("a", "photos", 48 * 32)
    assert (clip.video.colour.matrix, clip.video.colour.colour_range) == (6, 1)
    rows, columns = np.mgrid[:32, :48]
    luma = 16 + (65.481 * rows * 7 + 128.553 * columns * 5 + 24.966 * 90) / 255
    assert np.abs(clip.frames[0].y - luma).max() < 1.5


def test_a_video_gives_as_many_first_frames_as_asked_for(folder: Path) -> None:
    first = read_clip(folder / "flat.y4m", folder, 1)
    every = read_clip(folder / "flat.y4m", folder, None)
    assert (first.group, len(first.frames), len(every.frames)) == ("", 1, 3)
    assert [int(frame.y[0, 0]) for frame in every.frames] == [0, 50, 100]
    assert every.pixels == 3 * 48 * 32


def test_the_hash_changes_with_the_samples_and_not_with_the_name(folder: Path) -> None:
    a, b = (read_clip(folder / "photos" / f"{name}.png", folder, None) for name in "ab")
    one = read_clip(folder / "flat.y4m", folder, 1)
    two = read_clip(folder / "flat.y4m", folder, 2)
    assert a.content_hash == b.content_hash
    assert len({a.content_hash, one.content_hash, two.content_hash}) == 3


def test_a_broken_picture_is_refused_by_name(folder: Path) -> None:
    broken = folder / "photos" / "broken.png"
    broken.write_bytes((folder / "photos" / "a.png").read_bytes()[:60])
    with pytest.raises(InputError, match=r"broken\.png"):
        read_clip(broken, folder, None)

"""Training pixels: shards or folders of pictures and clips, decoded once into planes that stay on the device."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

PICTURE_SUFFIXES: Final = (".webp", ".png", ".jpg", ".jpeg")
CLIP_SUFFIXES: Final = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".y4m")
FRAME_SPACING: Final = 12  # frames between the pictures that a clip gives to the intra stage

HELD_OUT_FROM = 160  # clips from this number on, in the order of the shards, are never trained on
SHORTEST_CLIP: Final = 8  # frames; shorter ones teach nothing of pyramids

Planes = tuple[np.ndarray, np.ndarray, np.ndarray]


class NoTrainingData(Exception):
    """The folder holds no shard, picture or clip that can be used."""


@dataclass(frozen=True, slots=True)
class Blob:
    """One encoded picture or clip."""

    name: str
    data: bytes

    @property
    def is_clip(self) -> bool:
        return self.name.lower().endswith(CLIP_SUFFIXES)


def read_blobs(folder: Path) -> Iterator[Blob]:
    """Every picture and clip below `folder`, loose or in tar shards, in the order of their names."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".tar":
            with tarfile.open(path) as shard:
                for member in shard:
                    file = shard.extractfile(member) if member.isfile() else None
                    if file and member.name.lower().endswith(PICTURE_SUFFIXES + CLIP_SUFFIXES):
                        yield Blob(f"{path.name}/{member.name}", file.read())
        elif path.suffix.lower() in PICTURE_SUFFIXES + CLIP_SUFFIXES:
            yield Blob(str(path.relative_to(folder)), path.read_bytes())


def load_pictures(folder: Path, smallest_side: int, limit: int | None = None) -> list[Planes]:
    """Planes uint8 [H, W] and twice [H/2, W/2] of every picture, and of every twelfth frame of the clips.

    smallest_side  smaller ones are left out
    limit          blobs to read at most
    raises         NoTrainingData; what cannot be decoded is named, skipped and counted
    """
    blobs = list(read_blobs(folder))[:limit]
    if not blobs:
        raise NoTrainingData(f"{folder}: no shards (*.tar), pictures or clips there")
    pictures: list[Planes] = []
    broken = []
    with ProcessPoolExecutor() as pool:
        for blob, decoded in zip(blobs, pool.map(decode_blob, blobs, chunksize=4), strict=True):
            if decoded is None:
                broken.append(blob.name)
            else:
                pictures += [each for each in decoded if min(each[0].shape) >= smallest_side]
    for name in broken:
        print(f"skipped, cannot be decoded: {name}", flush=True)
    if not pictures:
        raise NoTrainingData(
            f"{folder}: {len(blobs)} files, {len(broken)} broken, none of {smallest_side} or more"
        )
    pixels = sum(each[0].size for each in pictures)
    print(f"{len(pictures)} pictures, {pixels / 1e6:.0f} megapixels, {len(broken)} files skipped", flush=True)
    return pictures


def load_clips(
    folder: Path, smallest_side: int, limit: int | None = None, frame_limit: int | None = None
) -> list[Planes]:
    """Planes uint8 [T, H, W] and twice [T, H/2, W/2] of every clip.

    smallest_side  smaller ones are left out
    limit          blobs to read at most
    frame_limit    first frames of each clip to decode, from SHORTEST_CLIP; None takes all
    raises         NoTrainingData; what cannot be decoded is named, skipped and counted
    """
    blobs = [blob for blob in read_blobs(folder) if blob.is_clip][:limit]
    if not blobs:
        raise NoTrainingData(f"{folder}: no clips there, in shards (*.tar) or loose")
    clips: list[Planes] = []
    broken = 0
    decode = partial(decode_clip, frame_limit=frame_limit)
    with ProcessPoolExecutor() as pool:
        for blob, decoded in zip(blobs, pool.map(decode, blobs), strict=True):
            if decoded is None:
                broken += 1
                print(f"skipped, cannot be decoded: {blob.name}", flush=True)
            elif len(decoded[0]) >= SHORTEST_CLIP and min(decoded[0].shape[1:]) >= smallest_side:
                clips.append(decoded)
    if not clips:
        raise NoTrainingData(
            f"{folder}: {len(blobs)} clips, {broken} broken, none of {SHORTEST_CLIP} frames and {smallest_side} a side"
        )
    pixels = sum(each[0].size for each in clips)
    print(f"{len(clips)} clips, {pixels / 1e6:.0f} megapixels, {broken} files skipped", flush=True)
    return clips


def decode_clip(blob: Blob, frame_limit: int | None = None) -> Planes | None:
    """The first frames of a clip, or all; None where it cannot be decoded."""
    try:
        frames = _clip_frames(blob, 1, frame_limit)
    except Exception:  # any decoder's error means the same here: this file is not usable
        return None
    y, u, v = (np.stack([frame[plane] for frame in frames]) for plane in range(3))
    return y, u, v


def decode_blob(blob: Blob) -> list[Planes] | None:
    """Planes of a picture, or of the frames that a clip gives; None where it cannot be decoded."""
    try:
        return _clip_frames(blob, FRAME_SPACING) if blob.is_clip else [_decode_picture(blob)]
    except Exception:  # any decoder's error means the same here: this file is not usable
        return None


def rgb_to_planes(rgb: np.ndarray) -> Planes:
    """uint8 [H, W, 3] with even sides -> BT.601 limited 4:2:0; chroma is the mean of each 2x2."""
    red, green, blue = (rgb[..., channel].astype(np.float32) for channel in range(3))
    y = 16 + (65.738 * red + 129.057 * green + 25.064 * blue) / 256
    u = 128 + (-37.945 * red - 74.494 * green + 112.439 * blue) / 256
    v = 128 + (112.439 * red - 94.154 * green - 18.285 * blue) / 256
    height, width = y.shape
    halved = [plane.reshape(height // 2, 2, width // 2, 2).mean((1, 3)) for plane in (u, v)]
    y8, u8, v8 = (np.clip(np.rint(plane), 0, 255).astype(np.uint8) for plane in (y, *halved))
    return y8, u8, v8


class PixelPool:
    """All pictures or clips as three flat uint8 tensors on one device; crops are gathered there."""

    def __init__(self, items: list[Planes], device: torch.device) -> None:
        self._device = device
        shapes = [each[0].shape if each[0].ndim == 3 else (1, *each[0].shape) for each in items]
        self._sizes = torch.tensor(shapes, device=device)
        self._weights = self._sizes.prod(1).float()
        self._flat: list[Tensor] = []
        self._offsets: list[Tensor] = []
        for plane in range(3):
            lengths = np.array([each[plane].size for each in items])
            self._offsets.append(torch.tensor(np.cumsum(lengths) - lengths, device=device))
            joined = np.concatenate([each[plane].ravel() for each in items])
            self._flat.append(torch.from_numpy(joined).to(device))

    def crops(self, count: int, side: int) -> tuple[Tensor, Tensor, Tensor]:
        """Random square crops, flipped and transposed at random, float32 in 0..1: [count, 1, side, side] and halves."""
        return self.sequences(count, side, 1)

    def sequences(self, count: int, side: int, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """As `crops`, of consecutive frames: [count, frames, side, side] and halves.

        A quarter of them takes every second frame where the clip is long enough, and half of them run backwards.
        """
        chosen = torch.multinomial(self._weights, count, replacement=True)
        length, height, width = self._sizes[chosen].unbind(1)
        left, top = (self._below((extent - side) // 2 + 1, count) * 2 for extent in (width, height))
        step = 1 + (self._coin(count, 0.25) & (length > 2 * frames)).long()
        first = self._below(length - (frames - 1) * step, count)
        times = first[:, None] + torch.arange(frames, device=self._device) * step[:, None]
        times = torch.where(self._coin(count)[:, None], times.flip(1), times)
        flip, transpose = (self._coin(count)[:, None, None, None] for _ in range(2))
        planes = []
        for plane, factor in enumerate((1, 2, 2)):
            steps = torch.arange(side // factor, device=self._device)
            rows, columns = (top // factor)[:, None] + steps, (left // factor)[:, None] + steps
            wide, high = (width // factor)[:, None, None, None], (height // factor)[:, None, None, None]
            index = self._offsets[plane][chosen][:, None, None, None] + times[:, :, None, None] * (wide * high)
            index = index + rows[:, None, :, None] * wide + columns[:, None, None, :]
            crop = self._flat[plane][index].float() / 255
            crop = torch.where(flip, crop.flip(3), crop)
            planes.append(torch.where(transpose, crop.transpose(2, 3), crop))
        y, u, v = planes
        return y, u, v

    def _coin(self, count: int, chance: float = 0.5) -> Tensor:
        return torch.rand(count, device=self._device) < chance

    def _below(self, limit: Tensor, count: int) -> Tensor:
        return (torch.rand(count, device=self._device) * limit).long()


def _decode_picture(blob: Blob) -> Planes:
    from PIL import Image

    rgb = np.asarray(Image.open(io.BytesIO(blob.data)).convert("RGB"))
    return rgb_to_planes(_even(rgb))


def _clip_frames(blob: Blob, spacing: int, frame_limit: int | None = None) -> list[Planes]:
    """Every `spacing`-th frame, up to the limit; raises ValueError where there is none."""
    import cv2

    frames = []
    with tempfile.NamedTemporaryFile(suffix=Path(blob.name).suffix) as file:
        file.write(blob.data)
        file.flush()
        capture = cv2.VideoCapture(file.name)
        number = 0
        while (frame_limit is None or len(frames) < frame_limit) and capture.grab():
            if number % spacing == 0:
                good, bgr = capture.retrieve()
                if good:
                    frames.append(rgb_to_planes(_even(bgr[..., ::-1])))
            number += 1
    if not frames:
        raise ValueError("no frame")
    return frames


def _even(rgb: np.ndarray) -> np.ndarray:
    return rgb[: rgb.shape[0] // 2 * 2, : rgb.shape[1] // 2 * 2]

"""Frames as an encoder codes them, stored for training: `python -m engines.training.store OUT --data FOLDER`.

An encoder with a bundle's networks codes many short groups of small crops of many clips. Of each P and B frame the
store
keeps what the parts of the codec are trained on (FIELDS), as one memory map a field. Groups that follow one another
teach
little: a loop filter trained on 160 crops lost 0.2 dB on other clips, on 2,500 crops it gained 0.13 dB.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from engines.training.data import HELD_OUT_FROM, Planes, decode_clip, read_blobs
from engines.training.export_frames import planned_frames
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.entropy.tables import CodecTables
from zvc69_cli.codec.motion.fields import CELL_SIDES, FIRST_CHANNELS, LEVELS, SECOND_CHANNELS
from zvc69_cli.codec.picture.loop_filter import edge_planes
from zvc69_cli.codec.quantised import QuantisedFrame
from zvc69_cli.codec.residual.context import INPUTS
from zvc69_cli.codec.residual.layout import BANDS, CELL
from zvc69_cli.codec.settings import Q_LEVELS, CodecSettings
from zvc69_cli.frames import FrameKind, VideoFormat
from zvc69_cli.runtime.bundle import load_bundle
from zvc69_cli.runtime.providers import choose_device
from zvc69_cli.runtime.sessions import load_networks

CROP: Final = 192  # luma samples on a side
CELLS: Final = CROP // CELL
CLIP_FRAMES: Final = 40
GROUPS_A_CLIP: Final = 4  # coded from a clip while it is in memory
HIGH_Q_SHARE: Final = 0.15  # of the groups, those above the last q of I frames
MOTION_TARGETS: Final = 3  # whether a cell is coded, then its vector less its parent's

# Of each frame: planes on the grid of cells and their type. A frame's vectors have grids of their own (_vector_fields).
FIELDS: Final = {
    "source": (BANDS, np.float16),
    "blend": (BANDS, np.float16),
    "first": (BANDS, np.float16),
    "last": (BANDS, np.float16),
    "levels": (BANDS, np.int16),
    "classes": (1, np.uint8),
    "inputs": (INPUTS, np.int16),
    "edges": (4, np.float16),
}


def _vector_fields() -> dict[str, tuple[int, int]]:
    """Planes and side of what a pass of the motion prior is trained on: its inputs, then its targets."""
    return {
        f"vectors_{level}_{order}": (channels + MOTION_TARGETS, CROP // CELL_SIDES[level])
        for level in range(LEVELS)
        for order, channels in (("first", FIRST_CHANNELS), ("second", SECOND_CHANNELS))
    }


VECTOR_FIELDS: Final = _vector_fields()


class RecordingNetworks:
    """Satisfies codec.networks.Networks by another that does, and keeps what is asked of it for one frame."""

    def __init__(self, networks: Any) -> None:
        self._networks = networks
        self.seen: dict[str, Any] = {}
        self.moved: list[Any] = []
        self.motion_inputs: list[tuple[int, bool, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._networks, name)

    def start(self) -> None:
        """Forget the frame before."""
        self.seen, self.moved, self.motion_inputs = {}, [], []

    def warp(self, *given: Any) -> Any:
        self.moved.append(self._networks.warp(*given))
        return self.moved[-1]

    def residual_costs(self, planes: Any, prediction: Any, steps: Any) -> Any:
        self.seen |= {"source": features_of(planes), "blend": prediction}
        return self._networks.residual_costs(planes, prediction, steps)

    def residual_state(self, inputs: Any) -> Any:
        self.seen["inputs"] = inputs
        return self._networks.residual_state(inputs)

    def predict_motion(self, level: int, second: bool, inputs: Any) -> Any:
        self.motion_inputs.append((level, second, inputs))
        return self._networks.predict_motion(level, second, inputs)


def features_of(planes: Sequence[Any]) -> np.ndarray:
    """Planes in 0..1 as features [96, h, w]."""
    parts = []
    for plane, side in zip(planes, (8, 4, 4), strict=True):
        rows, columns = (each // side for each in plane.shape)
        cut = np.asarray(plane).reshape(rows, side, columns, side).transpose(1, 3, 0, 2)
        parts.append(cut.reshape(side * side, rows, columns))
    return np.concatenate(parts)


def frame_fields(recorded: RecordingNetworks, coded: QuantisedFrame) -> dict[str, np.ndarray]:
    """The fields of a coded P or B frame."""
    assert coded.residual is not None and coded.motion is not None
    return {
        **recorded.seen,
        "first": recorded.moved[0],
        "last": recorded.moved[-1],
        "levels": coded.residual.levels,
        "classes": coded.residual.classes.repeat(2, 0).repeat(2, 1)[None],
        "edges": edge_planes(coded.motion.motions),
    }


def vector_fields(recorded: RecordingNetworks, coded: QuantisedFrame) -> Iterator[tuple[str, np.ndarray]]:
    """For each pass of each motion of a frame the name of its field, and its inputs with its targets."""
    assert coded.motion is not None
    passes = iter(recorded.motion_inputs)
    for motion in coded.motion.motions:
        for level in range(LEVELS):
            for order in ("first", "second"):
                _, _, inputs = next(passes)
                parent = inputs[6:8]
                target = np.concatenate([motion.coded[level][None], motion.fields[level] - parent])
                yield f"vectors_{level}_{order}", np.concatenate([inputs, target])


class Store:
    """Fields in memory maps that grow as frames come.

    stem  the files are STEM_<field>.npy, and STEM.npz with q and kind (1 for B) of each frame; the latter is written
          again after every group, so that a run that ends early leaves what is whole
    """

    def __init__(self, stem: Path, frames: int) -> None:
        self._stem = stem
        self._frames = frames
        self._maps = {
            name: _map(stem, name, kind, (frames, planes, CELLS, CELLS))
            for name, (planes, kind) in FIELDS.items()
        }
        self._vectors = {
            name: _map(stem, name, np.int16, (frames, planes, side, side))
            for name, (planes, side) in VECTOR_FIELDS.items()
        }
        self._counts = dict.fromkeys(VECTOR_FIELDS, 0)
        self._q: list[float] = []
        self._is_b: list[bool] = []

    def __len__(self) -> int:
        return len(self._q)

    @property
    def is_full(self) -> bool:
        return len(self) >= self._frames

    def add(self, recorded: RecordingNetworks, coded: QuantisedFrame) -> None:
        """Keep one frame; of its vectors those of as many motions as there is room for."""
        for name, field in frame_fields(recorded, coded).items():
            self._maps[name][len(self)] = np.asarray(field)
        for name, field in vector_fields(recorded, coded):
            if self._counts[name] < self._frames:
                self._vectors[name][self._counts[name]] = field
                self._counts[name] += 1
        self._q.append(coded.q_256 / 256)
        self._is_b.append(coded.kind is FrameKind.B)

    def save(self) -> None:
        beside = self._stem.with_name(f"{self._stem.name}.new.npz")
        np.savez(beside, q=np.array(self._q), is_b=np.array(self._is_b), **self._counts)
        beside.replace(self._stem.with_name(f"{self._stem.name}.npz"))


def _map(stem: Path, name: str, kind: Any, shape: tuple[int, ...]) -> np.ndarray:
    return np.lib.format.open_memmap(f"{stem}_{name}.npy", "w+", kind, shape)


class StoredFrames:
    """The frames of one or several stores; a field's frames are read when they are asked for."""

    def __init__(self, stems: Sequence[str]) -> None:
        self._parts = [dict(np.load(f"{stem}.npz")) for stem in stems]
        self._maps: list[dict[str, np.ndarray]] = [
            {name: np.load(f"{stem}_{name}.npy", mmap_mode="r") for name in (*FIELDS, *VECTOR_FIELDS)}
            for stem in stems
        ]
        self.q = torch.from_numpy(np.concatenate([each["q"] for each in self._parts])).float()
        self.is_b = torch.from_numpy(np.concatenate([each["is_b"] for each in self._parts]))

    def __len__(self) -> int:
        return len(self.q)

    def count(self, name: str) -> int:
        """How many of a field of vectors there are."""
        return sum(int(each[name]) for each in self._parts)

    def __call__(self, name: str, index: Tensor) -> Tensor:
        """A field of these frames, float32 [B, planes, rows, columns]."""
        sizes = [int(each[name]) if name in VECTOR_FIELDS else len(each["q"]) for each in self._parts]
        ends = np.cumsum(sizes)
        rows = []
        for at in index.tolist():
            part = int(np.searchsorted(ends, at, "right"))
            rows.append(self._maps[part][name][at - (ends[part] - sizes[part])])
        return torch.from_numpy(np.stack(rows).astype(np.float32))


def drawn_group(clip: Planes, rng: np.random.Generator) -> tuple[Planes, CodecSettings]:
    """A crop of a few frames, one to three frames apart, and settings for them."""
    settings = CodecSettings(
        qp=Q_LEVELS - 1 - _drawn_q(rng), bframes=int(rng.choice([0, 3, 7])), b_adapt=0, refine=0, scenecut=0
    )
    apart = int(rng.choice([1, 1, 1, 2, 3]))
    count = int(rng.integers(5, 10))
    frames = len(clip[0])
    apart = max(1, min(apart, (frames - 1) // (count - 1)))
    start = int(rng.integers(0, max(1, frames - apart * (count - 1))))
    _, height, width = clip[0].shape
    top, left = (2 * int(rng.integers(0, (side - CROP) // 2 + 1)) for side in (height, width))
    cut = tuple(
        plane[start::apart, top // factor : (top + CROP) // factor, left // factor : (left + CROP) // factor][
            :count
        ]
        for plane, factor in zip(clip, (1, 2, 2), strict=True)
    )
    return (cut[0], cut[1], cut[2]), settings


def _drawn_q(rng: np.random.Generator) -> int:
    is_high = rng.random() < HIGH_Q_SHARE
    return int(rng.integers(80, 112) if is_high else rng.integers(0, 80))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m engines.training.store", description=__doc__.split("\n")[0]
    )
    parser.add_argument("out", type=Path, help="beginning of the files' names")
    parser.add_argument("--data", type=Path, required=True, help="folder of shards or clips")
    parser.add_argument("--bundle", type=Path, default=Path("engines/zvc69-s"))
    parser.add_argument("--frames", type=int, default=6000)
    parser.add_argument("--held-out", action="store_true", help="of the clips that are never trained on")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args(arguments)
    rng = np.random.default_rng(asked.seed)
    blobs = [blob for blob in read_blobs(asked.data) if blob.is_clip]
    blobs = blobs[HELD_OUT_FROM:] if asked.held_out else blobs[:HELD_OUT_FROM]
    bundle = load_bundle(asked.bundle)
    recorded = RecordingNetworks(load_networks(bundle, choose_device("cpu"), 1))
    tables = CodecTables.from_arrays(bundle.arrays)
    store, video = Store(asked.out, asked.frames), VideoFormat(width=CROP, height=CROP)
    while not store.is_full:
        for at in rng.permutation(len(blobs)):
            clip = decode_clip(blobs[at], CLIP_FRAMES)
            if clip is None or len(clip[0]) < 9 or min(clip[0].shape[1:]) < CROP:
                continue
            for _ in range(GROUPS_A_CLIP):
                store_group(store, recorded, tables, video, *drawn_group(clip, rng))
            store.save()
            print(f"{len(store)} of {asked.frames} frames", flush=True)
            if store.is_full:
                break
    return 0


def store_group(
    store: Store,
    recorded: RecordingNetworks,
    tables: CodecTables,
    video: VideoFormat,
    clip: Planes,
    settings: CodecSettings,
) -> None:
    """Code a group and keep its P and B frames."""
    encoder = Encoder(video, settings, recorded, tables)
    for planned in planned_frames(video, settings, clip, CROP, CROP, len(clip[0])):
        recorded.start()
        coded = encoder.quantise(planned)
        if coded.residual is not None and not store.is_full:
            store.add(recorded, coded)


if __name__ == "__main__":
    sys.exit(main())

"""The settings that change how fast a stream is made, and not how it is read."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zvc69_cli.errors import UsageError
from zvc69_cli.flags import check_flags, flag

PRECISIONS = ("fp32", "fp16", "int8")
NO_CACHE = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSettings:
    """Where and how wide the networks run. The priors are exact in each of these."""

    device: str = flag(
        "auto",
        "What runs the networks: auto, cpu, openvino, cuda[:N], tensorrt[:N] or tensorrt-rtx[:N]. auto says what it "
        "chose and why.",
    )
    threads: int = flag(0, "Cores of the CPU to work on; 0 is all.", low=0, high=1024)
    precision: str = flag(
        "fp32",
        "What the networks of pictures compute in, where the device can; the priors stay exact in float32. int8, for "
        "analysis and blending, needs `zvc69 engines calibrate` first.",
        choices=PRECISIONS,
    )
    cache: str = flag(
        "",
        f"Folder of engines that were built; the user's own cache when left out, {NO_CACHE} for none.",
        kind=str,
    )
    workspace: int = flag(
        0, "GPU memory that TensorRT may work in; 0 leaves it to TensorRT.", unit="MiB", low=0, high=1 << 20
    )
    streams: int = flag(
        0, "Streams of TensorRT or OpenVINO that work side by side; 0 leaves it to them.", low=0, high=64
    )
    cuda_graph: bool = flag(
        False, "Replay each network as one CUDA graph for each size of picture, on --device cuda."
    )

    def __post_init__(self) -> None:
        check_flags(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What `zvc69 engines` is told beside where the networks run."""

    size: str = flag("1920x1080", "Size of picture, WxH, that a GPU is proved at.")
    frames: int = flag(9, "Frames of each clip to watch the networks on.", low=2, high=1000)

    def __post_init__(self) -> None:
        check_flags(self)
        _ = self.picture_size

    @property
    def picture_size(self) -> tuple[int, int]:
        """Width and height; raises UsageError where there are not two."""
        matched = re.fullmatch(r"(\d{2,4})x(\d{2,4})", self.size)
        if not matched:
            raise UsageError("--size", f"{self.size!r} is not a width and a height", "Write it as 1920x1080.")
        return int(matched[1]), int(matched[2])

"""zvc69, a neural video codec: the public API.

Everything here is loaded when it is first asked for, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from os import PathLike
    from typing import BinaryIO

    from zvc69_cli.codec.settings import CodecSettings as CodecSettings
    from zvc69_cli.container.layout import StreamHeader as StreamHeader
    from zvc69_cli.container.reader import StreamReader as StreamReader
    from zvc69_cli.container.writer import StreamWriter as StreamWriter
    from zvc69_cli.errors import Zvc69Error as Zvc69Error
    from zvc69_cli.frames import Frame as Frame
    from zvc69_cli.frames import Packet as Packet
    from zvc69_cli.frames import VideoFormat as VideoFormat
    from zvc69_cli.frames import align_dimensions as align_dimensions
    from zvc69_cli.frames import is_valid_resolution as is_valid_resolution
    from zvc69_cli.pipeline.estimate import Estimate as Estimate
    from zvc69_cli.pipeline.estimate import estimate_bitrate as estimate_bitrate
    from zvc69_cli.pipeline.pace import Pace as Pace
    from zvc69_cli.pipeline.pipelined import PipelinedEncoder as PipelinedEncoder
    from zvc69_cli.pipeline.pipelined import PipelineStats as PipelineStats
    from zvc69_cli.pipeline.pipelined import TimedPacket as TimedPacket
    from zvc69_cli.pipeline.resolve import EncodeOptions as EncodeOptions
    from zvc69_cli.pipeline.sessions import Decoder as Decoder
    from zvc69_cli.pipeline.sessions import Encoder as Encoder
    from zvc69_cli.pipeline.video_file import VideoFile as VideoFile
    from zvc69_cli.pipeline.warmup import Warmth as Warmth
    from zvc69_cli.pipeline.warmup import warmup as warmup
    from zvc69_cli.runtime.settings import RunSettings as RunSettings

__version__: Final = "0.0.1"

_HOMES: Final = {
    "CodecSettings": "codec.settings",
    "Decoder": "pipeline.sessions",
    "EncodeOptions": "pipeline.resolve",
    "Encoder": "pipeline.sessions",
    "Estimate": "pipeline.estimate",
    "Frame": "frames",
    "Pace": "pipeline.pace",
    "Packet": "frames",
    "PipelineStats": "pipeline.pipelined",
    "PipelinedEncoder": "pipeline.pipelined",
    "RunSettings": "runtime.settings",
    "StreamHeader": "container.layout",
    "StreamReader": "container.reader",
    "StreamWriter": "container.writer",
    "TimedPacket": "pipeline.pipelined",
    "VideoFile": "pipeline.video_file",
    "VideoFormat": "frames",
    "Warmth": "pipeline.warmup",
    "Zvc69Error": "errors",
    "align_dimensions": "frames",
    "estimate_bitrate": "pipeline.estimate",
    "is_valid_resolution": "frames",
    "warmup": "pipeline.warmup",
}

__all__ = ["__version__", "open", *_HOMES]


def open(source: str | PathLike[str] | BinaryIO, run: RunSettings | None = None) -> VideoFile:
    """A .zvc69 as its frames: iterate over it, `seek(frame_number)`, `len()`, use it in a `with`.

    source  a path, or a binary file object
    raises  InputError, DamagedStream, UnknownBundle, RuntimeUnavailable
    """
    from zvc69_cli.pipeline.video_file import VideoFile

    return VideoFile(source, run)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

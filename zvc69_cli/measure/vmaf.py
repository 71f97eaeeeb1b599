"""VMAF and MS-SSIM by libvmaf, in an ffmpeg that runs beside this program.

Both videos go through one pipe, frame about frame, since a program has one standard input everywhere.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

import numpy as np

from zvc69_cli.errors import RuntimeUnavailable
from zvc69_cli.frames import Frame, VideoFormat
from zvc69_cli.measure.ffmpeg_program import FfmpegProgram
from zvc69_cli.measure.program_encoder import PIXEL_FORMATS
from zvc69_cli.measure.quality import Series

MS_SSIM_MIN_SIDE: Final = 176  # five scales, a window of 11 on the smallest
ENDING_S: Final = 600.0  # for what is queued when the last frame has been sent
_KEYS: Final = {"vmaf": ("vmaf", "vmaf"), "ms-ssim": ("ms_ssim", "float_ms_ssim")}


class VmafMeter:
    """A running ffmpeg that is sent pairs of frames.

    metrics  "vmaf", "ms-ssim" or both; VMAF comes with either, since the filter cannot leave it out
    threads  of libvmaf; 0 for one a core
    """

    def __init__(
        self, program: FfmpegProgram, video: VideoFormat, metrics: Sequence[str], *, threads: int = 0
    ) -> None:
        self._program = program
        self._video = video
        self._metrics = metrics
        self._threads = threads or os.cpu_count() or 1
        self._count = 0

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self._log = folder / "vmaf.json"
        self._said: IO[bytes] = (folder / "said.txt").open("w+b")
        try:
            # The log's name is relative: a filter's argument must not hold a Windows drive's colon.
            self._process = subprocess.Popen(
                self._command(), cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._said
            )
        except OSError as cause:
            self._said.close()
            self._folder.cleanup()
            raise RuntimeUnavailable(
                "VMAF", f"{self._program.path} does not start: {cause}", "Leave vmaf and ms-ssim out."
            ) from cause
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        with suppress(OSError):  # it ended before it had read everything
            self._input.close()
        self._process.wait()
        self._said.close()
        self._folder.cleanup()

    def add(self, reference: Frame, distorted: Frame) -> None:
        try:
            for frame in (reference, distorted):
                for plane in (frame.y, frame.u, frame.v):
                    self._input.write(np.ascontiguousarray(plane).data)
        except OSError as cause:
            raise self._failed() from cause
        self._count += 1

    def finish(self) -> tuple[Series, ...]:
        try:
            self._input.close()
            code = self._process.wait(ENDING_S)
            frames = json.loads(self._log.read_text(encoding="utf-8"))["frames"] if code == 0 else []
        except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as cause:
            raise self._failed() from cause
        if len(frames) != self._count:
            raise self._failed()
        return tuple(
            Series(name=_KEYS[metric][0], values=tuple(each["metrics"][_KEYS[metric][1]] for each in frames))
            for metric in self._metrics
        )

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def _command(self) -> list[str]:
        video = self._video
        options = [f"log_fmt=json:log_path={self._log.name}:n_threads={self._threads}"]
        if "ms-ssim" in self._metrics:
            options.append("feature=name=float_ms_ssim")
        apart = (
            "[0:v]split[a][b];"
            "[a]select='not(mod(n,2))',setpts=N/25/TB[reference];"
            "[b]select='mod(n,2)',setpts=N/25/TB[distorted];"
            f"[distorted][reference]libvmaf={':'.join(options)}"
        )
        given = ["-f", "rawvideo", "-pix_fmt", PIXEL_FORMATS[video.bit_depth]]
        given += ["-s", f"{video.width}x{video.height}", "-r", "50", "-i", "pipe:0"]
        return [
            self._program.path,
            *("-v", "error", "-nostats"),
            *given,
            *("-filter_complex", apart, "-f", "null", "-"),
        ]

    def _failed(self) -> RuntimeUnavailable:
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        said = lines[-1] if lines else f"measured fewer frames than {self._count}"
        return RuntimeUnavailable(
            "VMAF", f"ffmpeg {self._program.version}: {said}", "Leave vmaf and ms-ssim out."
        )

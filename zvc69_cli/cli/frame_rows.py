"""--csv: a row of figures for every frame, in x265's columns, in the order of coding."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from zvc69_cli.codec.settings import Q_LEVELS
from zvc69_cli.errors import Interrupted, UsageError
from zvc69_cli.pipeline.places import PART, PIPE, Pipes, choose_destination, opened_for_writing, writing

if TYPE_CHECKING:
    from zvc69_cli.frames import Frame
    from zvc69_cli.measure.metrics import PlanePsnr
    from zvc69_cli.pipeline.stats import FrameRecord

_PLAIN: Final = ("Encode Order", "Type", "POC", "QP", "Bits")
_RATE: Final = ("RateFactor",)
_BUFFER: Final = ("BufferFill",)
_PSNR: Final = ("Y PSNR", "U PSNR", "V PSNR", "YUV PSNR")
_LEAST_QUANTISER: Final = Q_LEVELS - 1.0  # QP counts down where q counts up, as --qp does


class FrameRows:
    """The rows of one encode; what is known of the first frame decides which columns there are."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        self._rows = csv.writer(self._text)
        self._name = name
        self._psnr: dict[int, PlanePsnr] = {}
        self._columns: tuple[str, ...] = ()

    def compare(self, original: Frame, psnr: PlanePsnr) -> None:
        """The quality of a frame whose record comes later."""
        self._psnr[original.pts] = psnr

    def add(self, record: FrameRecord) -> None:
        """Write a frame's row; raises OutputError."""
        psnr = self._psnr.pop(record.pts, None)
        values: dict[str, Any] = {
            "Encode Order": record.coding_index,
            "Type": f"{record.kind.name}-SLICE",
            "POC": record.display_index,
            "QP": f"{_LEAST_QUANTISER - record.q:.2f}",
            "Bits": 8 * record.size_bytes,
        }
        if record.rate_factor is not None:
            values["RateFactor"] = f"{record.rate_factor:.3f}"
        if record.buffer_share is not None:
            values["BufferFill"] = f"{record.buffer_share:.3f}"
        if psnr is not None:
            four = (psnr.y, psnr.u, psnr.v, psnr.weighted)
            values |= {name: f"{value:.3f}" for name, value in zip(_PSNR, four, strict=True)}
        with writing(self._name):
            if not self._columns:
                self._columns = tuple(name for name in (*_PLAIN, *_RATE, *_BUFFER, *_PSNR) if name in values)
                self._rows.writerow(self._columns)
            self._rows.writerow([values.get(name, "") for name in self._columns])

    def finish(self) -> None:
        """Leave the file to its owner, with everything in it."""
        with writing(self._name):
            self._text.detach()


@contextmanager
def opened_rows(
    name: str, in_name: str, out_name: str, may_overwrite: Callable[[str], bool]
) -> Iterator[FrameRows | None]:
    """Rows for a file of that name, None for none; the file is there when the work has succeeded.

    raises  UsageError where it cannot be written there, OutputError
    """
    if not name:
        yield None
        return
    if name == PIPE:
        raise UsageError("--csv", "cannot go to standard output", "Name a file.")
    if out_name != PIPE and Path(name).resolve() in (Path(out_name).resolve(), Path(out_name + PART).resolve()):
        raise UsageError("--csv", f"{name} is the output itself", "Give it another name.")
    destination = choose_destination(name, in_name, Pipes(), may_overwrite)
    try:
        with opened_for_writing(destination, Pipes()) as file:
            rows = FrameRows(file, name)
            yield rows
            rows.finish()
    except Interrupted:  # the rows are of the frames that OUT.part holds
        destination.keep()
        raise
    except BaseException:
        destination.discard()
        raise
    destination.keep()

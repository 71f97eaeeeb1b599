"""The C library's heap, told to keep what steps free.

glibc gives large blocks back to the system as soon as they are free, and the next step pays for every page of them
again. A step of P and B frames took 1.8 s on two cores of a Zen 4 as glibc does it, 1.06 s with what is freed kept.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Final

# Of glibc's malloc.h, which has no Python names for them.
_TRIM_THRESHOLD: Final = -1
_TOP_PAD: Final = -2
_MMAP_MAX: Final = -4
_ARENA_MAX: Final = -8
_NEVER: Final = -1
_GROWTH_BYTES: Final = 256 << 20


def keep_freed_memory() -> None:
    """From now on all that is freed stays with the process; without effect where the C library is not glibc."""
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return
    # One arena: gradients are made on another thread, whose own would be given back all the same.
    for option, value in (
        (_MMAP_MAX, 0),
        (_TRIM_THRESHOLD, _NEVER),
        (_TOP_PAD, _GROWTH_BYTES),
        (_ARENA_MAX, 1),
    ):
        mallopt(option, value)

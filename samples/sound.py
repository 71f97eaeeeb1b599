"""Sound for a clip: a quiet room, and far in it a soft piano-like chord that changes once."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE: Final = 48_000
CHORDS: Final = (
    (0.15, (220.0, 277.18, 329.63, 415.30)),
    (2.10, (196.0, 246.94, 293.66, 369.99)),
)  # start, hertz
ROOM: Final = 0.012
MUSIC: Final = 0.10


def room_with_music(duration_s: float) -> NDArray[np.float32]:
    """[2, samples], -1..1: two channels that differ a little, faded in and out."""
    rng = np.random.default_rng(6904)
    t = np.arange(int(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    channels = np.stack([_room(rng, t.size), _room(rng, t.size)]) * ROOM
    for start_s, tones in CHORDS:
        for number, hertz in enumerate(tones):
            since = t - start_s - 0.07 * number
            struck = np.where(since > 0, np.exp(-1.3 * since) * (1 - np.exp(-since / 0.012)), 0)
            tone = sum(np.sin(2 * np.pi * hertz * k * since) * 0.5**k / k for k in (1, 2, 3, 4))
            side = 0.35 + 0.3 * number / len(tones)
            channels += MUSIC * struck * tone * np.array([[1 - side], [side]])
    fade = np.minimum(1, np.minimum(t, duration_s - t) / 0.08)
    return np.ascontiguousarray(np.clip(channels * fade, -1, 1), np.float32)


def _room(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """The noise of air: strong below a few hundred hertz, deviation 1."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    spectrum *= (hertz > 40) / np.sqrt(1 + (hertz / 250) ** 2)
    noise = np.fft.irfft(spectrum, count)
    return noise / noise.std()

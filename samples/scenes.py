"""The scenes: each yields its frames as RGB pictures, [height, width, 3], 0..1, the same on every run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from fields import F32, drift, grain, noise, photograph, read_at, step
from scipy.ndimage import gaussian_filter, maximum_filter

COFFEE_FRAMES: Final = 64
CAT_FRAMES: Final = 36
PAD_FRAMES: Final = 72


def cafe(width: int, height: int) -> Iterator[F32]:
    """A steaming cup under the shadow of leaves, then a cut to a cat; a camera held by hand."""
    rng = np.random.default_rng(6901)
    for picture in (*_coffee(width, height), *_cat(width, height)):
        yield np.clip(picture + grain((height, width), rng, 0.007), 0, 1)


def launch_pad(width: int, height: int) -> Iterator[F32]:
    """A rocket at dusk: a smooth sky, slow clouds, lamps that flicker, vapour that drifts off the tank."""
    rng = np.random.default_rng(6902)
    photo = photograph("rocket.jpg")
    sky = gaussian_filter(step(0.02, 0.12, photo[..., 2] - photo[..., 0]) * (photo.mean(-1) < 0.45), 1.2)
    still = np.stack([gaussian_filter(channel, 5) for channel in np.moveaxis(photo, 2, 0)], -1)
    flat = np.abs(photo - still).max(-1)
    smooth = (step(0.02, 0.05, sky - gaussian_filter(flat, 2) * 12) * sky)[..., None]
    photo = photo * (1 - smooth) + still * smooth
    lamps = _lamps(photo)
    clouds, vapour = noise(11, 1.7), noise(12, 1.4)
    for number in range(PAD_FRAMES):
        t = number / 24
        scale = 0.97 - 0.05 * t / 3
        x, y = _view(width, height, 320 + 4 * t, 225 - 11 * t, scale, _hand(t, 31) * 0.35, photo.shape)
        picture = read_at(photo, x, y, order=3)
        amount = drift(clouds, x * 0.34 + 9 * t, y * 0.9 - 2 * t) * drift(
            clouds, x * 0.2 - 5 * t, y * 0.55 + 90
        )
        cover = (
            step(0.22, 0.62, amount) * step(330, 120, y) * 0.34
            + step(0.1, 0.5, amount) * step(200, 380, y) * 0.2
        )
        warm = step(120, 400, y)[..., None]
        tint = (
            np.array([0.30, 0.33, 0.44], np.float32) * (1 - warm)
            + np.array([0.62, 0.47, 0.42], np.float32) * warm
        )
        picture += (tint - picture) * (cover * read_at(sky, x, y))[..., None]
        picture += _glow(lamps, x, y, t)
        picture += (
            (0.78 - picture) * _vapour(vapour, x, y, t)[..., None] * np.array([0.92, 0.96, 1], np.float32)
        )
        yield np.clip(picture + grain((height, width), rng, 0.003), 0, 1)


def _coffee(width: int, height: int) -> Iterator[F32]:
    photo = photograph("coffee.png")
    leaves, steam = noise(1, 2.0), noise(2, 1.5)
    for number in range(COFFEE_FRAMES):
        t = number / 25
        scale = 0.80 - 0.035 * t
        x, y = _view(width, height, 300 + 6 * t, 190 - 5 * t, scale, _hand(t, 21), photo.shape)
        inside = step(1.0, 0.75, np.hypot((x - 285) / 78, (y - 110) / 48))
        ring = np.hypot(x - 285, (y - 110) * 1.6)
        ripple = inside * np.sin(ring * 0.35 - 7 * t) * 0.9 * np.exp(-ring / 60)
        picture = read_at(photo, x + ripple, y + ripple * 0.6, order=3)
        shade = drift(leaves, x * 0.55 + 16 * t, y * 0.55 + 7 * np.sin(1.3 * t)) * 0.6
        shade += drift(leaves, x * 0.9 - 11 * t + 200, y * 0.9 + 50 + 5 * np.sin(2.1 * t)) * 0.4
        picture *= (0.70 + 0.36 * step(0.36, 0.62, shade))[..., None] * np.array([1.0, 0.985, 0.96], np.float32)
        wisp = drift(steam, x * 1.1 + 14 * np.sin(y * 0.02 + t), y * 0.8 + 70 * t)
        wisp *= drift(steam, x * 0.6 - 12 * t + 99, y * 0.5 + 44 * t)
        plume = np.exp(-(((x - 285 - 12 * np.sin(0.016 * y + 1.4 * t)) / (34 + 0.16 * (130 - y))) ** 2))
        alpha = step(0.16, 0.62, wisp) * plume * step(135, 85, y) * step(-60, 50, y) * 0.55
        yield picture + (0.97 - picture) * alpha[..., None]


def _cat(width: int, height: int) -> Iterator[F32]:
    photo = photograph("chelsea.png")
    blurred = np.stack([gaussian_filter(channel, 1.0) for channel in np.moveaxis(photo, 2, 0)], -1)
    photo = np.clip(photo + 0.5 * (photo - blurred), 0, 1)
    light = noise(3, 2.2)
    for number in range(CAT_FRAMES):
        t = number / 25
        scale = 0.630 - 0.012 * t
        x, y = _view(width, height, 222 + 7 * t, 150 - 3 * t, scale, _hand(t + 9, 22) * 0.8, photo.shape)
        head = np.exp(-(((x - 200) / 170) ** 2) - ((y - 130) / 130) ** 2)
        turn = 0.020 * np.sin(2.4 * t) * head
        breath = 1.6 * np.sin(3.1 * t + 1) * step(180, 320, y)
        picture = read_at(photo, x + turn * (y - 230), y - turn * (x - 190) + breath, order=3)
        picture *= (0.90 + 0.16 * drift(light, x * 0.35 + 12 * t, y * 0.35 + 30))[..., None]
        yield picture


def _view(
    width: int, height: int, x: float, y: float, scale: float, shake: F32, shape: tuple[int, ...]
) -> tuple[F32, F32]:
    """Where each pixel of the camera looks at in a photograph, never past its edges; shake: x, y, degrees."""
    angle = np.radians(shake[2])
    across, down = width * scale / 2, height * scale / 2
    reach_x = across * np.cos(angle) + down * abs(np.sin(angle)) + 1
    reach_y = down * np.cos(angle) + across * abs(np.sin(angle)) + 1
    middle_x = np.clip(x + shake[0], reach_x, shape[1] - 1 - reach_x)
    middle_y = np.clip(y + shake[1], reach_y, shape[0] - 1 - reach_y)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    right, below = (columns - (width - 1) / 2) * scale, (rows - (height - 1) / 2) * scale
    looks_x = middle_x + right * np.cos(angle) - below * np.sin(angle)
    looks_y = middle_y + right * np.sin(angle) + below * np.cos(angle)
    return looks_x.astype(np.float32), looks_y.astype(np.float32)


def _hand(t: float, seed: int) -> F32:
    """How far a hand has moved the camera: x and y in pixels, rotation in degrees."""
    rng = np.random.default_rng(seed)
    rates, phases = rng.uniform(0.7, 5.5, (3, 6)), rng.uniform(0, 2 * np.pi, (3, 6))
    sway = (np.sin(rates * t + phases) / rates).sum(1)
    return (sway * np.array([2.2, 1.6, 0.22])).astype(np.float32)


def _lamps(photo: F32) -> list[tuple[float, float, F32]]:
    """The brightest points of a photograph, far from each other: x, y, colour."""
    light = gaussian_filter(photo.mean(-1), 1.5)
    rows, columns = np.nonzero((light == maximum_filter(light, 25)) & (light > 0.72))
    return [
        (float(x), float(y), photo[y, x] * np.array([1, 0.85, 0.6], np.float32))
        for y, x in zip(rows, columns, strict=True)
        if y > 340
    ]


def _glow(lamps: list[tuple[float, float, F32]], x: F32, y: F32, t: float) -> F32:
    """The halos of the lamps, each with a flicker of its own."""
    total = np.zeros((*x.shape, 3), np.float32)
    for number, (lamp_x, lamp_y, colour) in enumerate(lamps):
        flicker = 0.5 + 0.5 * np.sin(5.1 * t + 2.4 * number) * np.sin(2.3 * t + number)
        distance = (x - lamp_x) ** 2 + (y - lamp_y) ** 2
        halo = 0.13 * np.exp(-distance / 300) + 0.04 * np.exp(-distance / 2500)
        total += (halo * flicker)[..., None] * colour
    return total


def _vapour(tile: F32, x: F32, y: F32, t: float) -> F32:
    """Cold gas that leaves the side of the tank and is blown to the right: opacity."""
    away = x - 322
    sink = 205 + 0.22 * away + 4 * np.sin(0.03 * away - 3 * t)
    width = 5 + 0.16 * np.maximum(away, 0)
    body = np.exp(-(((y - sink) / width) ** 2)) * step(-2, 12, away) * step(150, 30, away)
    wisps = (
        drift(tile, x * 2.0 - 120 * t, y * 2.4 + 20 * t) * 0.6
        + drift(tile, x * 1.1 - 75 * t, y * 1.4 - 12 * t) * 0.5
    )
    return (body * step(0.32, 0.85, wisps) * 0.75).astype(np.float32)

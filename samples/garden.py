"""A walk along a garden wall: photographed brick, gravel and grass on planes, a rolling ball, hills, clouds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from fields import F32, drift, grain, mipmaps, noise, photograph, read_at, read_mipmaps, step

WALK_FRAMES: Final = 60
FRAMES_A_SECOND: Final = 30
FOCAL: Final = 0.80  # of the width: a lens of about 64 degrees
WALL_Z: Final = 2.1  # metres to the right of the path's middle
WALL_TOP: Final = 2.35
VERGE_Z: Final = 1.25  # where gravel ends and grass begins
BALL_RADIUS: Final = 0.16
TEXELS_A_METRE: Final = 430  # of gravel and grass
BRICK_SIDE: Final = 512
BRICKS_A_METRE: Final = (559, 613)  # texels across and up, so that a brick is 20 cm by 7.5 cm
TILT: Final = np.array([[0.54764, -0.00219, 0], [-0.12822, 0.54688, 0], [-0.00022, 0, 1]])
SUN: Final = np.array([-0.30, 0.72, -0.62], np.float32)
HAZE: Final = np.array([0.74, 0.79, 0.84], np.float32)
SUBSAMPLES: Final = ((-0.25, -0.25), (0.25, 0.25), (-0.25, 0.25), (0.25, -0.25))


class Garden:
    """Everything of the scene that does not move."""

    def __init__(self) -> None:
        self.brick = mipmaps(_upright_bricks())
        self.gravel = mipmaps(photograph("gravel.png")[..., 0])
        self.grass = mipmaps(photograph("grass.png")[..., 0])
        self.patches, self.stains, self.clouds = noise(41, 1.3), noise(42, 1.6), noise(43, 1.75)
        self.hills = noise(44, 1.5)
        self.leaves = noise(45, 1.9)

    def wall(self, x: F32, y: F32, footprint: F32) -> F32:
        """The colour of the wall at metres along it and up it."""
        grey = read_mipmaps(self.brick, x * BRICKS_A_METRE[0], -y * BRICKS_A_METRE[1], footprint)
        joint = step(0.50, 0.62, grey)[..., None]
        hue = drift(self.patches, x * 160, y * 260)[..., None]
        clay = (
            np.array([0.62, 0.31, 0.22], np.float32) * (1 - hue)
            + np.array([0.74, 0.45, 0.31], np.float32) * hue
        )
        mortar = np.array([0.72, 0.68, 0.61], np.float32)
        colour = (clay * (1 - joint) + mortar * joint) * (0.35 + 1.5 * grey[..., None])
        damp = step(0.55, 0.05, y + 0.5 * drift(self.stains, x * 45, y * 60))[..., None]
        moss = np.array([0.33, 0.36, 0.20], np.float32)
        cap = step(WALL_TOP - 0.09, WALL_TOP - 0.085, y)[..., None]
        rough = (0.55 + 0.9 * drift(self.patches, x * 210, y * 700))[..., None]
        stone = np.array([0.62, 0.60, 0.55], np.float32) * rough
        colour = colour * (1 - 0.55 * damp) + moss * grey[..., None] * 0.55 * damp
        return colour * (1 - cap) + stone * cap

    def ground(self, x: F32, z: F32, footprint: F32) -> F32:
        """The colour of the ground at metres along the path and to the right of it."""
        edge = VERGE_Z + 0.16 * (drift(self.stains, x * 70, z * 70) - 0.5)
        left = -1.35 + 0.22 * (drift(self.stains, x * 60 + 99, z * 60) - 0.5)
        is_grass = np.maximum(step(-0.03, 0.05, z - edge), step(-0.03, 0.05, left - z))[..., None]
        stones = self._two_ways(self.gravel, x, z, footprint)[..., None]
        blades = self._two_ways(self.grass, x, z, footprint)[..., None]
        dry = drift(self.stains, x * 22, z * 22)[..., None]
        path = np.array([0.80, 0.72, 0.61], np.float32) * (0.18 + 1.1 * stones)
        lush = (
            np.array([0.36, 0.50, 0.17], np.float32) * (1 - dry)
            + np.array([0.62, 0.60, 0.30], np.float32) * dry
        )
        return path * (1 - is_grass) + lush * (0.10 + 1.75 * blades) * is_grass

    def sky(self, direction: F32, t: float) -> F32:
        """The colour of the sky, and of the hills below it, in a direction."""
        up = np.maximum(direction[..., 1], 0.015)
        x, z = direction[..., 0] / up, direction[..., 2] / up
        amount = 0.62 * drift(self.clouds, x * 30 + 5 * t, z * 30) + 0.38 * drift(
            self.clouds, x * 71 - 4 * t, z * 71 + 70
        )
        cover = (step(0.42, 0.70, amount) * step(0.02, 0.14, up))[..., None]
        blue = HAZE + (np.array([0.27, 0.48, 0.76], np.float32) - HAZE) * step(0.0, 0.42, up)[..., None]
        white = np.array([0.97, 0.96, 0.95], np.float32) - 0.22 * step(0.6, 0.95, amount)[..., None]
        colour = blue * (1 - cover) + white * cover
        bearing = np.arctan2(direction[..., 2], direction[..., 0])
        for number, (height, tint) in enumerate(((0.085, (0.52, 0.60, 0.63)), (0.052, (0.34, 0.43, 0.33)))):
            row = np.full_like(up, 37 + 90 * number)
            ridge = height * (0.55 + 0.75 * drift(self.hills, bearing * (90 + 160 * number), row))
            below = step(0.0025, -0.0025, direction[..., 1] - ridge)[..., None]
            woods = 0.85 + 0.3 * drift(self.patches, bearing * 900, direction[..., 1] * 2600)[..., None]
            colour = colour * (1 - below) + np.array(tint, np.float32) * woods * below
        return colour

    def shade(self, x: F32, z: F32, t: float) -> F32:
        """Light that reaches a point through leaves that move in the wind, 0.5..1; the meadow has no trees."""
        a = drift(self.leaves, x * 95 + 6 * np.sin(1.7 * t), z * 95 + 4 * np.sin(2.3 * t))
        b = drift(self.leaves, x * 190 + 150 + 7 * np.sin(2.9 * t + 1), z * 190 + 6 * np.sin(2.1 * t))
        return 1 - 0.48 * step(0.60, 0.40, 0.6 * a + 0.4 * b) * step(-4.5, -1.5, z)

    def _two_ways(self, levels: list[F32], x: F32, z: F32, footprint: F32) -> F32:
        """One texture laid twice, turned and scaled, in patches, so that no repeat is seen."""
        first = read_mipmaps(levels, x * TEXELS_A_METRE, z * TEXELS_A_METRE, footprint)
        turned_x, turned_z = 0.62 * x + 0.78 * z + 3.3, -0.78 * x + 0.62 * z
        second = read_mipmaps(
            levels, turned_x * TEXELS_A_METRE * 0.93, turned_z * TEXELS_A_METRE * 0.93, footprint
        )
        where = step(0.44, 0.56, drift(self.patches, x * 75, z * 75))
        return first * (1 - where) + second * where


def garden_walk(width: int, height: int) -> Iterator[F32]:
    """Two seconds of walking beside a brick wall, a striped ball rolling in front."""
    rng = np.random.default_rng(6903)
    garden = Garden()
    for number in range(WALK_FRAMES):
        t = number / FRAMES_A_SECOND
        total = np.zeros((height, width, 3), np.float32)
        for right, down in SUBSAMPLES:
            total += _render(garden, width, height, t, right, down)
        picture = total / len(SUBSAMPLES)
        yield np.clip(picture + grain((height, width), rng, 0.005), 0, 1)


def _render(garden: Garden, width: int, height: int, t: float, right: float, down: float) -> F32:
    stride = 2 * np.pi * 0.95 * t
    eye = np.array([1.35 * t, 1.55 + 0.018 * np.sin(2 * stride), 0.012 * np.sin(stride)], np.float32)
    yaw, pitch = 0.24 + 0.035 * np.sin(0.9 * t), -0.115 + 0.006 * np.sin(2 * stride + 1)
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    across = (columns + right - (width - 1) / 2) / (FOCAL * width)
    below = (rows + down - (height - 1) / 2) / (FOCAL * width)
    ahead = np.cos(pitch) + below * np.sin(pitch)
    forward = ahead * np.cos(yaw) - across * np.sin(yaw)
    sideways = ahead * np.sin(yaw) + across * np.cos(yaw)
    direction = np.stack([forward, np.sin(pitch) - below * np.cos(pitch), sideways], -1).astype(np.float32)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    pixel = 1 / (FOCAL * width)

    colour = garden.sky(direction, t)
    with np.errstate(divide="ignore", invalid="ignore"):
        to_wall = np.where(direction[..., 2] > 1e-4, (WALL_Z - eye[2]) / direction[..., 2], np.inf)
        to_ground = np.where(direction[..., 1] < -1e-4, -eye[1] / direction[..., 1], np.inf)
    hits_wall = (to_wall < to_ground) & (eye[1] + to_wall * direction[..., 1] < WALL_TOP)
    hits_ground = (to_ground < np.inf) & ~hits_wall & (to_ground < 400)
    ball = np.array([3.3 + 1.75 * t, BALL_RADIUS, 0.28 + 0.10 * t], np.float32)

    d, reach = direction[hits_wall], to_wall[hits_wall]
    x, y = eye[0] + reach * d[:, 0], eye[1] + reach * d[:, 1]
    footprint = max(BRICKS_A_METRE) * reach * pixel / np.sqrt(np.maximum(d[:, 2], 0.02))
    light = garden.shade(x + 0.45 * y, 3 + 0.85 * y, t)[:, None]
    corner = 0.62 + 0.38 * step(0.0, 0.45, y)[:, None]
    colour[hits_wall] = _far(garden.wall(x, y, footprint) * light * corner, reach)

    d, reach = direction[hits_ground], to_ground[hits_ground]
    x, z = eye[0] + reach * d[:, 0], eye[2] + reach * d[:, 2]
    footprint = TEXELS_A_METRE * reach * pixel / np.sqrt(np.maximum(-d[:, 1], 0.02))
    light = garden.shade(x, z, t)[:, None]
    corner = 0.55 + 0.45 * step(0.0, 0.5, np.abs(WALL_Z - z))[:, None]
    under = np.hypot((x - ball[0] - 0.10) / 0.27, (z - ball[2] - 0.13) / 0.22)
    contact = 1 - 0.72 * step(1.0, 0.25, under)[:, None]
    colour[hits_ground] = _far(garden.ground(x, z, footprint) * light * corner * contact, reach)

    _draw_ball(colour, garden, eye, direction, ball, t)
    return colour


def _far(colour: F32, distance: F32) -> F32:
    """A colour seen through air."""
    clear = np.exp(-distance / 120)[:, None]
    return colour * clear + HAZE * 0.9 * (1 - clear)


def _draw_ball(colour: F32, garden: Garden, eye: F32, direction: F32, ball: F32, t: float) -> None:
    """Draw a striped rubber ball that rolls without slipping."""
    towards = direction @ (ball - eye)
    gap = (ball - eye) @ (ball - eye) - towards**2
    hits = gap < BALL_RADIUS**2
    d = direction[hits]
    point = eye + d * (towards[hits] - np.sqrt(BALL_RADIUS**2 - gap[hits]))[:, None]
    normal = (point - ball) / BALL_RADIUS
    turn = -1.75 * t / BALL_RADIUS
    u = normal[:, 0] * np.cos(turn) - normal[:, 1] * np.sin(turn)
    v = normal[:, 0] * np.sin(turn) + normal[:, 1] * np.cos(turn)
    stripe = step(-0.05, 0.05, np.sin(3 * np.arctan2(v, u)))[:, None]
    paint = np.array([0.75, 0.12, 0.10], np.float32) * stripe + np.array([0.88, 0.84, 0.74], np.float32) * (
        1 - stripe
    )
    sun = SUN / np.linalg.norm(SUN)
    lit = np.maximum(normal @ sun, 0)[:, None] * garden.shade(point[:, 0], point[:, 2], t)[:, None]
    shine = np.maximum((2 * normal * (normal @ sun)[:, None] - sun) @ -d.T.mean(1), 0)[:, None] ** 24
    colour[hits] = paint * (0.30 + 0.30 * (normal[:, 1:2] + 1) / 2 + 0.75 * lit) + 0.25 * shine


def _upright_bricks() -> F32:
    """The brick photograph without the perspective that scikit-image gave it: [BRICK_SIDE, BRICK_SIDE].

    Cut in the middle of two mortar joints, so that courses go on where the picture is mirrored.
    source  the notes of `skimage.data.brick`, where TILT stands
    """
    turned = np.ascontiguousarray(np.rot90(photograph("brick.png")[..., 0]))
    rows, columns = np.mgrid[:BRICK_SIDE, :BRICK_SIDE] / (BRICK_SIDE - 1)
    flat = np.stack([20 + 1295 * columns, 317 + 1182 * rows, np.ones_like(rows)])
    x, y, depth = np.einsum("ij,jhw->ihw", TILT, flat)
    return read_at(turned, x / depth / 2, y / depth / 2, order=3)

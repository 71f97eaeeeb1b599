"""Refined latents: they cost less by the loss they step down, and decode as any others."""

from __future__ import annotations

import numpy as np
import pytest

from tests.codec.clips import NETWORKS, TABLES, moving_clip, pair, same_frames, scheduled
from tests.toy import ToyNetworks
from zvc69_cli.codec.intra.refinement import DECAY, FIRST_LENGTH, Refinement
from zvc69_cli.codec.rate.quality import error_price
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import UsageError
from zvc69_cli.frames import FrameKind, VideoFormat

VIDEO = VideoFormat(width=64, height=48)


def test_the_toys_gradient_is_that_of_its_error():
    """By differences: every symbol a quarter of a step up and down."""
    generator = np.random.default_rng(5)
    planes = tuple(generator.random(shape, np.float32) for shape in ((32, 48), (16, 24), (16, 24)))
    latent = np.rint(generator.normal(0, 20, (8, 2, 3))).astype(np.float32)

    def error(latent):
        made = NETWORKS.synthesise(latent, 9_000, 1 << 20)
        y, u, v = (np.sum((m / np.float64(1 << 20) - p) ** 2) for m, p in zip(made, planes, strict=True))
        return 0.75 * y + 0.5 * u + 0.5 * v

    latent += 100  # within what a sample can be
    gradient = NETWORKS.gradient(planes, latent, 9_000)
    for place in np.ndindex(latent.shape):
        step = np.zeros_like(latent)
        step[place] = 4
        slope = (error(latent + step) - error(latent - step)) / 0.5
        assert slope == pytest.approx(gradient[place], abs=2e-2)


def test_a_step_goes_down_the_slopes_of_error_and_rate():
    refinement = Refinement(TABLES.latent)
    prices, farthest = TABLES.latent.prices()
    latent, gradient = np.zeros((1, 1, 3), np.float32), np.array([[[1.0, 0.0, 0.0]]], np.float32)
    symbols, indexes = np.array([[[0, 2, -2]]], np.int32), np.full((1, 1, 3), 50, np.uint8)
    moved = refinement.moved(latent, gradient, symbols, indexes, 10.0, 1)
    dearer = (prices[50, farthest + 3] - prices[50, farthest + 1]) / 2
    assert dearer > 0
    assert moved[0, 0] == pytest.approx(-FIRST_LENGTH * DECAY * np.array([10.0, dearer, -dearer]))
    far = refinement.moved(latent, 0 * gradient, 10_000 * symbols, indexes, 10.0, 0)
    assert np.array_equal(far, latent)  # what an escape costs hardly changes


@pytest.mark.parametrize("kind", ["intra", "inter"])
def test_refined_frames_cost_less_and_decode_as_they_were_coded(kind):
    """A gradient as steep as a trained synthesis': the toy's own is that of a coder that needs no refinement."""
    frames = moving_clip(VIDEO, 5, 3)
    plain, refined = (
        CodecSettings(qp=78, keyint=1 if kind == "intra" else 250, refine=steps) for steps in (0, 4)
    )
    costs = []
    for settings in (plain, refined):
        encoder, decoder = pair(VIDEO, settings, _Crooked())
        cost = 0.0
        for planned in scheduled(VIDEO, frames, settings, encoder.base_q_256):
            quantised = encoder.quantise(planned)
            packet = encoder.pack(quantised)
            shown = decoder.reconstruct(decoder.parse(packet))
            assert same_frames(shown, encoder.reconstruct(quantised))
            apart = (shown.y.astype(np.float64) - planned.frame.y) / 255
            cost += 8 * len(packet.payload) + error_price(quantised.q_256) * np.sum(apart**2)
        costs.append(cost)
    assert costs[1] < costs[0]


def test_i_frames_alone_are_refined_as_often_as_is_said():
    asked = []

    class Watched(ToyNetworks):
        def gradient(self, planes, latent, q_256):
            asked.append(now)
            return super().gradient(planes, latent, q_256)

    for steps in (0, 1, 3):
        settings = CodecSettings(qp=78, refine=steps, bframes=3, b_adapt=0, scenecut=0)
        encoder, _ = pair(VIDEO, settings, Watched())
        asked.clear()
        coded = []
        for planned in scheduled(VIDEO, moving_clip(VIDEO, 9, 3), settings, encoder.base_q_256):
            now = planned.kind
            coded.append(now)
            encoder.quantise(planned)
        assert [coded.count(kind) for kind in (FrameKind.I, FrameKind.P, FrameKind.B)] == [1, 2, 6]
        assert asked == [FrameKind.I] * steps


@pytest.mark.parametrize("refine", ["4", 17, -1, 2.5, True])
def test_steps_that_are_none_are_refused(refine):
    with pytest.raises(UsageError, match="--refine"):
        CodecSettings(refine=refine)


@pytest.mark.parametrize("refine", ["8:4:0", "8:4", "8:4:0:0"])
def test_steps_for_p_and_b_frames_are_refused_with_the_new_spelling(refine):
    with pytest.raises(UsageError, match="--refine") as refused:
        CodecSettings(refine=refine)
    assert refused.value.next_step == "P and B frames are not refined any more; write --refine 8."


def test_without_steps_the_gradients_are_never_asked_for():
    encoder, _ = pair(VIDEO, CodecSettings(qp=78, refine=0), _NoGradients())
    for planned in scheduled(VIDEO, moving_clip(VIDEO, 3, 3), encoder.settings, encoder.base_q_256):
        assert encoder.quantise(planned).kind in FrameKind


class _Crooked(ToyNetworks):
    """Its analysis is off by a fifth: refinement finds what it misses."""

    def analyse(self, y, u, v, q_256):
        latent, hyper = super().analyse(y, u, v, q_256)
        return latent * np.float32(0.8), hyper


class _NoGradients(ToyNetworks):
    def gradient(self, planes, latent, q_256):
        raise AssertionError

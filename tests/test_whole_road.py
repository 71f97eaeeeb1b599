"""Real networks on real samples: what goes in comes out, on every thread count, without drift."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from zvc69_cli.codec.decoder import Decoder
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.codec.tables import CodecTables
from zvc69_cli.frames import Frame
from zvc69_cli.measure.metrics import psnr_611
from zvc69_cli.media.settings import InputSettings
from zvc69_cli.media.source import open_source
from zvc69_cli.runtime.bundle import find_bundle
from zvc69_cli.runtime.providers import choose_device
from zvc69_cli.runtime.sessions import load_networks

SAMPLES = Path(__file__).resolve().parent.parent / "samples"
CLIPS = sorted(SAMPLES.glob("*.mp4"))


@pytest.fixture(scope="module")
def bundle():
    return find_bundle()


@pytest.fixture(scope="module")
def tables(bundle):
    return CodecTables.from_arrays(bundle.arrays)


def networks(bundle, threads=0, optimised=True):
    return load_networks(bundle, choose_device("cpu"), threads, optimised=optimised)


def frames_of(clip, count):
    source = open_source(str(clip), InputSettings(frames=count))
    try:
        return source.video, [item for item in source if isinstance(item, Frame)]
    finally:
        source.close()


def test_there_are_three_samples_of_both_depths():
    assert len(CLIPS) == 3
    assert {frames_of(clip, 1)[0].bit_depth for clip in CLIPS} == {8, 10}
    assert sum(clip.stat().st_size for clip in CLIPS) < 6_000_000


@pytest.mark.slow
@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.stem)
def test_the_decoder_shows_what_the_encoder_saw_frame_by_frame(clip, bundle, tables):
    video, frames = frames_of(clip, 3)
    nets = networks(bundle)
    encoder = Encoder(video, CodecSettings(crf=28, slices=2), nets, tables)
    decoder = Decoder(video, encoder.base_q_256, nets, tables)
    for frame in frames:
        coded = encoder.quantise(frame)
        due, got = encoder.reconstruct(coded), decoder.reconstruct(decoder.parse(encoder.pack(coded)))
        assert all(np.array_equal(getattr(due, plane), getattr(got, plane)) for plane in "yuv")
        assert psnr_611(frame, got) > 30


@pytest.mark.slow
def test_threads_and_graph_optimisation_do_not_change_the_symbols(bundle, tables):
    video, (frame, *_) = frames_of(CLIPS[0], 1)
    encoder = Encoder(video, CodecSettings(crf=30), networks(bundle), tables)
    packet = encoder.pack(encoder.quantise(frame))
    pictures = []
    for threads in (1, 2):
        for optimised in (False, True):
            decoder = Decoder(video, encoder.base_q_256, networks(bundle, threads, optimised), tables)
            parsed = decoder.parse(packet)  # raises SymbolMismatch where a symbol differs
            pictures.append(decoder.reconstruct(parsed).y.astype(int))
    assert max(np.abs(picture - pictures[0]).max() for picture in pictures) <= 1


@pytest.mark.slow
def test_quality_falls_and_files_shrink_with_crf(bundle, tables):
    video, (frame, *_) = frames_of(CLIPS[0], 1)
    nets = networks(bundle)
    points = []
    for crf in (14, 23, 32, 41):
        encoder = Encoder(video, CodecSettings(crf=crf), nets, tables)
        coded = encoder.quantise(frame)
        points.append((len(encoder.pack(coded).payload), psnr_611(frame, encoder.reconstruct(coded))))
    assert points == sorted(points, reverse=True)
    assert points[0][1] > points[-1][1] + 6


def test_a_flat_picture_costs_next_to_nothing(bundle, tables):
    video, _ = frames_of(CLIPS[0], 1)
    flat = Frame(
        y=np.full((video.height, video.width), 100, np.uint8),
        u=np.full((video.chroma_height, video.chroma_width), 120, np.uint8),
        v=np.full((video.chroma_height, video.chroma_width), 140, np.uint8),
        pts=0,
    )
    encoder = Encoder(video, CodecSettings(crf=30), networks(bundle), tables)
    coded = encoder.quantise(flat)
    assert len(encoder.pack(coded).payload) < 1500
    assert psnr_611(flat, encoder.reconstruct(coded)) > 40


def test_exact_rates_of_time_are_kept():
    rates = {frames_of(clip, 1)[0].frame_rate for clip in CLIPS}
    assert rates == {Fraction(25), Fraction(24000, 1001), Fraction(30000, 1001)}

"""Real networks on real samples: what goes in comes out, on every thread count, without drift."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import zvc69_cli as zvc69
from tests.toy import plan_of
from zvc69_cli.codec.decoder import Decoder
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.entropy.tables import CodecTables
from zvc69_cli.codec.plan.gop import Scheduler
from zvc69_cli.codec.settings import MAX_INTRA_Q, CodecSettings
from zvc69_cli.frames import Frame, FrameKind
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
    for number, frame in enumerate(frames):
        coded = encoder.quantise(plan_of(frame, coding_index=number))
        due, got = encoder.reconstruct(coded), decoder.reconstruct(decoder.parse(encoder.pack(coded)))
        assert all(np.array_equal(getattr(due, plane), getattr(got, plane)) for plane in "yuv")
        assert psnr_611(frame, got) > 30


@pytest.mark.slow
def test_threads_and_graph_optimisation_do_not_change_the_symbols(bundle, tables):
    video, (frame, *_) = frames_of(CLIPS[0], 1)
    encoder = Encoder(video, CodecSettings(crf=30), networks(bundle), tables)
    packet = encoder.pack(encoder.quantise(plan_of(frame)))
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
        offset = min(0, MAX_INTRA_Q - encoder.base_q_256)  # as a scheduler plans an I frame
        coded = encoder.quantise(plan_of(frame, q_offset=offset))
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
    coded = encoder.quantise(plan_of(flat))
    assert len(encoder.pack(coded).payload) < 1500
    assert psnr_611(flat, encoder.reconstruct(coded)) > 40


def pan(frames, count, side=96):
    """A window that wanders over a picture: endless motion, from one frame of a sample."""
    picture = frames[0]
    for number in range(count):
        top = int(40 + 30 * np.sin(number / 17)) // 2 * 2
        left = int(60 + 50 * np.sin(number / 23)) // 2 * 2
        chroma = (slice(top // 2, (top + side) // 2), slice(left // 2, (left + side) // 2))
        yield Frame(
            y=picture.y[top : top + side, left : left + side],
            u=picture.u[chroma],
            v=picture.v[chroma],
            pts=number,
        )


@pytest.mark.slow
@pytest.mark.parametrize("groups", [{}, {"bframes": 3, "b_adapt": 0}])
def test_pictures_do_not_drift_in_250_frames(bundle, tables, groups):
    """Encoder and decoder the same to the last sample; without graph optimisation within 0.05 dB of it."""
    sample, frames = frames_of(next(clip for clip in CLIPS if frames_of(clip, 1)[0].bit_depth == 8), 1)
    video = replace(sample, width=96, height=96, time_base=Fraction(1, 25), frame_rate=Fraction(25))
    settings = CodecSettings(qp=88, keyint=-1, scenecut=0, **groups)
    encoder = Encoder(video, settings, networks(bundle), tables)
    plain = Decoder(video, encoder.base_q_256, networks(bundle), tables)
    unoptimised = Decoder(video, encoder.base_q_256, networks(bundle, 1, optimised=False), tables)
    scheduler = Scheduler(video, settings, encoder.base_q_256)
    planned = [each for frame in pan(frames, 250) for each in scheduler.push(frame)] + scheduler.flush()
    apart = []
    for each in planned:
        coded = encoder.quantise(each)
        packet = encoder.pack(coded)
        due, got = encoder.reconstruct(coded), plain.reconstruct(plain.parse(packet))
        assert all(np.array_equal(getattr(due, plane), getattr(got, plane)) for plane in "yuv")
        other = unoptimised.reconstruct(unoptimised.parse(packet))
        apart.append(abs(psnr_611(each.frame, got) - psnr_611(each.frame, other)))
    assert len(planned) == 250
    assert {each.kind for each in planned} == {FrameKind.I, FrameKind.P, FrameKind.B}
    assert max(apart) < 0.05


@pytest.mark.slow
def test_a_still_clip_costs_24_bytes_a_frame(tmp_path):
    """Header, marker, index and trailer shared out; the first frame apart."""
    frame = frames_of(CLIPS[0], 1)[1][0]
    video = replace(frames_of(CLIPS[0], 1)[0], time_base=Fraction(1, 25), frame_rate=Fraction(25))
    sizes = []
    for count in (1, 101):
        session = zvc69.Encoder(video, zvc69.EncodeOptions.of(crf=28))
        out = io.BytesIO()
        writer = zvc69.StreamWriter(out, session.header)
        for number in range(count):
            session.send_frame(replace(frame, pts=number))
        session.flush()
        while (packet := session.receive_packet()) is not None:
            writer.write_packet(packet)
        writer.close()
        sizes.append(len(out.getvalue()))
    assert (sizes[1] - sizes[0]) / 100 <= 24


def test_exact_rates_of_time_are_kept():
    rates = {frames_of(clip, 1)[0].frame_rate for clip in CLIPS}
    assert rates == {Fraction(25), Fraction(24000, 1001), Fraction(30000, 1001)}

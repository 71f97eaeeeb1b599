"""Frames that are worked on beside each other: claims in the order of coding, the rest on any thread."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.codec.clips import TABLES, moving_clip, pair, same_frames, scheduled
from tests.toy import ToyNetworks
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.frames import VideoFormat

VIDEO = VideoFormat(width=64, height=48)
FRAMES = moving_clip(VIDEO, 18)
SETTINGS = CodecSettings(qp=68, bframes=7, b_adapt=0, keyint=9, min_keyint=9)


def planned_by(encoder):
    return scheduled(VIDEO, FRAMES, SETTINGS, encoder.base_q_256)


def coded_in_turn():
    encoder, decoder = pair(VIDEO, SETTINGS)
    packets = [encoder.pack(encoder.quantise(each)) for each in planned_by(encoder)]
    return packets, [decoder.reconstruct(decoder.parse(each)) for each in packets]


@pytest.mark.parametrize("seed", range(3))
def test_frames_coded_on_threads_in_any_order_make_the_same_packets_and_pictures(seed):
    packets, pictures = coded_in_turn()
    encoder, decoder = pair(VIDEO, SETTINGS)
    order = np.random.default_rng(seed).permutation(len(packets))
    claims = [encoder.claim(each) for each in planned_by(encoder)]
    with ThreadPoolExecutor(len(claims)) as threads:
        coding = {number: threads.submit(encoder.code, claims[number]) for number in order}
        coded = [encoder.pack(coding[number].result()) for number in range(len(claims))]
    assert coded == packets
    shows = [decoder.claim(decoder.parse(each)) for each in packets]
    with ThreadPoolExecutor(len(shows)) as threads:
        showing = {number: threads.submit(decoder.show, shows[number]) for number in order}
        shown = [showing[number].result() for number in range(len(shows))]
    assert all(same_frames(one, other) for one, other in zip(shown, pictures, strict=True))


def test_a_claim_is_ready_once_its_references_are_there():
    encoder, _ = pair(VIDEO, SETTINGS)
    claims = [encoder.claim(each) for each in planned_by(encoder)[:4]]
    assert [each.is_ready for each in claims] == [True, False, False, False]
    for done, claim in enumerate(claims):
        encoder.code(claim)
        assert claims[done].outcome.done()
        assert all(each.is_ready for each in claims[: done + 2])


class FailingNetworks(ToyNetworks):
    def warp(self, *given):
        raise MemoryError("of one frame")


def test_a_frame_that_fails_fails_those_that_refer_to_it_instead_of_letting_them_wait():
    encoder, _ = pair(VIDEO, SETTINGS, FailingNetworks(), TABLES)
    key, anchor, middle = (encoder.claim(each) for each in planned_by(encoder)[:3])
    encoder.code(key)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(encoder.code, middle)
        for failing in (lambda: encoder.code(anchor), waiting.result):
            with pytest.raises(MemoryError, match="of one frame"):
                failing()


def test_a_picture_that_fails_fails_those_that_refer_to_it():
    packets, _ = coded_in_turn()
    _, decoder = pair(VIDEO, SETTINGS, FailingNetworks(), TABLES)
    key, anchor, middle = (decoder.claim(decoder.parse(each)) for each in packets[:3])
    decoder.show(key)
    for claim in (anchor, middle):
        with pytest.raises(MemoryError, match="of one frame"):
            decoder.show(claim)

"""From crf to q and back, and frames that must not exceed a size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.codec.rate_videos import VIDEO
from tests.toy import ToyNetworks, plan_of, toy_tables
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.rate.quality import (
    CHROMA_WEIGHT_HIGH,
    CHROMA_WEIGHT_LOW,
    LAMBDA_HIGH,
    LAMBDA_LOW,
    base_q_256,
    chroma_weight,
    crf_at,
    error_price,
    smaller_q_256,
)
from zvc69_cli.codec.settings import MAX_INTRA_Q, MAX_Q, CodecSettings
from zvc69_cli.frames import Frame

RNG = np.random.default_rng(5)
NOISE = RNG.integers(0, 255, (48, 64), np.uint8)
FRAME = Frame(y=NOISE, u=NOISE[::2, ::2], v=NOISE[1::2, ::2], pts=0)


@pytest.mark.parametrize("crf", [0, 1, 9, 17.9, 18.5, 23, 28, 33.3, 44, 50])
def test_a_crf_comes_back_from_its_q(crf):
    assert crf_at(base_q_256(CodecSettings(crf=crf)) / 256) == pytest.approx(crf, abs=0.05)


def test_a_crf_below_18_goes_straight_up_to_index_106():
    assert [base_q_256(CodecSettings(crf=crf)) / 256 for crf in (18, 9, 0)] == [78, 92, 106]


def test_an_error_costs_as_much_more_at_each_index_up_to_the_last():
    assert error_price(0) == pytest.approx(LAMBDA_LOW)
    assert error_price(MAX_INTRA_Q) == pytest.approx(LAMBDA_HIGH)
    ratios = [error_price(q_256 + 256) / error_price(q_256) for q_256 in range(0, MAX_Q, 256)]
    assert ratios == pytest.approx([(LAMBDA_HIGH / LAMBDA_LOW) ** (1 / 79)] * 127)


def test_chroma_counts_no_less_above_the_last_index_of_i_frames():
    assert chroma_weight(0) == CHROMA_WEIGHT_LOW
    assert chroma_weight(MAX_INTRA_Q) == pytest.approx(CHROMA_WEIGHT_HIGH)
    assert chroma_weight(MAX_Q) == chroma_weight(MAX_INTRA_Q) < chroma_weight(40 * 256)


def test_a_smaller_frame_is_tried_at_a_lower_q():
    assert smaller_q_256(40 * 256, 2000, 1000) < smaller_q_256(40 * 256, 1100, 1000) < 40 * 256
    assert smaller_q_256(256, 10_000, 10) == 0


@pytest.mark.parametrize("share", [0.99, 0.9, 0.8])
def test_a_frame_is_no_larger_than_it_may_be(share):
    encoder = Encoder(VIDEO, CodecSettings(crf=20), ToyNetworks(), toy_tables())
    free = encoder.pack(encoder.quantise(plan_of(FRAME)))
    most = int(len(free.payload) * share)
    tight = encoder.pack(encoder.quantise(replace(plan_of(FRAME), most_bytes=most)))
    assert len(tight.payload) <= most or encoder.base_q_256 + tight.q_offset == 0
    assert tight.q_offset < free.q_offset


def test_a_frame_that_fits_is_what_it_would_have_been():
    encoder = Encoder(VIDEO, CodecSettings(crf=20), ToyNetworks(), toy_tables())
    free = encoder.pack(encoder.quantise(plan_of(FRAME)))
    assert encoder.pack(encoder.quantise(replace(plan_of(FRAME), most_bytes=len(free.payload)))) == free

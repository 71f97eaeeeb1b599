"""What may be asked of a rate, and what may not be asked together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zvc69_cli.codec.rate.settings import RateSettings, check_rate
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.errors import UsageError


@pytest.mark.parametrize(
    ("text", "kbps"),
    [
        ("800", 800),
        ("800k", 800),
        ("2M", 2000),
        ("2.5m", 2500),
        ("1500000b", 1500),
        ("0.8Mbps", 800),
        ("1G", 1e6),
    ],
)
def test_a_bitrate_is_kbps_or_has_a_unit(text, kbps):
    assert RateSettings(bitrate=text).bitrate_kbps == pytest.approx(kbps)


@pytest.mark.parametrize(
    ("text", "size"),
    [("20M", 20_000_000), ("700k", 700_000), ("8000000", 8_000_000), ("2MiB", 2 << 20), ("1kB", 1000)],
)
def test_a_size_is_bytes_or_has_a_unit(text, size):
    assert RateSettings(target_size=text).target_bytes == size


@pytest.mark.parametrize("text", ["fast", "-5", "2 M M", "1e3", "0", "20G", "NaN", "²"])
def test_a_bitrate_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="bitrate"):
        RateSettings(bitrate=text)


@given(st.text(max_size=12))
def test_no_text_is_anything_but_a_rate_or_refused(text):
    try:
        rate = RateSettings(bitrate=text).bitrate_kbps
    except UsageError:
        return
    assert rate is None or 1 <= rate <= 10_000_000


REFUSED = [
    ({"bitrate": "1M", "target_size": "1M"}, "--target-size"),
    ({"target_psnr": 40.0, "target_ssim": 0.9}, "--target-ssim"),
    ({"bitrate": "1M", "target_vmaf": 90.0}, "--target-vmaf"),
    ({"rc": "cbr"}, "--bitrate"),
    ({"rc": "vbr"}, "--bitrate"),
    ({"rc": "cbr", "target_size": "1M"}, "--bitrate"),
    ({"rc": "crf", "bitrate": "1M"}, "--bitrate"),
    ({"strict_cbr": True}, "--bitrate"),
    ({"strict_cbr": True, "bitrate": "1M", "rc": "vbr"}, "--rc vbr"),
    ({"vbv_maxrate": 1000}, "--vbv-bufsize"),
    ({"vbv_bufsize": 1000}, "--vbv-maxrate"),
    ({"bitrate": "2M", "vbv_maxrate": 1000, "vbv_bufsize": 1000}, "2000"),
    ({"bitrate": "1M", "rc": "cbr", "vbv_maxrate": 2000}, "1000 kbps"),
    ({"vbv_init": 0.5}, "--vbv-maxrate"),
    ({"vbv_maxrate": 1000, "vbv_bufsize": 1000, "vbv_init": 2000}, "1000 kbit"),
    ({"vbv_maxrate": 1000, "vbv_bufsize": 1000, "target_psnr": 40.0}, "buffer"),
    ({"pass_": 1}, "--bitrate"),
    ({"passes": 2}, "--bitrate"),
    ({"passes": 2, "pass_": 1, "bitrate": "1M"}, "--passes 2"),
    ({"stats": "a.stats"}, "--pass"),
    ({"slow_firstpass": True, "bitrate": "1M"}, "--passes 2"),
    ({"slow_firstpass": True, "bitrate": "1M", "pass_": 2}, "--pass 1"),
    ({"zones": "10,5,q=20"}, "10,5"),
]


@pytest.mark.parametrize(
    ("flags", "named"), REFUSED, ids=lambda each: ",".join(each) if isinstance(each, dict) else ""
)
def test_what_cannot_be_had_together_is_refused_with_a_way_out(flags, named):
    with pytest.raises(UsageError) as refused:
        RateSettings(**flags)
    assert named in f"{refused.value.where} {refused.value}"
    assert refused.value.next_step


@pytest.mark.parametrize(
    ("codec", "rate"),
    [({}, {"rc": "cqp"}), ({"qp": 68}, {"rc": "crf"}), ({"qp": 68}, {"vbv_maxrate": 900, "vbv_bufsize": 900})],
)
def test_what_contradicts_the_codec_is_refused(codec, rate):
    with pytest.raises(UsageError):
        check_rate(CodecSettings(**codec), RateSettings(**rate))


def test_a_constant_rate_has_a_buffer_of_a_second_unless_one_is_named():
    assert RateSettings(bitrate="900", rc="cbr").buffer_kbit == 900
    assert RateSettings(bitrate="900", strict_cbr=True, vbv_bufsize=300).buffer_kbit == 300
    assert RateSettings(bitrate="900", rc="cbr").maxrate_kbps == 900
    assert RateSettings(bitrate="900").buffer_kbit == 0


def test_the_buffer_begins_with_a_share_or_with_kbit():
    sizes = {"vbv_maxrate": 1000, "vbv_bufsize": 2000}
    assert RateSettings(**sizes).initial_kbit == pytest.approx(1800)
    assert RateSettings(**sizes, vbv_init=0.5).initial_kbit == pytest.approx(1000)
    assert RateSettings(**sizes, vbv_init=500).initial_kbit == pytest.approx(500)


def test_nothing_given_is_plain_quality():
    assert RateSettings().is_plain and RateSettings(rc="crf").is_plain
    assert not RateSettings(bitrate="1M").is_plain

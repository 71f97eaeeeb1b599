"""What PyAV does not do for Matroska: see whether a file is whole, and describe a stream from values.

PyAV makes a stream for packets from another stream only; the head of a file with one track gives it one.

source  RFC 9559 (Matroska) and RFC 8794 (EBML); element ids as written in the file
"""

from __future__ import annotations

from typing import Final

import numpy as np

CODEC_IDS: Final = {
    "aac": "A_AAC",
    "ac3": "A_AC3",
    "alac": "A_ALAC",
    "dts": "A_DTS",
    "eac3": "A_EAC3",
    "flac": "A_FLAC",
    "mp1": "A_MPEG/L1",
    "mp2": "A_MPEG/L2",
    "mp3": "A_MPEG/L3",
    "opus": "A_OPUS",
    "pcm_alaw": "A_MS/ACM",
    "pcm_f32le": "A_PCM/FLOAT/IEEE",
    "pcm_f64le": "A_PCM/FLOAT/IEEE",
    "pcm_mulaw": "A_MS/ACM",
    "pcm_s16be": "A_PCM/INT/BIG",
    "pcm_s16le": "A_PCM/INT/LIT",
    "pcm_s24be": "A_PCM/INT/BIG",
    "pcm_s24le": "A_PCM/INT/LIT",
    "pcm_s32be": "A_PCM/INT/BIG",
    "pcm_s32le": "A_PCM/INT/LIT",
    "pcm_u8": "A_PCM/INT/LIT",
    "truehd": "A_TRUEHD",
    "tta": "A_TTA1",
    "vorbis": "A_VORBIS",
    "wavpack": "A_WAVPACK4",
    "ass": "S_TEXT/ASS",
    "dvb_subtitle": "S_DVBSUB",
    "dvd_subtitle": "S_VOBSUB",
    "hdmv_pgs_subtitle": "S_HDMV/PGS",
    "subrip": "S_TEXT/UTF8",
    "text": "S_TEXT/UTF8",
}

_WAVE_TAGS: Final = {"pcm_alaw": 6, "pcm_mulaw": 7}
HEAD_BYTES: Final = 256

_EBML: Final = bytes.fromhex("1A45DFA3")
_SEGMENT: Final = bytes.fromhex("18538067")
_AUDIO, _SUBTITLE = 2, 17
_UNKNOWN_SIZE: Final = b"\x01" + b"\xff" * 7


def track_head(
    codec: str, *, is_audio: bool, sample_rate: int, channels: int, extradata: bytes, delay_ns: int
) -> bytes:
    """The bytes of the head.

    codec     FFmpeg's name, one of CODEC_IDS
    delay_ns  decoded sound to throw away at the start
    raises    KeyError for any other codec
    """
    private = _wave_format(codec, sample_rate, channels) if codec in _WAVE_TAGS else extradata
    track = (
        _number("D7", 1)  # track number
        + _number("73C5", 1)  # track UID
        + _number("83", _AUDIO if is_audio else _SUBTITLE)
        + _element("86", CODEC_IDS[codec].encode())
        + (_element("63A2", private) if private else b"")
        + (_number("56AA", delay_ns) if delay_ns else b"")
    )
    if is_audio:
        sound = _element("B5", _double(sample_rate)) + _number("9F", channels)
        bits = _sample_bits(codec)
        track += _element("E1", sound + (_number("6264", bits) if bits else b""))
    return (
        _element("1A45DFA3", _element("4282", b"matroska") + _number("4287", 4) + _number("4285", 2))
        + _SEGMENT
        + _UNKNOWN_SIZE
        + _element("1549A966", _number("2AD7B1", 1_000_000))
        + _element("1654AE6B", _element("AE", track))
        + _element("1F43B675", _number("E7", 0))
    )


def stated_bytes(head: bytes) -> int | None:
    """The length that a Matroska file says it has, from its first HEAD_BYTES; None where it says nothing."""
    if not head.startswith(_EBML):
        return None
    header_end = _end_of_element(head, len(_EBML))
    if header_end is None or head[header_end : header_end + len(_SEGMENT)] != _SEGMENT:
        return None
    return _end_of_element(head, header_end + len(_SEGMENT))


def _end_of_element(head: bytes, at: int) -> int | None:
    """Where the element ends whose size stands at `at`; None where the size is unknown."""
    if at >= len(head) or head[at] == 0:
        return None
    length = 9 - head[at].bit_length()
    size = int.from_bytes(head[at : at + length], "big") & ((1 << 7 * length) - 1)
    return None if size == (1 << 7 * length) - 1 else at + length + size


def _element(identifier: str, payload: bytes) -> bytes:
    return bytes.fromhex(identifier) + (len(payload) | 1 << 56).to_bytes(8, "big") + payload


def _number(identifier: str, value: int) -> bytes:
    return _element(identifier, value.to_bytes(8, "big"))


def _double(value: int) -> bytes:
    return np.array(value, ">f8").tobytes()


def _sample_bits(codec: str) -> int:
    digits = "".join(letter for letter in codec.removeprefix("pcm_") if letter.isdigit())
    return int(digits) if codec.startswith("pcm_") and digits else 0


def _wave_format(codec: str, sample_rate: int, channels: int) -> bytes:
    fields = (
        (_WAVE_TAGS[codec], 2),
        (channels, 2),
        (sample_rate, 4),
        (sample_rate * channels, 4),
        (channels, 2),
        (8, 2),
    )
    return b"".join(value.to_bytes(size, "little") for value, size in (*fields, (0, 2)))

"""The bytes of version 1.0: a stream made today is the same byte for byte, and can be read for ever.

The hex was printed by `written(...)` of the streams below. Where the format changes on purpose
(before 0.1.0), run `python -m tests.container.test_golden_bytes` and paste what it prints.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from zvc69_cli.container.layout import StreamHeader
from zvc69_cli.frames import CopiedPacket, FrameKind, Packet

from .streams import AUDIO, HEADER, RICH_HEADER, key_packet, read_all, reader_of, written

PACKETS: list[Packet | CopiedPacket] = [
    key_packet(0, b"golden", stored_in=0),
    CopiedPacket(stream_number=0, data=b"tone", pts=-1024, dts=-1024, duration=1024),
    key_packet(1, b"bytes", kind=FrameKind.P, q_offset=-3, temporal_layer=1, references=1, pts=3003, dts=3001),
    key_packet(2, b"last"),
]
COMPACT = replace(HEADER, copied_streams=(AUDIO,))
FULL = replace(COMPACT, full_frame_headers=True)
GOLDEN = {
    "compact": (
        COMPACT,
        PACKETS,
        "5a564336390001000000006d00400030001e0001000000000117000800c000800127cd98c950d629c66548537b4ecd68"
        "dab3e8cf59974ba6e40df5a1a7354b39db5f7a766336392d730c0f0000000180f70203616163000000000000ce0f749e"
        "f669000020ddc306010012340000676f6c64656e80d2960704ff0f008008746f6e657174fc0510011234000103020405"
        "6279746573f669000200cb5b04123400026c617374f69602010101030102016035b9a8f104f65a0102010000a846a501"
        "4e105c95eca7f17e29744d6433efead0426c973b245a454e44",
    ),
    "full": (
        FULL,
        PACKETS,
        "5a564336390001000000002d00400030001e00010000000001170008cd98c9500000000000000000000000c000000080"
        "000000000000000000000000000000000127cd98c950d629c66548537b4ecd68dab3e8cf59974ba6e40df5a1a7354b39"
        "db5f7a766336392d730c0f0000000180f70203616163000000000000c76f59b3f6690000000001000000000600000000"
        "0000000000000000000000000000629c12340000676f6c64656e8000000700000004fffffffffffffc00ffffffffffff"
        "fc000000e66600000400746f6e6501010001000000050000000000000bbb0000000000000bb9fffd1f95123400016279"
        "746573f66900020000000000000004000000000000177000000000000017700000da7f123400026c617374f696000000"
        "0200100000000000000000000000000080000000030000000200000000000000f300000001056138f2f65a0000000200"
        "00000100000000000000000000000000002328e7e6a21496d9306523a6d27ad02f26665f7c72504dddbc2ce13d446d0b"
        "77bfa5000000000000011b0001a70dcbfa5a56433639454e44",
    ),
    "rich": (
        RICH_HEADER,
        [],
        "5a564336390001000000006f07810439000000000000000c0000000a006000400127cd98c950d629c66548537b4ecd68"
        "dab3e8cf59974ba6e40df5a1a7354b39db5f7a766336392d73020301e80703078bf6b601a08d060401010502cd2e0602"
        "c1430702402d0802010e090509100901030a1b1119081935c801456403140332b718904ec902e80701904ee807010b08"
        "000003e8000001900c3700000101c4d802036161630364657503546f6e021210020b73616d706c655f72617465053434"
        "313030066c61796f75740673746572656f0c1101010001e80706737562726970000000000d0f09880e01e80708566f72"
        "7370616e6e0e0f057469746c650845696e2046696c6d0e1607636f6d6d656e740d6e61c3af766520e698a0e794bb0f0d"
        "7b22637266223a2032332e337d00000922c353f696000136de2269f65a010000000000b302a5add9bfdeeb2bb22fc2e3"
        "b2297a841651a4cebd235a454e44",
    ),
}
CASES = pytest.mark.parametrize(("header", "packets", "golden"), GOLDEN.values(), ids=GOLDEN.keys())


@CASES
def test_version_1_0_is_written_byte_for_byte(
    header: StreamHeader, packets: list[Packet | CopiedPacket], golden: str
) -> None:
    assert written(header, packets).hex() == golden


@CASES
def test_version_1_0_is_read_for_ever(
    header: StreamHeader, packets: list[Packet | CopiedPacket], golden: str
) -> None:
    reader = reader_of(bytes.fromhex(golden))
    assert reader.header == header
    assert read_all(reader) == packets
    assert (reader.problems, reader.complete) == ([], True)


if __name__ == "__main__":
    for name, (header, packets, _) in GOLDEN.items():
        print(name, written(header, packets).hex())

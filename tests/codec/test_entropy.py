"""The entropy coder: what goes in comes out, damage is noticed, and the words are those of version 1."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codec.reference_coder import reference_words
from tests.toy import toy_tables
from zvc69_cli.codec.entropy.coder import (
    SYMBOL_LIMIT,
    BrokenString,
    Pass,
    StringReader,
    StringWriter,
    pack_string,
)
from zvc69_cli.codec.entropy.tables import MAX_REACH, TOTAL_FREQUENCY, SymbolTables, between_rows
from zvc69_cli.codec.entropy.varint import VarintError, pack_varint, unpack_varint

TABLES = toy_tables().latent
SKIPPING = SymbolTables(TABLES.rows, 10)


def _coded(passes, tables=TABLES):
    reader = StringReader(pack_string(passes, tables))
    back = [reader.read(each.indexes, tables) for each in passes]
    reader.finish()
    return back


def _random_pass(rng, count, reach=20):
    indexes = rng.integers(0, 64, count).astype(np.uint8)
    return Pass(rng.integers(-reach, reach + 1, count).astype(np.int32), indexes)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-SYMBOL_LIMIT, SYMBOL_LIMIT), st.integers(0, 63)), max_size=40),
    st.integers(0, 40),
)
def test_symbols_of_two_passes_come_back_whatever_they_are(pairs, cut):
    symbols = np.array([symbol for symbol, _ in pairs], np.int32)
    indexes = np.array([index for _, index in pairs], np.uint8)
    passes = [Pass(symbols[:cut], indexes[:cut]), Pass(symbols[cut:], indexes[cut:])]
    for each, back in zip(passes, _coded(passes), strict=True):
        assert np.array_equal(back, each.symbols)


def test_a_long_pass_comes_back():
    each = _random_pass(np.random.default_rng(1), 20_000)
    assert np.array_equal(_coded([each])[0], each.symbols)


def test_rows_that_are_skipped_cost_nothing_and_come_back_as_zeros():
    each = Pass(np.zeros(1000, np.int32), np.full(1000, 9, np.uint8))
    assert pack_string([each], SKIPPING) == b""
    assert np.array_equal(_coded([each], SKIPPING)[0], each.symbols)


def test_a_symbol_in_a_skipped_row_is_refused():
    with pytest.raises(ValueError, match="skipped row"):
        pack_string([Pass(np.array([1], np.int32), np.array([9], np.uint8))], SKIPPING)


def test_a_symbol_beyond_the_limit_is_refused():
    with pytest.raises(ValueError, match="beyond"):
        pack_string([Pass(np.array([SYMBOL_LIMIT + 1], np.int32), np.array([9], np.uint8))], TABLES)


def test_the_coder_spends_what_the_tables_say():
    rng = np.random.default_rng(2)
    row = TABLES.rows[40]
    reach = int(TABLES.reach[40])
    letters = rng.choice(len(row) - 1, 20_000, p=row[:-1] / row[:-1].sum())
    due_bits = -np.log2(row[letters] / TOTAL_FREQUENCY).sum()
    got = pack_string([Pass((letters - reach).astype(np.int32), np.full(20_000, 40, np.uint8))], TABLES)
    assert abs(8 * len(got) - due_bits) < 128


@pytest.mark.parametrize("row", [0, 7, 31, 63])
def test_the_words_are_those_of_a_textbook_coder(row):
    rng = np.random.default_rng(row)
    reach = int(TABLES.reach[row])
    symbols = rng.integers(-reach, reach + 1, 300).astype(np.int32)
    got = pack_string([Pass(symbols, np.full(300, row, np.uint8))], TABLES)
    due = reference_words((symbols + reach).tolist(), TABLES.rows[row].tolist())
    whole = np.array(due, "<u4").tobytes()
    assert got == whole.rstrip(b"\0")
    assert 0 <= len(whole) - len(got) < 4


def test_golden_string_of_version_1():
    symbols = np.array([0, 1, -1, 2, 0, 0, -3, 700, 0, 5], np.int32)
    indexes = np.array([12, 12, 20, 30, 5, 5, 30, 20, 40, 40], np.uint8)
    data = pack_string([Pass(symbols[:5], indexes[:5]), Pass(symbols[5:], indexes[5:])], _golden_tables())
    assert data.hex() == GOLDEN


def test_no_cut_string_gives_its_symbols_back():
    """That it was cut is for its packet to say, whose header has the size, and for the CRC of the symbols."""
    each = _random_pass(np.random.default_rng(3), 200, reach=400)
    data = pack_string([each], TABLES)
    refused = 0
    for length in range(len(data)):
        try:
            assert not np.array_equal(_read_all(data[:length], each.indexes), each.symbols)
        except BrokenString:
            refused += 1
    assert refused > len(data) // 2


def test_zeros_behind_the_last_word_are_refused():
    each = Pass(np.ones(3, np.int32), np.full(3, 20, np.uint8))
    escapes = b"\x80" + (1).to_bytes(4, "big") + b"\0"
    with pytest.raises(BrokenString, match="last byte of the words is 0"):
        _read_all(pack_string([each], TABLES) + b"\0" + escapes, each.indexes)


@pytest.mark.parametrize("end", [b"\0", b"\0\0\0\0\0", b"\0\0\0\x09\0"], ids=["none", "no size", "too many"])
def test_escapes_that_do_not_fit_are_refused(end):
    each = Pass(np.ones(3, np.int32), np.full(3, 20, np.uint8))
    with pytest.raises(BrokenString, match="do not fit"):
        _read_all(pack_string([each], TABLES)[-3:] + end, each.indexes)


def test_a_string_without_escapes_is_words_alone_and_one_with_them_says_so():
    rows = np.full(2, 20, np.uint8)
    near, far = (pack_string([Pass(np.array([1, each], np.int32), rows)], TABLES) for each in (1, 900))
    assert near[-1] and not far[-1]
    assert int.from_bytes(far[-5:-1], "big") == 3  # 900 by an exponential Golomb code of order 4: 17 bits


def test_passes_of_one_string_may_have_tables_of_their_own():
    rng = np.random.default_rng(6)
    passes = [_random_pass(rng, count) for count in (50, 0, 300)]
    tables = [TABLES, SKIPPING, toy_tables().hyper]
    writer = StringWriter()
    for each, own in zip(passes, tables, strict=True):
        writer.add(each, own)
    reader = StringReader(writer.packed())
    for each, own in zip(passes, tables, strict=True):
        assert np.array_equal(reader.read(each.indexes, own), each.symbols)
    reader.finish()


def test_a_longer_string_is_refused():
    each = _random_pass(np.random.default_rng(4), 200)
    with pytest.raises(BrokenString):
        _read_all(pack_string([each], TABLES) + b"\0", each.indexes)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_end_in_symbols_or_a_refusal(data):
    indexes = np.arange(64, dtype=np.uint8)
    with contextlib.suppress(BrokenString):
        _read_all(data, indexes)


def _read_all(data, indexes):
    reader = StringReader(data)
    symbols = reader.read(indexes, TABLES)
    reader.finish()
    return symbols


def _golden_tables():
    """Rows of plain fractions, so that the golden string depends on no model."""
    rows = []
    for number in range(64):
        weights = [1 + number] * (2 * (number + 1) + 1)
        weights[number + 1] = TOTAL_FREQUENCY - 1 - (1 + number) * 2 * (number + 1)
        rows.append(np.array([*weights, 1], np.int64))
    return SymbolTables(rows, 5)


GOLDEN = "6c03008264fcffe94120a1170ba2fa3f02c3800000000300"


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (np.array([TOTAL_FREQUENCY - 1, 0]), "least 0"),
        (np.array([1, 1]), "sums to 2"),
        (np.array([TOTAL_FREQUENCY]), "has 1 frequencies"),
        (np.ones(2 * MAX_REACH + 4, np.int64), "frequencies"),
    ],
)
def test_a_table_that_is_none_is_refused(row, text):
    with pytest.raises(ValueError, match=text):
        SymbolTables([row.astype(np.int64)], 0)


def test_tables_survive_their_arrays():
    tables = toy_tables()
    back = type(tables).from_arrays(tables.to_arrays())
    assert all(np.array_equal(a, b) for a, b in zip(back.latent.rows, tables.latent.rows, strict=True))
    assert np.array_equal(back.scale_offsets, tables.scale_offsets)


def test_rows_that_are_the_same_for_both_signs_are_kept_by_half():
    arrays = TABLES.to_arrays("t")
    assert arrays["t.mirrored"].size == sum(len(row) // 2 + 1 for row in TABLES.rows)
    lopsided = [row.copy() for row in TABLES.rows]
    lopsided[5][0], lopsided[5][1] = lopsided[5][0] + 1, lopsided[5][1] - 1
    for rows in (TABLES.rows, lopsided):
        back = SymbolTables.from_arrays(SymbolTables(rows, 2).to_arrays("t"), "t")
        assert back.skip_below == 2
        assert all(np.array_equal(one, other) for one, other in zip(back.rows, rows, strict=True))
    with pytest.raises(ValueError, match="frequencies, should be"):
        SymbolTables.from_arrays(arrays | {"t.mirrored": arrays["t.mirrored"][1:]}, "t")


def test_a_row_between_two_is_rounded_half_up():
    rows = np.array([[0], [3], [-3]])
    assert [int(between_rows(rows, q)[0]) for q in (0, 42, 43, 128, 256, 299, 512)] == [0, 0, 1, 2, 3, 2, -3]


@pytest.mark.parametrize("rows", [1, 80, 128])
def test_a_q_beyond_the_rows_of_a_table_is_refused(rows):
    table, last = np.arange(rows)[:, None], (rows - 1) * 256
    assert between_rows(table, last)[0] == rows - 1
    for q_256 in (-1, last + 1):
        with pytest.raises(ValueError, match=f"should be 0..{last}/256"):
            between_rows(table, q_256)


@given(st.integers(0, 2**35 - 1))
def test_varints_come_back(value):
    data = pack_varint(value)
    assert unpack_varint(b"x" + data, 1) == (value, 1 + len(data))


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff" * 6])
def test_broken_varints_are_refused(data):
    with pytest.raises(VarintError):
        unpack_varint(data, 0)


@pytest.mark.parametrize("value", [-1, 2**35])
def test_a_number_that_is_no_varint_is_refused(value):
    with pytest.raises(ValueError, match="does not fit"):
        pack_varint(value)

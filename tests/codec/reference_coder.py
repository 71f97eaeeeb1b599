"""Textbook range ANS, a state of 64 bits and words of 32: what the pinned coder must equal."""

from __future__ import annotations


def reference_words(letters: list[int], frequencies: list[int]) -> list[int]:
    """The words that code these letters, all with one table."""
    state, words = 0, []
    starts = [sum(frequencies[:letter]) for letter in range(len(frequencies))]
    for letter in reversed(letters):
        frequency = frequencies[letter]
        if state >> 40 >= frequency:
            words.append(state & 0xFFFFFFFF)
            state >>= 32
        state = (state // frequency << 24) + starts[letter] + state % frequency
    while state:
        words.append(state & 0xFFFFFFFF)
        state >>= 32
    return words

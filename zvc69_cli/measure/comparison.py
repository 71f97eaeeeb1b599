"""What measurements say together: BD-rates clip by clip, their mean, and the BD-rate of mean curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from zvc69_cli.measure.bd_rate import BdRate, RatePoint, bd_rate, mean_curve
from zvc69_cli.measure.store import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """What the tested codec is compared with; as_written counts what an encoder writes about itself."""

    codec: str
    as_written: bool

    @property
    def title(self) -> str:
        return f"{self.codec} with its text" if self.as_written else self.codec


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of BD-rates, one for each anchor; None where there is nothing to compare."""

    title: str
    bd_rates: tuple[BdRate | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """BD-rates of one codec against others.

    clips      one row a clip
    summaries  means over clips, and BD-rates of the mean curves of groups
    """

    tested: str
    anchors: tuple[Anchor, ...]
    clips: tuple[Row, ...]
    summaries: tuple[Row, ...]


def compare(measurements: Sequence[Measurement], tested: str) -> Comparison:
    """BD-rates of the codec named `tested` against every other; raises RuntimeUnavailable without [measure]."""
    anchors = _anchors(measurements, tested)
    titles = _unique(each.title for each in measurements)
    clips = tuple(
        Row(
            title=title,
            bd_rates=tuple(_clip_bd_rate(measurements, title, tested, anchor) for anchor in anchors),
        )
        for title in titles
    )
    summaries: list[Row] = []
    groups = _unique(each.group for each in measurements)
    for group in groups:
        members = _unique(each.title for each in measurements if each.group == group)
        if len(members) > 1:
            label = f"{group or 'clips'} ({len(members)})"
            rows = [row for row in clips if row.title in members]
            summaries.append(_mean(f"{label}: mean of BD-rates", rows))
            summaries.append(
                Row(
                    title=f"{label}: BD-rate of the mean curve",
                    bd_rates=tuple(_group_bd_rate(measurements, members, tested, anchor) for anchor in anchors),
                )
            )
    if len(groups) > 1:
        summaries.append(_mean(f"all ({len(titles)}): mean of BD-rates", clips))
    return Comparison(tested=tested, anchors=anchors, clips=clips, summaries=tuple(summaries))


def curve(measurements: Iterable[Measurement], title: str, codec: str, *, as_written: bool) -> list[RatePoint]:
    """One codec's points on one clip, in the order measured."""
    return [
        RatePoint(
            bits_per_pixel=each.bits_per_pixel_as_written if as_written else each.bits_per_pixel,
            quality=each.psnr_db,
        )
        for each in measurements
        if each.title == title and each.codec == codec
    ]


def group_curve(measurements: Sequence[Measurement], group: str, codec: str) -> list[RatePoint]:
    """One codec's mean curve over the clips of a group that it was measured on; empty where there are none."""
    titles = _unique(each.title for each in measurements if each.group == group and each.codec == codec)
    return mean_curve([curve(measurements, title, codec, as_written=False) for title in titles])


def _anchors(measurements: Sequence[Measurement], tested: str) -> tuple[Anchor, ...]:
    anchors: list[Anchor] = []
    for codec in _unique(each.codec for each in measurements if each.codec != tested):
        anchors.append(Anchor(codec=codec, as_written=False))
        if any(each.text_bytes for each in measurements if each.codec == codec):
            anchors.append(Anchor(codec=codec, as_written=True))
    return tuple(anchors)


def _clip_bd_rate(
    measurements: Sequence[Measurement], title: str, tested: str, anchor: Anchor
) -> BdRate | None:
    first = curve(measurements, title, anchor.codec, as_written=anchor.as_written)
    second = curve(measurements, title, tested, as_written=anchor.as_written)
    return bd_rate(first, second) if first and second else None


def _group_bd_rate(
    measurements: Sequence[Measurement], titles: Sequence[str], tested: str, anchor: Anchor
) -> BdRate | None:
    pairs = [
        (
            curve(measurements, title, anchor.codec, as_written=anchor.as_written),
            curve(measurements, title, tested, as_written=anchor.as_written),
        )
        for title in titles
    ]
    both = [(first, second) for first, second in pairs if first and second]
    if not both:
        return None
    return bd_rate(mean_curve([first for first, _ in both]), mean_curve([second for _, second in both]))


def _mean(title: str, rows: Sequence[Row]) -> Row:
    """Means over the rows that have a figure; their overlap is the least of theirs."""
    means: list[BdRate | None] = []
    for column in zip(*(row.bd_rates for row in rows), strict=True):
        known = [
            (each.percent, each.overlap) for each in column if each is not None and each.percent is not None
        ]
        if not known:
            means.append(None)
            continue
        percent = sum(percent for percent, _ in known) / len(known)
        means.append(BdRate(percent=percent, overlap=min(overlap for _, overlap in known)))
    return Row(title=title, bd_rates=tuple(means))


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))

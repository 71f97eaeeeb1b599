"""Tables about whole streams: where the bits of zvc69 went, and how fast every codec is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from zvc69_cli.measure.bench_report import table
from zvc69_cli.measure.store import Measurement

KINDS = ("I", "P", "B")


def kinds_sections(measurements: Sequence[Measurement], codec: str) -> list[str]:
    """Bits by kind of frame: each clip at its middle rate, then all clips together at each rate."""
    known = [each for each in measurements if each.codec == codec and each.kinds]
    if not known:
        return []
    kinds = [kind for kind in KINDS if any(total.kind == kind for each in known for total in each.kinds)]
    rows = [_row(each.title, [each], kinds) for each in middle_rates(known)]
    if len(rows) > 1:
        for setting in dict.fromkeys(each.setting for each in known):
            rows.append(_row("all", [each for each in known if each.setting == setting], kinds))
    columns = ["clip", "rate", "frames", "bits a pixel"]
    head = [*columns, *(f"{kind}: n, kB each, %, dB" for kind in kinds), "container %", "motion %"]
    text = (
        f"Where the bits of {codec} are. For each kind of frame: how many, mean size, share of the file, mean PSNR "
        "6:1:1. Motion is the share of what P and B frames take:"
    )
    return [text, table(head, rows)]


def speed_sections(timings: Sequence[Measurement], about: str) -> list[str]:
    """Frames a second of every codec, encode / decode, one line a clip."""
    if not timings:
        return []
    codecs = list(dict.fromkeys(each.codec for each in timings))
    rows = []
    for title in dict.fromkeys(each.title for each in timings):
        of_clip = {each.codec: each for each in timings if each.title == title}
        rows.append([title, *(_speeds(of_clip.get(codec)) for codec in codecs)])
    return [
        f"Frames a second, encode / decode, each at its middle rate; {about}:",
        table(["clip", *codecs], rows),
    ]


def middle_rates(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Of each codec and clip, the measurement in the middle of its list of rates."""
    curves: dict[tuple[str, str], list[Measurement]] = {}
    for each in measurements:
        curves.setdefault((each.title, each.codec), []).append(each)
    return [curve[len(curve) // 2] for curve in curves.values()]


def _row(title: str, streams: Sequence[Measurement], kinds: Sequence[str]) -> list[str]:
    whole = sum(each.stream_bytes - each.text_bytes for each in streams)
    coded = predicted = motion = 0
    cells = []
    for kind in kinds:
        totals = [total for each in streams for total in each.kinds if total.kind == kind]
        count, size = sum(total.frame_count for total in totals), sum(total.size_bytes for total in totals)
        coded += size
        if kind != "I":
            predicted += size
            motion += sum(total.motion_bytes for total in totals)
        if not count:
            cells.append("")
            continue
        psnr_db = sum(total.psnr_db * total.frame_count for total in totals) / count
        cells.append(f"{count}, {size / count / 1000:.2f}, {100 * size / whole:.0f} %, {psnr_db:.2f}")
    bits = whole * 8 / sum(each.pixels for each in streams)
    frames = sum(each.frame_count for each in streams)
    return [
        title,
        f"{streams[0].setting:g}",
        str(frames),
        f"{bits:.4f}",
        *cells,
        f"{100 * (whole - coded) / whole:.1f}",
        f"{100 * motion / predicted:.1f}" if predicted else "",
    ]


def _speeds(each: Measurement | None) -> str:
    if each is None:
        return ""
    return f"{each.frame_count / each.encode_s:.1f} / {each.frame_count / each.decode_s:.1f}"

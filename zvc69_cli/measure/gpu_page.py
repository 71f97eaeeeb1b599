"""The page of `make gpu-check`, from its result: `python -m zvc69_cli.measure.gpu_page result.json page.html`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from zvc69_cli.measure.page import (
    Bar,
    Bars,
    Cell,
    Facts,
    Moment,
    Row,
    Section,
    Table,
    Tile,
    Tiles,
    Timeline,
    page_html,
    write_text,
)

MEGABYTE: Final = 1_000_000
MOST_FP16_DB: Final = 0.1  # that a precision may cost
MOST_INT8_DB: Final = 0.5


def check_html(result: dict[str, Any]) -> str:
    """The whole page, of as much as the result holds."""
    found = result["findings"]
    parts = {name: [each for each in found if each["part"] == name] for name in result["parts"]}
    proof, precise, fast = (parts.get(name, []) for name in ("exactness", "precision", "speed"))
    sections: list[Section] = [_summary(proof, fast)]
    if proof:
        sections.append(_proof(proof))
    if precise:
        sections.append(_precision(precise))
    if fast:
        sections += _speeds(fast)
    sections.append(_facts(result))
    device = result["device"]
    note = "Run on the CPU alone: nothing here is a figure of a GPU." if device == "cpu" else ""
    return page_html(
        f"zvc69 on {device}", f"{result['machine']['gpu'] or 'no GPU seen'}. {note}".strip(), sections
    )


def _summary(proof: Sequence[dict[str, Any]], fast: Sequence[dict[str, Any]]) -> Tiles:
    equal = sum(each.get("equal") is True for each in proof)
    tiles = [
        Tile(
            name="streams equal on both sides",
            value=f"{equal} of {len(proof)}",
            tone="good" if proof and equal == len(proof) else "bad",
        )
    ]
    for each in fast:
        if "in" in each:
            speeds = f"{each['in']['frames_per_s']:.3g} / {each['out']['frames_per_s']:.3g}"
            tiles.append(Tile(name=f"{each['size']}, frames a second in / out", value=speeds))
        elif "latency_ms" in each:
            tiles.append(
                Tile(
                    name=f"{each['size']}, ms to a packet at low_latency",
                    value=f"{each['latency_ms']['median']:.3g}",
                )
            )
    return Tiles(title="In short", items=tuple(tiles))


def _proof(proof: Iterable[dict[str, Any]]) -> Table:
    rows = []
    for each in proof:
        is_equal = each.get("equal") is True
        least = each.get("least_psnr_db")
        rows.append(
            _row(
                each["clip"],
                each["encoded_on"],
                each["decoded_on"],
                str(each.get("frames_compared", "")),
                Cell(text="equal" if is_equal else "NOT EQUAL", tone="good" if is_equal else "bad"),
                str(each.get("largest_difference", "")),
                "" if least is None else f"{least:.1f}",
                each.get("what", ""),
            )
        )
    return Table(
        title="Exactness",
        note="Each stream was decoded on both sides. Symbols are held against the checksum that the encoder wrote into "
        "every frame; pictures may differ by what floats differ, and least PSNR says how much at worst.",
        columns=(
            "clip",
            "encoded on",
            "decoded on",
            "frames",
            "symbols",
            "largest difference",
            "least PSNR, dB",
            "",
        ),
        rows=tuple(rows),
    )


def _precision(precise: Sequence[dict[str, Any]]) -> Table:
    exact = {each["clip"]: each for each in precise if each.get("precision") == "fp32" and "bytes" in each}
    rows = []
    for each in precise:
        base = exact.get(each.get("clip", ""))
        if "bytes" not in each or base is None:
            rows.append(
                _row(each.get("clip", ""), each.get("precision", ""), "", "", "", "", each.get("skipped", ""))
            )
            continue
        lost = base["psnr_db"] - each["psnr_of_the_fp32_stream_db"]
        most = MOST_INT8_DB if each["precision"] == "int8" else MOST_FP16_DB
        rows.append(
            _row(
                each["clip"],
                each["precision"],
                str(each["bytes"]),
                f"{100 * (each['bytes'] / base['bytes'] - 1):+.2f} %",
                f"{each['psnr_db']:.3f}",
                Cell(text=f"{-lost:+.3f}", tone="bad" if lost > most else "good"),
                "",
            )
        )
    return Table(
        title="Precision",
        note=f"dB at equal bytes: the very stream that FP32 made, decoded in this precision. FP16 may lose "
        f"{MOST_FP16_DB:g} dB, INT8 {MOST_INT8_DB:g}.",
        columns=("clip", "precision", "bytes", "against FP32", "PSNR 6:1:1, dB", "at equal bytes, dB", ""),
        rows=tuple(rows),
    )


def _speeds(fast: Sequence[dict[str, Any]]) -> list[Section]:
    rows = []
    sections: list[Section] = []
    for each in fast:
        memory = each.get("gpu_memory_bytes")
        for way in ("in", "out"):
            if way in each:
                rows.append(_speed_row(each["size"], way, each[way], memory))
                sections.append(_time(f"{each['size']}, {way}", each[way]))
                if each[way].get("timeline"):
                    sections.append(_timeline(f"{each['size']}, {way}", each[way]["timeline"]))
        if "jobs" in each:
            way = f"{each['way']}, --jobs {each['jobs']}, --keyint {each['keyint']}"
            rows.append(_speed_row(each["size"], way, each, None))
        if "latency_ms" in each:
            told = each["latency_ms"]
            text = f"median {told['median']:.1f}, 95 % {told['p95']:.1f}, worst {told['worst']:.1f}"
            rows.append(_row(each["size"], "in, low_latency", str(told["frames"]), "", "", text))
        if "failed" in each:
            rows.append(_row(each.get("size", ""), f"failed: {each['failed']}", "", "", "", ""))
    table = Table(
        title="Speed",
        note="Pictures lie in memory before and after; nothing is read or kept. GPU memory is the most that this "
        "process had, or the whole GPU's where processes are not told apart.",
        columns=("size", "way", "frames", "a second", "GPU MB", "ms from frame to packet"),
        rows=tuple(rows),
    )
    return [table, *sections]


def _speed_row(size: str, way: str, facts: dict[str, Any], memory: int | None) -> Row:
    megabytes = "" if memory is None else f"{memory / MEGABYTE:.0f}"
    return _row(size, way, str(facts["frames"]), f"{facts['frames_per_s']:.2f}", megabytes, "")


def _time(title: str, facts: dict[str, Any]) -> Bars:
    """Stages and networks of one run, by the time of their threads."""
    bars = []
    for kind in ("stages", "networks"):
        for each in facts[kind]:
            ms = 1e3 * each["busy_s"] / facts["frames"]
            name = each["name"] if kind == "stages" else f"network {each['name']}"
            share = each["busy_s"] / (each["threads"] * facts["wall_s"])
            text = f"{ms:.2f} ms a frame"
            text += f", busy {100 * share:.0f} %" if kind == "stages" else f", {share:.2f} at a time"
            bars.append(Bar(name=name, value=each["busy_s"], text=text))
    return Bars(
        title=f"{title}: time by stage",
        note=f"What bounds it: {facts['bound']}. Stages overlap, and a network's time is part of its stage's; busy is "
        "each thread of a stage.",
        items=tuple(bars),
    )


def _timeline(title: str, rows: Sequence[dict[str, Any]]) -> Timeline:
    """The run as it went by; the stage whose line touches its number of threads bounds the speed there."""
    stages = tuple(rows[0]["busy"])
    moments = (
        Moment(
            at_s=row["at_s"],
            busy=tuple(row["busy"].get(stage, 0.0) for stage in stages),
            frames_per_s=row["frames_per_s"],
        )
        for row in rows
    )
    return Timeline(
        title=f"{title}: stages as time goes by",
        note="Threads of each stage that were at work, and the frames that came out.",
        stages=stages,
        moments=tuple(moments),
    )


def _facts(result: dict[str, Any]) -> Facts:
    machine = result["machine"]
    parts = "; ".join(f"{name}: {part['ended']}, {part['seconds']} s" for name, part in result["parts"].items())
    items = [
        ("began", result["began"]),
        ("device", result["device"]),
        ("GPU", machine["gpu"] or "none seen"),
        ("processor", f"{machine['processor']}, {machine['cores']} cores"),
        ("system", f"{machine['system']}, Python {machine['python']}"),
        ("parts", parts or "none ended yet"),
    ]
    if result.get("kit"):
        items.append(("brought along", ", ".join(f"{name} {number}" for name, number in result["kit"].items())))
    return Facts(title="How it was made", items=tuple(items))


def _row(*cells: str | Cell) -> Row:
    return Row(cells=tuple(each if isinstance(each, Cell) else Cell(text=each) for each in cells))


if __name__ == "__main__":
    write_text(sys.argv[2], check_html(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))

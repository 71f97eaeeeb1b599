"""Pages: whole, small, safe, and drawn by a real browser in light and dark, narrow and wide."""

from __future__ import annotations

import base64
import html
import io
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.measure.browser import NO_BROWSER, data_of, find_browser, look
from tests.measure.pictures import noisy, smooth_frame
from zvc69_cli.errors import OutputError
from zvc69_cli.frames import ColourTags, Frame
from zvc69_cli.measure.page import (
    MAX_BARS,
    Bar,
    Bars,
    Cell,
    CurveLine,
    CurvePanel,
    CurvePoint,
    Curves,
    Facts,
    Flame,
    FlameNode,
    Frames,
    Moment,
    Picture,
    Row,
    Run,
    RunGroup,
    Scene,
    Section,
    Slider,
    SpeedPoint,
    Speeds,
    Table,
    Tile,
    Tiles,
    Timeline,
    busiest_part,
    crop_of,
    data_uris,
    page_html,
    png_of,
    write_text,
)
from zvc69_cli.measure.quality import BY_NAME

NASTY = '</script><img src=x onerror="document.title=1">'
WIDTH, HEIGHT = 96, 64


def png(seed: int) -> bytes:
    return png_of(noisy(smooth_frame(WIDTH, HEIGHT), seed, 3), ColourTags(matrix=1), WIDTH, HEIGHT, 8)


def sections(frames: int = 50) -> list[Section]:
    """One of every sort, with names that try to be markup."""
    psnr, vmaf = BY_NAME["psnr"], BY_NAME["vmaf"]
    lines = tuple(
        CurveLine(
            codec=number,
            points=tuple(
                CurvePoint(
                    label=f"crf {crf}",
                    bits_per_pixel=0.02 * 2**step * (1 + number / 3),
                    kbps=100 * 2**step,
                    values={"psnr": 30 + 3 * step, "vmaf": 50 + 10 * step},
                )
                for step, crf in enumerate((43, 38, 33, 28, 23))
            ),
        )
        for number in range(3)
    )
    runs = tuple(
        Run(
            name=f"{NASTY} {number}",
            codec=number,
            kinds=tuple("IBBPBBP"[at % 7] for at in range(frames)),
            bytes=tuple(100 + at % 7 for at in range(frames)),
            motion=tuple(at % 7 for at in range(frames)),
            q=(30.0,) * frames if number == 0 else (),
            quality={"psnr": tuple(30 + at % 5 for at in range(frames))},
        )
        for number in range(3)
    )
    pictures = tuple(
        Picture(name=NASTY, detail=f"{number}", src=src)
        for number, src in enumerate(data_uris([png(number) for number in range(3)]))
    )
    leaf = FlameNode(name="encoder code", value=2.0, children=(FlameNode(name="timed search", value=1.0),))
    return [
        Tiles(title="tiles", items=(Tile(name=NASTY, value="+1 %", tone="bad"),)),
        Curves(
            title="curves",
            codecs=("zvc69", "x264", NASTY),
            measures=(psnr, vmaf),
            panels=tuple(CurvePanel(title=f"clip {number}", lines=lines) for number in range(4)),
        ),
        Table(
            title="table",
            columns=("a", "b"),
            rows=(Row(cells=(Cell(text=NASTY), Cell(text="2", tone="good"))),),
        ),
        Speeds(
            title="speeds",
            anchor="x265",
            points=tuple(
                SpeedPoint(
                    name=f"codec {number}", codec=number, encode_fps=10.0**number, decode_fps=5, bd_rate=0
                )
                for number in range(3)
            ),
        ),
        Slider(title="slider", scenes=(Scene(title=NASTY, width=WIDTH, height=HEIGHT, pictures=pictures),)),
        Frames(title="frames", groups=(RunGroup(title="clip", runs=runs),), measures=(psnr,)),
        Bars(
            title="bars",
            items=(Bar(name="read", value=1.0, text="1 ms"), Bar(name="none", value=0.0, text="0 ms")),
        ),
        Flame(title="flame", root=FlameNode(name="encode", value=3.0, children=(leaf,))),
        Timeline(
            title="timeline",
            stages=("quantise", NASTY),
            moments=tuple(
                Moment(at_s=at / 4, busy=(at % 3 / 2, 1.0), frames_per_s=10 + at) for at in range(1, 9)
            ),
        ),
        Facts(title="facts", items=((NASTY, NASTY),)),
    ]


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    write_text(str(path), page_html(f"A page {NASTY}", NASTY, sections()))
    return path


def test_text_from_outside_is_never_markup() -> None:
    text = page_html(NASTY, NASTY, sections())
    assert "<img src=x" not in text
    assert text.count("<script") == text.count("</script>") == 3
    assert data_of(text)["sections"][-1]["items"][0][0] == NASTY  # type: ignore[index]


def test_a_page_names_nothing_outside_itself() -> None:
    text = page_html("A page", "", sections())
    assert "default-src 'none'" in text
    assert not re.search(r'(?:src|href)="?(?:https?:)?//', text)


def test_a_page_without_pictures_stays_small() -> None:
    assert len(page_html("A page", "", sections())) < 120_000


def test_numbers_that_json_lacks_become_none() -> None:
    bars = Bars(title="bars", items=(Bar(name="none", value=float("inf"), text=""),))
    assert data_of(page_html("A page", "", [bars]))["sections"][0]["items"][0]["value"] is None  # type: ignore[index]


def test_long_streams_are_shown_by_means() -> None:
    run = Run(
        name="long",
        codec=0,
        kinds=tuple("I" if at % 10 == 3 else "B" for at in range(5 * MAX_BARS)),
        bytes=tuple(at % 5 for at in range(5 * MAX_BARS)),
        quality={"psnr": tuple(float(at % 5) for at in range(5 * MAX_BARS))},
    ).shortened()
    assert run.step == 5
    assert run.bytes == (2.0,) * MAX_BARS == run.quality["psnr"]
    assert run.kinds[:4] == ("I", "B", "I", "B")
    assert run.q == ()


def test_pictures_are_exact_until_the_page_would_be_too_large() -> None:
    pngs = [png(number) for number in range(4)]
    (exact, *_) = data_uris(pngs)
    assert base64.b64decode(exact.partition(",")[2]) == pngs[0]
    small = data_uris(pngs, 12_000)
    assert all(each.startswith("data:image/jpeg;base64,") for each in small)
    assert sum(map(len, small)) < 2 * sum(map(len, pngs))
    shown = Image.open(io.BytesIO(base64.b64decode(small[0].partition(",")[2]))).convert("RGB")
    original = Image.open(io.BytesIO(pngs[0])).convert("RGB")
    assert np.abs(np.asarray(shown, int) - np.asarray(original, int)).mean() < 12


@pytest.mark.parametrize(("matrix", "red"), [(1, (255, 0, 0)), (6, (255, 0, 0))])
def test_colours_are_those_that_the_tags_mean(matrix: int, red: tuple[int, int, int]) -> None:
    y, u, v = {1: (63, 102, 240), 6: (81, 90, 240)}[matrix]  # pure red in limited range
    plane = np.full((16, 16), y, np.uint8)
    frame = Frame(y=plane, u=np.full((8, 8), u, np.uint8), v=np.full((8, 8), v, np.uint8), pts=0)
    shown = np.asarray(Image.open(io.BytesIO(png_of(frame, ColourTags(matrix=matrix), 16, 16, 8))), int)
    assert np.abs(shown - np.array(red)).max() <= 3


def test_10_bits_are_shown_too() -> None:
    shown = Image.open(io.BytesIO(png_of(smooth_frame(32, 32, 10), ColourTags(), 32, 32, 10)))
    assert shown.size == (32, 32)


def test_the_crop_is_where_the_detail_is() -> None:
    luma = np.full((64, 128), 90, np.uint8)
    luma[30:50, 80:120] = np.random.default_rng(0).integers(0, 255, (20, 40))
    frame = Frame(y=luma, u=np.zeros((32, 64), np.uint8), v=np.zeros((32, 64), np.uint8), pts=0)
    left, top = busiest_part(frame, 48, 32)
    assert left <= 80 and left + 48 >= 120 and top <= 30 and top + 32 >= 50
    part = crop_of(frame, left, top, 48, 32)
    assert (part.y.shape, part.u.shape) == ((32, 48), (16, 24))
    assert busiest_part(frame, 128, 64) == (0, 0)


def test_a_page_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write_text(str(tmp_path / "missing" / "page.html"), "")


def drawing_limit_ms() -> float:
    """A second, where nothing else wants the cores; in proportion where they are shared."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return 1000 * max(1.0, load / (os.cpu_count() or 1))


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason=NO_BROWSER)
@pytest.mark.parametrize(("width", "is_dark"), [(400, True), (1400, False)])
def test_a_browser_draws_it_without_an_error_or_a_request(
    page: Path, tmp_path: Path, width: int, is_dark: bool
) -> None:
    sight = look(page, tmp_path, width=width, height=4000, is_dark=is_dark)
    assert not sight.said
    assert sight.told("errors") == ""
    assert sight.told("requests") == "0"
    assert sight.outside == ()
    assert sight.told("theme") == ("dark" if is_dark else "light")
    charts = re.findall(r'<svg class="chart".*?</svg>', sight.dom, re.DOTALL)
    assert len(charts) == 4 + 1 + 2 + 1  # curves, speeds, bits and quality, timeline
    for each in charts:
        assert each.count("<path") > 3 and "NaN" not in each and "nothing to show" not in each
    times = [int(sight.told("drawn-ms"))]
    while min(times) >= drawing_limit_ms() and len(times) < 3:  # the browser may have been kept waiting
        times.append(int(look(page, tmp_path, width=width, height=4000, is_dark=is_dark).told("drawn-ms")))
    assert min(times) < drawing_limit_ms()


# Plays a reader: points at a mark of the first chart, goes on by keys, then hides and shows codecs.
READER = """
new MutationObserver((changes, watcher) => {
  watcher.disconnect();  // the page has said that it is drawn
  const told = [];
  const box = document.querySelector(".plot");
  const say = () => told.push(box.querySelector(".tip").hidden ? "hidden" : box.querySelector(".tip").innerText);
  const key = (name) => { box.dispatchEvent(new KeyboardEvent("keydown", { key: name })); say(); };
  const mark = box.querySelectorAll(".mark")[3].getBoundingClientRect();  // the last line is drawn first
  const middle = { clientX: mark.x + mark.width / 2 + 2, clientY: mark.y + mark.height / 2 };
  box.dispatchEvent(new PointerEvent("pointermove", middle));
  say();
  for (const name of ["ArrowRight", "ArrowUp", "ArrowLeft", "Escape"]) key(name);
  const count = () => told.push(`${box.querySelectorAll(".line").length} lines`);
  const names = document.querySelectorAll(".legend button");
  for (const at of [0, 1, 2, 0]) { names[at].click(); count(); }
  told.push(names[0].getAttribute("aria-pressed"), names[1].getAttribute("aria-pressed"));
  document.documentElement.dataset.told = told.map((each) => each.replaceAll("\\n", "; ")).join(" / ");
}).observe(document.documentElement, { attributeFilter: ["data-drawn-ms"] });
"""


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason=NO_BROWSER)
def test_a_chart_tells_its_values_to_pointer_and_keys_and_hides_what_the_legend_says(
    page: Path, tmp_path: Path
) -> None:
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("</body>", f"<script>{READER}</script></body>"), encoding="utf-8")
    sight = look(page, tmp_path, width=1400, height=4000, is_dark=False)
    assert not sight.said
    pointed, right, up, left, escaped, *lines = html.unescape(sight.told("told")).split(" / ")
    # Bits a pixel are 0.02 * 2**step * (1 + codec / 3), so that codec 1 at step 3 is nearest to codec 2 at step 3.
    assert pointed == f"{NASTY}, crf 28; PSNR 6:1:1 39.000 dB; 0.267 bits a pixel, 800 kb/s"
    assert right == f"{NASTY}, crf 23; PSNR 6:1:1 42.000 dB; 0.533 bits a pixel, 1600 kb/s"
    assert up == "x264, crf 23; PSNR 6:1:1 42.000 dB; 0.427 bits a pixel, 1600 kb/s"
    assert left == "x264, crf 28; PSNR 6:1:1 39.000 dB; 0.213 bits a pixel, 800 kb/s"
    assert escaped == "hidden"
    assert lines == ["2 lines", "1 lines", "0 lines", "1 lines", "true", "false"]


@pytest.mark.slow
@pytest.mark.skipif(find_browser() is None, reason=NO_BROWSER)
@pytest.mark.parametrize("width", [500, 1400])
def test_what_the_browser_shows_is_no_empty_page_and_fits_its_width(
    page: Path, tmp_path: Path, width: int
) -> None:
    shown: dict[bool, np.ndarray] = {}
    for is_dark in (False, True):
        picture = tmp_path / f"{is_dark}.png"
        look(page, tmp_path, width=width, height=3000, is_dark=is_dark, picture=picture)
        shown[is_dark] = np.asarray(Image.open(picture).convert("RGB"), int)
    light, dark = shown[False], shown[True]
    assert light[5, 5].min() > 230 and dark[5, 5].max() < 40
    for each in (light, dark):
        assert len(np.unique(each.reshape(-1, 3), axis=0)) > 100
        # The ground shows at both edges all the way down: nothing sticks out to the side.
        assert np.abs(each[:, -3] - each[5, 5]).max() == 0
    # The first codec's colour is on the curves in both.
    for each, colour in ((light, (0xD3, 0x31, 0x0F)), (dark, (0xFF, 0x7A, 0x55))):
        assert (np.abs(each - np.array(colour)).max(-1) < 8).sum() > 50

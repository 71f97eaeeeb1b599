"""Every flag, from its declaration: help with unit, range and default, bounds that are kept, something that changes.

A flag that is added to the settings fails here until `CHANGES` or `DECODE_CHANGES` shows what it changes.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.cli.test_commands import refused, zvc69
from tests.pipeline.engines import ToyEngines, picture, write_y4m
from tests.toy import ToyNetworks
from zvc69_cli.flags import flags_of
from zvc69_cli.pipeline.layers import variable_of
from zvc69_cli.pipeline.resolve import DECODE_SETTINGS, ENCODE_SETTINGS

SAMPLE = Path(__file__).resolve().parents[2] / "samples" / "cafe_640x360.mp4"
ENCODE_FLAGS = [each for kind in ENCODE_SETTINGS for each in flags_of(kind)]
DECODE_FLAGS = [each for kind in DECODE_SETTINGS for each in flags_of(kind)]
EVERY = [("encode", each) for each in ENCODE_FLAGS] + [("decode", each) for each in DECODE_FLAGS]

SENTENCE = re.compile(r"[A-Z].*[.;]?")


def flag_id(value):
    return value if isinstance(value, str) else value.name


@pytest.fixture(scope="module")
def helps():
    """The help of each command, as one line."""
    return {name: " ".join(zvc69(name, "--help").stdout.split()) for name in ("encode", "decode")}


@pytest.mark.parametrize(("command", "flag"), EVERY, ids=flag_id)
def test_the_help_says_unit_range_and_default(helps, command, flag):
    text = helps[command]
    assert f"--{flag.name}" in text
    facts = []
    if flag.unit or (flag.range_text and not flag.choices):
        facts.append(" ".join(part for part in (flag.unit, "" if flag.choices else flag.range_text) if part))
    if flag.default not in (None, ""):
        shown = {True: "on", False: "off"}[flag.default] if flag.kind is bool else f"{flag.default}"
        facts.append(f"default {flag.default:g}" if flag.kind is float else f"default {shown}")
    told = f"{flag.help} [{'; '.join(facts)}]" if facts else flag.help
    assert " ".join(told.split()) in text
    if flag.choices:
        assert flag.range_text in text.replace("| ", "|")


@pytest.mark.parametrize(("command", "flag"), EVERY, ids=flag_id)
def test_the_help_is_a_sentence_and_names_no_default(command, flag):
    assert SENTENCE.fullmatch(flag.help) and flag.help.endswith(".")
    assert "default" not in flag.help.lower()


OUTSIDE = [
    (command, flag, value)
    for command, flag in EVERY
    for value in (
        *([] if flag.low is None else [flag.low - 1]),
        *([] if flag.high is None else [flag.high + 1]),
        *(["no-such-choice"] if flag.choices else []),
        *(["nonsense"] if flag.kind in (int, float) else []),
        *(["1.5"] if flag.kind is int else []),
        *(["nan"] if flag.kind is float else []),
    )
]


@pytest.mark.parametrize(("command", "flag", "value"), OUTSIDE, ids=str)
def test_what_is_outside_is_refused_with_the_value_the_range_and_a_way_out(tmp_path, command, flag, value):
    done = zvc69(command, "in", tmp_path / "out", f"--{flag.name}={value}")
    refused(done, 2, f"--{flag.name}: ")
    said = done.stderr
    assert str(value).removesuffix(".0") in said
    if flag.choices or (flag.range_text and isinstance(value, float | int)):
        assert (", ".join(filter(None, flag.choices)) or flag.range_text) in said


@pytest.mark.parametrize(
    ("command", "flag", "value"), [each for each in OUTSIDE if isinstance(each[2], float | int)], ids=str
)
def test_the_same_is_refused_by_the_name_of_its_variable(tmp_path, command, flag, value):
    variable = variable_of(flag.name)
    refused(zvc69(command, "in", tmp_path / "out", env={variable: str(value)}), 2, f"{variable}: ")


# What each flag changes. A demonstration is given a folder with in.y4m (24 frames, a cut at the 16th).


class Shown:
    """A folder to encode in, and what came of it; an encode that was made is not made again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: dict[object, dict] = {}

    def encode(self, *arguments, source="in.y4m", engines=None):
        """The summary of an encode, with its stream's frames and bytes."""
        key = (arguments, source, engines)
        if key not in self._made:
            out = self.folder / f"{len(self._made)}.zvc69"
            done = zvc69(
                "encode", self.folder / source, out, "--json", "--no-info", *arguments, engines=engines
            )
            assert done.exit_code == 0, done.stderr
            told = json.loads(zvc69("info", out, "--json", "--frames").stdout)
            facts = {**json.loads(done.stdout), "info": told, "bytes": out.read_bytes()}
            self._made[key] = {**facts, "out": out, "said": done.stderr}
        return self._made[key]

    def size(self, *arguments, **kept):
        return self.encode(*arguments, **kept)["payload_bytes"]

    def kinds(self, *arguments):
        frames = self.encode(*arguments)["info"]["per_frame"]
        return "".join(each["kind"] for each in sorted(frames, key=lambda each: each["pts"]))

    def decode(self, stream, name, *arguments, code=0, engines=None):
        done = zvc69("decode", stream, self.folder / name, "-y", *arguments, engines=engines)
        assert done.exit_code == code, done.stderr
        return (self.folder / name).read_bytes()


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The clip goes on upside down and inverted from the cut on."""
    path = write_y4m(tmp_path_factory.mktemp("shown") / "in.y4m", 24)
    data = bytearray(path.read_bytes())
    head = data.index(b"\n") + 1
    step = len(b"FRAME\n") + 48 * 32 * 3 // 2
    for number in range(16, 24):
        at = head + number * step + len(b"FRAME\n")
        plane = np.frombuffer(bytes(data[at : at + 48 * 32]), np.uint8)
        data[at : at + 48 * 32] = np.ascontiguousarray((255 - plane).reshape(32, 48)[::-1]).tobytes()
    path.write_bytes(data)
    return Shown(path.parent)


class Noting(ToyEngines):
    """Notes on what the networks are asked to run."""

    def for_encoding(self, run):
        self.run = run
        return super().for_encoding(run)

    def for_decoding(self, header, run):
        self.run = run
        return super().for_decoding(header, run)


class Searching(ToyNetworks):
    """Notes on how long it is asked to search."""

    def __init__(self):
        super().__init__()
        self.efforts = Counter()

    def search(self, y, samples, effort):
        self.efforts[effort] += 1
        return super().search(y, samples, effort)


def device(shown):
    engines = Noting()
    shown.encode("--device", "cuda:1", engines=engines)
    assert engines.run.device == "cuda:1"


# Settings of the run reach what opens the networks; what they do there is in tests/runtime.
RUN_CHANGES = {
    "precision": (["--precision", "fp16"], "fp16"),
    "cache": (["--cache", "off"], "off"),
    "workspace": (["--workspace", "64"], 64),
    "streams": (["--streams", "2"], 2),
    "cuda-graph": (["--cuda-graph"], True),
}


def run_setting(shown, name):
    typed, due = RUN_CHANGES[name]
    engines = Noting()
    shown.encode(*typed, engines=engines)
    assert getattr(engines.run, name.replace("-", "_")) == due


def decode_run_setting(shown, name):
    typed, due = RUN_CHANGES[name]
    engines = Noting()
    decoded(shown, "back.y4m", *typed, engines=engines)
    assert getattr(engines.run, name.replace("-", "_")) == due


def threads(shown):
    one, three = (shown.encode("--threads", str(count))["stages"] for count in (1, 3))
    assert [stage["threads"] for stage in one] != [stage["threads"] for stage in three]


def raw(shown, *arguments, size=(48, 32)):
    frames = b"".join(
        plane.tobytes() for number in range(4) for plane in (lambda f: (f.y, f.u, f.v))(picture(number, *size))
    )
    (shown.folder / "in.yuv").write_bytes(frames)
    return shown.encode("--input-res", f"{size[0]}x{size[1]}", "--fps", "25", *arguments, source="in.yuv")


def raw10(shown):
    (shown.folder / "in.yuv").write_bytes(np.full(3 * 48 * 32 // 2 * 4, 700, "<u2").tobytes())
    return shown.encode("--input-res", "48x32", "--fps", "25", "--input-depth", "10", source="in.yuv")


def first_kinds(shown, kinds, *arguments):
    found = shown.kinds(*arguments)
    assert found.startswith(kinds), found


def refuses(shown, code, *arguments, source="in.y4m"):
    done = zvc69("encode", shown.folder / source, shown.folder / "refused.zvc69", *arguments)
    assert done.exit_code == code, done.stderr
    return done.stderr


def interlaced(shown):
    data = (shown.folder / "in.y4m").read_bytes().replace(b" Ip ", b" It ", 1)
    (shown.folder / "fields.y4m").write_bytes(data)
    refuses(shown, 2, source="fields.y4m")
    shown.encode("--interlace", "progressive", source="fields.y4m")


def copied(shown, media, *arguments):
    facts = shown.encode("--frames", "2", *arguments, source=SAMPLE)["info"]
    return [each["media"] for each in facts["copied_streams"]].count(media)


def y4m(shown):
    (shown.folder / "in.yuv").write_bytes((shown.folder / "in.y4m").read_bytes()[:20000])
    broken = b"YUV4MPEG3" + (shown.folder / "in.y4m").read_bytes()[9:]
    (shown.folder / "other.y4m").write_bytes(broken)
    assert "y4m" in refuses(shown, 3, "--y4m", source="other.y4m")


def csv(shown):
    shown.encode("--csv", str(shown.folder / "rows.csv"))
    assert len((shown.folder / "rows.csv").read_text().splitlines()) == 25


def strict(shown):
    done = zvc69(
        "encode",
        shown.folder / "in.y4m",
        shown.folder / "s.zvc69",
        "--strict",
        "--bitrate",
        "100k",
        "--frames",
        "1",
    )
    assert done.exit_code == 9, done.stderr
    assert (shown.folder / "s.zvc69").exists()


CHANGES = {
    "crf": lambda shown: _more(shown.size("--crf", "28"), shown.size("--crf", "40")),
    "qp": lambda shown: quantisers(shown),
    "quality": lambda shown: _more(shown.size("--quality", "7"), shown.size("--quality", "2")),
    "keyint": lambda shown: first_kinds(shown, "IBBBPPIBB", "--keyint", "6", "--bframes", "3"),
    "min-keyint": lambda shown: _differ(shown.kinds("--min-keyint", "20"), shown.kinds("--min-keyint", "5")),
    "bframes": lambda shown: first_kinds(shown, "IPPPP", "--bframes", "0"),
    "b-adapt": lambda shown: _differ(shown.kinds("--b-adapt", "0"), shown.kinds("--b-adapt", "1")),
    "scenecut": lambda shown: _more(
        shown.kinds("--min-keyint", "5").count("I"),
        shown.kinds("--min-keyint", "5", "--no-scenecut").count("I"),
    ),
    "force-key-frames": lambda shown: first_kinds(shown, "IBBPIBBPI", "--force-key-frames", "4,0.32s"),
    "motion-precision": lambda shown: _differ(
        shown.encode()["bytes"], shown.encode("--motion-precision", "full")["bytes"]
    ),
    "motion-search": lambda shown: searches(shown),
    "slices": lambda shown: _differ(shown.encode()["bytes"], shown.encode("--slices", "2")["bytes"]),
    "frame-headers": lambda shown: _more(
        shown.encode("--frame-headers", "full")["stream_bytes"], shown.encode()["stream_bytes"]
    ),
    "refine": lambda shown: refined(shown),
    "rdoq-level": lambda shown: levels_decided(shown),
    "rounding": lambda shown: _differ(
        shown.encode("--qp", "78")["bytes"],
        shown.encode("--qp", "78", "--rounding", "nearest")["bytes"],
    ),
    "rc-lookahead": lambda shown: _differ(
        shown.encode("--cutree", "--rc-lookahead", "2")["bytes"],
        shown.encode("--cutree", "--rc-lookahead", "20")["bytes"],
    ),
    "cutree": lambda shown: _differ(shown.encode()["bytes"], shown.encode("--cutree")["bytes"]),
    "bitrate": lambda shown: _more(shown.size("--bitrate", "20"), shown.size("--bitrate", "8")),
    "rc": lambda shown: _equal(
        shown.encode("--bitrate", "12", "--rc", "cbr")["bytes"],
        shown.encode("--bitrate", "12", "--strict-cbr")["bytes"],
    ),
    "vbv-maxrate": lambda shown: _more(
        shown.size("--vbv-maxrate", "20", "--vbv-bufsize", "8"),
        shown.size("--vbv-maxrate", "4", "--vbv-bufsize", "4"),
    ),
    "vbv-bufsize": lambda shown: _equal(
        shown.encode("--vbv-maxrate", "8", "--vbv-bufsize", "16")["rate"]["buffer_kbit"], 16
    ),
    "vbv-init": lambda shown: _differ(
        shown.encode("--vbv-maxrate", "8", "--vbv-bufsize", "8")["rate"]["least_kbit"],
        shown.encode("--vbv-maxrate", "8", "--vbv-bufsize", "8", "--vbv-init", "0.4")["rate"]["least_kbit"],
    ),
    "strict-cbr": lambda shown: _differ(
        shown.encode("--bitrate", "12")["rate"], shown.encode("--bitrate", "12", "--strict-cbr")["rate"]
    ),
    "pass": lambda shown: two_passes(shown),
    "stats": lambda shown: two_passes(shown),
    "passes": lambda shown: _differ(
        shown.encode("--bitrate", "12")["bytes"], shown.encode("--bitrate", "12", "--passes", "2")["bytes"]
    ),
    "qcomp": lambda shown: _differ(
        shown.encode("--bitrate", "12", "--passes", "2", "--qcomp", "1")["bytes"],
        shown.encode("--bitrate", "12", "--passes", "2", "--qcomp", "0")["bytes"],
    ),
    "slow-firstpass": lambda shown: first_searches(shown),
    "target-size": lambda shown: _more(shown.size("--target-size", "6k"), shown.size("--target-size", "3k")),
    "target-psnr": lambda shown: _more(
        shown.encode("--target-psnr", "28", "--psnr")["psnr"]["weighted_db"],
        shown.encode("--target-psnr", "20", "--psnr")["psnr"]["weighted_db"],
    ),
    "target-ssim": lambda shown: _more(shown.size("--target-ssim", "0.9"), shown.size("--target-ssim", "0.5")),
    "target-vmaf": lambda shown: vmaf(shown),
    "zones": lambda shown: _differ(shown.encode()["bytes"], shown.encode("--zones", "0,9,q=108")["bytes"]),
    "qpfile": lambda shown: qpfile(shown),
    "device": device,
    "threads": threads,
    "jobs": lambda shown: jobs(shown),
    **{name: partial(run_setting, name=name) for name in RUN_CHANGES},
    "seek": lambda shown: _equal(shown.encode("--seek", "16")["frames"], 8),
    "frames": lambda shown: _equal(shown.encode("--frames", "5")["frames"], 5),
    "input-res": lambda shown: _equal(raw(shown)["frames"], 4),
    "fps": lambda shown: _equal(raw(shown, "--fps", "50")["info"]["video"]["frame_rate"], "50"),
    "input-csp": lambda shown: _differ(raw(shown)["bytes"], raw(shown, "--input-csp", "nv12")["bytes"]),
    "input-depth": lambda shown: _equal(raw10(shown)["info"]["video"]["bit_depth"], 10),
    "y4m": y4m,
    "interlace": interlaced,
    "audio": lambda shown: _more(copied(shown, "audio"), copied(shown, "audio", "--no-audio")),
    "subtitles": lambda shown: subtitles(shown),
    "psnr": lambda shown: _more(shown.encode("--psnr")["psnr"]["y_db"], 10),
    "ssim": lambda shown: _more(shown.encode("--ssim")["ssim"]["y"], 0),
    "csv": csv,
    "json": lambda shown: _equal(shown.encode()["schema"], "zvc69-encode/1"),
    "strict": strict,
    "info": lambda shown: _differ(shown.encode()["bytes"], shown.encode("--info")["bytes"]),
    "progress": lambda shown: _differ(
        "fps, " in shown.encode()["said"], "fps, " in shown.encode("--no-progress")["said"]
    ),
}


def quantisers(shown):
    assert shown.size("--qp", "58") > shown.size("--qp", "88")
    one, three = (shown.encode("--qp", given)["info"]["per_frame"] for given in ("68", "58:68:108"))
    assert {each["kind"]: each["q"] for each in three} == {"I": 69, "P": 59, "B": 19}
    assert {each["q"] for each in one if each["kind"] == "P"} == {59}


def refined(shown):
    """I frames alone are refined; the former spelling is refused."""
    _differ(shown.encode("--refine", "0")["bytes"], shown.encode("--refine", "9")["bytes"])
    assert "write --refine 8" in refuses(shown, 2, "--refine", "8:4:0")


def levels_decided(shown):
    """The three levels make three different streams."""
    fixed, single, grouped = (shown.encode("--qp", "68", "--rdoq-level", level)["bytes"] for level in "012")
    assert len({fixed, single, grouped}) == 3


def jobs(shown):
    """The same bytes, from more frames at the same time."""
    flags = ("--keyint", "6", "--bframes", "0", "--threads", "1")
    one, three = (shown.encode(*flags, "--jobs", count) for count in ("1", "3"))
    assert one["bytes"] == three["bytes"]
    threads = [{stage["name"]: stage["threads"] for stage in each["stages"]} for each in (one, three)]
    assert [each["quantise"] for each in threads] == [1, 3]


def searches(shown):
    networks = Searching()
    for effort in ("fast", "thorough"):
        shown.encode("--motion-search", effort, engines=ToyEngines(networks=networks))
    shown.encode(engines=ToyEngines(networks=networks))
    assert set(networks.efforts) == {"fast", "full", "thorough"}
    counts = []
    for effort in ("fast", "sparse"):
        networks.efforts.clear()
        shown.encode("--motion-search", effort, engines=ToyEngines(networks=networks))
        assert set(networks.efforts) == {"fast"}
        counts.append(networks.efforts["fast"])
    assert 0 < counts[1] < counts[0]


def first_searches(shown):
    """A first pass searches as fast as it can, a second one as it is told, unless both are."""
    for flags, due in (((), {"fast", "full"}), (("--slow-firstpass",), {"full"})):
        networks = Searching()
        shown.encode("--bitrate", "12", "--passes", "2", *flags, engines=ToyEngines(networks=networks))
        assert set(networks.efforts) == due


def two_passes(shown):
    stats = shown.folder / "first.stats"
    shown.encode("--bitrate", "12", "--pass", "1", "--stats", str(stats))
    assert stats.exists()
    second = shown.encode("--bitrate", "12", "--pass", "2", "--stats", str(stats))
    assert second["bytes"] != shown.encode("--bitrate", "12")["bytes"]


def vmaf(shown):
    """Without a libvmaf it is refused with 5, before the work."""
    done = zvc69("encode", shown.folder / "in.y4m", shown.folder / "vmaf.zvc69", "--target-vmaf", "50", "-y")
    assert done.exit_code in (0, 5), done.stderr
    assert done.exit_code == 0 or "libvmaf" in done.stderr


def qpfile(shown):
    (shown.folder / "qp.txt").write_text("0 I 68\n5 K 78\n")
    first_kinds(shown, "IBBBPI", "--qpfile", str(shown.folder / "qp.txt"))


def subtitles(shown):
    source = shown.folder / "titled.mkv"
    make_titled(source)
    assert [each["media"] for each in shown.encode(source=source.name)["info"]["copied_streams"]] == [
        "subtitle"
    ]
    assert shown.encode("--no-subtitles", source=source.name)["info"]["copied_streams"] == []


def make_titled(path):
    """A Matroska file of two frames with a line of text under them."""
    import av
    from av.subtitles.subtitle import SubtitleSet  # noqa: F401 - its absence would skip the rest

    titles = path.with_suffix(".srt")
    titles.write_text("1\n00:00:00,000 --> 00:00:00,080\nhello\n")
    with av.open(str(path), "w") as out, av.open(str(titles)) as text:
        video = out.add_stream("mpeg4", rate=25)
        video.width, video.height, video.pix_fmt = 48, 32, "yuv420p"
        line = out.add_stream_from_template(text.streams.subtitles[0])
        for number in range(2):
            frame = av.VideoFrame(48, 32, "yuv420p")
            frame.pts = number
            out.mux(video.encode(frame))
        out.mux(video.encode())
        for packet in text.demux():
            if packet.dts is not None:
                packet.stream = line
                out.mux(packet)


def _more(one, other):
    assert one > other


def _differ(one, other):
    assert one != other


def _equal(one, other):
    assert one == other


@pytest.mark.parametrize("flag", ENCODE_FLAGS, ids=flag_id)
def test_a_flag_of_encode_changes_what_it_says(shown, flag):
    assert flag.name in CHANGES, "show here what the flag changes"
    CHANGES[flag.name](shown)


def decoded(shown, name="back.y4m", *arguments, **kept):
    return shown.decode(shown.encode()["out"], name, *arguments, **kept)


def on_error(shown):
    stream = shown.folder / "damaged.zvc69"
    data = bytearray(shown.encode()["bytes"])
    data[len(data) * 6 // 10] ^= 0xFF
    stream.write_bytes(data)
    assert zvc69("decode", stream, shown.folder / "b.y4m").exit_code == 7
    assert not (shown.folder / "b.y4m").exists()
    assert shown.decode(stream, "b.y4m", "--on-error", "conceal", code=7)


def decode_device(shown):
    engines = Noting()
    decoded(shown, "back.y4m", "--device", "cuda:1", "--threads", "3", engines=engines)
    assert engines.run.device == "cuda:1"


def streams_of(path):
    import av

    with av.open(str(path)) as container:
        return sorted(stream.type for stream in container.streams)


def carried(shown, *arguments, source):
    out = shown.encode("--frames", "2", source=source)["out"]
    shown.decode(out, "back.mkv", *arguments)
    return streams_of(shown.folder / "back.mkv")


def decode_subtitles(shown):
    make_titled(shown.folder / "titled.mkv")
    assert "subtitle" in carried(shown, source="titled.mkv")
    assert "subtitle" not in carried(shown, "--no-subtitles", source="titled.mkv")


def decode_jobs(shown):
    """The same pictures, their symbols from more threads."""
    out = shown.encode("--keyint", "6", "--bframes", "0", "--threads", "1")["out"]
    assert shown.decode(out, "one.y4m") == shown.decode(out, "three.y4m", "--jobs", "3")
    done = zvc69("decode", out, shown.folder / "three.y4m", "-y", "--json", "--jobs", "3")
    assert {each["name"]: each["threads"] for each in json.loads(done.stdout)["stages"]}["parse"] == 3


DECODE_CHANGES = {
    "device": decode_device,
    "threads": decode_device,
    "jobs": decode_jobs,
    **{name: partial(decode_run_setting, name=name) for name in RUN_CHANGES},
    "seek": lambda shown: _more(len(decoded(shown)), len(decoded(shown, "back.y4m", "--seek", "16"))),
    "frames": lambda shown: _more(len(decoded(shown)), len(decoded(shown, "back.y4m", "--frames", "3"))),
    "on-error": on_error,
    "y4m": lambda shown: _equal(decoded(shown, "back.bin", "--y4m")[:9], b"YUV4MPEG2"),
    "raw": lambda shown: _equal(len(decoded(shown, "back.bin", "--raw")), 24 * 48 * 32 * 3 // 2),
    "output-depth": lambda shown: _equal(
        len(decoded(shown, "back.yuv", "--output-depth", "10")), 24 * 48 * 32 * 3
    ),
    "codec": lambda shown: _differ(decoded(shown, "b.mkv"), decoded(shown, "b.mkv", "--codec", "mpeg4")),
    "codec-crf": lambda shown: _more(
        len(decoded(shown, "b.mp4", "--codec-crf", "10")), len(decoded(shown, "b.mp4", "--codec-crf", "50"))
    ),
    "codec-preset": lambda shown: _differ(
        decoded(shown, "b.mp4", "--codec-preset", "ultrafast"),
        decoded(shown, "b.mp4", "--codec-preset", "slow"),
    ),
    "audio": lambda shown: _differ(carried(shown, source=SAMPLE), carried(shown, "--no-audio", source=SAMPLE)),
    "subtitles": decode_subtitles,
}


@pytest.mark.parametrize("flag", DECODE_FLAGS, ids=flag_id)
def test_a_flag_of_decode_changes_what_it_says(shown, flag):
    assert flag.name in DECODE_CHANGES, "show here what the flag changes"
    DECODE_CHANGES[flag.name](shown)

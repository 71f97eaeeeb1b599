"""The program as a process of its own: signals, pipes, terminals, and what it loads."""

import os
import resource
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.pipeline.engines import write_y4m, y4m_bytes
from zvc69_cli.container.reader import StreamReader

ROOT = Path(__file__).parents[2]
TOY = [sys.executable, "-m", "tests.cli.toy_program"]

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and terminals of POSIX")


@pytest.fixture
def here(tmp_path):
    write_y4m(tmp_path / "in.y4m", 6)
    return tmp_path


def started(here, *arguments, delay_s=0.0, **streams):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ZVC69_TOY_DELAY_S": str(delay_s)}
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen([*TOY, *arguments], cwd=here, env=environment, **streams)


def ended(process, data=None):
    out, err = process.communicate(data, timeout=30)
    return process.returncode, out, (err or b"").decode()


def wait_for_bytes(path, count):
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if path.exists() and path.stat().st_size > count:
            return
        time.sleep(0.02)
    raise AssertionError(f"{path} did not grow")


def frames_of(path):
    with path.open("rb") as source:
        reader = StreamReader(source, str(path))
        count = 0
        while reader.read() is not None:
            count += 1
        return reader, count


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_leaves_a_readable_marked_part(here, number, code):
    write_y4m(here / "long.y4m", 400)
    process = started(here, "encode", "long.y4m", "a.zvc69", delay_s=0.05)
    wait_for_bytes(here / "a.zvc69.part", 1000)
    process.send_signal(number)
    returned, out, err = ended(process)
    assert (returned, out) == (code, b"")
    assert "a.zvc69.part: interrupted after" in err and "zvc69 decode a.zvc69.part" in err
    assert not (here / "a.zvc69").exists()
    reader, count = frames_of(here / "a.zvc69.part")
    assert 0 < count < 400
    assert reader.trailer.complete is False
    assert f"after {count} frames" in err


def test_a_second_signal_stops_at_once_and_keeps_whole_frames(here):
    write_y4m(here / "long.y4m", 400)
    process = started(here, "encode", "long.y4m", "a.zvc69", delay_s=0.6)
    wait_for_bytes(here / "a.zvc69.part", 250)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    returned, _, err = ended(process)
    assert returned == 130
    assert "second signal" in err and "a.zvc69.part" in err
    assert "Traceback" not in err
    reader, count = frames_of(here / "a.zvc69.part")
    assert count >= 1
    assert reader.trailer is None


def test_a_signal_ends_an_encode_whose_input_pipe_hangs(here):
    process = started(here, "encode", "-", "a.zvc69", stdin=subprocess.PIPE)
    process.stdin.write(y4m_bytes(3))
    process.stdin.flush()
    wait_for_bytes(here / "a.zvc69.part", 250)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=10) == 130
    assert frames_of(here / "a.zvc69.part")[1] == 3
    process.stdin.close()


def test_a_signal_before_the_first_frame_leaves_nothing(here):
    process = started(here, "encode", "-", "a.zvc69", stdin=subprocess.PIPE)
    process.stdin.write(y4m_bytes(1)[:100])
    process.stdin.flush()
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    returned, _, err = ended(process)
    assert returned == 130, err
    assert "Traceback" not in err
    assert [path.name for path in here.iterdir()] == ["in.y4m"]


def test_encode_and_decode_work_as_a_pipe(here):
    encode = started(here, "encode", "in.y4m", "-")
    decode = started(here, "decode", "-", "-", stdin=encode.stdout)
    encode.stdout.close()
    code, out, err = ended(decode)
    assert (code, encode.wait(10)) == (0, 0), err
    assert out.startswith(b"YUV4MPEG2 W48 H32 ")
    assert out.count(b"FRAME") == 6
    encode.stderr.close()


def test_a_closed_pipe_ends_with_4_and_three_parts(here):
    write_y4m(here / "long.y4m", 300)
    process = started(here, "encode", "long.y4m", "-")
    process.stdout.read(64)
    process.stdout.close()
    code = process.wait(30)
    err = process.stderr.read().decode()
    process.stderr.close()
    assert code == 4, err
    assert "standard output: cannot be written: the reader closed the pipe" in err
    assert "Traceback" not in err and "Exception ignored" not in err


@pytest.mark.parametrize("form", ["--json", "--frames"])
def test_a_closed_pipe_under_info_is_no_traceback(here, form):
    assert ended(started(here, "encode", "in.y4m", "a.zvc69"))[0] == 0
    reading, writing = os.pipe()
    os.close(reading)
    process = started(here, "info", "a.zvc69", form, stdout=writing)
    os.close(writing)
    code, _, err = ended(process)
    assert code == 4
    assert "Traceback" not in err and "Exception ignored" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_full_disk_on_standard_output_ends_with_4(here, command):
    assert ended(started(here, "encode", "in.y4m", "a.zvc69"))[0] == 0
    source = "in.y4m" if command == "encode" else "a.zvc69"
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        code, _, err = ended(started(here, command, source, "-", stdout=full))
    assert code == 4, err
    assert "space" in err
    assert "Traceback" not in err and "Exception ignored" not in err


@pytest.mark.parametrize("command", ["encode", "decode"])
def test_a_file_that_cannot_grow_ends_with_4_and_leaves_nothing(here, command):
    write_y4m(here / "long.y4m", 60)
    assert ended(started(here, "encode", "in.y4m", "a.zvc69"))[0] == 0
    source, target = ("long.y4m", "b.zvc69") if command == "encode" else ("a.zvc69", "b.y4m")

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1500, 1500))

    code, _, err = ended(started(here, command, source, target, preexec_fn=limit))
    assert code == 4, err
    assert "Traceback" not in err and f"{target}: cannot be written" in err
    assert not list(here.glob("b.*"))


def on_a_terminal(here, *arguments, typed=b"", **streams):
    """Run with a terminal as standard input and error; returns the exit code and what was shown."""
    controller, terminal = os.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    process = started(here, *arguments, **{"stdin": terminal, "stderr": terminal, **streams})
    os.close(terminal)
    os.write(controller, typed)
    shown = b""
    while True:
        try:
            piece = os.read(controller, 4096)
        except OSError:  # the other side is closed
            break
        if not piece:
            break
        shown += piece
    code = process.wait(30)
    os.close(controller)
    if process.stdout:
        process.stdout.close()
    return code, shown.decode()


def test_progress_on_a_terminal_renews_one_line(here):
    write_y4m(here / "long.y4m", 60)
    code, shown = on_a_terminal(here, "encode", "long.y4m", "a.zvc69")
    assert code == 0
    assert "\r" in shown
    assert "[100.0%] 60/60 frames, " in shown and " fps, " in shown and " kb/s, eta 0:00:00" in shown


@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 4)])
def test_somebody_at_a_terminal_is_asked_before_overwriting(here, answer, code):
    (here / "a.zvc69").write_text("precious")
    returned, shown = on_a_terminal(here, "encode", "in.y4m", "a.zvc69", typed=answer)
    assert returned == code, shown
    assert "exists already. Overwrite it?" in shown
    assert ((here / "a.zvc69").read_bytes() == b"precious") == (code == 4)


def test_binary_data_never_goes_to_or_comes_from_a_terminal(here):
    code, shown = on_a_terminal(here, "encode", "-", "a.zvc69")
    assert code == 2 and "is a terminal" in shown
    controller, terminal = os.openpty()
    code, _, err = ended(started(here, "encode", "in.y4m", "-", stdout=terminal))
    os.close(controller)
    os.close(terminal)
    assert code == 2 and "is a terminal" in err


def test_help_loads_nothing_heavy():
    code = (
        "import sys\n"
        "from zvc69_cli.cli.main import run\n"
        "try:\n"
        "    run(sys.argv[1:])\n"
        "except SystemExit:\n"
        "    print({'numpy', 'av', 'onnxruntime', 'constriction', 'rich', 'tqdm'} & set(sys.modules))\n"
    )
    for arguments in (["--help"], ["--version"], ["encode", "--help"], ["decode", "--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "set()"


def test_a_frame_rate_line_for_logs_comes_at_the_end(here):
    code, _, err = ended(started(here, "encode", "in.y4m", "a.zvc69"))
    assert code == 0
    assert "zvc69: [100.0%] 6/6 frames, " in err
    assert "\r" not in err


@pytest.mark.parametrize("gap_s", [0.001, 0.01, 0.1])
def test_a_third_signal_does_not_crash_the_interpreter(here, gap_s):
    write_y4m(here / "long.y4m", 400)
    process = started(here, "encode", "long.y4m", "a.zvc69", delay_s=0.05)
    wait_for_bytes(here / "a.zvc69.part", 1000)
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(gap_s)
    code, _, err = ended(process)
    assert code in (130, -signal.SIGINT), err  # shells show 130 for both
    assert "Fatal" not in err and "Traceback" not in err


def test_help_into_a_closed_pipe_ends_with_a_code_of_the_table(here):
    reading, writing = os.pipe()
    os.close(reading)
    process = started(here, "encode", "--help", stdout=writing)
    os.close(writing)
    code, _, err = ended(process)
    assert code == 4
    assert "the reader closed the pipe" in err and "Traceback" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["encode", "--help"]])
def test_help_on_a_full_disk_is_no_fault_of_the_program(here, arguments):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        code, _, err = ended(started(here, *arguments, stdout=full))
    assert code == 4, err
    assert "standard output: cannot be written" in err and "fault of the program" not in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_messages_that_cannot_be_written_do_not_end_an_encode(here):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        assert ended(started(here, "encode", "in.y4m", "a.zvc69", stderr=full))[0] == 0
    assert frames_of(here / "a.zvc69")[1] == 6


@pytest.mark.parametrize(
    ("arguments", "closed", "code"),
    [
        (["encode", "in.y4m", "a.zvc69"], 2, 0),
        (["encode", "in.y4m", "a.zvc69"], 1, 0),
        (["encode", "in.y4m", "-"], 1, 2),
        (["encode", "-", "a.zvc69"], 0, 2),
        (["devices"], 1, 4),
        (["--help"], 1, 0),
    ],
)
def test_a_stream_closed_before_the_start_is_no_traceback(here, arguments, closed, code):
    returned, _, err = ended(started(here, *arguments, preexec_fn=lambda: os.close(closed)))
    assert returned == code, err
    assert "Traceback" not in err
    assert code != 2 or "is closed" in err


def test_the_end_of_the_input_is_no_consent_to_overwrite(here):
    (here / "a.zvc69").write_text("precious")
    code, shown = on_a_terminal(here, "encode", "in.y4m", "a.zvc69", typed=b"\x04")
    assert code == 4, shown
    assert "exists already" in shown and "SIGINT" not in shown
    assert (here / "a.zvc69").read_text() == "precious"

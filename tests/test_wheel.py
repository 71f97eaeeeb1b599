"""The wheel by itself: built, unpacked outside the checkout, run."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
Y4M_HEADER = b"YUV4MPEG2 W32 H16 F25:1 Ip A1:1 C420jpeg\n"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("zvc69-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def _run(site, *arguments, **more):
    environment = os.environ | {"PYTHONPATH": str(site)}
    code = "from zvc69_cli.cli.main import run; run()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, cwd=site.parent, capture_output=True, **more
    )


def test_networks_and_presets_are_inside(unpacked):
    inside = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert "zvc69_cli/engines/zvc69-s/weights.bin" in inside
    assert "zvc69_cli/presets/medium.toml" in inside
    assert "zvc69_cli/container/FORMAT.md" in inside
    assert not [name for name in inside if name.startswith(("tests/", "samples/", "engines/"))]


def test_it_encodes_and_decodes_without_the_checkout(unpacked):
    frame = b"FRAME\n" + bytes(range(256)) * 2 + b"\x80" * 256
    encoded = _run(unpacked, "encode", "-", "-", "--crf", "30", input=Y4M_HEADER + frame * 3)
    assert encoded.returncode == 0, encoded.stderr.decode()
    assert encoded.stdout.startswith(b"ZVC69\0")
    decoded = _run(unpacked, "decode", "-", "-", input=encoded.stdout)
    assert decoded.returncode == 0, decoded.stderr.decode()
    assert decoded.stdout.startswith(b"YUV4MPEG2 W32 H16")
    assert decoded.stdout.count(b"FRAME") == 3
    where = subprocess.run(
        [sys.executable, "-c", "import zvc69_cli; print(zvc69_cli.__file__)"],
        env=os.environ | {"PYTHONPATH": str(unpacked)},
        cwd=unpacked.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(unpacked))

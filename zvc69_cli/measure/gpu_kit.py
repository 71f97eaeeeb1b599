"""The folder for a GPU machine without a network: `python -m zvc69_cli.measure.gpu_kit FOLDER [--for 3.12]`.

It holds the wheels that such a machine lacks, this program's own among them, the clips, and `check.py`, which does the
rest there (measure.bare_machine). Large files are cut into parts, and parts are laid into piece-1, piece-2, ..., so
that the folder can be carried in pieces where only so much goes at a time: each time check.py, manifest.json and one
piece, and there `python3 check.py take SOMEWHERE`; when all have arrived, `python3 SOMEWHERE/check.py run`.

Wheels are those of the versions that are installed here, so that what was tested is what travels. Run it in a checkout.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from zvc69_cli.measure import bare_machine
from zvc69_cli.measure.bare_machine import KIT_SCHEMA, MANIFEST, SCRIPT, sha256_of

# What the program needs and what that needs in turn. numpy is not among them: the machine has it.
TRAVELS: Final = (
    "onnxruntime-gpu",
    "flatbuffers",
    "packaging",
    "protobuf",
    "av",
    "constriction",
    "click",
    "tqdm",
    "rich",
    "markdown-it-py",
    "mdurl",
    "pygments",
    "onnx",  # which writes the graphs of --precision fp16
    "ml_dtypes",
    "typing_extensions",
)
FOUND_THERE: Final = ("numpy",)
PLATFORMS: Final = (
    *(f"manylinux_2_{number}_x86_64" for number in (39, 38, 36, 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)),
    "manylinux2014_x86_64",
    "manylinux2010_x86_64",
    "manylinux1_x86_64",
    "linux_x86_64",
)
MIB: Final = 1 << 20
PART_BYTES: Final = 15 * MIB
ROOT: Final = Path(__file__).resolve().parents[2]


def download(folder: Path, python: str) -> dict[str, str]:
    """Fetch the wheels with pip for that Python on Linux; returns their versions. Raises CalledProcessError."""
    versions = {name: version(name) for name in TRAVELS}
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [
        "--only-binary=:all:",
        "--implementation",
        "cp",
        "--python-version",
        python,
        "--dest",
        str(folder),
    ]
    for each in PLATFORMS:
        command += ["--platform", each]
    subprocess.run([*command, *(f"{name}=={number}" for name, number in versions.items())], check=True)
    return versions


def build_own(folder: Path) -> None:
    """This program's wheel; raises CalledProcessError."""
    if not (ROOT / "pyproject.toml").exists():
        raise FileNotFoundError(f"{ROOT} is no checkout: run this in one")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(ROOT)], check=True)


def pack(
    kit: Path,
    wheels: Sequence[Path],
    clips: Sequence[Path],
    *,
    python: str,
    versions: dict[str, str],
    part_bytes: int = PART_BYTES,
    piece_bytes: int,
) -> dict[str, Any]:
    """Lay everything into a folder that must be new, in parts and pieces; returns its manifest.

    raises  FileExistsError; ValueError where a part is larger than a piece
    """
    if part_bytes > piece_bytes:
        raise ValueError(f"a part of {part_bytes} bytes does not go into a piece of {piece_bytes}")
    kit.mkdir(parents=True)
    files: list[dict[str, Any]] = []
    piece, room = 1, piece_bytes
    for kind, path in [*(("wheel", each) for each in wheels), *(("clip", each) for each in clips)]:
        parts = []
        with path.open("rb") as source:
            number = 0
            while data := source.read(part_bytes):
                if len(data) > room:
                    piece, room = piece + 1, piece_bytes
                room -= len(data)
                part = kit / f"piece-{piece}" / f"{path.name}.{number:03}"
                part.parent.mkdir(exist_ok=True)
                part.write_bytes(data)
                parts.append({"path": str(part.relative_to(kit)), "sha256": sha256_of(part)})
                number += 1
        files.append({"name": path.name, "kind": kind, "sha256": sha256_of(path), "parts": parts})
    facts = {"schema": KIT_SCHEMA, "python": python, "pieces": piece, "versions": versions, "files": files}
    (kit / MANIFEST).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    shutil.copyfile(bare_machine.__file__, kit / SCRIPT)
    return facts


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m zvc69_cli.measure.gpu_kit",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="to make; must not be there")
    parser.add_argument("--for", dest="python", default="3.12", help="Python of that machine (default 3.12)")
    parser.add_argument("--piece-mib", type=int, default=60, help="the most that goes at a time (default 60)")
    parser.add_argument("--clips", type=Path, nargs="*", help="videos (default: the samples)")
    parser.add_argument(
        "--wheels", type=Path, help="folder of wheels that were fetched before, instead of fetching"
    )
    asked = parser.parse_args(arguments)
    clips = asked.clips if asked.clips is not None else sorted((ROOT / "samples").glob("*.mp4"))
    if asked.folder.exists():
        print(f"{asked.folder} is there already: remove it, or name another", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as name:
        fetched = Path(name)
        try:
            if asked.wheels is None:
                versions = download(fetched, asked.python)
            else:
                versions = {}
                for wheel in sorted(asked.wheels.glob("*.whl")):
                    shutil.copyfile(wheel, fetched / wheel.name)
                    versions[wheel.name.split("-")[0]] = wheel.name.split("-")[1]
            build_own(fetched)
        except (subprocess.CalledProcessError, PackageNotFoundError, FileNotFoundError) as cause:
            print(f"the wheels cannot be had: {cause}", file=sys.stderr)
            return 1
        wheels = sorted(fetched.glob("*.whl"), key=lambda each: -each.stat().st_size)
        try:
            facts = pack(
                asked.folder,
                wheels,
                clips,
                python=asked.python,
                versions=versions,
                piece_bytes=asked.piece_mib * MIB,
            )
        except ValueError as cause:
            print(cause, file=sys.stderr)
            return 2
    size = sum(each.stat().st_size for each in asked.folder.rglob("*") if each.is_file())
    print(f"{asked.folder}: {len(facts['files'])} files, {size / MIB:.0f} MiB in {facts['pieces']} pieces")
    return 0


if __name__ == "__main__":
    sys.exit(main())

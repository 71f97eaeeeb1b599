#!/usr/bin/env python3
"""The GPU check on a machine that has nothing of this project and no network: install, prove, measure, report.

    python3 check.py run --device cuda --out results     with the folder that `make gpu-kit` made around this file
    python3 check.py take FOLDER                         where the folder arrives in pieces: gather them in FOLDER

Needs Python and numpy; for a GPU also the CUDA 13 and cuDNN libraries that PyTorch's packages bring. What it installs
goes to a folder of its own. `run` leaves result.json and page.html, written anew after each part, and stops each part
at its share of --minutes: what was finished by then is kept, also where the whole is killed.

This file is copied into that folder, so it imports nothing but the standard library.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import platform
import shutil
import signal
import site
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

SCHEMA: Final = "zvc69-gpu-check/1"
KIT_SCHEMA: Final = "zvc69-gpu-kit/1"
MANIFEST: Final = "manifest.json"
SCRIPT: Final = "check.py"
CHECK: Final = "zvc69_cli.measure.gpu_check"
PAGE: Final = "zvc69_cli.measure.gpu_page"
PAGE_S: Final = 60
CHUNK_BYTES: Final = 1 << 20

# Of the minutes that are left when a part begins; the last one may have all that the others left over.
SHARES: Final = {"exactness": 0.4, "precision": 0.35, "speed": 0.95}


class Trouble(Exception):
    """Something to tell and to end with."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a file that was too large to travel whole."""

    path: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Travelling:
    """A file of the kit: the parts that make it."""

    name: str
    kind: str
    sha256: str
    parts: tuple[Part, ...]


def read_manifest(kit: Path) -> tuple[dict[str, Any], tuple[Travelling, ...]]:
    """What a kit says of itself, and its files; raises Trouble."""
    path = kit / MANIFEST
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as cause:
        raise Trouble(f"{path} cannot be read: {cause}. Make the folder with `make gpu-kit`.") from cause
    if facts.get("schema") != KIT_SCHEMA:
        raise Trouble(f"{path} is of {facts.get('schema')!r}, should be {KIT_SCHEMA!r}. Make the folder anew.")
    files = tuple(
        Travelling(
            name=each["name"],
            kind=each["kind"],
            sha256=each["sha256"],
            parts=tuple(Part(path=part["path"], sha256=part["sha256"]) for part in each["parts"]),
        )
        for each in facts["files"]
    )
    return facts, files


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def missing_parts(kit: Path, files: Sequence[Travelling]) -> list[str]:
    """Parts that are not there yet."""
    return [part.path for each in files for part in each.parts if not (kit / part.path).exists()]


def take(kit: Path, into: Path) -> list[str]:
    """Copy the parts that arrived beside this file to where all of them gather; returns what is still missing.

    raises  Trouble for a part that is damaged
    """
    _, files = read_manifest(kit)
    into.mkdir(parents=True, exist_ok=True)
    for name in (MANIFEST, SCRIPT):
        if (kit / name).exists():
            shutil.copyfile(kit / name, into / name)
    for each in files:
        for part in each.parts:
            source, target = kit / part.path, into / part.path
            if not source.exists() or target.exists():
                continue
            if sha256_of(source) != part.sha256:
                raise Trouble(f"{source} is damaged: its SHA-256 is not the manifest's. Send it again.")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target.with_name(target.name + ".part"))
            target.with_name(target.name + ".part").replace(target)
    return missing_parts(into, files)


def join(kit: Path, each: Travelling, folder: Path) -> Path:
    """The whole file, put together and checked; raises Trouble."""
    target = folder / each.name
    if target.exists() and sha256_of(target) == each.sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as out:
        for part in each.parts:
            with (kit / part.path).open("rb") as source:
                shutil.copyfileobj(source, out, CHUNK_BYTES)
    if sha256_of(target) != each.sha256:
        target.unlink()
        raise Trouble(f"{each.name} is damaged: its SHA-256 is not the manifest's. Send its parts again.")
    return target


def install(kit: Path, work: Path) -> tuple[Path, list[Path], dict[str, Any]]:
    """Everything of the kit in a folder that Python can import from, and the clips; raises Trouble."""
    facts, files = read_manifest(kit)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if facts["python"] != here:
        raise Trouble(
            f"the wheels are for Python {facts['python']}, this is {here}: `make gpu-kit FOR={here}`."
        )
    missing = missing_parts(kit, files)
    if missing:
        raise Trouble(f"{len(missing)} parts have not arrived: {', '.join(missing[:4])} ... Send them first.")
    joined = {each.name: join(kit, each, work / each.kind) for each in files}
    wheels = [joined[each.name] for each in files if each.kind == "wheel"]
    clips = [joined[each.name] for each in files if each.kind == "clip"]
    target, done = work / "site", work / "site" / ".installed"
    stamp = sha256_of(kit / MANIFEST)
    if not done.exists() or done.read_text(encoding="utf-8") != stamp:
        shutil.rmtree(target, ignore_errors=True)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command += ["--no-index", "--no-deps", "--no-compile", "--no-cache-dir", "--target", str(target)]
        ended = subprocess.run([*command, *map(str, wheels)], capture_output=True, text=True, check=False)
        if ended.returncode:
            raise Trouble(f"pip could not install the wheels: {ended.stderr.strip()[-600:]}")
        done.write_text(stamp, encoding="utf-8")
    return target, clips, facts


def cuda_folders() -> Iterator[str]:
    """Folders of the CUDA libraries that came as Python packages, as PyTorch's do."""
    places = [*sys.path, *site.getsitepackages(), site.getusersitepackages()]
    for place in dict.fromkeys(Path(each) for each in places if each):
        for folder in sorted((place / "nvidia").glob("*/lib")):
            if any(folder.glob("*.so*")):
                yield str(folder)


def child_environment(target: Path | None) -> dict[str, str]:
    """What a part of the check runs in."""
    environment = dict(os.environ, PYTHONUNBUFFERED="1")
    if target is not None:
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(target), environment.get("PYTHONPATH")]))
    folders = [*dict.fromkeys(cuda_folders()), environment.get("LD_LIBRARY_PATH", "")]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, folders))
    return environment


def machine_facts() -> dict[str, Any]:
    """What is known of the machine without the program."""
    facts: dict[str, Any] = {
        "system": platform.platform(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "processor": platform.machine(),
        "gpu": None,
    }
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                facts["processor"] = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    query = "--query-gpu=name,driver_version,memory.total"
    try:
        told = subprocess.run(
            ["nvidia-smi", query, "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        )
        facts["gpu"] = told.stdout.strip()
    except (OSError, subprocess.SubprocessError):
        pass
    return facts


class Run:
    """One run: its parts, one process each, and what they found so far."""

    def __init__(self, asked: argparse.Namespace, environment: dict[str, str], clips: Sequence[Path]) -> None:
        self._asked = asked
        self._environment = environment
        self._clips = clips
        self._out = Path(asked.out)
        self._findings = self._out / "findings.jsonl"
        self._log = self._out / "log.txt"
        self.facts: dict[str, Any] = {
            "schema": SCHEMA,
            "device": asked.device,
            "machine": machine_facts(),
            "began": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "parts": {},
            "findings": [],
        }

    def part(self, name: str, until: float) -> None:
        """Run one part up to a time, and keep what it found."""
        began = time.monotonic()
        allowed = max(1.0, until - began)
        command = [sys.executable, "-m", CHECK, name, "--device", self._asked.device]
        command += [
            "--out",
            str(self._findings),
            "--seconds",
            f"{allowed:.0f}",
            "--frames",
            str(self._asked.frames),
        ]
        command += ["--most", str(self._asked.most)]
        command += ["--sizes", self._asked.sizes, "--clips", *map(str, self._clips)]
        with self._log.open("ab") as log:
            log.write(f"== {name}\n".encode())
            log.flush()
            child = subprocess.Popen(
                command, env=self._environment, stdout=log, stderr=log, start_new_session=os.name == "posix"
            )
            try:
                code: int | None = child.wait(allowed)
            except subprocess.TimeoutExpired:
                code = None
                _end(child)
            except BaseException:
                _end(child)
                raise
        ended = {0: "finished", None: f"stopped after {allowed:.0f} s"}.get(code, f"ended with code {code}")
        self.facts["parts"][name] = {"ended": ended, "seconds": round(time.monotonic() - began, 1)}
        print(f"{name}: {ended} in {time.monotonic() - began:.0f} s", flush=True)
        self.save()

    def save(self) -> None:
        """Write result.json, and page.html where the program can."""
        lines = self._findings.read_text(encoding="utf-8").splitlines() if self._findings.exists() else []
        self.facts["findings"] = [json.loads(line) for line in lines if line.endswith("}")]
        result = self._out / "result.json"
        unfinished = result.with_name("result.json.part")
        unfinished.write_text(json.dumps(self.facts, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(result)
        command = [sys.executable, "-m", PAGE, str(result), str(self._out / "page.html")]
        with self._log.open("ab") as log:
            try:
                subprocess.run(
                    command, env=self._environment, stdout=log, stderr=log, timeout=PAGE_S, check=False
                )
            except subprocess.TimeoutExpired:  # what was measured is in result.json
                log.write(f"the page was not made within {PAGE_S} s\n".encode())


def _end(child: subprocess.Popen[bytes]) -> None:
    """Stop a part that ran out of time, and what it started."""
    try:
        if os.name == "posix":
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    except ProcessLookupError:
        pass
    child.wait()


def run(asked: argparse.Namespace) -> int:
    """Install where there is a kit, then prove and measure; returns the exit code."""
    until = time.monotonic() + 60 * asked.minutes
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that a part ends too
    out = Path(asked.out)
    out.mkdir(parents=True, exist_ok=True)
    for name in ("findings.jsonl", "log.txt"):
        (out / name).unlink(missing_ok=True)
    target, clips, kit_facts = None, [Path(each) for each in asked.clips], None
    began = time.monotonic()
    if not asked.here:
        kit = Path(asked.kit)
        target, kit_clips, kit_facts = install(kit, Path(asked.work) if asked.work else kit / "work")
        clips = clips or kit_clips
        print(f"installed in {time.monotonic() - began:.0f} s", flush=True)
    if not clips:
        raise Trouble("no clips: name some with --clips, or put them into the kit with `make gpu-kit`.")
    missing = [str(each) for each in clips if not each.exists()]
    if missing:
        raise Trouble(f"there is no clip {missing[0]}.")
    check = Run(asked, child_environment(target), clips)
    check.facts["install_s"] = round(time.monotonic() - began, 1)
    check.facts["kit"] = None if kit_facts is None else kit_facts.get("versions")
    check.save()
    for name in asked.parts.split(","):
        left = until - time.monotonic()
        check.part(name, time.monotonic() + SHARES[name] * left)
    print(f"{out / 'result.json'}, {out / 'page.html'}")
    failed = [name for name, part in check.facts["parts"].items() if part["ended"].startswith("ended")]
    wrong = [each for each in check.facts["findings"] if each.get("equal") is False]
    if failed or wrong:
        for each in wrong:
            print(f"NOT EQUAL: {each}", file=sys.stderr)
        print(
            f"{', '.join(failed) or 'exactness'} failed; {out / 'log.txt'} has what was said", file=sys.stderr
        )
        return 1
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    own = Path(__file__).resolve().parent
    gather = commands.add_parser("take", help="gather the pieces of the kit that arrived")
    gather.add_argument("into", type=Path)
    runs = commands.add_parser("run", help="install, prove, measure, report")
    runs.add_argument("--device", default="cuda", help="what to hold against the CPU (default cuda)")
    runs.add_argument("--out", default="gpu-check", help="folder of result.json, page.html and log.txt")
    runs.add_argument("--kit", default=str(own), help="folder of the kit (default: where this file lies)")
    runs.add_argument("--work", default="", help="folder to install in (default: work in the kit)")
    runs.add_argument("--here", action="store_true", help="install nothing: the program is in this Python")
    runs.add_argument("--minutes", type=float, default=5.0, help="for all parts together (default 5)")
    runs.add_argument(
        "--frames", type=int, default=0, help="of each clip in the proof (default 24; 8 on the CPU)"
    )
    runs.add_argument("--most", type=int, default=600, help="frames of each speed at most (default 600)")
    runs.add_argument(
        "--sizes", default="", help="for the speeds, like 1280x720,1920x1080 (default: by device)"
    )
    runs.add_argument(
        "--parts", default=",".join(SHARES), help="which parts to run, of exactness,precision,speed"
    )
    runs.add_argument("--clips", nargs="*", default=[], help="videos (default: those of the kit)")
    asked = parser.parse_args(arguments)
    try:
        if asked.command == "take":
            missing = take(own, asked.into)
            print(
                f"{len(missing)} parts are missing"
                if missing
                else f"all is there: python3 {asked.into / SCRIPT} run"
            )
            return 0
        if unknown := [each for each in asked.parts.split(",") if each not in SHARES]:
            raise Trouble(f"there is no part {unknown[0]!r}; they are {', '.join(SHARES)}.")
        return run(asked)
    except Trouble as trouble:
        print(f"gpu-check: {trouble}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

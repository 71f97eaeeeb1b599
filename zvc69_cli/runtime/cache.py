"""The cache of engines: what took long to build is built once for each device, driver, runtime and bundle.

<root>/engines/<kind>-<digest>/entry.json and the files that it names; <root>/checks/<digest>.json; <root>/locks/.
An entry appears whole or not at all: it is built beside its place and renamed to it, while others wait for its lock.
Nothing in it is ever needed to decode: without a cache that can be read or written the same is built in a folder that
is gone after the process.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from zvc69_cli.errors import OutputError
from zvc69_cli.runtime.settings import NO_CACHE

CACHE_VARIABLE: Final = "ZVC69_CACHE"
LIMIT_BYTES: Final = 4 << 30
ENTRY_FILE: Final = "entry.json"
ENTRY_SCHEMA: Final = "zvc69-engine/1"
KEPT_KINDS: Final = ("int8",)  # calibrations are a user's work: not dropped for room
REWRITTEN: Final = (".profile",)  # files of TensorRT's provider that it writes again whenever it likes
LOCK_POLL_S: Final = 0.1

_log = logging.getLogger(__name__)

Key = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that was built.

    key      what it depends on, by name
    used_at  seconds since the epoch, when it was last asked for
    """

    kind: str
    key: Key
    folder: Path
    size_bytes: int
    used_at: float


class EngineCache:
    """A folder of engines.

    root         None for none: everything is built anew, in folders that do not last
    limit_bytes  what all entries may take together; those asked for longest ago go first
    """

    def __init__(self, root: Path | None, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self.root = root
        self._limit_bytes = limit_bytes

    def get(self, kind: str, key: Key, build: Callable[[Path], None]) -> Path:
        """The folder of an entry, built where it is not there or not whole.

        build  fills a folder that is there and empty; what it raises comes through, and nothing is left of it
        """
        if self.root is None:
            return _passing_folder(build)
        found = self.find(kind, key)
        if found is not None:
            return found
        try:
            with self._locked(_digest(kind, key)):
                found = self.find(kind, key)  # another process may have built it meanwhile
                return found if found is not None else self._build(kind, key, build)
        except _CacheTrouble as trouble:
            _log.warning("engine cache: %s cannot be written (%s): built for this run only", self.root, trouble)
            return _passing_folder(build)

    def find(self, kind: str, key: Key) -> Path | None:
        """The folder of an entry that is there and whole; None otherwise, and a damaged one is said to be."""
        if self.root is None:
            return None
        folder = self._place(kind, key)
        try:
            if not folder.is_dir():
                return None
            if _is_whole(folder):
                with contextlib.suppress(OSError):  # a folder that one may only read is as good
                    os.utime(folder / ENTRY_FILE)
                return folder
        except OSError as error:
            _log.warning("engine cache: %s cannot be read (%s)", folder, error.strerror)
            return None
        _log.warning("engine cache: %s is damaged: built again", folder)
        with contextlib.suppress(OSError):
            shutil.rmtree(folder)
        return None

    def put(self, kind: str, key: Key, build: Callable[[Path], None]) -> Path:
        """Build an entry in the place of what was there; raises OutputError where the folder cannot be written."""
        if self.root is None:
            raise OutputError("--cache", "there is no cache to keep it in", "Leave --cache off out.")
        try:
            with self._locked(_digest(kind, key)):
                shutil.rmtree(self._place(kind, key), ignore_errors=True)
                return self._build(kind, key, build)
        except _CacheTrouble as trouble:
            raise OutputError(
                str(self.root), f"cannot be written: {trouble}", "Give another folder with --cache."
            ) from trouble

    def entries(self) -> list[Entry]:
        """What is there, asked for last first; what is not whole is left out."""
        found = []
        for folder in self._folders():
            told = _told(folder)
            if told is None:
                continue
            with contextlib.suppress(OSError):
                found.append(
                    Entry(
                        kind=str(told["kind"]),
                        key=dict(told["key"]),
                        folder=folder,
                        size_bytes=sum(each.stat().st_size for each in folder.iterdir()),
                        used_at=(folder / ENTRY_FILE).stat().st_mtime,
                    )
                )
        return sorted(found, key=lambda each: -each.used_at)

    def clear(self, *, keep: tuple[str, ...] = ()) -> tuple[int, int]:
        """Remove all but the entries of these kinds; how many went, and their bytes.

        raises  OutputError where they cannot be removed
        """
        gone = [each for each in self.entries() if each.kind not in keep]
        for each in gone:
            self._remove(each.folder)
        if self.root is not None:
            kept = {each.folder for each in self.entries()}
            for folder in self._folders():
                if folder not in kept:  # halves of interrupted builds
                    self._remove(folder)
            for name in ("checks", "locks"):
                shutil.rmtree(self.root / name, ignore_errors=True)
        return len(gone), sum(each.size_bytes for each in gone)

    def remembered(self, key: Key) -> Any:
        """What `remember` was told for this key; None where nothing was, or it cannot be read."""
        if self.root is None:
            return None
        try:
            return json.loads((self.root / "checks" / f"{_digest('check', key)}.json").read_text("utf-8"))[
                "told"
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, key: Key, told: Any) -> None:
        """Keep a small fact; a folder that cannot be written is left alone: the fact is found out again."""
        if self.root is None:
            return
        with contextlib.suppress(OSError):
            folder = self.root / "checks"
            folder.mkdir(parents=True, exist_ok=True)
            place = folder / f"{_digest('check', key)}.json"
            beside = place.with_suffix(f".{os.getpid()}.part")
            beside.write_text(json.dumps({"key": dict(key), "told": told}), "utf-8")
            beside.replace(place)

    def _build(self, kind: str, key: Key, build: Callable[[Path], None]) -> Path:
        assert self.root is not None
        place = self._place(kind, key)
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            beside = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
        except OSError as error:
            raise _CacheTrouble(error.strerror) from error
        try:
            build(beside)
            try:
                _describe(beside, kind, key)
                beside.replace(place)
            except OSError as error:
                raise _CacheTrouble(error.strerror) from error
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        self._make_room(place)
        return place

    def _make_room(self, kept: Path) -> None:
        """Drop entries, those asked for longest ago first, until the rest is within the limit."""
        entries = self.entries()
        size = sum(each.size_bytes for each in entries)
        for each in reversed(entries):
            if size <= self._limit_bytes:
                return
            if each.folder == kept or each.kind in KEPT_KINDS:
                continue
            with contextlib.suppress(OSError):
                shutil.rmtree(each.folder)
                size -= each.size_bytes

    def _remove(self, folder: Path) -> None:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise OutputError(
                str(folder), f"cannot be removed: {error.strerror}", "Look at who owns it."
            ) from error

    def _folders(self) -> list[Path]:
        if self.root is None:
            return []
        try:
            return sorted(each for each in (self.root / "engines").iterdir() if each.is_dir())
        except OSError:
            return []

    def _place(self, kind: str, key: Key) -> Path:
        assert self.root is not None
        return self.root / "engines" / f"{kind}-{_digest(kind, key)}"

    @contextlib.contextmanager
    def _locked(self, digest: str) -> Iterator[None]:
        assert self.root is not None
        try:
            folder = self.root / "locks"
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / f"{digest}.lock").open("a+b")
        except OSError as error:
            raise _CacheTrouble(error.strerror) from error
        with file:
            began, is_told = time.monotonic(), False
            while not _try_lock(file.fileno()):
                if not is_told and time.monotonic() - began > 1:
                    _log.info("engine cache: another process builds the same engine; waiting for it")
                    is_told = True
                time.sleep(LOCK_POLL_S)
            yield  # closing the file ends the lock


class _CacheTrouble(Exception):
    """The folder of the cache cannot be used; says why."""


def open_cache(asked: str) -> EngineCache:
    """The cache that `--cache` (RunSettings.cache) asks for: "" is the user's own, or what ZVC69_CACHE names."""
    place = asked or os.environ.get(CACHE_VARIABLE, "")
    if place == NO_CACHE:
        return EngineCache(None)
    return EngineCache(Path(place) if place else user_cache_folder(os.environ))


def user_cache_folder(environment: Mapping[str, str]) -> Path | None:
    """Where this platform wants caches to be; None where there is no home."""
    try:
        if sys.platform == "win32":
            base = Path(environment.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            base = Path(environment.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return base / "zvc69"


def _passing_folder(build: Callable[[Path], None]) -> Path:
    """A folder that `build` filled and that goes with the process."""
    folder = Path(tempfile.mkdtemp(prefix="zvc69-engine-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    build(folder)
    return folder


def _describe(folder: Path, kind: str, key: Key) -> None:
    files = {
        each.name: [each.stat().st_size, _file_digest(each)]
        for each in sorted(folder.iterdir())
        if each.suffix not in REWRITTEN
    }
    told = {"schema": ENTRY_SCHEMA, "kind": kind, "key": dict(key), "files": files}
    with (folder / ENTRY_FILE).open("w", encoding="utf-8") as file:
        json.dump(told, file, indent=1)
        file.flush()
        os.fsync(file.fileno())


def _told(folder: Path) -> dict[str, Any] | None:
    """What entry.json says; None where it says nothing that could be believed."""
    try:
        told = json.loads((folder / ENTRY_FILE).read_text("utf-8"))
        if told["schema"] != ENTRY_SCHEMA or not isinstance(told["files"], dict):
            return None
        return {"kind": told["kind"], "key": dict(told["key"]), "files": told["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _is_whole(folder: Path) -> bool:
    told = _told(folder)
    if told is None:
        return False
    try:
        return all(
            (folder / name).stat().st_size == size and _file_digest(folder / name) == digest
            for name, (size, digest) in told["files"].items()
        )
    except (FileNotFoundError, TypeError, ValueError):
        return False


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def _digest(kind: str, key: Key) -> str:
    return hashlib.sha256(json.dumps([kind, sorted(key.items())]).encode()).hexdigest()[:24]


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:  # a file system without locks: two may build the same, the later one is kept
            _unlockable(error)
        return True


def _unlockable(error: OSError) -> None:
    _log.debug("engine cache: no locks on this file system (%s)", error.strerror)

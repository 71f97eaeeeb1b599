"""A bundle: networks, integers and tables in one folder, known by one hash.

manifest.json names the graphs and the arrays of weights.bin; the graphs (*.onnx) take their weights from there as well.
The SHA-256 covers these files and nothing else in the folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zvc69_cli.errors import RuntimeUnavailable, UnknownBundle
from zvc69_cli.runtime.places import engines_folder, program_graphs_folder

DEFAULT_BUNDLE: Final = "zvc69-s"
MANIFEST_FILE: Final = "manifest.json"
WEIGHTS_FILE: Final = "weights.bin"
INTRA_GRAPHS: Final = ("analyse", "first", "second", "synthesise")
INTER_GRAPHS: Final = (
    "search_fast",
    "search_full",
    "search_thorough",
    "warp",
    "blend",
    "residual_costs",
    "residual_coefficients",
    "residual_state",
    *(f"residual_pass_{number}" for number in range(6)),
    "rebuild",
    "loop_filter",
    "filter_sums",
    "finish",
    *(f"motion_{level}_{order}" for level in range(3) for order in ("error", "first", "second")),
)
# How the error of an I picture changes with its latent; a bundle may lack it.
GRADIENT_GRAPHS: Final = ("gradient",)
# A reference's quarter samples, made where it lies; a bundle may lack it.
SAMPLES_GRAPH: Final = "samples"
# What lies between frames, symbols and networks, made on a device. Without weights: the program's own, and no bundle's.
PROGRAM_GRAPHS: Final = (
    "take_8",
    "take_16",
    "give_8",
    "give_16",
    "continued",
    "picture_error",
    "known_half",
    "decoded_latent",
    "rounded_half",
    "rounded",
)
# Those of the inter graphs that a decoder does without.
ENCODER_GRAPHS: Final = (
    "search_fast",
    "search_full",
    "search_thorough",
    *(f"motion_{level}_error" for level in range(3)),
    "residual_costs",
    "residual_coefficients",
    "filter_sums",
)
# Integers carried in floats: they must be equal everywhere, so they never run in less than float32.
PRIOR_GRAPHS: Final = (
    "first",
    "second",
    "residual_state",
    *(f"residual_pass_{number}" for number in range(6)),
    *(f"motion_{level}_{order}" for level in range(3) for order in ("first", "second")),
)
# Graphs of convolutions in floats, where a lower precision costs a trace of quality and saves time.
CONVOLUTION_GRAPHS: Final = (
    "analyse",
    "synthesise",
    "blend",
    "loop_filter",
)
# Of these, the ones that --precision int8 is for. In 8 bits synthesis costs 0.7 dB on a keyframe (cafe at crf 28), more
# than the 0.5 dB that all of it may. The loop filter's inputs are a fraction of a step: 8 bits do not hold them.
INT8_GRAPHS: Final = ("analyse", "blend")
# What TensorRT takes: not the searches, whose samples are uint8, which its Slice and Reshape do not know.
ENGINE_GRAPHS: Final = (*CONVOLUTION_GRAPHS, "warp")
MANIFEST_VERSION: Final = 3  # 3: P and B frames code the coefficients of a residual
MAX_BUNDLE_BYTES: Final = 1 << 30


def inter_graphs(search: str | None) -> tuple[str, ...]:
    """The graphs that P and B frames need, encoded with a search of this effort; decoded alone where it is None."""
    if search is None:
        return tuple(each for each in INTER_GRAPHS if each not in ENCODER_GRAPHS)
    return tuple(each for each in INTER_GRAPHS if not each.startswith("search_") or each == f"search_{search}")


@dataclass(frozen=True, eq=False)
class Bundle:
    """An installed bundle, whole and hashed.

    arrays  everything in weights.bin by name; views into one read of the file
    """

    name: str
    folder: Path
    sha256: bytes
    latent_channels: int
    hyper_channels: int
    manifest: Mapping[str, Any]

    def graph(self, name: str) -> Path:
        return (program_graphs_folder() if name in PROGRAM_GRAPHS else self.folder) / f"{name}.onnx"

    @property
    def graphs(self) -> tuple[str, ...]:
        return tuple(self.manifest["graphs"])

    @property
    def files(self) -> list[str]:
        """Names of the files that its hash covers."""
        return bundle_files(self.graphs)

    @property
    def has_inter(self) -> bool:
        """Whether the bundle codes P and B frames."""
        return set(INTER_GRAPHS) <= set(self.graphs)

    @property
    def has_gradients(self) -> bool:
        """Whether latents can be refined by it."""
        return set(GRADIENT_GRAPHS) <= set(self.graphs)

    @cached_property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        data = (self.folder / WEIGHTS_FILE).read_bytes()
        return {
            name: np.frombuffer(
                data, place["dtype"], int(np.prod(place["shape"], dtype=np.int64)), place["offset_bytes"]
            ).reshape(place["shape"])
            for name, place in self.manifest["arrays"].items()
        }


def find_bundle(name: str = DEFAULT_BUNDLE) -> Bundle:
    """The installed bundle of this name.

    raises  UnknownBundle where there is none, RuntimeUnavailable where it is not whole
    """
    folder = engines_folder() / name
    if not (folder / MANIFEST_FILE).is_file():
        installed = ", ".join(each.name for each in bundle_folders()) or "none"
        raise UnknownBundle(
            f"bundle {name}",
            f"not found in {engines_folder()} (installed: {installed})",
            "Choose an installed bundle, or reinstall zvc69.",
        )
    return load_bundle(folder)


def find_bundle_by_hash(sha256: bytes, name: str) -> Bundle:
    """The bundle that a stream was made with.

    name    what the stream calls it, for the message and as the place to look first
    raises  UnknownBundle, naming it, its hash and where it was looked for
    """
    folders = sorted(bundle_folders(), key=lambda each: each.name != name)
    hashes = []
    for folder in folders:
        found = bundle_sha256(folder)
        if found == sha256:
            return _load(folder, found)
        hashes.append(f"{folder.name} {found.hex()[:16]}")
    raise UnknownBundle(
        f"bundle {name}",
        f"made with {name} {sha256.hex()[:16]}, which is not among the bundles in {engines_folder()}: "
        + (", ".join(hashes) or "none"),
        "Install the release of zvc69 that made the file, or put that bundle's folder there.",
    )


def bundle_folders() -> list[Path]:
    """Folders that hold a bundle."""
    if not engines_folder().is_dir():
        return []
    return sorted(each for each in engines_folder().iterdir() if (each / MANIFEST_FILE).is_file())


def load_bundle(folder: Path) -> Bundle:
    """The bundle in this folder, checked.

    raises  RuntimeUnavailable naming the file that is missing, or what the manifest lacks
    """
    return _load(folder, bundle_sha256(folder))


def _load(folder: Path, sha256: bytes) -> Bundle:
    try:
        manifest = _manifest(folder)
        version = manifest["version"]
        if version != MANIFEST_VERSION:
            raise RuntimeUnavailable(
                str(folder), f"manifest version is {version}, should be {MANIFEST_VERSION}", _REINSTALL
            )
        missing = set(INTRA_GRAPHS) - set(manifest["graphs"])
        if missing:
            raise ValueError(f"graphs {sorted(missing)} are missing")
        _check_places(manifest["arrays"], (folder / WEIGHTS_FILE).stat().st_size)
        return Bundle(
            name=manifest["name"],
            folder=folder,
            sha256=sha256,
            latent_channels=manifest["latent_channels"],
            hyper_channels=manifest["hyper_channels"],
            manifest=manifest,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _broken(folder, error) from error


def bundle_files(graphs: Iterable[str]) -> list[str]:
    """The names of the files that make a bundle with these graphs, in the order in which they are hashed."""
    return [*sorted(f"{graph}.onnx" for graph in graphs), MANIFEST_FILE, WEIGHTS_FILE]


def bundle_sha256(folder: Path) -> bytes:
    """SHA-256 of the bundle's files: for each its name, a zero byte, its size as eight bytes, its content."""
    try:
        files = bundle_files(_manifest(folder)["graphs"])
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(folder, error) from error
    digest = hashlib.sha256()
    for name in files:
        content = _content(folder / name)
        digest.update(name.encode() + b"\0" + len(content).to_bytes(8, "big") + content)
    return digest.digest()


def _manifest(folder: Path) -> Any:
    """What the manifest says, unchecked; raises ValueError where it is no JSON."""
    return json.loads(_content(folder / MANIFEST_FILE).decode("utf-8"))


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BUNDLE_BYTES:
            raise RuntimeUnavailable(
                str(path), f"{size} bytes, should be at most {MAX_BUNDLE_BYTES}", _REINSTALL
            )
        return path.read_bytes()
    except OSError as error:
        raise RuntimeUnavailable(str(path), f"cannot be read: {error.strerror}", _REINSTALL) from error


def _broken(folder: Path, error: Exception) -> RuntimeUnavailable:
    return RuntimeUnavailable(str(folder), f"the manifest is broken: {error!r}", _REINSTALL)


def _check_places(places: Mapping[str, Any], size: int) -> None:
    for name, place in places.items():
        length = int(np.prod(place["shape"], dtype=np.int64)) * np.dtype(place["dtype"]).itemsize
        if place["length_bytes"] != length or not 0 <= place["offset_bytes"] <= size - length:
            raise ValueError(f"array {name} does not lie within {WEIGHTS_FILE}")


_REINSTALL: Final = "Reinstall zvc69: `pip install --force-reinstall zvc69`."

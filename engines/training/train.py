"""Train the network of I frames, a piece at a time.

    python -m engines.training.train --data FOLDER --out intra.pt --minutes 25
    python -m engines.training.train --data FOLDER --resume intra.pt --out intra.pt --minutes 25 --cooldown

A piece stops by itself, can be killed at any moment (a minute is lost at most) and is gone on from on any device;
`--resume` takes a bundle's folder as well. Rates are constant after a short warm-up; `--cooldown` lets them fall to
nothing over the piece, which is what the weights of a bundle need. Needs PyTorch, numpy, Pillow and OpenCV only.
"""

from __future__ import annotations

import argparse
import csv
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from engines.training.checkpoint import Checkpoint, WrongCheckpoint
from engines.training.data import NoTrainingData
from engines.training.estimate import estimate_pictures
from engines.training.floor import Floor, measure_floor, synchronise
from engines.training.heap import keep_freed_memory
from engines.training.stages import STAGES, Losses, WrongCrop, load_pool
from engines.training.trainer import INNER_OPTIMISERS, Recipe, Trainer, starting_point

REPORT_EVERY_S = 15.0
SAVE_EVERY_S = 60.0
PROBE_BATCHES = (8, 16, 32, 64, 128, 256, 512)
PROBE_S = 3.0
PROBE_LIMIT_S = 55.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one run is asked for, beside its recipe."""

    data: Path
    out: Path
    minutes: float
    resume: Path | None = None
    test: Path | None = None
    limit: int | None = None


def train(piece: Piece, recipe: Recipe) -> Checkpoint:
    """Run one piece; returns what was saved at its end.

    raises  NoTrainingData, WrongCheckpoint
    """
    began = time.monotonic()
    pool = load_pool(piece.data, recipe.crop, piece.limit, recipe.device)
    trainer = Trainer(recipe, pool, starting_point(piece.resume, pool))
    floor = measure_floor(trainer.stage, recipe.device)
    print(f"ready after {time.monotonic() - began:.0f} s; {_described(floor)}", flush=True)
    began = reported = saved = time.monotonic()
    sums, steps, pixels_before = (
        torch.zeros(len(Losses._fields), device=recipe.device),
        0,
        trainer.checkpoint.pixels.get(recipe.stage, 0),
    )
    with _stop_asked() as asked:
        while (part := (time.monotonic() - began) / 60 / piece.minutes) < 1 and not asked:
            try:
                sums += trainer.step(part)
            except torch.OutOfMemoryError:
                _halve_batch(trainer)
                continue
            steps += 1
            if time.monotonic() - reported < REPORT_EVERY_S:
                continue
            loss, rate, distortion, hyper = (sums / steps).tolist()
            if not math.isfinite(loss):
                print("the loss is not finite: stopped, the last checkpoint is kept", flush=True)
                return trainer.checkpoint
            now, pixels = time.monotonic(), trainer.checkpoint.pixels[recipe.stage]
            trainer.checkpoint.history.append((recipe.stage, pixels, loss, rate, distortion))
            speed = (pixels - pixels_before) / (now - reported)
            print(
                f"{(now - began) / 60:6.1f} min  {pixels / 1e9:.3f} Gpx  {speed / 1e6:.2f} Mpx/s  "
                f"{1e3 * (now - reported) / steps:.0f} ms a step  loss {loss:.4f}  {rate:.4f} bit/px"
                + f"  hyper {hyper:.4f}"
                + _of_whole_network(recipe, floor, speed, distortion),
                flush=True,
            )
            sums.zero_()
            steps, reported, pixels_before = 0, now, pixels
            if now - saved > SAVE_EVERY_S:
                _save(trainer, piece.out)
                saved = now
    _save(trainer, piece.out)
    if piece.test is not None:
        _evaluate(trainer, piece)
    return trainer.checkpoint


def _of_whole_network(recipe: Recipe, floor: Floor, speed: float, distortion: float) -> str:
    """What only a stage that trains all of the network can say: quality, and its share of the floor."""
    if recipe.stage != "intra":
        return ""
    arithmetic, memory = floor.shares(speed)
    quality = -10 * math.log10(max(distortion, 1e-9))
    return f"  {quality:.2f} dB  floor {100 * arithmetic:.0f} % arithmetic {100 * memory:.0f} % memory"


def find_batch(piece: Piece, recipe: Recipe) -> Recipe:
    """Try batch sizes, compiled and not, for less than a minute; prints the table, returns the fastest."""
    pool = load_pool(piece.data, recipe.crop, piece.limit, recipe.device)
    checkpoint = starting_point(piece.resume, pool)
    floor = measure_floor(Trainer(recipe, pool, checkpoint).stage, recipe.device)
    print(_described(floor), flush=True)
    began, best = time.monotonic(), (0.0, recipe)
    for compiled in (False, True) if recipe.device.type == "cuda" else (False,):
        for batch in PROBE_BATCHES:
            tried = replace(recipe, batch=batch, compiled=compiled)
            if time.monotonic() - began > PROBE_LIMIT_S:
                break
            try:
                speed = _speed(Trainer(tried, pool, replace(checkpoint, optimiser=None)), PROBE_S)
            except torch.OutOfMemoryError:
                print(f"batch {batch}: out of memory", flush=True)
                break
            arithmetic, memory = floor.shares(speed)
            print(
                f"batch {batch:4d} {'compiled' if compiled else 'as is   '}  {speed / 1e6:8.2f} Mpx/s  "
                f"floor {100 * arithmetic:.0f} % arithmetic "
                f"{100 * memory:.0f} % memory",
                flush=True,
            )
            best = max(best, (speed, tried), key=lambda each: each[0])
    print(f"fastest: --batch {best[1].batch}{' --compile' if best[1].compiled else ''}", flush=True)
    return best[1]


def _speed(trainer: Trainer, seconds: float) -> float:
    """Pixels a second of steps after two warm ones (the first compiles)."""
    for _ in range(2):
        trainer.step(0.0)
    synchronise(trainer.recipe.device)
    stage, pixels = trainer.recipe.stage, trainer.checkpoint.pixels
    began, steps, pixels_before = time.perf_counter(), 0, pixels[stage]
    while time.perf_counter() - began < seconds or not steps:
        trainer.step(0.0)
        synchronise(trainer.recipe.device)
        steps += 1
    return (pixels[stage] - pixels_before) / (time.perf_counter() - began)


def _halve_batch(trainer: Trainer) -> None:
    if trainer.batch == 1:
        raise MemoryError("one crop does not fit into memory: take a smaller --crop")
    trainer.batch //= 2
    trainer.network.zero_grad(set_to_none=True)
    if trainer.recipe.device.type == "cuda":
        torch.cuda.empty_cache()
    print(f"out of memory: the batch is halved to {trainer.batch}", flush=True)


def _save(trainer: Trainer, out: Path) -> None:
    """The checkpoint and its history beside it; a full disk is said, and the last good checkpoint stays."""
    try:
        trainer.save(out)
        with out.with_suffix(".history.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(["stage", "pixels", "loss", "bits_a_pixel", "mse"])
            table.writerows(trainer.checkpoint.history)
    except (OSError, RuntimeError) as error:
        print(f"{out}: not saved, the checkpoint before it is kept: {error}", flush=True)


def _evaluate(trainer: Trainer, piece: Piece) -> None:
    assert piece.test is not None
    lines = [
        f"{name}: q {q}  {rate:.4f} bit/px  {psnr:.3f} dB"
        for name, q, rate, psnr in estimate_pictures(trainer.averaged(), piece.test, trainer.recipe.device)
    ]
    piece.out.with_suffix(".evaluation.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(line for line in lines if line.startswith("mean")), flush=True)


@contextmanager
def _stop_asked() -> Iterator[list[int]]:
    """A list that holds a signal's number once one has come; the step under way is finished."""
    asked: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda got, _: asked.append(got)) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _described(floor: Floor) -> str:
    return (
        f"a pixel costs {floor.operations_a_pixel / 1e3:.0f} kFLOP and {floor.bytes_a_pixel:.0f} bytes; "
        f"this machine does {floor.operations_per_s / 1e12:.2f} TFLOP/s and {floor.bytes_per_s / 1e9:.1f} GB/s"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m engines.training.train", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--stage", choices=STAGES, default="intra")
    parser.add_argument("--data", type=Path, required=True, help="folder of shards (*.tar), pictures or clips")
    parser.add_argument(
        "--out", type=Path, required=True, help="checkpoint to write; the history lies beside it"
    )
    parser.add_argument("--resume", type=Path, help="checkpoint, or a bundle's folder, to go on from")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--batch", type=int, default=0, help="crops a step; 0: 8 on a CPU, 64 elsewhere")
    parser.add_argument("--crop", type=int, default=0, help="side in pixels; 0: 240 on a CPU, 256 elsewhere")
    parser.add_argument("--optimiser", choices=list(INNER_OPTIMISERS), default="muon")
    parser.add_argument(
        "--inner-rate", type=float, default=0.0, help="inside the blocks; 0: the optimiser's own"
    )
    parser.add_argument("--outer-rate", type=float, default=8e-4)
    parser.add_argument("--cooldown", action="store_true", help="let the rates fall to nothing over this piece")
    parser.add_argument("--compile", action="store_true", help="compile the loss and its gradient")
    parser.add_argument(
        "--probe", action="store_true", help="find the fastest batch in under a minute, then stop"
    )
    parser.add_argument("--limit", type=int, help="files to read at most")
    parser.add_argument("--test", type=Path, help="folder of pictures to evaluate on at the end")
    parser.add_argument("--seed", type=int)
    return parser


def _recipe(asked: argparse.Namespace) -> Recipe:
    """Raises WrongCrop."""
    name = asked.device if asked.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    on_cpu = name == "cpu"
    return Recipe(
        device=torch.device(name),
        # Planes of 256 x 256 fight for the same cache lines on some CPUs.
        batch=asked.batch or (8 if on_cpu else 64),
        crop=asked.crop or (240 if on_cpu else 256),
        stage=asked.stage,
        optimiser=asked.optimiser,
        inner_rate=asked.inner_rate,
        outer_rate=asked.outer_rate,
        cooldown=asked.cooldown,
        compiled=asked.compile,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    asked = _parser().parse_args(arguments)
    keep_freed_memory()
    torch.manual_seed(asked.seed if asked.seed is not None else time.time_ns() % 2**31)
    # Blocks run in bfloat16 where it is arithmetic; around the latent, TF32's steps would be a sixteenth of a unit.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    piece = Piece(
        data=asked.data,
        out=asked.out,
        minutes=asked.minutes,
        resume=asked.resume,
        test=asked.test,
        limit=asked.limit,
    )
    try:
        recipe = _recipe(asked)
        if asked.probe:
            find_batch(piece, recipe)
            return 0
        checkpoint = train(piece, recipe)
    except (NoTrainingData, WrongCheckpoint, WrongCrop, MemoryError) as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    print(f"{asked.out}: {checkpoint.pixels.get(recipe.stage, 0) / 1e9:.3f} gigapixels")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The trainer on tiny data: it trains, goes on, exports, refuses. Needs the [train] extra."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the [train] extra is not installed")
pytest.importorskip("onnx", reason="the [train] extra is not installed")
image = pytest.importorskip("PIL.Image", reason="the [train] extra is not installed")

from engines.training import export, model, train, trainer  # noqa: E402
from engines.training.checkpoint import Checkpoint, WrongCheckpoint, load_checkpoint, save_checkpoint  # noqa: E402
from engines.training.data import NoTrainingData, PixelPool, load_pictures, rgb_to_planes  # noqa: E402
from engines.training.exact import ExactPrior, find_scales, integer_arrays, trained_prior  # noqa: E402
from engines.training.from_bundle import checkpoint_of_bundle  # noqa: E402
from engines.training.klt import klt_basis  # noqa: E402
from engines.training.model import (  # noqa: E402
    IntraNetwork,
    ModelSize,
    bits_near_boundaries,
    features_to_planes,
    gaussian_bits,
    planes_to_features,
    psnr_611,
    rounded_near_boundaries,
    weighted_error,
)
from engines.training.muon import Muon  # noqa: E402
from engines.training.soap import Soap  # noqa: E402
from engines.training.tables import SymbolCounts, fit_tables, gaussian_tables  # noqa: E402
from zvc69_cli.codec.intra.prior import IntegerPrior  # noqa: E402
from zvc69_cli.codec.settings import INTRA_Q_LEVELS  # noqa: E402
from zvc69_cli.runtime.bundle import find_bundle  # noqa: E402


def _scene(seed, side=288):
    """A picture with edges, ramps and texture."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((side, side))
    picture = np.zeros((side, side, 3))
    for _ in range(12):
        centre, angle, colour = rng.random(2) * side, rng.random() * 7, rng.random(3) * 255
        half = (rows - centre[0]) * np.cos(angle) + (columns - centre[1]) * np.sin(angle) > 0
        picture[half] = picture[half] * 0.4 + colour * 0.6
    waves = 20 * np.sin(rows / rng.integers(3, 20) + columns / rng.integers(3, 20))
    return np.clip(picture + waves[..., None] + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def shard(tmp_path_factory):
    """A shard of six pictures and one that is broken."""
    folder = tmp_path_factory.mktemp("data")
    with tarfile.open(folder / "train_images_00.tar", "w") as tar:
        for number in range(7):
            data = io.BytesIO(b"no picture")
            if number < 6:
                data = io.BytesIO()
                image.fromarray(_scene(number)).save(data, "png")
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(data.getvalue())
            tar.addfile(member, io.BytesIO(data.getvalue()))
    return folder


def test_a_broken_picture_is_named_and_skipped(shard, capsys):
    assert len(load_pictures(shard, 64)) == 6
    assert "skipped, cannot be decoded: train_images_00.tar/6.png" in capsys.readouterr().out


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(NoTrainingData, match="no shards"):
        load_pictures(tmp_path, 64)


def test_pictures_that_are_too_small_are_refused(shard):
    with pytest.raises(NoTrainingData, match="none of 1000 or more"):
        load_pictures(shard, 1000)


def test_crops_are_pieces_of_the_pictures():
    y, u, v = rgb_to_planes(_scene(1, 64))
    pool = PixelPool([(y, u, v)], torch.device("cpu"))
    crops = pool.crops(4, 64)
    for crop in crops[0]:
        turned = (crop[0] * 255).round().to(torch.uint8).numpy()
        due = [y, y[:, ::-1], y.T, y[:, ::-1].T]
        assert any(np.array_equal(turned, each) for each in due)


def test_features_are_the_planes_in_another_order():
    planes = [torch.rand(2, 1, side, side) for side in (32, 16, 16)]
    back = features_to_planes(planes_to_features(*planes))
    assert all(torch.equal(a, b) for a, b in zip(planes, back, strict=True))


def test_an_error_of_chroma_counts_more_where_quality_is_low():
    planes = [torch.zeros(2, 1, side, side) for side in (32, 16, 16)]
    at = torch.tensor([0, INTRA_Q_LEVELS - 1])
    wanted = planes_to_features(*planes)
    for plane, weights in enumerate(((0.75, 0.75), (0.75, 0.25), (0.75, 0.25))):
        others = [each + 0.5 * (number == plane) for number, each in enumerate(planes)]
        assert weighted_error(planes_to_features(*others), wanted, at).tolist() == pytest.approx(
            [0.25 * weight for weight in weights]
        )
    everything = planes_to_features(*(each + 0.5 for each in planes))
    assert weighted_error(everything, wanted, at).tolist() == pytest.approx([0.25 * 2.25, 0.25 * 1.25])


def test_a_block_on_a_cpu_with_bfloat16_is_the_same_by_rows_as_by_convolutions(monkeypatch):
    torch.manual_seed(0)
    block, x = model.Block(32, 32).train(), torch.randn(2, 32, 5, 7)
    monkeypatch.setattr(model, "has_bfloat16", lambda device: False)
    exact = block(x)
    monkeypatch.setattr(model, "has_bfloat16", lambda device: True)
    by_rows = block(x)
    assert by_rows.shape == exact.shape
    torch.testing.assert_close(by_rows, exact, atol=0.03, rtol=0.03)
    weights = list(block.parameters())
    for ours, due in zip(
        torch.autograd.grad(by_rows.sum(), weights), torch.autograd.grad(exact.sum(), weights), strict=True
    ):
        torch.testing.assert_close(ours, due, atol=0.05 * float(due.abs().max()), rtol=0)


def test_what_steps_free_stays_with_the_process():
    keep = "from engines.training.heap import keep_freed_memory; keep_freed_memory()"
    faults = [
        int(
            subprocess.run(
                [sys.executable, "-c", _FAULTS.format(first)], capture_output=True, check=True
            ).stdout
        )
        for first in ("", keep)
    ]
    assert faults[1] < faults[0] / 10 or not sys.platform.startswith("linux"), faults


_FAULTS = """
{}
import resource
import numpy as np
for again in range(12):
    if again == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(1 << 23)  # 64 MB: more than glibc ever keeps by itself
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_the_klt_start_is_a_codec_before_the_first_step(shard):
    """At least 30 dB at q 20 with no training at all."""
    pool = PixelPool(load_pictures(shard, 256), torch.device("cpu"))
    network = IntraNetwork()
    network.start_from_klt(*klt_basis(pool, 256))
    features = planes_to_features(*pool.crops(4, 256))
    with torch.no_grad():
        coded = network(features, torch.full((4,), 20), noise=False)
    assert psnr_611(coded.features, features).mean() >= 30


@pytest.mark.slow
def test_the_klt_start_stays_far_below_a_random_one(shard):
    """The first steps from either start, on the same crops."""
    pool = PixelPool(load_pictures(shard, 256), torch.device("cpu"))
    recipe = trainer.Recipe(device=torch.device("cpu"), batch=2, crop=64)
    random_start = Checkpoint(size=ModelSize(), weights=dict(IntraNetwork().state_dict()))
    ends = []
    for start in (trainer.starting_point(None, pool), random_start):
        torch.manual_seed(7)
        steps = trainer.Trainer(recipe, pool, start)
        losses = [steps.step(0.0)[0].item() for _ in range(40)]
        ends.append(float(np.mean(losses[-10:])))
    assert ends[0] < 0.6 * ends[1]


@pytest.mark.slow
def test_a_piece_trains_saves_and_is_gone_on_from(shard, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "REPORT_EVERY_S", 1.0)
    out = tmp_path / "piece.pt"
    call = ["--data", str(shard), "--out", str(out), "--device", "cpu", "--crop", "64", "--batch", "2"]
    assert train.main([*call, "--minutes", "0.08", "--seed", "1"]) == 0
    first = load_checkpoint(out)
    assert first.pixels["intra"] > 0
    assert first.history
    assert train.main([*call, "--minutes", "0.05", "--resume", str(out), "--cooldown"]) == 0
    second = load_checkpoint(out)
    assert second.pixels["intra"] > first.pixels["intra"]
    assert len(second.history) > len(first.history)
    assert "Mpx/s" in capsys.readouterr().out


def test_no_data_is_said_and_exits_with_2(tmp_path, capsys):
    code = train.main(
        ["--data", str(tmp_path), "--out", str(tmp_path / "a.pt"), "--minutes", "1", "--device", "cpu"]
    )
    assert code == 2
    assert "no shards" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("stage", "crop", "said"),
    [
        ("intra", 100, "--crop 100: stage intra takes multiples of 16; try 96 or 112"),
        ("exact", 8, "--crop 8: stage exact takes multiples of 16; try 16"),
        ("exact", -64, "--crop -64: stage exact takes multiples of 16; try 16"),
    ],
)
def test_a_crop_that_no_stage_can_take_is_refused_before_data_are_read(tmp_path, capsys, stage, crop, said):
    call = ["--data", str(tmp_path / "missing"), "--out", str(tmp_path / "a.pt"), "--minutes", "1"]
    assert train.main([*call, "--device", "cpu", "--stage", stage, "--crop", str(crop)]) == 2
    assert capsys.readouterr().err == f"train: {said}\n"


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path):
    size = ModelSize(latent=64)
    path = tmp_path / "other.pt"
    save_checkpoint(Checkpoint(size=size, weights={}), path)
    with pytest.raises(WrongCheckpoint, match="latent is 64, should be 256"):
        load_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "no.pt"
    path.write_bytes(content)
    with pytest.raises(WrongCheckpoint):
        load_checkpoint(path)


@pytest.mark.slow
def test_a_checkpoint_becomes_a_bundle_and_a_bundle_a_checkpoint(shard, tmp_path):
    """Export checks itself: graphs against PyTorch, priors against the oracle, a decode against its encode."""
    checkpoint = checkpoint_of_bundle(find_bundle().folder)
    pictures = [tuple(plane.copy() for plane in planes) for planes in load_pictures(shard, 256)]
    cropped = [(y[:256, :256], u[:128, :128], v[:128, :128]) for y, u, v in pictures]
    folder = tmp_path / "zvc69-s"
    checkpoint.inter = None
    export.export_bundle(checkpoint, folder, export.Material(calibration=cropped[:1], pictures=cropped[1:3]))
    again = checkpoint_of_bundle(folder)
    assert set(again.weights) == set(IntraNetwork().state_dict())
    for name, weight in checkpoint.weights.items():
        apart = (weight - again.weights[name]).abs().max()
        assert apart <= 0.02 * weight.abs().max() + 0.01, name


def test_fitted_tables_cost_less_than_the_gaussian_ones():
    rng = np.random.default_rng(0)
    counts = SymbolCounts()
    indexes = rng.integers(10, 50, 200_000)
    scales = 0.05 * np.exp(indexes * np.log(2000) / 63)
    counts.add(np.rint(rng.laplace(0, scales * 0.6)).astype(int), indexes)
    fitted = weighted_cost_bits(fit_tables(counts), counts.counts)
    assert fitted < 0.99 * weighted_cost_bits(gaussian_tables(), counts.counts)


@pytest.fixture(scope="module")
def trained():
    """The shipped network in PyTorch."""
    return checkpoint_of_bundle(find_bundle().folder).network()


@pytest.fixture(scope="module")
def scales(trained):
    features = torch.rand(1, 96, 8, 8) * 0.4 + 0.3

    def calibrate():
        with torch.no_grad():
            for q in (0, 39, 79):
                trained(features, torch.tensor([q]), noise=False)

    return find_scales(trained.prior, calibrate)


def test_the_prior_in_training_equals_the_oracle_in_every_element(trained, scales):
    exact = ExactPrior(trained.prior, scales)
    oracle = IntegerPrior(integer_arrays(trained.prior, scales))
    generator = torch.Generator().manual_seed(3)
    hyper = torch.randint(-8, 9, (1, 128, 2, 2), generator=generator).float()
    known = torch.randint(-90, 90, (1, 256, 5, 7), generator=generator).float() / 16
    nothing = np.zeros(256, np.int64)
    with torch.no_grad():
        mean, _, state = exact.first(hyper, 5, 7)
        mean2, _ = exact.second(known, state)
    due = oracle.first(hyper[0].numpy().astype(np.int64), 5, 7, nothing)
    due2 = oracle.second((known[0].numpy() * 16).astype(np.int64), due.state, nothing)
    assert np.array_equal(mean[0].numpy() * 16, due.means)
    assert np.array_equal(mean2[0].numpy() * 16, due2.means)


def test_gradients_pass_through_every_rounding(trained, scales):
    trained.prior.requires_grad_(True)
    mean, log_scale, state = ExactPrior(trained.prior, scales).first(torch.ones(1, 128, 2, 2), 8, 8)
    (mean.sum() + log_scale.sum() + state.square().sum()).backward()
    reached = [
        name for name, each in trained.prior.named_parameters() if each.grad is not None and each.grad.any()
    ]
    assert {"up1.weight", "block1.depthwise.weight", "first_head.bias"} <= set(reached)
    trained.prior.zero_grad(set_to_none=True)


def test_integers_lead_back_to_their_weights(trained, scales):
    weights, found = trained_prior(integer_arrays(trained.prior, scales), trained.prior)
    assert found == scales
    for name, due in trained.prior.state_dict().items():
        assert (weights[name] - due).abs().max() <= 0.02 * due.abs().max() + 1e-3, name


@pytest.mark.slow
def test_the_exact_stage_trains_the_prior_and_leaves_the_rest(shard, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "AVERAGE_EVERY_STEPS", 1)
    monkeypatch.setattr(trainer, "WARM_UP_STEPS", 1)
    out = tmp_path / "exact.pt"
    call = ["--stage", "exact", "--data", str(shard), "--resume", str(find_bundle().folder), "--out", str(out)]
    call += ["--device", "cpu", "--crop", "64", "--batch", "1", "--minutes", "0.06", "--inner-rate", "0.002"]
    assert train.main(call) == 0
    before, after = checkpoint_of_bundle(find_bundle().folder), load_checkpoint(out)
    assert after.scales == before.scales
    changed = {
        name
        for name, weight in after.weights.items()
        if not torch.allclose(weight, before.weights[name], atol=2e-3)
    }
    assert changed
    assert all(name.startswith("prior.") for name in changed)


def test_latents_near_a_boundary_are_told_of_the_next_symbol():
    at = torch.tensor([0.0, 0.29, 0.31, 0.5, 0.69, 0.71, -1.4, 2.6], requires_grad=True)
    is_near = torch.tensor([0.0, 0, 1, 1, 1, 0, 1, 1])
    rounded = rounded_near_boundaries(at)
    assert torch.equal(rounded.detach(), torch.round(at.detach()))
    rounded.sum().backward()
    assert torch.allclose(at.grad, is_near * 2.5)  # from one to the next over 0.4 of a step
    at.grad = None
    scale = torch.full((8,), 0.7, requires_grad=True)
    bits = bits_near_boundaries(at, scale)
    assert torch.equal(bits.detach(), gaussian_bits(torch.round(at), scale).detach())
    bits.sum().backward()
    below = torch.tensor([0.0, 0, 0, 0, 0, 0, -2, 2])
    dearer = gaussian_bits(below + 1, scale) - gaussian_bits(below, scale)
    assert torch.allclose(at.grad, is_near * 2.5 * dearer, atol=1e-4)
    assert scale.grad.abs().min() > 0


@pytest.mark.slow
def test_the_vectors_stage_trains_no_matrix_and_leaves_the_prior(shard, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "AVERAGE_EVERY_STEPS", 1)
    monkeypatch.setattr(trainer, "WARM_UP_STEPS", 1)
    out = tmp_path / "vectors.pt"
    call = ["--stage", "intra-vectors", "--data", str(shard), "--resume", str(find_bundle().folder)]
    call += ["--out", str(out), "--device", "cpu", "--crop", "64", "--batch", "1", "--minutes", "0.06"]
    assert train.main(call) == 0
    before, after = checkpoint_of_bundle(find_bundle().folder), load_checkpoint(out)
    changed = {
        name
        for name, weight in after.weights.items()
        if not torch.allclose(weight, before.weights[name], atol=2e-4)
    }
    assert any(name.startswith("q_") for name in changed)
    assert all(name.endswith((".bias", "hyper_mean")) or name.startswith("q_") for name in changed)
    assert not any(name.startswith("prior.") for name in changed)


@pytest.mark.parametrize("kind", [Muon, Soap])
def test_an_optimiser_goes_down_a_valley(kind):
    torch.manual_seed(0)
    weight, target = torch.nn.Parameter(torch.zeros(12, 8, 1, 1)), torch.randn(12, 8, 1, 1)
    optimiser = kind([weight], lr=0.02)
    losses = []
    for _ in range(200):
        loss = ((weight - target) ** 2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.slow
def test_probing_prints_a_table_and_the_fastest_batch(shard, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(train, "PROBE_BATCHES", (1, 2))
    monkeypatch.setattr(train, "PROBE_S", 0.1)
    call = ["--data", str(shard), "--out", str(tmp_path / "a.pt"), "--device", "cpu", "--crop", "64"]
    assert train.main([*call, "--minutes", "1", "--probe"]) == 0
    said = capsys.readouterr().out
    assert "batch    2" in said
    assert "fastest: --batch" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_too_large_a_batch_is_halved_and_said(shard, tmp_path, capsys, monkeypatch):
    step = trainer.Trainer.step

    def fails_above_two(self, part):
        if self.batch > 2:
            raise torch.OutOfMemoryError("no room")
        return step(self, part)

    monkeypatch.setattr(trainer.Trainer, "step", fails_above_two)
    call = [
        "--data",
        str(shard),
        "--out",
        str(tmp_path / "a.pt"),
        "--device",
        "cpu",
        "--crop",
        "64",
        "--batch",
        "8",
    ]
    assert train.main([*call, "--minutes", "0.03"]) == 0
    said = capsys.readouterr().out
    assert "halved to 4" in said
    assert "halved to 2" in said


@pytest.mark.slow
def test_a_full_disk_keeps_the_checkpoint_before_it(shard, tmp_path, capsys, monkeypatch):
    out = tmp_path / "a.pt"
    out.write_bytes(b"the one before")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trainer, "save_checkpoint", full)
    call = ["--data", str(shard), "--out", str(out), "--device", "cpu", "--crop", "64", "--batch", "1"]
    assert train.main([*call, "--minutes", "0.02"]) == 0
    assert out.read_bytes() == b"the one before"
    assert "No space left" in capsys.readouterr().out


@pytest.mark.slow
def test_an_evaluation_and_a_history_lie_beside_the_checkpoint(shard, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "REPORT_EVERY_S", 0.5)
    test = tmp_path / "test"
    test.mkdir()
    image.fromarray(_scene(9, 96)).save(test / "one.png")
    out = tmp_path / "a.pt"
    call = ["--data", str(shard), "--out", str(out), "--device", "cpu", "--crop", "64", "--batch", "1"]
    assert train.main([*call, "--minutes", "0.04", "--test", str(test)]) == 0
    assert "mean: q 26" in (tmp_path / "a.evaluation.txt").read_text()
    assert (tmp_path / "a.history.csv").read_text().startswith("stage,pixels,loss")


def test_the_trainer_needs_nothing_but_torch_numpy_pillow_and_opencv():
    """It runs on machines that have none of this project's other packages."""
    import subprocess
    import sys

    missing = ("av", "onnx", "onnxruntime", "constriction", "click", "rich", "tqdm", "matplotlib")
    code = f"""
import sys
for name in {missing}: sys.modules[name] = None
import engines.training.train, engines.training.from_bundle
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=find_bundle().folder.parent.parent)


def weighted_cost_bits(tables, counts):
    """Bits that these tables give to counted symbols; what a fit is compared by."""
    total = 0.0
    for row, seen in zip(tables.rows, counts, strict=True):
        reach = len(row) // 2 - 1
        centre = len(seen) // 2
        inside = seen[centre - reach : centre + reach + 1]
        bits = -np.log2(row / 2**24)
        total += float((inside * bits[:-1]).sum() + (seen.sum() - inside.sum()) * (bits[-1] + 12))
    return total

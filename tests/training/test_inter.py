"""The trainer of P and B frames: the same integers as the codec, and stages that train what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the [train] extra is not installed")
onnx = pytest.importorskip("onnx", reason="the [train] extra is not installed")
cv2 = pytest.importorskip("cv2", reason="the [train] extra is not installed")

from torch.nn import functional as F  # noqa: E402

from engines.training import export, parts, store, turned  # noqa: E402
from engines.training.checkpoint import Checkpoint, WrongCheckpoint, load_checkpoint, save_checkpoint  # noqa: E402
from engines.training.data import NoTrainingData, PixelPool, load_clips  # noqa: E402
from engines.training.exact import (  # noqa: E402
    ExactMotionPrior,
    ExactResidualPrior,
    find_residual_scales,
    inter_integer_arrays,
    scales_below,
)
from engines.training.from_bundle import checkpoint_of_bundle  # noqa: E402
from engines.training.inter import InterNetwork  # noqa: E402
from engines.training.model import quiet_modulations  # noqa: E402
from engines.training.motion import (  # noqa: E402
    FIRST_INPUTS,
    SECOND_INPUTS,
    Motion,
    even_cells,
    grown_integers,
    prior_inputs,
    scaled_motion,
    split_head,
)
from engines.training.moving import half_samples, moved_blocks, quarter_samples, warp_planes  # noqa: E402
from engines.training.program_graphs import program_graphs  # noqa: E402
from engines.training.residual import (  # noqa: E402
    ResidualPrior,
    coefficient_steps,
    forward_transform,
    input_units,
    inverse_transform,
    level_nats,
)
from engines.training.search import MotionSearch  # noqa: E402
from engines.training.tables import LEVEL_REACH, SymbolCounts, fit_level_tables, fit_motion_tables  # noqa: E402
from tests.toy import ToyNetworks, toy_tables  # noqa: E402
from zvc69_cli.codec.motion import fields as codec_motion  # noqa: E402
from zvc69_cli.codec.motion.prior import IntegerMotionPrior  # noqa: E402
from zvc69_cli.codec.picture import planes as codec_planes  # noqa: E402
from zvc69_cli.codec.picture.loop_filter import edge_planes  # noqa: E402
from zvc69_cli.codec.residual.context import INPUTS, no_levels, state_inputs  # noqa: E402
from zvc69_cli.codec.residual.layout import GROUPS, PASSES  # noqa: E402
from zvc69_cli.codec.residual.prior import RESIDUAL_STEM, IntegerResidualPrior  # noqa: E402
from zvc69_cli.codec.settings import CodecSettings  # noqa: E402
from zvc69_cli.frames import VideoFormat  # noqa: E402
from zvc69_cli.runtime.bundle import PROGRAM_GRAPHS, find_bundle, load_bundle  # noqa: E402
from zvc69_cli.runtime.places import program_graphs_folder  # noqa: E402

CPU = torch.device("cpu")


def _texture(height, width, seed=0):
    """Smooth noise: something that a search can hold on to."""
    noise = torch.rand(1, 1, height // 8, width // 8, generator=torch.Generator().manual_seed(seed))
    return F.interpolate(noise, size=(height, width), mode="bicubic").clamp(0, 1)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Two clips of a texture that moves, and one file that is broken."""
    folder = tmp_path_factory.mktemp("clips")
    for seed in range(2):
        texture = (_texture(160, 224, seed)[0, 0] * 255).byte().numpy()
        out = cv2.VideoWriter(str(folder / f"{seed}.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (144, 128))
        for at in range(9):
            out.write(np.repeat(texture[at : at + 128, 3 * at : 3 * at + 144, None], 3, 2))
        out.release()
    (folder / "broken.mp4").write_bytes(b"no clip")
    return folder


@pytest.fixture(scope="module")
def shipped():
    return checkpoint_of_bundle(find_bundle().folder)


def test_clips_are_decoded_whole_and_a_broken_one_is_named(clips, capsys):
    found = load_clips(clips, 64)
    assert [each[0].shape for each in found] == [(9, 128, 144)] * 2
    assert found[0][1].shape == (9, 64, 72)
    assert "skipped, cannot be decoded: broken.mp4" in capsys.readouterr().out


def test_the_first_frames_of_clips_are_those_of_the_whole_ones(clips):
    for whole, first in zip(load_clips(clips, 64), load_clips(clips, 64, frame_limit=8), strict=True):
        assert [len(plane) for plane in first] == [8] * 3
        assert all(np.array_equal(every[:8], plane) for every, plane in zip(whole, first, strict=True))


def test_a_folder_without_clips_is_refused(tmp_path):
    with pytest.raises(NoTrainingData, match="no clips"):
        load_clips(tmp_path, 64)


def test_sequences_are_frames_of_one_clip_in_one_order_of_time():
    frames = np.arange(12, dtype=np.uint8)[:, None, None] * np.ones((12, 32, 32), np.uint8)
    pool = PixelPool([(frames, frames[:, ::2, ::2], frames[:, ::2, ::2])], CPU)
    y, _, _ = pool.sequences(32, 16, 4)
    numbers = (y[:, :, 0, 0] * 255).round().int()
    steps = numbers.diff(dim=1)
    assert (steps == steps[:, :1]).all()
    assert set(steps[:, 0].abs().tolist()) <= {1, 2}


def test_a_search_that_was_never_trained_finds_a_shift():
    texture = _texture(192, 256)
    reference, current = texture[:, :, 32:160, 32:224], texture[:, :, 36:164, 21:213]
    with torch.no_grad():
        samples = quarter_samples(reference, sharp=True)
        fields = MotionSearch()(current, reference, samples)
        moved = F.pixel_shuffle(moved_blocks(samples, fields[-1], 8), 8)

    def psnr(x):
        return -10 * torch.log10(((x - current)[:, :, 16:-16, 16:-16] ** 2).mean()).item()

    assert psnr(moved) > psnr(reference) + 6


def test_a_plane_of_vectors_of_one_kind_is_moved_as_a_whole():
    """Whole samples are copied, also from beyond the edges; quarters are as the codec makes them."""
    plane = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(4))
    samples = quarter_samples(plane, sharp=True)
    field = torch.tensor([-400.0, 24.0]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    moved = F.pixel_shuffle(moved_blocks(samples, field, 8), 8)
    rows = (torch.arange(64) + 6).clamp(max=63)
    assert torch.equal(moved[0, 0], plane[0, 0, rows][:, :1].expand(64, 64))
    whole = torch.round(64 + 128 * plane)
    codec_samples = codec_planes.quarter_samples(whole[0, 0].numpy(), 255)
    apart = quarter_samples(whole, sharp=True).phases.view(16, 128, 128).numpy() - codec_samples
    assert np.abs(apart).max() <= 1.6  # rounded after each of the two directions
    for vector in ((3.0, -5.0), (-2.0, 1.0)):
        field = torch.tensor(vector).view(1, 2, 1, 1).expand(1, 2, 8, 8)
        blocks = F.pixel_shuffle(moved_blocks(samples, field, 8), 8)
        halves = half_samples(plane)
        luma, _, _ = warp_planes((halves, halves, halves), field)
        assert torch.allclose(blocks, luma, atol=1e-5)


@pytest.mark.parametrize("ratio", [(1, 1), (1, 2), (-3, 4), (5, 3)])
def test_integers_of_motion_are_those_of_the_codec(ratio):
    rng = np.random.default_rng(5)
    sizes = codec_motion.grid_sizes(5, 7)
    fields = tuple(rng.integers(-300, 300, (2, *size)).astype(np.int32) for size in sizes)
    coded = tuple(rng.integers(0, 2, size).astype(np.uint8) for size in sizes)
    tensors = Motion(
        tuple(torch.from_numpy(each)[None].float() for each in fields),
        tuple(torch.from_numpy(each)[None, None].float() for each in coded),
    )
    scaled = codec_motion.scaled(codec_motion.Motion(fields, coded), *ratio)
    for want, got in zip(scaled.fields, scaled_motion(tensors, *ratio).fields, strict=True):
        assert np.array_equal(want, got[0].numpy())
    grown = codec_motion.grown(fields[0], sizes[1])
    assert np.array_equal(grown, grown_integers(tensors.fields[0])[0, :, :5, :7].numpy())
    want = codec_motion.first_inputs(grown, coded[1], fields[1], coded[1])
    parent = torch.from_numpy(grown)[None].float()
    got = prior_inputs(parent, tensors.fields[1], tensors.coded[1], tensors.coded[1])
    assert np.array_equal(want, got[0].numpy())
    assert np.array_equal(codec_motion.first_cells(5, 7), even_cells(parent)[0, 0].bool().numpy())


def test_tables_of_motion_stand_for_what_the_prior_means():
    """A row of spreads or of significances, and the number that leads to it."""
    odds = codec_motion.cell_odds(np.array([[16.0], [0], [0], [36.0], [0]], np.float32), 0)
    head = split_head(torch.tensor([1.0, 0, 0, 1.0, 0]).view(1, 5, 1, 1))
    tables = fit_motion_tables(SymbolCounts(rows=128))
    row = tables.rows[int(odds.significances[0])]
    assert row[2] / row.sum() == pytest.approx(torch.sigmoid(head.odds).item(), abs=0.03)
    row = tables.rows[int(odds.spreads[0, 0])]
    zero = 1 - np.exp(-0.5 / np.exp(head.log_spreads[0, 0].item()))
    assert row[len(row) // 2 - 1] / row.sum() == pytest.approx(zero, abs=0.02)


def test_the_inter_priors_in_training_equal_the_oracles_in_every_element(shipped):
    network, scales = shipped.inter_network(), shipped.inter_scales
    arrays = inter_integer_arrays(network, scales)
    oracle, exact = IntegerMotionPrior(arrays), ExactMotionPrior(network, scales)
    generator = torch.Generator().manual_seed(1)
    for level in range(3):
        for is_second, inputs in ((False, FIRST_INPUTS), (True, SECOND_INPUTS)):
            seen = torch.randint(-90, 91, (1, inputs, 9, 11), generator=generator).float()
            with torch.no_grad():
                head = (exact.second if is_second else exact.first)[level](seen)
            due = oracle(level, is_second, seen[0].numpy().astype(np.int64))
            assert np.array_equal(head.odds[0, 0].numpy() * 16, due[0])
            assert np.array_equal(head.means[0].numpy(), due[1:3])


def test_the_entropy_model_in_training_equals_the_oracle_in_every_element(shipped):
    network, scales = shipped.inter_network(), shipped.inter_scales
    oracle = IntegerResidualPrior(inter_integer_arrays(network, scales))
    exact = ExactResidualPrior(network.residual, scales_below(scales, "residual."))
    generator = torch.Generator().manual_seed(3)
    levels = torch.round(torch.randn(1, 96, 6, 8, generator=generator) * 3)
    inputs = torch.randint(0, 90, (1, INPUTS, 6, 8), generator=generator)
    with torch.no_grad():
        indexes = torch.floor(exact(levels, inputs.float()) + 0.5)[0].numpy()
    state = oracle.state(inputs[0].numpy())
    board = _board(6, 8)
    for number in range(PASSES):
        group = GROUPS[number // 2]
        known = levels[0].numpy().astype(np.int64)
        known[group.start :] = 0
        if number % 2:
            known[group] = np.where(board, levels[0].numpy()[group], 0)
        rows = oracle.rows(number, known, state)
        here = board if number % 2 == 0 else ~board
        assert np.array_equal((rows // 3)[:, here], indexes[group][:, here]), number


def _board(height, width):
    return np.add.outer(np.arange(height) // 2, np.arange(width) // 2) % 2 == 0


def test_scales_are_found_for_every_layer_of_the_entropy_model():
    torch.manual_seed(1)
    network = ResidualPrior()
    levels, inputs = torch.round(2 * torch.randn(2, 96, 4, 4)), torch.rand(2, INPUTS, 4, 4)

    def calibrate():
        with torch.no_grad():
            network(levels, inputs)

    scales = find_residual_scales(network, calibrate)
    layers = {name for name, each in network.named_modules() if isinstance(each, torch.nn.Conv2d)}
    assert set(scales) == layers
    with torch.no_grad():
        whole = torch.round(inputs / input_units().float().view(1, -1, 1, 1))
        apart = ExactResidualPrior(network, scales)(levels, whole) - network(levels, inputs)
    assert apart.abs().mean() < 1.0  # a table is as good as the next


def test_the_transform_leads_back():
    features = torch.rand(2, 96, 3, 5)
    assert torch.allclose(inverse_transform(forward_transform(features)), features, atol=1e-5)
    steps = coefficient_steps(torch.tensor([0, 127]))
    assert (steps[0] > steps[1]).all()


def test_level_tables_stand_for_the_rows_that_were_trained():
    rows = ResidualPrior().tables.detach()
    tables = fit_level_tables(SymbolCounts(LEVEL_REACH, 192), rows.numpy())
    for group, index in ((0, 40), (1, 20), (2, 50)):
        row = tables.rows[3 * index + group]
        zero = len(row) // 2 - 1
        for size in (0, 1, 2, 5):
            nats = level_nats(torch.tensor(float(size)), rows[group, index]).item()
            share = np.exp(-nats) / (2 if size else 1)
            if share > 1e-3:
                assert row[zero + size] / row.sum() == pytest.approx(share, rel=0.05)


@pytest.mark.parametrize("turn", turned.TURNS)
def test_what_is_stored_of_a_turned_picture_is_what_is_stored_turned(turn):
    """The transform of a turned picture, its edges and inputs, against those of the picture, turned."""
    generator = torch.Generator().manual_seed(2)
    planes = [torch.rand(1, 1, *size, generator=generator) for size in ((32, 48), (16, 24), (16, 24))]
    other = [turned.turned_grid(plane, turn) for plane in planes]

    def features(parts):
        arrays = [part[0, 0].numpy() for part in parts]
        return torch.from_numpy(store.features_of(arrays))[None]

    assert torch.equal(turned.turned_features(features(planes), turn), features(other))
    levels, due = forward_transform(features(planes)), forward_transform(features(other))
    assert torch.allclose(turned.turned_levels(levels, turn).abs(), due.abs(), atol=1e-5)

    rng = np.random.default_rng(4)
    motions = [_random_motion(rng), _random_motion(rng)]
    others = [_turned_motion(motion, turn) for motion in motions]
    edges, due_edges = (torch.from_numpy(edge_planes(tuple(each)))[None] for each in (motions, others))
    assert torch.allclose(turned.turned_edges(edges, turn), due_edges)
    classes = rng.integers(0, 4, (2, 4)).astype(np.uint8)
    turned_classes = turned.turned_grid(torch.from_numpy(classes)[None, None], turn)[0, 0].numpy()
    inter = toy_tables().inter
    inputs, due_inputs = (
        torch.from_numpy(state_inputs(256 * 40, each, [no_levels(*np.multiply(each.shape, 2))] * 2, of, inter))[
            None
        ]
        for each, of in ((classes, motions), (turned_classes, others))
    )
    assert torch.equal(turned.turned_inputs(inputs, turn), due_inputs)


def _random_motion(rng):
    still = codec_motion.no_motion(2, 4)
    return codec_motion.Motion(
        tuple(rng.integers(-90, 91, each.shape).astype(np.int32) for each in still.fields),
        tuple(rng.integers(0, 2, each.shape).astype(np.uint8) for each in still.coded),
    )


def _turned_motion(motion, turn):
    """Vectors of the turned picture; their signs change, but nothing that is stored tells."""
    axes = {"mirrored": -1, "flipped": -2}
    if turn == "transposed":
        return codec_motion.Motion(
            tuple(each[::-1].transpose(0, 2, 1) for each in motion.fields),
            tuple(each.T for each in motion.coded),
        )
    return codec_motion.Motion(
        tuple(np.flip(each, axes[turn]) for each in motion.fields),
        tuple(np.flip(each, axes[turn]) for each in motion.coded),
    )


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Frames of a moving texture, coded with the toy."""
    stem = tmp_path_factory.mktemp("store") / "frames"
    texture = (_texture(240, 288)[0, 0] * 255).byte().numpy()
    clip = np.stack([texture[at : at + 192, 3 * at : 3 * at + 192] for at in range(9)])
    planes = (clip, clip[:, ::2, ::2], clip[:, 1::2, 1::2])
    recorded = store.RecordingNetworks(ToyNetworks())
    kept, video = store.Store(stem, 10), VideoFormat(width=store.CROP, height=store.CROP)
    for qp in (80, 100):
        settings = CodecSettings(qp=qp, bframes=3, b_adapt=0, refine=0, scenecut=0)
        store.store_group(kept, recorded, toy_tables(), video, planes, settings)
    kept.save()
    return str(stem)


def test_a_store_holds_what_was_coded(stored):
    frames = store.StoredFrames([stored])
    assert len(frames) == 10
    assert frames.is_b.any() and not frames.is_b.all()
    index = torch.arange(10)
    source, blend, levels = (frames(name, index) for name in ("source", "blend", "levels"))
    assert source.shape == blend.shape == levels.shape == (10, 96, store.CELLS, store.CELLS)
    left = (forward_transform(source) - forward_transform(blend)) / coefficient_steps(frames.q)
    first_class = frames("classes", index) == 0
    near = ((left - levels).abs() < 4) | ~first_class | (levels == 0)
    assert near.float().mean() > 0.99
    for name, (planes, side) in store.VECTOR_FIELDS.items():
        field = frames(name, torch.arange(frames.count(name)))
        assert field.shape[1:] == (planes, side, side)
        assert set(field[:, -3].unique().tolist()) <= {0, 1}


def test_groups_are_drawn_within_the_clip():
    rng = np.random.default_rng(1)
    clip = tuple(np.zeros((20, 220 // factor, 260 // factor), np.uint8) for factor in (1, 2, 2))
    for _ in range(30):
        (y, u, _), settings = store.drawn_group(clip, rng)
        assert y.shape[1:] == (192, 192) and u.shape[1:] == (96, 96)
        assert 5 <= len(y) <= 9
        assert 0 <= settings.qp <= 127


@pytest.mark.parametrize("part", ["residual", "filter", "blend", "vectors"])
def test_a_part_is_trained_and_the_others_stay(part, stored, shipped, tmp_path, capsys):
    path, out = tmp_path / "before.pt", tmp_path / "after.pt"
    save_checkpoint(shipped, path)
    stems = ["--train", stored, "--val", stored, "--out", str(out)]
    assert parts.main([part, str(path), *stems, "--minutes", "0.05"]) == 0
    told = capsys.readouterr().out
    assert "before: " in told and "after: " in told
    before, after = load_checkpoint(path), load_checkpoint(out)
    changed = {name for name, weight in after.inter.items() if not torch.equal(weight, before.inter[name])}
    stems_of = {
        "residual": "residual.",
        "filter": "loop_filter.",
        "blend": "blend.",
        "vectors": "motion_prior.",
    }
    assert changed and all(name.startswith(stems_of[part]) for name in changed)
    assert after.inter_scales == before.inter_scales


def test_the_integers_of_the_entropy_model_are_trained(stored, shipped, tmp_path):
    path = tmp_path / "exact.pt"
    save_checkpoint(shipped, path)
    call = ["residual", str(path), "--train", stored, "--val", stored, "--minutes", "0.05", "--exact"]
    assert parts.main(call) == 0
    after = load_checkpoint(path)
    assert after.inter_scales == shipped.inter_scales
    inter_integer_arrays(after.inter_network(), after.inter_scales)


def test_classes_are_learned_and_the_first_stays_whole(stored, shipped, tmp_path):
    path = tmp_path / "classes.pt"
    save_checkpoint(shipped, path)
    assert parts.main(["classes", str(path), "--train", stored, "--val", stored]) == 0
    weights = load_checkpoint(path).inter["band_weights"]
    assert (weights[0] == 1).all()
    assert (weights[:, [0, 3, 4]] == 1).all()
    assert weights.min() >= 0 and weights.max() <= 1.1


def test_the_graphs_of_pictures_that_ship_are_those_that_are_built():
    built = program_graphs()
    assert set(built) == set(PROGRAM_GRAPHS)
    for name, graph in built.items():
        assert onnx.load(program_graphs_folder() / f"{name}.onnx").graph == graph.graph


@pytest.mark.slow
def test_a_checkpoint_with_inter_becomes_a_bundle_and_a_bundle_a_checkpoint(clips, tmp_path, shipped):
    """Export checks itself: every graph against PyTorch or the oracles, decodes against their encodes."""
    found = [
        tuple(np.pad(plane, ((0, 0), (0, 64 // factor), (0, 112 // factor)), mode="reflect")
              for plane, factor in zip(each, (1, 2, 2), strict=True))
        for each in load_clips(clips, 64)
    ]  # fmt: skip
    pictures = [tuple(plane[0] for plane in each) for each in found]
    folder = tmp_path / "zvc69-s"
    checkpoint = shipped
    export.export_bundle(
        checkpoint,
        folder,
        export.Material(calibration=pictures[:1], pictures=pictures[1:], clips=found),
        find_bundle(),
    )
    kept = {name: array for name, array in find_bundle().arrays.items() if not name.startswith("inter.")}
    made = load_bundle(folder).arrays
    assert all(np.array_equal(made[name], array) for name, array in kept.items())
    assert any(name.startswith(RESIDUAL_STEM) for name in made)
    again = checkpoint_of_bundle(folder)
    assert set(again.inter) == set(InterNetwork().state_dict())
    for name, weight in checkpoint.inter.items():
        apart = (weight - again.inter[name]).abs().max()
        assert apart <= 0.02 * weight.abs().max() + 0.01, name
    assert again.inter_scales == shipped.inter_scales


@pytest.mark.parametrize(
    ("name", "weight", "what"),
    [("search.levels.9.head.bias", torch.zeros(2), "absent"), ("blend.entry.bias", torch.zeros(5), r"\[5\]")],
)
def test_a_network_of_another_architecture_is_refused_by_its_layer(shipped, name, weight, what):
    other = Checkpoint(size=shipped.size, weights=shipped.weights, inter=shipped.inter | {name: weight})
    with pytest.raises(WrongCheckpoint, match=f"{name} .*{what}"):
        other.inter_network()


def test_a_checkpoint_keeps_both_networks(shipped, tmp_path):
    save_checkpoint(shipped, tmp_path / "both.pt")
    again = load_checkpoint(tmp_path / "both.pt")
    assert again.inter_scales == shipped.inter_scales
    assert set(again.inter) == set(shipped.inter)


def test_a_checkpoint_from_before_modulations_begins_with_quiet_ones_and_no_optimiser(shipped, tmp_path):
    quiet = quiet_modulations(shipped.size)
    older = replace(
        shipped,
        weights={name: each for name, each in shipped.weights.items() if name not in quiet},
        optimiser={"kind": "intra muon"},
    )
    save_checkpoint(older, tmp_path / "older.pt")
    again = load_checkpoint(tmp_path / "older.pt")
    assert again.optimiser is None
    assert not any(again.weights[name].any() for name in quiet)
    again.network(), again.inter_network()
    save_checkpoint(replace(shipped, optimiser={"kind": "intra muon"}), tmp_path / "newer.pt")
    assert load_checkpoint(tmp_path / "newer.pt").optimiser == {"kind": "intra muon"}

"""The trainer of P and B frames: the same integers as the codec, and stages that train what they say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the [train] extra is not installed")
onnx = pytest.importorskip("onnx", reason="the [train] extra is not installed")
cv2 = pytest.importorskip("cv2", reason="the [train] extra is not installed")

from torch.nn import functional as F  # noqa: E402

from engines.training import export, train, trainer  # noqa: E402
from engines.training.chain import Chain, split_frames  # noqa: E402
from engines.training.checkpoint import Checkpoint, WrongCheckpoint, load_checkpoint, save_checkpoint  # noqa: E402
from engines.training.data import NoTrainingData, PixelPool, load_clips  # noqa: E402
from engines.training.exact import (  # noqa: E402
    ExactMotionPrior,
    ExactPrior,
    find_inter_scales,
    inter_integer_arrays,
    scales_below,
)
from engines.training.from_bundle import checkpoint_of_bundle  # noqa: E402
from engines.training.group import begun_group, code_group, coding_order  # noqa: E402
from engines.training.inter import InterNetwork  # noqa: E402
from engines.training.kept_groups import KeptGroup  # noqa: E402
from engines.training.klt import klt_basis  # noqa: E402
from engines.training.model import ModelSize, planes_to_features, psnr_611, quiet_modulations  # noqa: E402
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
from engines.training.search import MotionSearch  # noqa: E402
from engines.training.tables import SymbolCounts, fit_motion_tables  # noqa: E402
from zvc69_cli.codec.intra.prior import IntegerPrior  # noqa: E402
from zvc69_cli.codec.motion import fields as codec_motion  # noqa: E402
from zvc69_cli.codec.motion.prior import IntegerMotionPrior  # noqa: E402
from zvc69_cli.codec.picture import planes as codec_planes  # noqa: E402
from zvc69_cli.runtime.bundle import PROGRAM_GRAPHS, find_bundle  # noqa: E402
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


@pytest.fixture
def short_steps(monkeypatch):
    """A piece of seconds reports, and its running average follows from the first step on."""
    monkeypatch.setattr(train, "REPORT_EVERY_S", 1.0)
    monkeypatch.setattr(trainer, "AVERAGE_EVERY_STEPS", 1)
    monkeypatch.setattr(trainer, "WARM_UP_STEPS", 1)


def _changed(after, before):
    """Names of the weights of P and B frames that training moved."""
    return {
        name
        for name, weight in after.inter.items()
        if not torch.allclose(weight, before.inter[name], atol=3e-3)
    }


@pytest.fixture(scope="module")
def pool(clips):
    return PixelPool(load_clips(clips, 64), CPU)


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


def test_the_order_of_a_pyramid():
    assert [each.time for each in coding_order(8, 4)] == [4, 2, 1, 3, 8, 6, 5, 7]
    assert coding_order(4, 4)[1].references == (0, 4)
    assert [each.layer for each in coding_order(4, 4)] == [1, 2, 3, 3]


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
    prior = ExactPrior(network.coder.prior, scales_below(scales, "coder.prior."))
    hyper = torch.randint(-4, 5, (1, 128, 2, 2), generator=generator).float()
    extra = torch.randint(-60, 61, (1, 518, 5, 7), generator=generator).float()
    units = torch.cat([torch.full((512,), 0.5 / 16), torch.tensor([1 / 32, 1 / 32, 1.0] * 2)]).view(1, -1, 1, 1)
    with torch.no_grad():
        mean, _, _ = prior.first(hyper, 5, 7, extra * units)
    due = IntegerPrior(arrays, "inter.prior.").first(
        hyper[0].numpy().astype(np.int64), 5, 7, np.zeros(256, np.int64), extra[0].numpy().astype(np.int64)
    )
    assert np.array_equal(mean[0].numpy() * 16, due.means)


def test_an_untrained_network_is_a_hybrid_codec(pool):
    """Block transform of picture minus prediction: a moving texture at more than 30 dB before the first step."""
    analysis, synthesis, mean, deviation = klt_basis(pool, 256, side=64)
    checkpoint = Checkpoint(size=ModelSize(), weights={})
    intra, inter = _klt_networks(checkpoint.size, analysis, synthesis, mean, deviation)
    frames = split_frames(pool.sequences(1, 128, 3))
    with torch.no_grad():
        coded = _coded_pair(intra, inter, frames, 20)
    for each in coded:
        features = planes_to_features(*frames[each.planned.time])
        assert psnr_611(each.coded.features, features).item() > 30


def test_a_hyper_latent_starts_as_a_pictures(shipped):
    """Started quiet it says nothing, and nothing ever calls for more."""
    intra, inter = shipped.network(), InterNetwork().eval()  # in float32, as the picture's
    inter.start_hyper(intra)
    coder, q = inter.coder, torch.tensor([60])
    planes = tuple(_moving(0, side) for side in (128, 64, 64))
    with torch.no_grad():
        latent, expected = intra.analyse(planes_to_features(*planes), q)
        hyper = coder.hyper_down1(coder.hyper_block(latent * intra.gain))
        hyper = coder.hyper_down2(F.leaky_relu(hyper, 1 / 8))
    assert expected.round().any()
    torch.testing.assert_close(hyper, expected)
    assert torch.equal(coder.hyper_log_scale(q), intra.hyper_log_scale(q))


def test_what_ships_says_something_in_the_hyper_latents_of_p_and_b_frames(shipped):
    frames = [tuple(_moving(3 * time, side) for side in (128, 64, 64)) for time in range(3)]
    with torch.no_grad():
        coded = _coded_pair(shipped.network(), shipped.inter_network(), frames, 60)
    assert [each.planned.layer for each in coded] == [1, 2]
    for each in coded:
        assert each.coded.hyper_bits.item() > 0.002 * each.coded.latent_bits.item() > 0


def test_the_graphs_of_pictures_that_ship_are_those_that_are_built():
    built = program_graphs()
    assert set(built) == set(PROGRAM_GRAPHS)
    for name, graph in built.items():
        assert onnx.load(program_graphs_folder() / f"{name}.onnx").graph == graph.graph


def _coded_pair(intra, inter, frames, q):
    """A P frame and the B frame before it, behind a picture."""
    return code_group(inter, begun_group(intra, frames, torch.tensor([q]), 2), False)


def _moving(pixels, side):
    """Two textures that move against each other, of a plane of that side."""
    noise = torch.rand(1, 1, side, side, generator=torch.Generator().manual_seed(pixels)) * 0.05
    moved = torch.roll(_texture(128, 128, 1), (pixels, pixels), (2, 3)) + torch.roll(
        _texture(128, 128, 2), -pixels, 3
    )
    return (F.interpolate(moved / 2, size=(side, side), mode="area") + noise).clamp(0, 1)


def _klt_networks(size, analysis, synthesis, mean, deviation):
    from engines.training.model import IntraNetwork

    intra, inter = IntraNetwork(size), InterNetwork(size)
    intra.start_from_klt(analysis, synthesis, mean, deviation)
    inter.start_from_klt(analysis, synthesis)
    inter.start_prior(deviation)
    return intra.eval(), inter.eval()


@pytest.mark.slow
def test_the_inter_stage_trains_saves_and_is_gone_on_from(clips, tmp_path, short_steps, capsys):
    out = tmp_path / "inter.pt"
    call = ["--stage", "inter", "--data", str(clips), "--out", str(out), "--device", "cpu", "--crop", "64"]
    call += ["--batch", "1", "--fixed-search"]
    assert train.main([*call, "--minutes", "0.06", "--resume", str(find_bundle().folder)]) == 0
    first, before = load_checkpoint(out), checkpoint_of_bundle(find_bundle().folder)
    assert first.pixels["inter"] > before.pixels["inter"]
    changed = _changed(first, before)
    assert changed
    assert not any(name.startswith("search.") for name in changed)
    for name, weight in first.weights.items():
        assert torch.allclose(weight, before.weights[name], atol=3e-3), name
    assert train.main([*call, "--minutes", "0.03", "--resume", str(out), "--cooldown"]) == 0
    assert load_checkpoint(out).pixels["inter"] > first.pixels["inter"]
    said = capsys.readouterr().out
    assert "motion" in said
    assert "hyper" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "trained"),
    [
        ("inter-kept", lambda name: True),
        ("inter-vectors", lambda name: name.endswith((".bias", ".hyper_mean")) or name.startswith("coder.q_")),
    ],
)
def test_the_kept_stages_train_what_codes_a_frame_and_leave_motion(
    stage, trained, clips, tmp_path, short_steps, capsys
):
    out = tmp_path / "kept.pt"
    call = ["--stage", stage, "--data", str(clips), "--resume", str(find_bundle().folder)]
    call += ["--out", str(out), "--device", "cpu", "--crop", "64", "--batch", "1", "--minutes", "0.1"]
    assert train.main(call) == 0
    first, before = load_checkpoint(out), checkpoint_of_bundle(find_bundle().folder)
    assert first.pixels[stage] > 0
    changed = _changed(first, before)
    assert any(name.startswith("coder.") for name in changed)
    assert all(name.startswith(("coder.", "context_blocks.", "mask_")) and trained(name) for name in changed)
    assert "dB" in capsys.readouterr().out


def test_a_group_starts_where_the_one_before_ended_and_runs_backwards(shipped, pool):
    torch.manual_seed(2)
    inter, chain = shipped.inter_network(), Chain(shipped.network(), CPU)
    group = chain.drawn(pool, 1, 64)
    assert not group.start.latent.any(), "a chain begins with a picture"
    went_on = began = 0
    for _ in range(24):
        with torch.no_grad():
            coded_frames = code_group(inter, group, False)
        chain.go_on_from(group, coded_frames)
        ended = next(coded for planned, coded, _ in coded_frames if planned.time == len(group.frames) - 1)
        following = chain.drawn(pool, 1, 64)
        if following.frames[0][0] is not group.frames[-1][0]:
            assert not following.start.latent.any()
            began += 1
        else:
            assert [luma for luma, _, _ in following.frames] == [luma for luma, _, _ in group.frames[::-1]]
            torch.testing.assert_close(planes_to_features(*following.start.planes), _as_kept(ended.features))
            assert torch.equal(following.start.latent, ended.latent)
            assert torch.equal(following.start.motion.fields[-1], -ended.motions[0].fields[-1])
            assert following.start.time == 0
            assert torch.equal(following.q, group.q)
            went_on += 1
        group = following
    assert went_on > began > 0


def _as_kept(features):
    """In sixteenths of a sample of 8 bits."""
    return (features.clamp(0, 1) * 4080).round() / 4080


@pytest.mark.parametrize("spacing", [1, 4])
def test_a_kept_group_is_coded_again_as_it_was_and_passes_gradients_on(shipped, pool, spacing):
    # With 3 a few latents lie within 1e-4 of a rounding boundary, and float16 moves them over.
    torch.manual_seed(4)
    intra, inter = shipped.network(), shipped.inter_network()
    chain, frames = Chain(intra, CPU), split_frames(pool.sequences(1, 64, 5))
    group = begun_group(intra, frames, torch.tensor([40]), spacing)
    for _ in range(2):  # behind a picture, then behind a P frame
        with torch.no_grad():
            coded_frames = code_group(inter, group, False)
            kept = KeptGroup(group, coded_frames)
            again = list(kept.coded_again(inter, noise=False))
        assert kept.pixels == 4 * 64 * 64
        for (planned, coded, at), (features, picture, its_q) in zip(coded_frames, again, strict=True):
            torch.testing.assert_close(picture.features, coded.features, atol=1 / 255, rtol=0)
            torch.testing.assert_close(picture.latent_bits, coded.latent_bits, rtol=1e-3, atol=0.1)
            assert torch.equal(its_q, at)
            torch.testing.assert_close(features, planes_to_features(*group.frames[planned.time]))
        chain.go_on_from(group, coded_frames)
        assert chain._next is not None
        group = chain._next
    weight = inter.coder.exit.weight
    *_, last = kept.coded_again(inter)
    last.picture.latent_bits.sum().backward()
    assert weight.grad is not None and weight.grad.any(), "bits of a later frame depend on what synthesis made"


@pytest.mark.slow
def test_the_exact_stage_of_inter_trains_the_priors_and_leaves_the_rest(clips, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "AVERAGE_EVERY_STEPS", 1)
    monkeypatch.setattr(trainer, "WARM_UP_STEPS", 1)
    out = tmp_path / "exact.pt"
    call = ["--stage", "inter-exact", "--data", str(clips), "--resume", str(find_bundle().folder)]
    call += ["--out", str(out), "--device", "cpu", "--crop", "64", "--batch", "1", "--minutes", "0.06"]
    assert train.main(call) == 0
    before, after = checkpoint_of_bundle(find_bundle().folder), load_checkpoint(out)
    assert after.inter_scales == before.inter_scales
    changed = _changed(after, before)
    assert changed
    assert all(name.startswith(("coder.prior.", "motion_prior.")) for name in changed)


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
    moved = {
        name: 0.05 * torch.randn_like(each) for name, each in quiet_modulations(shipped.size, "coder.").items()
    }
    checkpoint = replace(shipped, inter=shipped.inter | moved)
    export.export_bundle(
        checkpoint, folder, export.Material(calibration=pictures[:1], pictures=pictures[1:], clips=found)
    )
    again = checkpoint_of_bundle(folder)
    assert set(again.inter) == set(InterNetwork().state_dict())
    for name, weight in checkpoint.inter.items():
        apart = (weight - again.inter[name]).abs().max()
        assert apart <= 0.02 * weight.abs().max() + 0.01, name
    assert again.inter_scales == shipped.inter_scales


def test_scales_are_found_for_every_layer_of_every_prior(shipped):
    network = shipped.inter_network()
    pool_frames = [
        tuple(_texture(64 // factor, 128 // factor, seed) for factor in (1, 2, 2)) for seed in range(3)
    ]

    def calibrate():
        with torch.no_grad():
            _coded_pair(shipped.network(), network, pool_frames, 30)

    scales = find_inter_scales(network, calibrate)
    assert set(scales) == set(shipped.inter_scales)


@pytest.mark.parametrize(
    ("name", "weight", "what"),
    [("search.levels.9.head.bias", torch.zeros(2), "absent"), ("mask_entry.bias", torch.zeros(5), r"\[5\]")],
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
    quiet = quiet_modulations(shipped.size), quiet_modulations(shipped.size, "coder.")
    older = replace(
        shipped,
        weights={name: each for name, each in shipped.weights.items() if name not in quiet[0]},
        inter={name: each for name, each in shipped.inter.items() if name not in quiet[1]},
        optimiser={"kind": "inter muon"},
    )
    save_checkpoint(older, tmp_path / "older.pt")
    again = load_checkpoint(tmp_path / "older.pt")
    assert again.optimiser is None
    assert not any(again.weights[name].any() for name in quiet[0])
    assert not any(again.inter[name].any() for name in quiet[1])
    again.network(), again.inter_network()
    save_checkpoint(replace(shipped, optimiser={"kind": "inter muon"}), tmp_path / "newer.pt")
    assert load_checkpoint(tmp_path / "newer.pt").optimiser == {"kind": "inter muon"}

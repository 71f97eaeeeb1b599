"""The README of a bundle: costs counted from the weights, sections in order."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the extra [train] is missing")

from engines.training.card import inter_kilo_macs, kilo_macs_a_pixel, macs_table, video_section  # noqa: E402
from engines.training.checkpoint import Checkpoint  # noqa: E402
from engines.training.inter import InterNetwork  # noqa: E402
from engines.training.model import IntraNetwork, ModelSize  # noqa: E402
from engines.training.moving import quarter_samples  # noqa: E402


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """An untrained one."""
    return Checkpoint(
        size=ModelSize(),
        weights=IntraNetwork().state_dict(),
        inter=InterNetwork().state_dict(),
        pixels={"intra": 5_000_000_000, "inter": 1_250_000_000},
    )


def macs_of(network: torch.nn.Module, run) -> int:
    """Multiplications of every convolution while `run` runs."""
    counts = []

    def count(layer, inputs, output):
        counts.append(layer.weight.numel() * output.shape[0] * output.shape[2] * output.shape[3])

    hooks = [
        each.register_forward_hook(count) for each in network.modules() if isinstance(each, torch.nn.Conv2d)
    ]
    with torch.no_grad():
        run()
    for hook in hooks:
        hook.remove()
    return sum(counts)


def test_the_costs_of_a_picture_are_those_of_its_layers(checkpoint: Checkpoint) -> None:
    network = checkpoint.network()
    side = 256
    counted = macs_of(network, lambda: network(torch.zeros(1, 96, side // 8, side // 8), torch.zeros(1)))
    assert sum(kilo_macs_a_pixel(checkpoint.weights).values()) == pytest.approx(counted / side**2 / 1000)


def test_the_costs_of_the_search_are_those_of_its_layers_for_each_reference(checkpoint: Checkpoint) -> None:
    network = checkpoint.inter_network()
    side = 256
    luma = torch.zeros(1, 1, side, side)
    samples = quarter_samples(luma, sharp=True)
    counted = macs_of(network, lambda: network.search(luma, luma, samples)) / side**2 / 1000
    for references in (1, 2):
        macs = inter_kilo_macs(checkpoint.inter, references)
        assert macs["motion search"] == pytest.approx(references * counted)


def test_every_layer_counts_and_those_that_blend_in_b_frames_only(checkpoint: Checkpoint) -> None:
    for name, weight in checkpoint.inter.items():
        if name.endswith(".weight"):
            with_one, with_two = (sum(inter_kilo_macs({name: weight}, count).values()) for count in (1, 2))
            assert with_two > 0, name
            assert (with_one == 0) == name.startswith("mask"), name


def test_the_table_of_costs_has_a_line_for_each_kind(checkpoint: Checkpoint) -> None:
    lines = macs_table(checkpoint).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["I", "P", "B"]
    without = Checkpoint(size=checkpoint.size, weights=checkpoint.weights)
    assert [line.split("|")[1].strip() for line in macs_table(without).splitlines()[2:]] == ["I"]


def test_the_section_on_video_has_picture_tables_and_ablations(checkpoint: Checkpoint) -> None:
    text = "\n".join(video_section(checkpoint, "the comparison\n", "the ablations\n"))
    places = [text.index(words) for words in ("curves_video.png", "the comparison", "kMAC", "the ablations")]
    assert places == sorted(places)
    assert "What each part gives" not in "\n".join(video_section(checkpoint, "the comparison", ""))

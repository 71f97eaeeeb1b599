"""Arrays that stay where the networks run: the same numbers, and nothing carried back and forth."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.codec.clips import moving_clip, scheduled
from zvc69_cli.codec.decoder import Decoder
from zvc69_cli.codec.encoder import Encoder
from zvc69_cli.codec.entropy.tables import CodecTables
from zvc69_cli.codec.intra.rounding import Rounding
from zvc69_cli.codec.picture.exchange import PictureExchange, continued
from zvc69_cli.codec.picture.planes import SAMPLE_PARTS, padded_planes, search_plane
from zvc69_cli.codec.picture.skipping import picture_error
from zvc69_cli.codec.quantised import checkerboard, decoded_latent, known_half, merged_indexes
from zvc69_cli.codec.settings import CodecSettings
from zvc69_cli.frames import Frame, VideoFormat
from zvc69_cli.runtime.bundle import PROGRAM_GRAPHS, find_bundle
from zvc69_cli.runtime.providers import choose_device
from zvc69_cli.runtime.residence import Place, PlacedArray, PlacedSession
from zvc69_cli.runtime.sessions import OrtNetworks, PriorOutput, load_networks

HERE = Place("cpu", 0)
VIDEO = VideoFormat(width=80, height=48)


class Watched(PlacedSession):
    """Notes what it is given that has to be carried to the device, in bytes."""

    carried = 0  # to the device
    brought = 0  # from it

    def run_kept(self, inputs, kept):
        Watched.carried += sum(each.nbytes for each in inputs.values() if not isinstance(each, PlacedArray))
        outputs = super().run_kept(inputs, kept)
        Watched.brought += sum(each.nbytes for each in outputs if not isinstance(each, PlacedArray))
        return outputs


@pytest.fixture
def brought(monkeypatch):
    """Bytes that came from the device so far: what graphs yielded here, and placed arrays that were looked at."""
    fetched = 0
    usual = PlacedArray.__array__

    def array(self, *given, **named):
        nonlocal fetched
        fetched += self.value.numpy().nbytes if self._here is None else 0
        return usual(self, *given, **named)

    monkeypatch.setattr(PlacedArray, "__array__", array)
    return lambda: Watched.brought + fetched


@pytest.fixture(scope="module")
def bundle():
    return find_bundle()


@pytest.fixture(scope="module")
def placed(bundle):
    def open_graph(graph):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        return Watched(ort.InferenceSession(str(bundle.graph(graph)), options), HERE)

    return OrtNetworks(bundle, open_graph, place=HERE)


def put(plane):
    """A plane as the networks keep one."""
    return PlacedArray.of(plane[None, None], 2, HERE)


def test_a_placed_array_comes_back_as_it_went():
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    placed = PlacedArray.of(array[None, None], 2, HERE)
    assert placed.shape == (3, 4)
    assert np.array_equal(np.asarray(placed), array)
    assert placed.whole().shape == (1, 1, 3, 4)
    assert np.asarray(placed, np.float64).dtype == np.float64
    assert np.array_equal(array - placed, np.zeros((3, 4)))


def test_networks_that_keep_their_arrays_code_the_same_stream(bundle, placed):
    plain = load_networks(bundle, choose_device("cpu"), 1)
    tables = CodecTables.from_arrays(bundle.arrays)
    settings = CodecSettings(qp=68, bframes=3, keyint=50, scenecut=0)
    streams, pictures = [], []
    for networks in (plain, placed):
        encoder = Encoder(VIDEO, settings, networks, tables)
        decoder = Decoder(VIDEO, encoder.base_q_256, networks, tables)
        packets, shown = [], []
        for planned in scheduled(VIDEO, moving_clip(VIDEO, 6, 3), settings, encoder.base_q_256):
            quantised = encoder.quantise(planned)
            packets.append(encoder.pack(quantised))
            frame = decoder.reconstruct(decoder.parse(packets[-1]))
            assert np.array_equal(frame.y, encoder.reconstruct(quantised).y)
            shown.append(frame.y)
        streams.append([each.payload for each in packets])
        pictures.append(shown)
    assert streams[0] == streams[1]
    assert all(np.array_equal(one, other) for one, other in zip(*pictures, strict=True))


def test_pictures_and_predictions_are_not_carried_back(placed):
    rows, columns = 64, 128
    planes = [
        put(np.full(shape, 0.5, np.float32)) for shape in [(rows, columns)] + 2 * [(rows // 2, columns // 2)]
    ]
    samples = placed.put(np.zeros((16, rows + 64, columns + 64), np.uint8))
    field = np.zeros((2, rows // 8, columns // 8), np.float32)
    placed.search(planes[0], samples, "full")  # its graph is loaded, and its result is here
    before = Watched.carried
    placed.search(planes[0], samples, "full")
    placed.motion_error(2, planes[0], samples, field)
    moved = placed.warp(*planes, field, 1)
    blend = placed.blend(moved, placed.warp(*planes, field, 1))
    steps, classes = np.full(96, 0.1, np.float32), np.zeros((rows // 16, columns // 16), np.uint8)
    parts = placed.residual_costs(planes, blend, steps)
    placed.residual_coefficients(*parts[:2], classes)
    levels = np.zeros((96, rows // 8, columns // 8), np.int32)
    unfiltered, shrunk = placed.rebuild(levels, classes, blend, steps)
    edges = np.zeros((4, rows // 8, columns // 8), np.float32)
    correction = placed.loop_filter((unfiltered, shrunk, moved, moved), edges, steps, 5000)
    placed.filter_sums(planes, unfiltered, correction)
    picture = placed.finish(unfiltered, correction, 1.0, 255)
    placed.warp(*picture, field, 255)
    stay = (blend, *parts[:2], unfiltered, shrunk, correction, *picture)
    assert all(isinstance(each, PlacedArray) for each in stay)
    # Vectors, levels as 16 bits, classes, edges and numbers.
    few = 4 * field.nbytes + levels.nbytes // 2 + 2 * classes.nbytes + edges.nbytes + 4 * steps.nbytes + 100
    assert Watched.carried - before <= few


def _frame(video, seed):
    dtype = np.uint8 if video.bit_depth == 8 else np.uint16
    random = np.random.default_rng(seed)

    def plane(height, width):
        return random.integers(0, video.peak, (height, width), dtype, endpoint=True)

    chroma = video.chroma_height, video.chroma_width
    return Frame(y=plane(video.height, video.width), u=plane(*chroma), v=plane(*chroma), pts=7)


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(16, 150),
    height=st.integers(16, 150),
    bit_depth=st.sampled_from((8, 10)),
    seed=st.integers(0, 99),
)
def test_frames_go_to_the_networks_and_back_as_numpy_takes_them(placed, width, height, bit_depth, seed):
    video = VideoFormat(width=width, height=height, bit_depth=bit_depth)
    frame, exchange = _frame(video, seed), PictureExchange(video, placed)
    source = exchange.source(frame)
    assert all(isinstance(plane, PlacedArray) for plane in source)
    for plane, wanted in zip(source, padded_planes(frame, video), strict=True):
        assert np.array_equal(np.asarray(plane), wanted)
    near = np.random.default_rng(seed).integers(-SAMPLE_PARTS // 2, SAMPLE_PARTS // 2)  # rounds to the sample
    whole = tuple(
        put(np.rint(np.asarray(plane) * np.float32(video.peak)) * SAMPLE_PARTS + np.float32(near))
        for plane in source
    )
    shown = exchange.shown(whole, 7)
    assert shown.pts == 7
    for name in "yuv":
        got, wanted = getattr(shown, name), getattr(frame, name)
        assert got.dtype == wanted.dtype
        assert np.array_equal(got, wanted)
    assert np.array_equal(np.asarray(continued(source[0], placed, 64)), search_plane(np.asarray(source[0])))
    other = PictureExchange(video, placed).source(_frame(video, seed + 1))
    decoded = tuple(put(np.asarray(plane) * np.float32(exchange.peak)) for plane in other)
    assert exchange.error(source, decoded) == pytest.approx(
        picture_error(source, decoded, exchange.peak), rel=1e-5
    )


def test_a_frame_travels_once_and_as_the_samples_that_it_is(placed):
    video = VideoFormat(width=128, height=64)
    exchange, frame = PictureExchange(video, placed), _frame(VideoFormat(width=128, height=64), 3)
    before = Watched.carried
    source = exchange.source(frame)
    whole = tuple(put(np.asarray(plane)) for plane in source)
    exchange.error(source, whole)
    exchange.shown(whole, 0)
    continued(source[0], placed, 64)
    samples = frame.y.nbytes + frame.u.nbytes + frame.v.nbytes
    assert samples <= Watched.carried - before <= samples + 100


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(1, 5),
    width=st.integers(1, 5),
    seed=st.integers(0, 99),
    name=st.sampled_from(("nearest", "dead-zone")),
)
def test_a_latent_is_rounded_as_numpy_rounds_it(bundle, placed, height, width, seed, name):
    rng = np.random.default_rng(seed)
    shape = (bundle.latent_channels, height, width)
    latent = (rng.laplace(size=shape) * np.exp(rng.normal(size=shape) * 2)).astype(np.float32)
    latent[:, 0, 0] = rng.integers(-9, 9, bundle.latent_channels) + 0.5
    latent[:2, -1, -1] = 1e6, -1e6  # beyond what a symbol can say

    def predicted(scale):
        means = rng.integers(-scale, scale, shape, endpoint=True).astype(np.float32)
        return PriorOutput(means, rng.integers(0, 64, shape).astype(np.uint8), np.zeros(0, np.float32))

    outputs, tables = (predicted(0), predicted(40)), CodecTables.from_arrays(bundle.arrays).latent
    rounding = Rounding(name, tables)
    board = checkerboard(*shape, 0, height).first
    first, second = (rounding.symbols(latent, each.means, each.indexes) for each in outputs)
    half, known = placed.rounded_half(latent, outputs[0], rounding)
    assert np.array_equal(np.asarray(half), np.where(board, first, 0))
    assert np.array_equal(np.asarray(known), known_half(first, outputs[0].means))
    assert np.array_equal(np.asarray(placed.known_half(first, outputs[0].means)), np.asarray(known))
    symbols, indexes, decoded = placed.rounded(latent, half, *outputs, rounding)
    merged = np.where(board, first, second)
    assert np.array_equal(symbols, merged)
    assert np.array_equal(indexes, merged_indexes(merged, *outputs))
    assert np.array_equal(np.asarray(decoded), decoded_latent(merged, *(each.means for each in outputs)))
    again = placed.decoded_latent(merged, *(each.means for each in outputs))
    assert np.array_equal(np.asarray(again), np.asarray(decoded))


def test_a_decoder_carries_symbols_and_brings_tables_and_what_is_shown(bundle, placed, brought):
    """Of a P frame behind another: what is known of levels and predictions stay, and so do the references."""
    video = VideoFormat(width=128, height=64)
    tables = CodecTables.from_arrays(bundle.arrays)
    settings = CodecSettings(qp=88, bframes=0, keyint=50, scenecut=0)
    encoder = Encoder(video, settings, placed, tables)
    decoder = Decoder(video, encoder.base_q_256, placed, tables)
    for number, planned in enumerate(scheduled(video, moving_clip(video, 3, 5), settings, encoder.base_q_256)):
        packet = encoder.pack(encoder.quantise(planned))
        carried_before, brought_before = Watched.carried, brought()
        parsed = decoder.parse(packet)
        frame = decoder.reconstruct(parsed)
        carried, fetched = Watched.carried - carried_before, brought() - brought_before
        if number < 2:
            continue
        levels, samples = parsed.residual.levels.size, frame.y.size + frame.u.size + frame.v.size
        inputs = 4 * 41 * levels // 96  # as floats, those of the entropy model; motion takes less
        # Levels travel once for the picture. The passes take in those of the pass before, in whole planes: twice all
        # but those of the last pass.
        passes = 2 * (2 * levels - 69 * levels // 96)
        assert 2 * levels + passes <= carried < 2 * levels + passes + 2 * inputs
        # Rows come in whole planes, twice for each group.
        assert 2 * levels + samples <= fetched < 2 * levels + samples + inputs


def test_an_encoder_brings_symbols_and_tables(bundle, placed, brought):
    """Of an I frame: the latent that is rounded, the means and what is predicted from stay, unless it is refined."""
    video = VideoFormat(width=128, height=64)
    tables = CodecTables.from_arrays(bundle.arrays)
    settings = CodecSettings(qp=88, keyint=1, refine=0)
    encoder = Encoder(video, settings, placed, tables)
    (planned,) = scheduled(video, moving_clip(video, 1, 5), settings, encoder.base_q_256)
    carried_before, brought_before = Watched.carried, brought()
    quantised = encoder.quantise(planned)
    carried, fetched = Watched.carried - carried_before, brought() - brought_before
    frame, symbols = planned.frame, quantised.symbols.size
    samples = frame.y.size + frame.u.size + frame.v.size
    tables_bytes = 2 * (encoder._rounding.thresholds.nbytes + 4 * bundle.latent_channels)
    assert samples < carried < samples + tables_bytes + 2 * quantised.hyper.nbytes + 1000
    assert 3 * symbols < fetched <= 3 * symbols + 4 * quantised.hyper.size + 100


def test_graphs_of_the_program_lie_beside_it_and_not_in_a_bundle(bundle):
    for name in PROGRAM_GRAPHS:
        assert name not in bundle.graphs
        assert bundle.graph(name).is_file()

"""Which graphs of a bundle are loaded, when and how often; no graph is run here."""

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from zvc69_cli.runtime.bundle import ENCODER_GRAPHS, INTER_GRAPHS, INTRA_GRAPHS, find_bundle
from zvc69_cli.runtime.sessions import OrtNetworks


class Graphs:
    """Opens graphs that answer with zeros, and notes which."""

    def __init__(self):
        self.opened = Counter()
        self._lock = threading.Lock()

    def open(self, name):
        time.sleep(0.005)
        with self._lock:
            self.opened[name] += 1
        return self

    def run(self, _, inputs):
        return [np.zeros((1, 2, 2), np.float32)]


@pytest.fixture
def graphs():
    return Graphs()


@pytest.fixture
def networks(graphs):
    return OrtNetworks(find_bundle(), graphs.open, loaders=2)


def test_intra_work_loads_no_more_than_it_needs(networks, graphs):
    assert graphs.opened == Counter(INTRA_GRAPHS)


def test_a_decoder_loads_no_graph_that_only_an_encoder_needs(networks, graphs):
    networks.load_inter(None)
    assert graphs.opened == Counter(
        (*INTRA_GRAPHS, *(each for each in INTER_GRAPHS if each not in ENCODER_GRAPHS))
    )


@pytest.mark.parametrize("effort", ["fast", "full", "thorough"])
def test_an_encoder_loads_the_one_search_that_it_will_use(networks, graphs, effort):
    networks.load_inter(effort)
    due = [each for each in INTER_GRAPHS if not each.startswith("search_") or each == f"search_{effort}"]
    assert graphs.opened == Counter((*INTRA_GRAPHS, *due))


def test_a_graph_that_several_threads_ask_for_at_once_is_loaded_once(networks, graphs):
    with ThreadPoolExecutor(8) as threads:
        fields = [np.zeros((2, 1, 1), np.float32)] * 8
        samples = np.zeros((16, 1, 1), np.uint8)
        list(threads.map(lambda each: networks.motion_error(2, each[0], samples, each), fields))
    assert graphs.opened["motion_2_error"] == 1

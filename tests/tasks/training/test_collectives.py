"""What the processes of a run agree on; the other process is simulated."""

import signal
from unittest.mock import Mock

import pytest

from routers import ConfigError
from tasks import main
from tasks.training import collectives, module
from tasks.training.signals import STOP_SIGNALS

from ..cases import NARROW, TINY, checkpoint_of


@pytest.fixture
def second(monkeypatch):
    """This process is the second of two; gives what the first says."""
    first = [None, None]

    def gather(said, own):
        said[:] = [tuple(first), own]

    others = Mock(get_rank=lambda: 1, get_world_size=lambda: 2, all_gather_object=gather)
    monkeypatch.setattr(collectives, "is_distributed", lambda: True)
    monkeypatch.setattr(collectives, "dist", others)
    return first


def test_the_first_process_decides(second):
    second[0] = "runs/x"
    assert collectives.agreed(lambda: 1 / 0, by_first=True) == "runs/x"
    assert collectives.agreed(lambda: "own") == "own"


def test_an_error_of_one_process_is_that_of_all(second):
    second[1] = "trainer.devices=3 is invalid"
    with pytest.raises(ConfigError, match=r"trainer\.devices=3 is invalid"):
        collectives.agreed(lambda: "own")


def test_a_signal_to_another_process_stops_this_one(tmp_path, monkeypatch):
    def asked_elsewhere(sums, means):
        _, _, request = sums
        assert not request.any()
        request[1 + STOP_SIGNALS.index(signal.SIGTERM)] = 1.0

    monkeypatch.setattr(module, "sum_and_average", asked_elsewhere)
    assert main([*TINY, NARROW, f"out={tmp_path / 'run'}"]) == 128 + signal.SIGTERM
    assert checkpoint_of(tmp_path / "run")["global_step"] == 1

"""Energy of a training: counters that start again, pauses, and machines without counters."""

import sys
from types import SimpleNamespace

import pytest
import torch

from tasks.training.energy import Counter, EnergyRecord, Meter, gpu_counters, package_counters

MICRO = 1_000_000


@pytest.fixture
def powercap(tmp_path):
    """Two packages, a core within one, and the whole platform."""
    zones = {":0": "package-0", ":0:0": "core", ":1": "package-1", ":2": "psys"}
    for number, name in zones.items():
        zone = tmp_path / f"intel-rapl{number}"
        zone.mkdir()
        (zone / "name").write_text(f"{name}\n")
        (zone / "max_energy_range_uj").write_text(f"{100 * MICRO}\n")
        (zone / "energy_uj").write_text(f"{90 * MICRO}\n")
    return tmp_path


def use(powercap, joules):
    """All zones of the folder use energy; counters start again at 100 J."""
    for file in powercap.glob("*/energy_uj"):
        file.write_text(f"{(int(file.read_text()) + joules * MICRO) % (100 * MICRO)}\n")


def test_packages_over_wrap_around_and_a_pause(powercap):
    meter = Meter(package_counters(powercap))
    meter.start()
    use(powercap, 4)
    meter.add()
    use(powercap, 30)  # wraps
    meter.add()
    use(powercap, 50)  # a validation
    meter.start()
    use(powercap, 1)
    meter.add()
    assert meter.joules == pytest.approx(2 * (4 + 30 + 1))


def test_packages_that_cannot_be_read_are_unknown(powercap, tmp_path):
    counters = package_counters(powercap)
    (powercap / "intel-rapl:1" / "energy_uj").unlink()  # as without permission: an OSError
    assert package_counters(powercap) == []
    assert package_counters(tmp_path / "missing") == []
    meter = Meter(counters)
    meter.start()
    meter.add()
    meter.add()
    assert meter.joules is None


class NVMLError(Exception):
    pass


def test_gpus_are_found_by_uuid(monkeypatch):
    energy = {"GPU-a": 5000, "GPU-b": 7000}

    def read(handle):
        if handle not in energy:
            raise NVMLError
        return energy[handle]

    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=read,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=device)
    )
    assert [counter.read() for counter in gpu_counters(["b", "a"])] == [7.0, 5.0]
    assert gpu_counters(["a", "c"]) == []
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert gpu_counters(["a"]) == []


def test_record_leaves_validations_out_and_continues(monkeypatch):
    used = [100.0]
    monkeypatch.setattr(
        "tasks.training.energy.package_counters", lambda: [Counter(lambda: used[0])]
    )
    cpu = SimpleNamespace(type="cpu")
    trainer = SimpleNamespace(
        strategy=SimpleNamespace(root_device=cpu), state=SimpleNamespace(fn="fit")
    )
    first = EnergyRecord()
    first.on_train_start(trainer, None)
    used[0] += 1
    first.on_validation_start(trainer, None)
    used[0] += 10
    first.on_validation_end(trainer, None)
    used[0] += 2
    first.on_train_end(trainer, None)
    assert first.state_dict() == {"packages": 3.0, "gpus": None}
    resumed = EnergyRecord()
    resumed.load_state_dict(first.state_dict())
    assert resumed.packages.joules == 3.0  # also where no step is left
    resumed.on_train_start(trainer, None)
    used[0] += 4
    resumed.on_train_end(trainer, None)
    assert resumed.packages.joules == 7.0
    assert resumed.gpus.joules is None

"""The table of own data: every run has a configuration, and all figures of a row."""

from dataclasses import replace

from benchmarks.readme_tables import comparison, own_data
from tasks import main

from .tasks.own_data import images

#: A run of a moment.
TINY = "trainer.max_steps=2 trainer.max_epochs=1 trainer.logger=[] task.model.dim=8"


def test_every_run_has_its_configuration():
    table = own_data.OWN_DATA
    assert len({row["config"] for row in table.wanted(table.arms)}) == 4 * 3
    assert "task.data.path=data/cifar10" in table.settings("CIFAR-10", 0)
    assert "task.data.path=/there/cifar10" in table.settings("CIFAR-10", 0, "/there")
    assert table.paths.keys() == table.arms.keys()


def test_a_run_is_a_row_of_the_table(tmp_path, monkeypatch):
    images(tmp_path)
    arms = {"squares": f"{own_data.OWN_DATA.arms['CIFAR-10']} {TINY}"}
    one = replace(
        own_data.OWN_DATA,
        rows=tmp_path / "rows.csv",
        arms=arms,
        seeds=(0,),
        paths={"squares": "images.npz"},
    )
    monkeypatch.setattr(own_data, "OWN_DATA", one)
    monkeypatch.setattr(comparison, "train", main)
    one.run_command("", lambda: None, ["--data", str(tmp_path)])
    line = own_data.table().splitlines()[-1]
    assert line.startswith("| squares | accuracy | 0.")
    assert "(linear on pixels)" in line

"""Commands that use a trained run: test on other data, predict, export."""

import csv
import json

import numpy as np
import pytest
import torch

import tasks
from routers import ConfigError
from tasks import main

from ..cases import NARROW, assert_same, result_of, tiny, train
from ..own_data import corpus, images, table, texts
from .test_trained import files_of


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    out = tmp_path_factory.mktemp("digits") / "run"
    train(out)
    return out


@pytest.fixture(scope="module")
def of_texts(tmp_path_factory):
    """A run on texts in groups, next to its data."""
    return trained(tmp_path_factory.mktemp("texts"), "text_classification", texts)


@pytest.fixture(scope="module")
def of_table(tmp_path_factory):
    """A run on a table with two targets, next to its data."""
    return trained(tmp_path_factory.mktemp("table"), "multitask", table)


def trained(folder, task, write):
    options = ["task.dim=16"] if task == "multitask" else tiny(task)
    brief = [*options, *tiny()[2:], NARROW, "trainer.batch_size=32"]
    assert main([f"task={task}", *brief, *write(folder), f"out={folder / 'run'}"]) == 0
    return folder / "run"


def rows_in(file):
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def write_rows(file, rows):
    with file.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return f"task.data.path={file}"


def coded_rows(split):
    parts = (split["x"], split["categorical"], split["y"])
    return {tuple(row) for row in torch.cat([part.double() for part in parts], 1).tolist()}


def test_test_prints_the_table_and_writes_the_result(digits, tmp_path, capsys):
    before, out = files_of(digits), tmp_path / "result.json"
    assert main(["test", str(digits), f"out={out}"]) == 0
    assert f"{result_of(digits)['score']['value']:.4f}" in capsys.readouterr().out
    assert json.loads(out.read_text())["scores"] == result_of(digits)["scores"]
    assert files_of(digits) == before


def test_test_names_what_did_not_change_the_score(digits, capsys):
    """Smoothing is part of the loss alone; the capacity drops items."""
    settings = ["task.label_smoothing=0.3", "trainer.threads=1"]
    assert main(["test", str(digits), *settings]) == 0
    printed = capsys.readouterr().out
    assert "result.json: task.label_smoothing=0.3 did not change it\n" in printed
    assert main(["test", str(digits), "moe.capacity=0.1", settings[0]]) == 0
    assert "did not change" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["test"], "folder of a run is missing; write python -m tasks test DIR"),
        (["test", "DIR", "--list"], "takes no flag but --help"),
        (["test", "DIR", "out=x.jsn"], "out=x.jsn: unknown ending '.jsn'; allowed: .json"),
        (["predict", "DIR"], "predict: out is missing"),
        (["predict", "DIR", "out=x.xls"], "allowed: .csv, .jsonl, .parquet"),
        (["predict", "DIR", "out=no/x.csv"], "out=no/x.csv: no is no folder"),
        (["predict", "DIR", "out=DIR/result.json.csv", "task.data.path=x"], "task.data"),
    ],
)
def test_bad_words_are_refused(digits, capsys, words, expected):
    assert main([word.replace("DIR", str(digits)) for word in words]) == 2
    assert expected in capsys.readouterr().err


def test_an_existing_file_is_kept(digits, tmp_path, capsys):
    out = tmp_path / "x.csv"
    out.write_text("mine")
    assert main(["predict", str(digits), f"out={out}"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert out.read_text() == "mine"


def test_predictions_are_those_of_the_score(digits, tmp_path):
    for ending in ("csv", "jsonl", "parquet"):
        assert main(["predict", str(digits), f"out={tmp_path / f'x.{ending}'}"]) == 0
    rows = rows_in(tmp_path / "x.csv")
    truth = tasks.load(digits).data.test["y"].tolist()
    right = sum(row["class"] == str(label) for row, label in zip(rows, truth, strict=True))
    assert right / len(rows) == pytest.approx(result_of(digits)["score"]["value"], abs=1e-6)
    assert [row["index"] for row in rows] == list(map(str, range(360)))
    assert sum(float(rows[0][f"class/{name}"]) for name in range(10)) == pytest.approx(1)
    lines = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    from pyarrow import parquet

    assert lines == parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert [line["class"] for line in lines] == [row["class"] for row in rows]
    assert {path.name for path in tmp_path.iterdir()} == {"x.csv", "x.jsonl", "x.parquet"}


def test_texts_keep_their_labels(of_texts, tmp_path):
    """The rows of the test split in another order, so that labels come in another order too."""
    run = tasks.load(of_texts)
    found = run.task.texts.test
    names = {"label": found.classes, "language": found.groups}
    parts = zip(found.texts, found.y.tolist(), found.group.tolist(), strict=True)
    rows = [
        {"language": names["language"][g], "text": text.decode(), "label": names["label"][y]}
        for text, y, g in parts
    ]
    other = write_rows(tmp_path / "other.csv", rows[::-1])
    again = tasks.load(of_texts, other)
    assert again.data.test["y"].tolist() == found.y.tolist()[::-1]
    assert again.test()["scores"] == pytest.approx(result_of(of_texts)["scores"])
    known = run.predict()
    one = [row for row in rows if row["label"] == "yes"]  # fewer classes
    other = write_rows(tmp_path / "yes.csv", one)
    assert set(tasks.load(of_texts, other).data.test["y"].tolist()) == {1}
    for row in rows:
        del row["label"]
    other = write_rows(tmp_path / "unlabelled.csv", rows[::-1])
    assert main(["predict", str(of_texts), other, f"out={tmp_path / 'x.csv'}"]) == 0
    assert [row["class"] for row in rows_in(tmp_path / "x.csv")] == known["class"][::-1]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"label": "maybe", "language": "en"}, "'maybe' is none that the model was trained on"),
        ({"label": "no", "language": "de"}, "the group 'de' is none"),
        ({"label": "no", "language": "en"}, "no row has the language 'fr'"),
    ],
)
def test_texts_that_do_not_fit_are_refused(of_texts, tmp_path, row, words):
    with pytest.raises(ConfigError, match=words):
        tasks.load(of_texts, write_rows(tmp_path / "x.csv", [{"text": "good", **row}]))


def test_tables_keep_categories_and_targets(of_table, tmp_path):
    data = tasks.load(of_table).data
    known = set().union(*map(coded_rows, (data.train, data.val, data.test)))
    rows = [row for row in rows_in(of_table.parent / "table.csv")[::-1] if row["colour"] != "green"]
    again = tasks.load(of_table, write_rows(tmp_path / "other.csv", rows))
    assert coded_rows(again.data.test) < known
    assert again.test()["data"]["rows"]["test"] == len(rows)
    bare = write_rows(tmp_path / "bare.csv", [{k: r[k] for k in ("size", "colour")} for r in rows])
    assert main(["predict", str(of_table), bare, f"out={tmp_path / 'x.csv'}"]) == 0
    columns, found = again.predict(), rows_in(tmp_path / "x.csv")
    assert [row["sold"] for row in found] == columns["sold"]
    assert [float(row["price"]) for row in found] == pytest.approx(columns["price"])
    assert list(columns) == ["sold", "sold/not yes", "sold/yes", "price"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("task.data.numeric=[price]", "task.data.numeric=.*trained with .'size'"),
        ("task.data.delimiter=;", "give other data with task.data.path"),
        ("task.data.path=nothing.csv", "no such file"),
        ("task.bins=4", "task.bins=4: changes what was trained: .*encoder"),
    ],
)
def test_what_is_fitted_to_the_training_data_stays(of_table, change, words):
    with pytest.raises(ConfigError, match=words):
        tasks.load(of_table, change)


def test_the_training_data_by_another_path_is_not_other_data(of_table):
    path = of_table.parent / "run" / ".." / "table.csv"
    run = tasks.load(of_table, f"task.data.path={path}")
    assert run.data.split_sha256 == result_of(of_table)["data"]["split_sha256"]


def test_images_keep_classes_and_scale(tmp_path):
    out = trained(tmp_path, "image", images)
    with np.load(tmp_path / "images.npz") as arrays:
        x, y = arrays["x"], arrays["y"]
    np.savez(tmp_path / "ones.npz", x=x[y == 1] // 2, y=y[y == 1])
    run = tasks.load(out)
    mean, deviation = run.task.scale
    again = tasks.load(out, f"task.data.path={tmp_path / 'ones.npz'}")
    assert set(again.data.test["y"].tolist()) == {1}
    raw = torch.tensor(x[y == 1] // 2).permute(0, 3, 1, 2)
    scaled = again.task.collate(again.data.test)["x"]
    assert torch.allclose(scaled, (raw / 255 - mean) / deviation)
    from PIL import Image

    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.fromarray(x[number]).save(tmp_path / "photos" / f"{number}.png")
    place = f"task.data.path={tmp_path / 'photos'}"
    assert main(["predict", str(out), place, f"out={tmp_path / 'x.csv'}"]) == 0
    assert len(rows_in(tmp_path / "x.csv")) == 3
    Image.fromarray(x[0, :12]).save(tmp_path / "photos" / "3.png")
    with pytest.raises(ConfigError, match="12"):
        tasks.load(out, place, labelled=False)


def test_a_language_model_gives_the_bits_of_each_window(tmp_path):
    out = trained(tmp_path, "language_model", corpus)
    run, known = tasks.load(out), result_of(out)["scores"]
    assert run.test()["scores"] == known
    columns = run.predict()
    bits = np.average(columns["bits_per_byte"], weights=columns["bytes"])
    assert bits == pytest.approx(known["bits_per_byte"], rel=1e-5)
    (tmp_path / "other.txt").write_text("good day sun")
    other = tasks.load(out, f"task.data.path={tmp_path / 'other.txt'}")
    assert other.predict()["bytes"] == [11]  # all but the first


def test_an_exported_run_is_the_same_model(of_table, tmp_path, capsys):
    pytest.importorskip("safetensors")
    out = tmp_path / "model"
    assert main(["export", str(of_table), f"out={out}"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"model"}
    names = {"config.yaml", "model.safetensors", "result.json"}
    assert {path.name for path in out.iterdir()} == names
    run, known = tasks.load(out), tasks.load(of_table).module.backbone.state_dict()
    assert_same(run.module.backbone.state_dict(), known, "backbone")
    assert run.test()["scores"] == result_of(of_table)["scores"]
    assert main(["export", str(of_table), f"out={out}"]) == 2
    (out / "model.safetensors").write_bytes(b"no header")
    assert main(["test", str(out)]) == 2
    printed = capsys.readouterr().err
    assert "exists already" in printed
    assert "model.safetensors cannot be read" in printed


def test_export_needs_its_library_and_a_finished_run(digits, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("routers.plugins.extras.find_spec", lambda name: None)
    assert main(["export", str(digits), f"out={tmp_path / 'model'}"]) == 2
    assert "pip install 'switchyard-moe[export]'" in capsys.readouterr().err
    assert main(["export", str(digits), f"out={tmp_path / 'model'}", "router.k=1"]) == 2
    assert "router.k=1: export takes no key but checkpoint and out" in capsys.readouterr().err
    (tmp_path / "config.yaml").write_text((digits / "config.yaml").read_text())
    assert main(["export", str(tmp_path), f"out={tmp_path / 'model'}"]) == 2
    assert "is not finished" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()

"""Tokens of a Hugging Face tokenizer: scores in bits per byte, ids, errors, and resuming."""

import json
import math
import sys

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tasks import build_backbone, build_task, choose, compose, main, read_data

from ..tasks.cases import signal_at

LINES = [f"Zeile {n}: das Café schließt um {n % 24} Uhr — täglich.\n" for n in range(400)]
TEXT = "".join(LINES) + 22 * "."  # so that a split begins inside of a character

SMALL = (
    *("task.length=24", "task.context=6", "task.model.dim=16", "task.model.depth=1"),
    *("task.model.heads=2", "task.model.buckets=64", "trainer.batch_size=16"),
    *("moe.num_experts=4", "expert.hidden=16", "trainer.max_epochs=1"),
)


def trained(size=300, texts=(TEXT,), **parts):
    """A byte-level BPE of about ``size`` tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@pytest.fixture
def files(tmp_path):
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    trained(texts=(TEXT.replace("ß", ""),)).save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def language(files, *overrides):
    paths = (f"task.data.path={files / 'text.txt'}", f"task.tokenizer={files / 'tokenizer.json'}")
    return ["task=language_model", "task.model=decoder", *SMALL, *paths, *overrides]


def test_bits_per_byte_of_tokens_by_hand(files):
    """Each token but the first counts once, and so do its bytes, cut from the text by hand."""
    config = compose(language(files, "router=hash", "expert=mlp"))
    config, task, _ = choose(config, build_task(config))
    data = read_data(config, task)
    tokenizer = Tokenizer.from_file(str(files / "tokenizer.json"))
    content = TEXT.encode()
    text = content[len(content) - int(len(content) * 0.1) :]
    assert text[:1] == b"\x9f"  # the split cuts a character, which is replaced by one of 3 bytes
    ids = tokenizer.encode(text[1:].decode()).ids
    lost = tokenizer.encode("\ufffd").ids
    pieces = [tokenizer.decode([token]) for token in ids]
    assert "\ufffd" in pieces  # characters are in several tokens
    assert data.test["x"][0, : len(lost) + 2].tolist() == [*lost, *ids[:2]]
    backbone = build_backbone(config, task).eval()
    for layer in (each for each in backbone.modules() if hasattr(each, "router")):
        layer.router.prepare(torch.arange(300), torch.zeros(300, 1))
    measure = task.measures()["bits_per_byte"]
    bits, seen = 0.0, 0
    with torch.no_grad():
        for row in range(len(data.test["x"])):
            batch = task.describe(task.collate({k: v[row : row + 1] for k, v in data.test.items()}))
            output, _ = backbone(batch)
            measure.metric.update(*measure.reads(output, batch))
            scored = batch["y"][0] != -100
            log_p = output[0].double().log_softmax(-1)
            found = log_p.gather(1, batch["y"][0].clamp_min(0).unsqueeze(1)).squeeze(1)
            bits -= (found * scored).sum().item() / math.log(2)
            seen += int(scored.sum())
            predictions = task.predictions(output, batch)
            assert predictions["bytes"] == [int((batch["width"][0] * scored).sum())]
    assert seen == len(lost) + len(ids) - 1
    found = measure.metric.compute().item()
    assert found == pytest.approx(
        bits / (len(text) - 1), rel=1e-5
    )  # the first byte is in the first
    x = data.test["x"].flatten()
    assert batch["ids"].max() < task.vocabulary.size == tokenizer.get_vocab_size()
    assert output.shape[-1] == task.vocabulary.size > int(x.max()) > 255


def test_a_run_resumes_and_notices_another_tokenizer(files, capsys):
    whole, half = files / "whole", files / "half"
    steps = ("trainer.max_steps=4", "router=topk", "trainer.limit_val_batches=1")
    assert main([*language(files, *steps), f"out={whole}"]) == 0
    with signal_at(2):
        assert main([*language(files, *steps), f"out={half}"]) == 130
    trained(310).save(str(files / "tokenizer.json"))
    assert main([f"resume={half}"]) == 2
    assert "the data (text.txt) has changed since the run began, or the" in capsys.readouterr().err
    trained(texts=(TEXT.replace("ß", ""),)).save(str(files / "tokenizer.json"))
    assert main([f"resume={half}"]) == 0
    scores = [json.loads((each / "result.json").read_text())["score"] for each in (whole, half)]
    assert scores[0] == scores[1]


def test_text_classification(files, capsys):
    """Tokens with those that the tokenizer adds, cut at ``max_length``; baseline and routes."""
    rows = [f"{'good' if n % 2 else 'bad'} film number {n},{n % 2}" for n in range(200)]
    (files / "a.csv").write_text("text,label\n" + "\n".join(rows))
    given = [
        *("task=text_classification", f"task.data.path={files / 'a.csv'}", "router=hash"),
        *(f"task.tokenizer={files}", "task.max_length=5", "expert.hidden=16", "moe.num_experts=4"),
        *("task.model=encoder", "task.model.dim=16", "trainer.max_epochs=2", "baseline=true"),
    ]
    assert main([*given, f"out={files / 'run'}"]) == 0
    found = json.loads((files / "run" / "result.json").read_text())
    assert found["baseline"]["value"] == 1.0
    assert main([*given, "task.model=bag"]) == 2
    assert "task.model=bag is invalid: expected a backbone that reads tokens (" in (
        capsys.readouterr().err
    )
    task = build_task(compose(given))
    batch = task.collate({k: v[:8] for k, v in task.data().train.items()})
    assert batch["x"].shape == (8, 5)
    [text] = task.texts.train.texts[:1]
    wanted = Tokenizer.from_file(str(files / "tokenizer.json")).encode(text.decode()).ids[:5]
    assert batch["x"][0].tolist() == wanted
    described = task.describe(batch)
    assert described["ids"][0].tolist() == wanted
    assert task.features(described).shape == (8, 5, 6 + 9)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: path.unlink(), "no such file; give tokenizer.json"),
        (lambda path: path.write_text('{"model": 3'), "is no tokenizer ("),
        (
            lambda path: trained(normalizer=normalizers.Lowercase()).save(str(path)),
            "its tokens do not give back the text: 'Zeile 0: das Café sc' becomes 'zeile",
        ),
        (
            lambda path: Tokenizer(models.BPE()).save(str(path)),
            "has no tokens; train it first",
        ),
    ],
)
def test_errors_before_work(files, capsys, break_it, message):
    break_it(files / "tokenizer.json")
    assert main([*language(files), f"out={files / 'run'}"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: task.tokenizer={files / 'tokenizer.json'}: ")
    assert message in error
    assert not (files / "run").exists()


def test_without_the_extra(files, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    assert main([*language(files), f"out={files / 'run'}"]) == 2
    wanted = "needs tokenizers; pip install 'switchyard-moe[transformers]'"
    assert wanted in capsys.readouterr().err


def test_long_text_is_read_in_parts(files, monkeypatch):
    """Lines are never cut, so that the tokens stay those of the whole text here."""
    content = TEXT.encode() + b"\xff\n"  # a byte that is no UTF-8
    text = torch.tensor(list(content), dtype=torch.uint8)
    whole = build_task(compose(language(files))).vocabulary.running(text)
    monkeypatch.setattr("tasks.text.vocabulary._CHUNK", 500)
    parts = build_task(compose(language(files))).vocabulary.running(text)
    for one, other in zip(whole, parts, strict=True):
        torch.testing.assert_close(one, other)
    assert int(parts[1].sum()) == len(content)

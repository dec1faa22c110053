"""Training with the engine is training with its slow reference."""

import pytest

from experts import mix, mix_reference

from .cases import rows_of, train

STEPS = 8
SMALL = [f"trainer.max_steps={STEPS}", "trainer.log_every_n_steps=1", "trainer.batch_size=4"]
SMALL += ["task.model.depth=1", "trainer.limit_val_batches=1"]


def losses(out):
    return [float(row["train/loss"]) for row in rows_of(out) if row.get("train/loss")]


@pytest.mark.parametrize(
    "arm", [["router=topk", "expert=mlp"], ["router=noisy_topk", "expert=glu"]]
)
def test_digits_learns_along_the_same_curve(tmp_path, monkeypatch, arm):
    train(tmp_path / "fast", *SMALL, *arm)
    steps = []

    def reference_in_training(x, routing, bank, mask=None):
        steps.append(bank.training)
        engine = mix_reference if bank.training else mix
        return engine(x, routing, bank, mask)

    monkeypatch.setattr("experts.layers.moe.mix", reference_in_training)
    train(tmp_path / "slow", *SMALL, *arm)
    fast, slow = losses(tmp_path / "fast"), losses(tmp_path / "slow")
    assert len(fast) == len(slow) == STEPS
    assert sum(steps) >= STEPS  # each training step of the second run took the reference
    assert fast == pytest.approx(slow, rel=0, abs=1e-4)
    assert fast[-1] < fast[0]

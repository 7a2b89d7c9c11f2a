"""What makes one model better: the means themselves, and the whole on tiny rows."""

import contextlib
import csv
import subprocess
import sys

import numpy as np
import pytest
import torch
from support.cuts import trainer_of
from support.rows import sentence
from transformers import TrainerCallback

from benchmarks.averaging import Average
from benchmarks.means import HEADER, MEANS, attacking, rows_of

CASE = {"kind": "custom", "rows": 24, "batch": 8, "accumulation": 1}


@pytest.mark.parametrize(("options", "taken"), [({}, [1, 2, 3, 4]), ({"start": 0.75}, [3, 4])])
def test_an_average_takes_the_weights_of_its_steps(options, taken, tiny_bert, tmp_path):
    trainer = trainer_of(CASE, tiny_bert, tmp_path)
    after = []

    class Kept(Average):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            after.append(model.classifier.weight.detach().clone())
            super().on_step_end(args, state, control, model=model, **kwargs)

    trainer.add_callback(Kept(**options))
    trainer.train()
    assert len(after) == 4
    expected = torch.stack([after[step - 1] for step in taken]).mean(dim=0)
    torch.testing.assert_close(trainer.model.classifier.weight, expected)


def test_of_a_moving_average_the_newest_has_its_share(tiny_bert, tmp_path):
    trainer = trainer_of(CASE, tiny_bert, tmp_path, max_steps=2)
    after = []

    class Kept(Average):
        def on_step_end(self, args, state, control, model=None, **kwargs):
            after.append(model.classifier.weight.detach().clone())
            super().on_step_end(args, state, control, model=model, **kwargs)

    trainer.add_callback(Kept(share=0.9))
    trainer.train()
    torch.testing.assert_close(trainer.model.classifier.weight, 0.1 * after[0] + 0.9 * after[1])


class Gradients(TrainerCallback):
    """What the optimizer gets at each step, and whether the weights are then those that the step began with."""

    def __init__(self):
        self.found, self.weights = [], []

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        self.weights = [p.detach().clone() for p in model.parameters()]

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        assert all(torch.equal(p, was) for p, was in zip(model.parameters(), self.weights, strict=True))
        self.found.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))


# AWP begins in the second half.
@pytest.mark.parametrize(("kind", "step"), [("fgm", 0), ("awp", 1)])
def test_an_attack_adds_a_gradient_and_leaves_the_weights(kind, step, tiny_bert, tmp_path):
    def gradient(attack):
        trainer, seen = trainer_of(CASE, tiny_bert, tmp_path, max_steps=2, max_grad_norm=0.0), Gradients()
        trainer.add_callback(seen)
        with attack:
            trainer.train()
        return seen.found[step]

    plain, both = gradient(contextlib.nullcontext()), gradient(attacking(kind))
    assert 1.5 < both.norm() / plain.norm() < 3
    # The second one is that of nearby weights.
    assert 0.9 < torch.nn.functional.cosine_similarity(both, plain, dim=0) < 1


def test_a_means_is_compared_with_plain_over_its_seeds():
    labels = np.array([0, 1] * 50)
    right, half = np.where(labels, 0.9, 0.1), np.where(np.arange(100) < 50, 0.9, 0.1)
    rows = rows_of(labels, {"plain": np.stack([half, half]), "ema": right[None]}, {"plain": 2.0})
    assert [len(row) for row in rows] == [len(HEADER)] * 2
    assert rows[0][2:] == ["0.5000", "", "0.5000", "", "1.2040", "", "2.0"]
    assert rows[1][0] == "ema"
    assert rows[1][2] == "1.0000"
    assert rows[1][3].startswith("+50.00 (+")
    assert rows[1][6] == "0.1054"
    assert rows[1][7].startswith("-1.0986 (-1.")
    assert rows[1][-1] == ""


@pytest.mark.slow
def test_all_means_end_in_a_table(tmp_path):
    folder = tmp_path / "tweets"
    folder.mkdir()
    for name, count in (("train", 60), ("test", 20)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["id", "keyword", "text", *(["target"] if name == "train" else [])])
            for i in range(count):
                label = [i % 2] if name == "train" else []
                out.writerow([f"{name}{i}", "fire", f"{sentence(i)} {i}", *label])
    command = [sys.executable, "-m", "benchmarks.means", "--dataset", folder, "--folds", "2"]
    command += ["--seeds", "1", "--epochs", "1", "--output_dir", tmp_path / "means", "--jobs", "2"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = done.stdout[done.stdout.index("| means |") :].splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in table[2:]][:1] == ["plain"]
    assert {line.split(" | ")[0].removeprefix("| ") for line in table[2:]} == set(MEANS)

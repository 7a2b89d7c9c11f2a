"""Run folders to be reported, filled without a model."""

import json

import numpy as np
import yaml

from bert_recipes.evaluation import calibration
from bert_recipes.evaluation.metrics import scores_from_probabilities
from bert_recipes.evaluation.prediction_files import Predictions
from bert_recipes.task import SINGLE_LABEL


def run_folder(folder, rows, history=True):
    """Fill a folder as a run does, up to its report; return its metrics."""
    rows.write(folder)
    scores = scores_from_probabilities(rows.probabilities, rows.labels, rows.problem_type)
    if rows.problem_type == SINGLE_LABEL:
        scores |= calibration.choose(rows.labels, rows.probabilities)
    labels = {"names": rows.label_names, "problem_type": rows.problem_type}
    environment = {"versions": {"torch": "2.13.0"}, "device": "CPU", "seed": 1, "labels": labels}
    train = {"train_runtime": 231.2, "train_tokens_per_second": 3300.0, "peak_memory_mib": 1123.0}
    metrics = {"train": train, "validation": scores, "environment": environment}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    (folder / "run.yaml").write_text(
        yaml.safe_dump({"recipe": "stock", "model": "m", "dataset": ["d"], "output_dir": "runs/x", "labels": None})
    )
    if history:
        log = [{"step": step, "loss": 1 / step} for step in range(1, 60)]
        log += [{"step": step, "eval_loss": 0.5, "eval_f1": step / 60} for step in (20, 40, 60)]
        (folder / "trainer_state.json").write_text(json.dumps({"log_history": log}))
    return metrics


def binary(n, names=("other", "fire"), text="words of a tweet"):
    draw = np.random.default_rng(0)
    labels = draw.integers(0, 2, n)
    p = 1 / (1 + np.exp(-(draw.normal(size=n) * 2 + 2 * (2 * labels - 1))))
    probabilities = np.stack([1 - p, p], axis=1)
    columns = {
        "text": [f"{text} {i} " + "word " * (i % 30) for i in range(n)],
        "keyword": [f"k{i % 12}" for i in range(n)],
    }
    losses = -np.log(probabilities[np.arange(n), labels])
    return Predictions([str(i) for i in range(n)], labels, probabilities, losses, list(names), SINGLE_LABEL, columns)

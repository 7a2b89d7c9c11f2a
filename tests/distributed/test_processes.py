"""Several processes take the steps of one, and score and predict as one does."""

import json
import random
import sys

import numpy as np
import pytest
from support.cases import KINDS, STRATEGIES, WEIGHTED, assert_same_steps, prediction_cases, uncut
from support.cuts import predict, train, train_in_float32
from support.paths import CUTS
from support.started import run_on_processes

from bert_recipes.data import embedded


def training_cases(processes):
    draw = random.Random(processes)
    cases = [
        {
            **kind,
            "strategy": draw.choice(STRATEGIES),
            "batch": draw.randint(1, 4),
            "accumulation": draw.randint(1, 3),
            "rows": draw.randint(7, 50),
        }
        for kind in KINDS
    ]
    # One row in the last step: all processes but one have none.
    cases.append({**WEIGHTED, "batch": 2, "accumulation": 2, "rows": 4 * processes + 1})
    cases.append({"kind": "stock", "batch": 2, "accumulation": 1, "rows": 2 * processes + 1})
    # A loss logged over several steps, and gradients that are not clipped.
    options = {"logging_steps": 2, "max_grad_norm": 0.0}
    cases.append({"kind": "stock", "batch": 3, "accumulation": 2, "rows": 31, "options": options})
    return cases


def embedded_cases():
    folder = str(embedded.model_path("embedded:minilm"))
    shared = {"do": "train_in_float32", "model": folder, "batch": 4, "accumulation": 2, "rows": 20}
    return [shared | kind | {"options": {"max_steps": 2}} for kind in (KINDS[0], WEIGHTED)]


@pytest.fixture(scope="module", params=[2, *(pytest.param(number, marks=pytest.mark.slow) for number in (3, 4))])
def launched(request, tiny_bert, tmp_path_factory):
    """What so many processes made of the cases: `(processes, {kind of case: [(case, result), ...]})`."""
    processes, folder = request.param, tmp_path_factory.mktemp("launched")
    groups = {
        "train": training_cases(processes),
        "predict": prediction_cases(),
        "embedded": embedded_cases() if processes == 2 else [],
    }
    cases = [case for group in groups.values() for case in group]
    (folder / "cases.json").write_text(json.dumps(cases))
    run_on_processes(processes, [sys.executable, CUTS, folder / "cases.json", folder / "out.json", tiny_bert])
    results = iter(json.loads((folder / "out.json").read_text()))
    return processes, {name: [(case, next(results)) for case in group] for name, group in groups.items()}


def test_a_step_does_not_depend_on_the_processes(launched, tiny_bert, tmp_path):
    processes, results = launched
    for case, cut in results["train"]:
        assert_same_steps(cut, train(uncut(case, processes), tiny_bert, tmp_path))


def test_predictions_and_scores_do_not_depend_on_the_processes(launched, tiny_bert, tmp_path):
    whole = {}
    for case, cut in launched[1]["predict"]:
        rows = case["windows"], case["rows"]
        if rows not in whole:
            plain = {"strategy": "sequential", "options": {"per_device_eval_batch_size": 1}}
            whole[rows] = predict(case | plain, tiny_bert, tmp_path)
        assert len(cut["logits"]) == case["rows"]
        assert cut["labels"] == whole[rows]["labels"]
        np.testing.assert_allclose(cut["logits"], whole[rows]["logits"], atol=1e-5)
        assert cut["scores"] == pytest.approx(whole[rows]["scores"], rel=1e-5)


def test_in_float32_the_embedded_model_agrees_on_two_processes(launched, tmp_path):
    processes, results = launched
    if processes != 2:
        pytest.skip("22.7 M parameters are trained on two processes only")
    for case, cut in results["embedded"]:
        whole = train_in_float32(uncut(case, processes), case["model"], tmp_path)
        np.testing.assert_allclose(cut["logged"], whole["logged"], rtol=1e-5)

"""Every choice is run once with every seed, and the table compares each with stock on the same seeds."""

import json
import runpy

import pytest
from support.paths import ROOT

from bert_recipes.modeling.losses import LOSSES
from bert_recipes.modeling.pooling import POOLINGS
from bert_recipes.reporting.documents import between_marks
from bert_recipes.task import SINGLE_LABEL


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(ROOT / "benchmarks/choices.py"))


def rows(text):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]


def test_every_pooling_and_every_loss_of_the_task_is_a_choice(script):
    chosen = {word for flags in script["CHOICES"].values() for word in flags}
    # The pooler under cross entropy is the stock model.
    assert set(POOLINGS) - chosen == {"pooler"}
    assert set(LOSSES[SINGLE_LABEL]) - chosen == {"cross_entropy"}


def test_the_table_by_hand(script):
    def of_seeds(*scores):
        return [{"validation": {"f1": f1, "accuracy": f1 + 0.05}} for f1 in scores]

    runs = {"stock": of_seeds(0.70, 0.72, 0.74), "mean": of_seeds(0.71, 0.74, 0.77)}
    _, _, stock, mean = rows(script["table"](runs))
    assert stock == ["stock", "", "0.7200", "0.7000 to 0.7400", "", "0.7700"]
    assert mean == ["mean", "`--pooling mean`", "0.7400", "0.7100 to 0.7700", "+2.0 ± 1.0", "0.7900"]


def test_the_documents_table_has_every_choice(script):
    header, _, *lines = rows(between_marks(ROOT / "docs/customising.md", "choices"))
    assert header == list(script["HEADER"])
    assert [line[0] for line in lines] == list(script["CHOICES"])
    for line in lines:
        worst, best = (float(number) for number in line[3].split(" to "))
        assert 0.5 < worst <= float(line[2]) <= best < 1


def test_runs_are_made_once_and_keep_their_scores_alone(competition, tiny_bert, tmp_path, monkeypatch):
    runpy_globals = runpy.run_path(str(ROOT / "benchmarks/choices.py"))
    metrics_of = runpy_globals["metrics_of"]
    flags = ["--dataset", str(competition), "--model", str(tiny_bert), "--max_steps", "1", "--bf16", "false"]
    monkeypatch.chdir(ROOT)
    first = metrics_of("max", 3, tmp_path, [*flags, "--max_length", "32"])
    run = tmp_path / "max-seed-3"
    assert not (run / "model").exists()
    assert first["environment"]["seed"] == 3
    assert "pooling: max" in (run / "run.yaml").read_text()
    changed = first | {"validation": {"f1": 0.125}}
    (run / "metrics.json").write_text(json.dumps(changed))
    assert metrics_of("max", 3, tmp_path, flags) == changed

"""The recipes as functions: `train`, `load`, and what a finished run can do."""

import html
import json
import re
import subprocess
import sys

import pandas as pd
import pytest
import torch
import yaml
from datasets import Dataset, DatasetDict
from support.rows import sentence
from support.started import run as start
from torch import nn
from torch.nn import functional as F

import bert_recipes as br

SHARE = 0.25


def brier(logits, labels):
    return (logits.softmax(-1) - F.one_hot(labels, logits.shape[-1])).pow(2).sum(-1)


def entropy_and_brier(logits, labels, share=SHARE):
    return F.cross_entropy(logits, labels, reduction="none") + share * brier(logits, labels)


class FirstToken(nn.Module):
    """A pooling that a program defines."""

    def __init__(self, config):
        super().__init__()
        self.norm = nn.LayerNorm(config.hidden_size)

    def forward(self, output, attention_mask):
        return self.norm(output.last_hidden_state[:, 0])


SETTINGS = object()


def with_an_object(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none") * (SETTINGS is not None)


def frame(rows=60, start=0):
    texts = [f"{sentence(i)} {i}" for i in range(start, start + rows)]
    return pd.DataFrame({"name": range(start, start + rows), "body": texts, "kind": [i % 3 == 0 for i in range(rows)]})


@pytest.fixture
def train(tiny_bert, tmp_path):
    def call(recipe="custom", **flags):
        given = {"dataset": frame(), "text_column": "body", "label_column": "kind", "model": str(tiny_bert)}
        given |= {"output_dir": str(tmp_path / "run"), "max_length": 32, "max_steps": 2, "bf16": False}
        given |= {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}
        return br.train(recipe, **(given | flags))

    return call


@pytest.mark.parametrize("recipe", ["stock", "custom"])
def test_a_run_knows_its_scores_and_predicts(recipe, train, tmp_path):
    run = train(recipe)
    assert run.metrics == json.loads((tmp_path / "run/metrics.json").read_text())
    assert 0 <= run.metrics["validation"]["f1"] <= 1
    assert f"{run.metrics['validation']['f1']:.4f}" in repr(run)
    found = run.predict(["fire in the party", "cake"])
    assert list(found.columns) == ["prediction", "False", "True"]
    assert (found[["False", "True"]].sum(axis=1) - 1).abs().max() < 1e-6
    assert (found["prediction"] == found[["False", "True"]].idxmax(axis=1)).all()


def test_a_loaded_run_and_its_model_predict_what_the_run_wrote(train, tmp_path):
    train()
    written = pd.read_csv(tmp_path / "run/predictions.csv")
    validation = pd.read_csv(tmp_path / "run/validation_predictions.csv")
    rows = pd.DataFrame({"body": validation["text"]}, index=[f"row {i}" for i in range(len(validation))])
    for name in ("run", "run/model"):
        found = br.load(tmp_path / name).predict(rows)
        assert list(found.index) == list(rows.index)
        assert (
            found["True"].to_numpy() - written["True"].to_numpy()
        ).__abs__().max() < 0.02  # bfloat16 where it is native


@pytest.mark.parametrize("kind", ["frame", "Dataset", "dict", "DatasetDict", "file"])
def test_data_comes_in_every_form(kind, train, tmp_path):
    frame().to_csv(tmp_path / "rows.csv", index=False)
    data = {
        "frame": frame(),
        "Dataset": Dataset.from_pandas(frame()),
        "dict": {"train": frame(), "test": frame(10, start=60)},
        "DatasetDict": DatasetDict(train=Dataset.from_pandas(frame()), dev=Dataset.from_pandas(frame(12, start=60))),
        "file": tmp_path / "rows.csv",
    }[kind]
    run = train(dataset=data, labels=["True", "False"], id_column="name")
    rows = {"frame": 6, "Dataset": 6, "dict": 10, "DatasetDict": 12, "file": 6}[kind]
    assert len(pd.read_csv(tmp_path / "run/predictions.csv")) == rows
    assert run.configuration["labels"] == ["True", "False"]


def test_a_loss_and_a_pooling_from_python_are_written_down_as_they_ran(train, tmp_path):
    run = train(pooling=FirstToken, loss=entropy_and_brier, loss_options={"share": 0.5})
    code = tmp_path / "run/code"
    assert run.configuration["loss"] == f"{code}/own_loss.py:entropy_and_brier"
    assert run.configuration["pooling"] == f"{code}/own_pooling.py:FirstToken"
    source = (code / "own_loss.py").read_text()
    assert "def brier(logits, labels):" in source
    assert "SHARE = 0.25" in source
    card = (tmp_path / "run/README.md").read_text()
    assert "loss `own_loss.py:entropy_and_brier`" in card
    assert "pooling `own_pooling.py:FirstToken`" in card
    scope: dict = {}
    exec(source, scope)
    logits, labels = torch.randn(4, 2), torch.tensor([0, 1, 1, 0])
    assert torch.equal(scope["entropy_and_brier"](logits, labels), entropy_and_brier(logits, labels))
    assert len(run.predict(["fire"])) == 1
    with pytest.raises(br.UserError, match="trust_remote_code"):
        br.load(tmp_path / "run").predict(["fire"])
    again = tmp_path / "again"
    script = [sys.executable, "-m", "bert_recipes.recipes.custom", "--config", str(tmp_path / "run/run.yaml")]
    frame().to_csv(tmp_path / "rows.csv", index=False)
    done = start([*script, "--dataset", tmp_path / "rows.csv", "--output_dir", again])
    assert done.returncode == 0, done.stderr
    assert (again / "predictions.csv").read_bytes() == (tmp_path / "run/predictions.csv").read_bytes()


def test_a_shipped_loss_and_pooling_keep_their_names(train):
    from bert_recipes.modeling.losses import focal
    from bert_recipes.modeling.pooling import Mean

    run = train(pooling=Mean, loss=focal)
    assert (run.configuration["pooling"], run.configuration["loss"]) == ("mean", "focal")


def test_an_interrupted_run_with_another_loss_is_refused(train, tmp_path):
    train(loss=brier)
    (tmp_path / "run/metrics.json").unlink()
    with pytest.raises(br.UserError, match="another configuration"):
        train(loss=entropy_and_brier)
    (tmp_path / "run/code/own_loss.py").write_text("def brier(logits, labels): ...\n")
    with pytest.raises(br.UserError, match=r"holds a run with another own_loss\.py"):
        train(loss=brier)


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"recipe": "stok"}, "there is no recipe 'stok'; did you mean stock"),
        ({"learning_rat": 1e-3}, "there is no argument 'learning_rat'; did you mean learning_rate"),
        (
            {"recipe": "stock", "pooling": "mean"},
            "no argument 'pooling' in this recipe: it is one of the custom recipe's",
        ),
        ({"dataset": [1, 2]}, "rows come as a pandas DataFrame"),
        ({"dataset": {"train": frame(), "holdout": frame()}}, "holdout"),
        ({"text_column": "boddy"}, "--text_column boddy: .* has no such column"),
        ({"loss": lambda logits, labels: logits.sum(-1)}, "a class or a function with a name is needed"),
        ({"loss": with_an_object}, "uses 'SETTINGS', a object that a file cannot hold"),
        ({"layer_decay": 2.0}, "--layer_decay 2.0"),
        ({"config": "nowhere.yaml"}, "nowhere.yaml cannot be read"),
        ({"do_train": True}, "--do_train has no meaning here"),
    ],
)
def test_a_mistake_is_a_user_error_and_writes_nothing(flags, sentence, train, tmp_path):
    with pytest.raises(br.UserError, match=sentence) as caught:
        train(**flags)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_loaded_or_predicted_is_said(train, tmp_path):
    with pytest.raises(br.UserError, match="neither a model folder nor a Hub id"):
        br.load(tmp_path / "nothing")
    run = train()
    for rows, said in (([("a", "b")], "was trained on a text each"), (7, "not a int"), ([None], "row 0")):
        with pytest.raises(br.UserError, match=said):
            run.predict(rows)
    assert list(run.predict([]).columns) == ["prediction", "False", "True"]
    (tmp_path / "run/metrics.json").unlink()
    with pytest.raises(br.UserError, match="not finished: finish it by the command or call that began it"):
        br.load(tmp_path / "run")


def test_the_baseline_is_a_recipe_too(train):
    run = train("baseline")
    assert run.metrics["validation"]["accuracy"] > 0
    with pytest.raises(br.UserError, match="saves no model"):
        run.predict(["fire"])


def test_a_notebook_sees_scores_curves_and_the_report(train, tmp_path):
    page = train()._repr_html_()
    assert f'href="{tmp_path}/run/report.html"' in page
    assert page.count("<img") == 2
    assert re.search(r"<td>validation</td>\s*<td>0\.\d{4}</td>", page)


def test_finished_runs_are_compared_as_the_script_does(train, tmp_path):
    first = train("stock", output_dir=str(tmp_path / "a"))
    train(output_dir=str(tmp_path / "b"))
    comparison = br.compare(first, tmp_path / "b", output_dir=tmp_path / "compared")
    assert [(v.a, v.b) for v in comparison.verdicts] == [("a", "b")]
    difference = comparison.verdicts[0].differences["F1"]
    assert difference.low <= difference.value <= difference.high
    said = json.loads((tmp_path / "compared/comparison.json").read_text())
    assert said[0]["verdict"] == comparison.verdicts[0].sentences
    assert repr(comparison) == "\n".join(said[0]["verdict"].values())
    page = comparison._repr_html_()
    assert f'href="{tmp_path}/compared/report.html"' in page
    assert page.count("<img") == 1
    assert page.count("<li>") == len(said[0]["verdict"])
    command = f"br.compare({str(tmp_path / 'a')!r}, {str(tmp_path / 'b')!r})"
    assert command in html.unescape((tmp_path / "compared/report.html").read_text())
    for runs, said in (((first,), "one thing alone"), ((first, tmp_path), "is no run: it has no run.yaml")):
        with pytest.raises(br.UserError, match=said):
            br.compare(*runs, output_dir=tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()


def test_the_callers_arguments_stay_as_they_are(competition, tiny_bert, tmp_path):
    from bert_recipes.recipes import stock

    from bert_recipes.config.parsing import Arguments

    training = br.RecipeTrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=1, bf16=False, num_train_epochs=1
    )
    before = dict(vars(training))
    data = br.DataArguments(dataset=str(competition), max_length=32)
    run = stock.train(Arguments(data, br.StockArguments(model=str(tiny_bert)), training))
    assert run.configuration["recipe"] == "stock"
    assert {k: v for k, v in vars(training).items() if k in before} == before


def test_importing_is_quick_and_heeds_no_arguments():
    code = (
        "import resource, sys; import bert_recipes as br; "
        "used = resource.getrusage(resource.RUSAGE_SELF); assert 'torch' not in sys.modules; "
        "assert {'train', 'load', 'UserError'} <= set(dir(br)); print(used.ru_utime + used.ru_stime)"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.3
    code = "from bert_recipes import *; print(build_classifier.__name__)"
    assert start([sys.executable, "-c", code, "--help"], check=True).stdout == "build_classifier\n"


def test_the_configuration_of_rows_from_python_says_so_when_repeated(train, tmp_path):
    train("stock")
    assert yaml.safe_load((tmp_path / "run/run.yaml").read_text())["dataset"] == ["python:DataFrame"]
    with pytest.raises(br.UserError, match="the rows of this run came from Python"):
        br.train("stock", config=tmp_path / "run/run.yaml", output_dir=str(tmp_path / "again"))


def test_a_pooling_from_a_cell_of_a_notebook_is_found(train, tmp_path, monkeypatch):
    import linecache
    import types

    cell = "from torch import nn\n\n\nclass Cell(nn.Module):\n"
    cell += "    def __init__(self, config):\n        super().__init__()\n\n"
    cell += "    def forward(self, output, attention_mask):\n        return output.last_hidden_state[:, 0]\n"
    linecache.cache["<ipython-input-1>"] = (len(cell), None, cell.splitlines(keepends=True), "<ipython-input-1>")
    notebook = types.ModuleType("notebook")  # without a file, as a kernel's __main__
    monkeypatch.setitem(sys.modules, "notebook", notebook)
    exec(compile(cell, "<ipython-input-1>", "exec"), vars(notebook))
    run = train(pooling=notebook.Cell)
    assert "class Cell(nn.Module):" in (tmp_path / "run/code/own_pooling.py").read_text()
    assert len(run.predict(["fire"])) == 1


def test_own_code_goes_where_a_configuration_sends_the_run(train, tmp_path):
    (tmp_path / "config.yaml").write_text(f"output_dir: {tmp_path / 'sent'}\n")
    train(config=tmp_path / "config.yaml", output_dir=str(tmp_path / "sent"), loss=brier)
    br.train(
        *("custom",),
        **{"config": tmp_path / "sent/run.yaml", "dataset": frame(), "loss": entropy_and_brier, "overwrite": True},
    )
    assert "def entropy_and_brier" in (tmp_path / "sent/code/own_loss.py").read_text()


def test_a_selection_of_rows_is_checked_without_the_rest(train, tmp_path):
    rows = Dataset.from_pandas(frame()).map(lambda row, i: {"body": row["body"] if i < 40 else ""}, with_indices=True)
    train(dataset=rows.select(range(40)))
    with pytest.raises(br.UserError, match="is empty in 20 rows"):
        train(dataset=rows, output_dir=str(tmp_path / "all"))


def test_a_training_may_run_in_a_thread(train):
    import threading

    found = []
    thread = threading.Thread(target=lambda: found.append(train("stock")))
    thread.start()
    thread.join()
    assert found[0].metrics["validation"]

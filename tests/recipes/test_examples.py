"""Each step of docs/customising.md runs from top to bottom, and what it shows works in the custom recipe too."""

import json
import re
import sys

import numpy as np
import pytest
import torch
import yaml
from support.paths import RECIPES
from support.rows import sentence, write_csv
from support.scripts import predictions
from support.started import run

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.modeling.building import build_classifier
from bert_recipes.modeling.own_code import load_object
from bert_recipes.task import Task

EXAMPLES = RECIPES / "examples"


@pytest.fixture
def tweets(tmp_path):
    """Rows whose label their keyword tells and their text does not."""
    rows = [[i, sentence(i // 2) + f" {i}", ["storm", "party"][i % 2], i % 2] for i in range(120)]
    write_csv(tmp_path / "tweets.csv", [["id", "text", "keyword", "target"], *rows])
    return tmp_path / "tweets.csv"


def run_example(name, data, model, tmp_path, *flags):
    command = [sys.executable, EXAMPLES / f"{name}.py", "--dataset", data, "--model", model, "--max_length", "32"]
    command += ["--output_dir", tmp_path / name, "--bf16", "false", "--learning_rate", "1e-2", *flags]
    return run(command)


CHOICES = {
    "a_linear_layer": ("classifier", "LinearOnCls"),
    "b_pooling": ("pooling", "FirstAndMean"),
    "c_two_losses": ("loss", "two_losses"),
    "d_extra_column": ("classifier", "WithKeyword"),
}


@pytest.mark.parametrize("name", CHOICES)
def test_an_example_ends_in_a_whole_run(name, tweets, tiny_bert, tmp_path):
    done = run_example(name, tweets, tiny_bert, tmp_path, "--num_train_epochs", "4")
    assert done.returncode == 0, done.stderr
    folder, (flag, defined) = tmp_path / name, CHOICES[name]
    configuration = yaml.safe_load((folder / "run.yaml").read_text())
    assert configuration[flag] == f"{EXAMPLES / name}.py:{defined}"
    assert (folder / f"code/own_{flag}.py").read_text() == (EXAMPLES / f"{name}.py").read_text()
    assert (folder / "report.html").is_file()
    assert len(predictions(folder)) == 12
    # Only the keyword tells the label.
    accuracy = json.loads((folder / "metrics.json").read_text())["validation"]["accuracy"]
    assert (accuracy == 1.0) if name == "d_extra_column" else (0 <= accuracy < 1)


def test_every_example_is_tried_here():
    assert sorted(path.stem for path in EXAMPLES.glob("*.py")) == [*CHOICES]


def test_the_example_with_a_keyword_says_what_it_needs(tiny_bert, tmp_path):
    write_csv(tmp_path / "rows.csv", [["text", "label"], *([f"{sentence(i)} {i}", i % 2] for i in range(40))])
    done = run_example("d_extra_column", tmp_path / "rows.csv", tiny_bert, tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(
        r"error: --classifier .*:WithKeyword: its forward takes 'keyword', which is no column of the data: there is "
        r"none beside text, label and id\.",
        done.stderr.strip(),
    )


def test_a_model_with_the_examples_pooling_loads_without_this_project(tiny_bert, tokenizer, tmp_path):
    choices = CustomArguments(pooling=f"{EXAMPLES}/b_pooling.py:FirstAndMean")
    model = build_classifier(str(tiny_bert), choices, Task("binary", ["no", "yes"], ["label"])).eval()
    model.save_pretrained(tmp_path)
    code = (
        "import sys; sys.modules['bert_recipes'] = None; import torch\n"
        "from transformers import AutoModelForSequenceClassification as Auto\n"
        "model = Auto.from_pretrained(sys.argv[1], trust_remote_code=True)\n"
        "print(model(input_ids=torch.tensor([[2, 5, 3]])).logits.tolist()[0])"
    )
    done = run([sys.executable, "-c", code, tmp_path])
    assert done.returncode == 0, done.stderr
    expected = model(input_ids=torch.tensor([[2, 5, 3]])).logits[0].tolist()
    assert json.loads(done.stdout) == pytest.approx(expected, abs=1e-6)


def test_two_losses_by_hand():
    two_losses = load_object(f"{EXAMPLES}/c_two_losses.py:two_losses", "--loss")
    p = np.array([0.2, 0.3, 0.5])
    losses = two_losses(torch.log(torch.tensor(p))[None], torch.tensor([2]), share=0.2)
    expected = -np.log(0.5) + 0.2 * (0.2**2 + 0.3**2 + 0.5**2)
    np.testing.assert_allclose(losses.numpy(), [expected])

"""A pooling from the user's own file: checked, and saved with the model."""

import sys

import pytest
import torch
from support.classifiers import LABELS, TEXTS, build, inputs_of
from support.started import run
from transformers import AutoModelForSequenceClassification

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.errors import UserError
from bert_recipes.modeling.building import build_classifier
from bert_recipes.modeling.own_code import load_object
from bert_recipes.task import Task

OWN = """
import torch

class LastToken(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full((config.hidden_size,), 2.0))

    def forward(self, output, attention_mask):
        last = attention_mask.sum(1) - 1
        return self.scale * output.last_hidden_state[torch.arange(len(last)), last]

def a_function(config):
    return config

class Averages(LastToken):
    def forward(self, output, attention_mask):
        return output.last_hidden_state.mean()

class Fails(LastToken):
    def forward(self, output, attention_mask):
        return output.no_such_thing
"""


@pytest.fixture
def own_file(tmp_path):
    (tmp_path / "my_head.py").write_text(OWN)
    return tmp_path / "my_head.py"


def test_an_own_pooling_travels_with_the_model_and_runs_only_when_told(own_file, tiny_bert, tokenizer, tmp_path):
    model = build(tiny_bert, pooling=f"{own_file}:LastToken").eval()
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert (folder / "my_head.py").read_text() == OWN
    with pytest.raises(ValueError, match=r"LastToken in my_head\.py of .* trust_remote_code=True"):
        AutoModelForSequenceClassification.from_pretrained(folder)
    loaded = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    inputs = inputs_of(tokenizer)
    torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits)
    # Saved once more, it still carries what it needs.
    loaded.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/my_head.py").read_text() == OWN


@pytest.mark.parametrize("pooling", ["mean", "own"])
def test_a_saved_model_loads_where_this_project_is_not_installed(pooling, own_file, tiny_bert, tokenizer, tmp_path):
    pooling = f"{own_file}:LastToken" if pooling == "own" else pooling
    model = build(tiny_bert, pooling=pooling, head_layers=1).eval()
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    code = (
        "import sys; sys.modules['bert_recipes'] = None\n"
        "from transformers import pipeline\n"
        "classify = pipeline('text-classification', model=sys.argv[1], trust_remote_code=True, top_k=None)\n"
        "print({answer['label']: answer['score'] for answer in classify([sys.argv[2]])[0]})"
    )
    done = run([sys.executable, "-c", code, folder, TEXTS[0]], folder=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = model(**inputs_of(tokenizer, TEXTS[:1])).logits.softmax(1)[0].tolist()
    scores = eval(done.stdout)
    assert [scores[name] for name in LABELS.label_names] == pytest.approx(expected, abs=1e-5)


def test_an_own_file_may_be_named_as_a_library_and_not_as_what_a_model_carries(tiny_bert, tmp_path):
    for name in ("json.py", "pooling.py"):
        (tmp_path / name).write_text(OWN)
    assert build(tiny_bert, pooling=f"{tmp_path}/json.py:LastToken").config.pooling == "json.py:LastToken"
    import json

    assert json.loads("1") == 1
    with pytest.raises(UserError, match=r"a saved model carries a file pooling\.py of its own: rename yours"):
        build(tiny_bert, pooling=f"{tmp_path}/pooling.py:LastToken")


def test_files_in_two_folders_may_have_helpers_of_one_name(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "helper.py").write_text(f"NAME = '{name}'\n")
        (tmp_path / name / "mine.py").write_text("from helper import NAME\n\n\ndef named():\n    return NAME\n")
        assert load_object(f"{tmp_path}/{name}/mine.py:named", "--loss")() == name


def test_an_own_file_that_would_not_travel_whole_is_refused(tiny_bert, tmp_path):
    (tmp_path / "helper.py").write_text("SIZE = 3\n")
    (tmp_path / "mine.py").write_text("from helper import SIZE\n" + OWN)
    (tmp_path / "my.head.py").write_text(OWN)
    with pytest.raises(UserError, match=r"mine\.py imports helper\.py beside it, which a saved model would not carry"):
        build(tiny_bert, pooling=f"{tmp_path}/mine.py:LastToken")
    with pytest.raises(UserError, match=r"my\.head\.py cannot be imported by that name: rename it"):
        build(tiny_bert, pooling=f"{tmp_path}/my.head.py:LastToken")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("a_function", "must be a subclass of torch.nn.Module .* and gives a BertConfig"),
        ("Averages", r"one vector per text, shape \[batch, size\], and returned shape \[\] for 2 texts"),
        ("Fails", "fails on two texts of three tokens with AttributeError"),
        ("LastTokn", "does not define LastTokn; did you mean LastToken; it defines LastToken"),
    ],
)
def test_an_own_pooling_that_does_not_work_is_one_sentence(name, sentence, own_file, tiny_bert):
    with pytest.raises(UserError, match=sentence) as caught:
        build(tiny_bert, pooling=f"{own_file}:{name}")
    assert "\n" not in str(caught.value)


def test_own_code_is_carried_as_it_was_when_the_run_began(tiny_bert, tmp_path):
    own = tmp_path / "mine.py"
    code = "import torch\nclass P(torch.nn.Module):\n    def __init__(self, config):\n        super().__init__()\n"
    code += "    def forward(self, output, attention_mask):\n        return output.last_hidden_state[:, 0]\n"
    own.write_text(code)
    labels = Task("binary", ["no", "yes"], ["label"])
    model = build_classifier(str(tiny_bert), CustomArguments(pooling=f"{own}:P"), labels)
    own.write_text("changed")
    model.save_pretrained(tmp_path / "model")
    assert (tmp_path / "model/mine.py").read_text() == code

"""Another training from a classifier: what is not given follows the model, and what fits of its head is kept."""

import json
import shutil

import pytest
import torch
import yaml
from support.classifiers import LABELS, TEXTS, build, inputs_of
from support.parsing import parse
from support.scripts import in_a_line
from transformers import AutoModelForSequenceClassification

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.errors import UserError
from bert_recipes.modeling.building import build_classifier
from bert_recipes.modeling.going_on import follow_model, read_otherwise
from bert_recipes.modeling.loading import load_pretrained
from bert_recipes.task import Task

OTHERS = Task("multi-class", ["ham", "spam", "eggs"], ["label"])
FEWER = Task("binary", ["no", "yes"], ["label"])
MINE = (
    "from torch import nn\n\n\nclass Mine(nn.Module):\n    def __init__(self, config):\n        super().__init__()\n"
)
MINE += "        self.norm = nn.LayerNorm(config.hidden_size)\n\n"
MINE += "    def forward(self, output, attention_mask):\n        return self.norm(output.last_hidden_state[:, 0])\n"


@pytest.fixture
def trained(tiny_bert, tokenizer, tmp_path):
    """Return a function that saves a model of the custom recipe whose every weight has moved, and returns it."""

    def save(**choices):
        torch.manual_seed(7)
        model = build(tiny_bert, **choices)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += 0.1 * torch.randn_like(parameter)
        model.save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        return model.eval()

    return save


def begin(folder, task=LABELS, **choices):
    torch.manual_seed(8)
    return build_classifier(str(folder), CustomArguments(**choices), task).eval()


def kept(a, b):
    """Return the parts of two classifiers whose weights, if they have any, are the same."""
    parts = ("encoder", "pooling", "head", "classifier")
    states = [(getattr(a, part).state_dict(), getattr(b, part).state_dict()) for part in parts]
    return {
        part
        for part, (x, y) in zip(parts, states, strict=True)
        if x and x.keys() == y.keys() and all(torch.equal(x[name], y[name]) for name in x)
    }


ALL = {"pooling": "attention", "head_layers": 1, "head_size": 24}


def test_with_the_same_labels_and_choices_nothing_is_new(trained, tokenizer, tmp_path, capsys):
    there = trained(**ALL)
    model = begin(tmp_path / "model", **ALL)
    assert kept(there, model) == {"encoder", "pooling", "head", "classifier"}
    with torch.no_grad():
        torch.testing.assert_close(
            model(**inputs_of(tokenizer, TEXTS)).logits, there(**inputs_of(tokenizer, TEXTS)).logits, rtol=0, atol=0
        )
    said = (
        "keeps its encoder and its pooling (attention), and has a head for these very labels (no, yes, maybe), which"
    )
    assert f"--model {tmp_path}/model {said} is kept." in in_a_line(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("task", "changed", "left", "sentence"),
    [
        (OTHERS, {}, {"encoder", "pooling", "head"}, "for other labels (no, yes, maybe): a new output layer is begun"),
        (FEWER, {}, {"encoder", "pooling", "head"}, "of 3 outputs, and 2 are needed: a new output layer is begun"),
        (
            LABELS,
            {"head_size": 16},
            {"encoder", "pooling"},
            "its head has 1 hidden layer of 24 with gelu, and one with 1 hidden layer of 16 with gelu is begun anew.",
        ),
        (LABELS, {"head_layers": 0, "head_size": None}, {"encoder", "pooling"}, "and one with no hidden layers is"),
        (LABELS, {"pooling": "cls"}, {"encoder"}, "keeps its encoder alone: its pooling is attention, and for cls a"),
        (LABELS, {"dropout_samples": 3, "head_dropout": 0.4}, {"encoder", "pooling", "head", "classifier"}, "is kept"),
    ],
)
def test_what_does_not_fit_is_new_and_said(task, changed, left, sentence, trained, tmp_path, capsys):
    there = trained(**ALL)
    model = begin(tmp_path / "model", task, **(ALL | changed))
    assert kept(there, model) == left
    assert sentence in in_a_line(capsys.readouterr().out)
    if "classifier" not in left:
        assert model.classifier.bias.eq(0).all()


def test_a_pooler_that_the_model_left_out_is_new(trained, tmp_path):
    there = trained(pooling="mean")
    assert there.encoder.pooler is None
    model = begin(tmp_path / "model", pooling="pooler")
    assert model.encoder.pooler is not None
    for name, weight in there.encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], weight)


@pytest.mark.parametrize(
    ("choices", "asked"),
    [(ALL, ALL), ({}, {}), (None, {})],
    ids=["pooling and head", "the pooler", "the pooler of a stock model"],
)
def test_over_layers_that_begin_anew_nothing_is_kept(choices, asked, trained, tiny_bert, tokenizer, tmp_path, capsys):
    if choices is None:
        options = {"id2label": LABELS.id2label, "label2id": LABELS.label2id}
        load_pretrained(AutoModelForSequenceClassification, str(tiny_bert), **options).save_pretrained(
            tmp_path / "model"
        )
        tokenizer.save_pretrained(tmp_path / "model")
    else:
        trained(**choices)
    capsys.readouterr()
    before = begin(tmp_path / "model", **asked)
    assert "which is kept" in in_a_line(capsys.readouterr().out)
    model = begin(tmp_path / "model", **asked, reinit_layers=1)
    assert not kept(before, model)
    first, last = ([m.encoder.encoder.layer[i].state_dict() for m in (before, model)] for i in (0, -1))
    assert all(torch.equal(first[0][name], first[1][name]) for name in first[0])
    assert not all(torch.equal(last[0][name], last[1][name]) for name in last[0])
    said = (
        f"--model {tmp_path}/model keeps its encoder up to the layers of --reinit_layers 1: over these a new head is"
    )
    assert said in in_a_line(capsys.readouterr().out)


def test_of_a_plain_encoder_there_is_no_head_to_speak_of(tiny_bert, capsys):
    begin(tiny_bert, reinit_layers=1)
    assert capsys.readouterr().out == ""


NEW, OURS = "a new head is begun over its encoder, which is kept", "these very labels (no, yes, maybe), which is kept"


@pytest.mark.parametrize(
    ("choices", "task", "said", "keeps"),
    [
        ({}, LABELS, OURS, True),
        ({}, OTHERS, "has a head for other labels (no, yes, maybe): a new output layer is begun", False),
        ({"head_layers": 1}, LABELS, NEW, False),
        ({"pooling": "mean"}, LABELS, "a new head is begun, and a new pooler, over its encoder, which is kept", False),
    ],
)
def test_the_stock_recipe_takes_the_encoder_and_a_head_on_the_pooler(
    choices, task, said, keeps, trained, tmp_path, capsys
):
    there = trained(**choices)
    options = {"id2label": task.id2label, "label2id": task.label2id, "problem_type": task.problem_type}
    model = load_pretrained(AutoModelForSequenceClassification, str(tmp_path / "model"), **options)
    assert type(model).__name__ == "BertForSequenceClassification"
    assert model.config.id2label == task.id2label
    for name, weight in there.encoder.state_dict().items():
        assert torch.equal(model.bert.state_dict()[name], weight)
    assert torch.equal(model.classifier.weight, there.classifier.weight) == keeps
    assert torch.equal(model.classifier.bias, there.classifier.bias) == keeps
    assert said in in_a_line(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("family", "choices", "task", "said", "keeps"),
    [
        ("bert", {}, LABELS, OURS, True),
        ("albert", {}, LABELS, OURS, True),
        ("bert", {}, OTHERS, "has a head for other labels (no, yes, maybe): a new output layer is begun", False),
        ("bert", {"pooling": "cls"}, LABELS, "BertForSequenceClassification: its encoder is kept, and a new", False),
        ("bert", {"head_layers": 1}, LABELS, "BertForSequenceClassification: its encoder is kept, and a new", False),
        # Their heads are another: with a layer of their own before the last, on the first token.
        ("roberta", {}, LABELS, "RobertaForSequenceClassification: its encoder is kept, and a new head", False),
        ("electra", {"pooling": "cls"}, LABELS, "ElectraForSequenceClassification: its encoder is kept", False),
    ],
)
def test_the_custom_recipe_takes_the_encoder_and_a_head_on_the_pooler(
    family, choices, task, said, keeps, encoders, tokenizer, tmp_path, capsys
):
    torch.manual_seed(7)
    there = AutoModelForSequenceClassification.from_pretrained(encoders[family], id2label=LABELS.id2label).eval()
    there.save_pretrained(tmp_path / "stock")
    tokenizer.save_pretrained(tmp_path / "stock")
    model = begin(tmp_path / "stock", task, **choices)
    for name, weight in there.base_model.state_dict().items():
        assert "pooler" in name or torch.equal(model.encoder.state_dict()[name], weight)
    assert said in in_a_line(capsys.readouterr().out)
    if keeps:  # the very classifier
        inputs = inputs_of(tokenizer, TEXTS)
        with torch.no_grad():
            torch.testing.assert_close(model(**inputs).logits, there(**inputs).logits, rtol=0, atol=0)
    else:
        assert model.classifier.bias.eq(0).all()


# What is not given follows the model


def follow(folder, *flags):
    return follow_model(parse("--model", str(folder), *flags), str(folder))


def test_what_is_not_given_is_the_models(trained, tmp_path, capsys):
    trained(**ALL, head_activation="tanh", head_dropout=0.3, dropout_samples=2)
    chosen = follow(tmp_path / "model").model
    assert (chosen.pooling, chosen.head_layers, chosen.head_size) == ("attention", 1, 24)
    assert (chosen.head_activation, chosen.head_dropout, chosen.dropout_samples) == ("tanh", 0.3, 2)
    assert "pooling attention, head_layers 1, head_size 24, head_activation tanh" in in_a_line(capsys.readouterr().out)


def test_what_is_given_stays_even_at_its_default(trained, tmp_path):
    trained(**ALL)
    (tmp_path / "own.yaml").write_text("head_layers: 0\n")
    chosen = follow(tmp_path / "model", "--pooling", "pooler", "--config", str(tmp_path / "own.yaml"))
    # What hidden layers alone have does not come without them.
    assert (chosen.model.pooling, chosen.model.head_layers, chosen.model.head_size) == ("pooler", 0, None)
    # So does what a configuration holds that repeats the run.
    assert follow_model(chosen, str(tmp_path / "model")) is chosen
    assert chosen.configuration["pooling"] == "pooler"


def test_of_another_kind_of_model_nothing_follows(tiny_bert, capsys):
    args = parse("--model", str(tiny_bert))
    assert follow_model(args, str(tiny_bert)) is args
    assert capsys.readouterr().out == ""


# What it has read


LONGER = {"max_length": 16, "long_texts": "head_tail"}
OF_WINDOWS = {"max_length": 8, "long_texts": "windows", "stride": 2, "max_windows": 32}
AS_IT_WAS = "--max_length 8 --long_texts windows --stride 2 --max_windows 32"


@pytest.mark.parametrize(
    ("read", "flags", "told"),
    [
        (None, "", None),
        (OF_WINDOWS, "", AS_IT_WAS),
        (OF_WINDOWS, "--long_texts windows --max_length 8 --stride 2", None),
        (OF_WINDOWS, "--max_length 8", AS_IT_WAS.removeprefix("--max_length 8 ")),
        # Another way of reading that was asked for has neither a stride nor windows.
        (OF_WINDOWS, "--long_texts tail", "--max_length 8"),
        (OF_WINDOWS, "--long_texts tail --max_length 16", None),
        (LONGER, "", "--max_length 16 --long_texts head_tail"),
        ({"max_length": 16, "long_texts": None}, "", "--max_length 16"),
        ({"max_length": 128, "long_texts": None}, "", None),
    ],
)
@pytest.mark.parametrize("by", ["run", "model"])
def test_a_model_that_read_its_texts_otherwise_says_so(by, read, flags, told, tiny_bert, tmp_path):
    shutil.copytree(tiny_bert, model := tmp_path / "run/model")
    if read and by == "run":
        (tmp_path / "run/run.yaml").write_text(yaml.safe_dump({"recipe": "stock", **read}))
    elif read:
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"reading": read}))
    said = read_otherwise(parse("--model", str(model), *flags.split()), str(model))
    assert said == (
        told and f"--model {model} was trained with {told}: give that here too, or texts are read otherwise."
    )


# A pooling of one's own


@pytest.fixture
def mine(trained, tmp_path):
    """The file of a pooling, and a model that carries it."""
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    return file, trained(pooling=f"{file}:Mine")


def test_a_pooling_that_the_model_carries_needs_trust(mine, tmp_path):
    with pytest.raises(UserError, match=r"has a pooling of its own, Mine in mine\.py, .* give --trust_remote_code"):
        follow(tmp_path / "model")
    # Another one is asked for: that of the model does not run.
    assert follow(tmp_path / "model", "--pooling", "mean").model.pooling == "mean"
    model = begin(tmp_path / "model", pooling="mean")
    assert kept(mine[1], model) == {"encoder"}


def test_a_pooling_that_the_model_carries_is_kept(mine, tmp_path):
    file, there = mine
    file.unlink()
    chosen = follow(tmp_path / "model", "--trust_remote_code").model
    assert chosen.pooling == f"{tmp_path}/model/mine.py:Mine"
    model = build_classifier(str(tmp_path / "model"), chosen, LABELS)
    assert kept(there, model) == {"encoder", "pooling", "classifier"}
    model.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again/mine.py").read_text() == MINE


def test_the_users_own_file_is_the_models_pooling_if_it_has_not_changed(mine, tmp_path):
    file, there = mine
    assert kept(there, begin(tmp_path / "model", pooling=f"{file}:Mine")) == {"encoder", "pooling", "classifier"}
    other = tmp_path / "changed" / "mine.py"
    other.parent.mkdir()
    other.write_text(MINE.replace("[:, 0]", "[:, -1]"))
    assert kept(there, begin(tmp_path / "model", pooling=f"{other}:Mine")) == {"encoder"}

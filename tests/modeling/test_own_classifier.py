"""A classifier of a user's own is tried before it is trained: what does not work is one sentence."""

import pytest
import torch
from datasets import Dataset
from support.classifiers import LABELS
from support.paths import OWN_CLASSIFIERS
from torch import nn

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.errors import UserError
from bert_recipes.modeling.building import build_classifier
from bert_recipes.modeling.wrapper import OwnClassifier
from bert_recipes.training.layer_rates import parameter_groups

ROWS = Dataset.from_dict(
    {
        "input_ids": [[2, 5, 3]] * 3,
        "attention_mask": [[1, 1, 1]] * 3,
        "keyword": ["storm", "", "fire"],
        "price": [1.0, 2.0, None],
        "labels": [0, 1, 2],
    }
)
START = """
import torch
from torch import nn
from transformers import AutoModel

class Mine(nn.Module):
    def __init__(self, model_dir, task):
        super().__init__()
        self.encoder = AutoModel.from_pretrained(model_dir)
        self.encoder.pooler = None
        self.classifier = nn.Linear(self.encoder.config.hidden_size, task.num_labels)

    def forward(self, input_ids, attention_mask):
        return self.classifier(self.encoder(input_ids, attention_mask).last_hidden_state[:, 0])
"""


def build(folder, spec=f"{OWN_CLASSIFIERS}:TextAlone", checkpointing=False, splits=None, **flags):
    args = CustomArguments(classifier=str(spec), **flags)
    return build_classifier(str(folder), args, LABELS, checkpointing, splits)


def test_it_is_made_of_the_folder_the_task_and_the_columns(tiny_bert, capsys):
    model = build(tiny_bert, f"{OWN_CLASSIFIERS}:WithColumns", splits={"train": ROWS, "test": ROWS})
    assert isinstance(model, OwnClassifier)
    assert model.config.columns == {"keyword": {"categories": ["fire", "storm"]}, "price": {"mean": 1.5}}
    assert model.own.keywords.num_embeddings == 3
    assert model.own.classifier.out_features == 3
    assert model.unused == ["own.encoder.pooler.dense.weight", "own.encoder.pooler.dense.bias"]
    said = " ".join(capsys.readouterr().out.split())
    assert "Column 'keyword': 2 categories, learned from train; 1 row of train, 1 row of test without one" in said
    assert "1 row of train, 1 row of test without one, which take the mean of train, 1.5." in said
    assert "no gradient reaches encoder.pooler.dense.weight, encoder.pooler.dense.bias, which stay as they are" in said


def test_making_it_draws_what_the_class_draws_and_no_more(tiny_bert):
    class_itself = {}
    exec(START, class_itself)
    torch.manual_seed(7)
    alone = class_itself["Mine"](str(tiny_bert), LABELS)
    after = torch.rand(1)
    torch.manual_seed(7)
    model = build(tiny_bert, f"{OWN_CLASSIFIERS}:TextAlone")
    assert torch.equal(model.own.classifier.weight, alone.classifier.weight)
    assert torch.equal(torch.rand(1), after)


def test_an_argument_that_may_be_left_out_is_and_says_so(tiny_bert, tmp_path, capsys):
    code = START.replace("attention_mask):", "attention_mask, price=None, return_dict=None):")
    (tmp_path / "mine.py").write_text(code.replace("[:, 0])", "[:, 0]) * (1 if price is None else price[:, None])"))
    model = build(tiny_bert, tmp_path / "mine.py:Mine", splits={"train": ROWS})
    assert [*model.config.columns] == ["price"]
    assert "return_dict of its forward are no columns here" in " ".join(capsys.readouterr().out.split())
    model = build(tiny_bert, tmp_path / "mine.py:Mine", splits={"train": ROWS}, extra_columns=[])
    assert not model.config.columns


MISTAKES = {
    "nothing of that name": ("class Mine(", "class Other(", "does not define Mine; did you mean|does not define Mine"),
    "no module": ("class Mine(nn.Module)", "class Mine(dict)", "must be a subclass of torch.nn.Module, and is a type"),
    "no task": ("model_dir, task)", "model_dir)", r"must be made from \(model_dir, task\).*takes \(model_dir\)"),
    "one argument more": ("task):", "task, size):", r"must be made from .* and takes \(model_dir, task, size\)"),
    "no tokens": ("input_ids, attention_mask):", "ids):", "its forward must take input_ids, and takes ids"),
    "no such column": (
        "attention_mask):",
        "attention_mask, keywrd):",
        "takes 'keywrd', which is no column .*mean keyword",
    ),
    "the labels": ("attention_mask):", "attention_mask, labels):", "takes 'labels', which is no column of the data"),
    "fails when made": ("task.num_labels)", "task.labels)", "cannot be made for .*: AttributeError"),
    "fails on texts": ("[:, 0])", "[:, 0].nothing)", "fails on 2 texts of 8 and 12 tokens with AttributeError"),
    "a wrong shape": (
        "[:, 0])",
        "[:, 0])[0]",
        r"must return logits of shape \[batch, 3\].* returned shape \[3\] for 2",
    ),
    "no logits": ("[:, 0])", "[:, 0]),", r"must return logits .* and returned a tuple for 2 texts"),
    "loses the batch": ("[:, 0])", "[:, 0]).squeeze()", r"returned shape \[3\] for 1 text\."),
    "reads padding": ("[:, 0])", ".mean(1))", "gives a text other logits alone than padded .* take attention_mask"),
    "passes no mask": ("(input_ids, attention_mask).last", "(input_ids).last", "other logits alone than padded"),
    "takes no mask": (
        "input_ids, attention_mask):",
        "input_ids, price=None):",
        "other logits alone than padded",
        ("(input_ids, attention_mask).last", "(input_ids).last"),
    ),
    "wants texts sorted": (
        "[:, 0])",
        """, attention_mask)

    def classifier(self, states, mask):
        return nn.utils.rnn.pack_padded_sequence(states, mask.sum(1), batch_first=True)""",
        "fails on 2 texts of 8 and 12 tokens with RuntimeError: .*sorted",
        ("self.classifier = nn.Linear", "self.linear = nn.Linear"),
    ),
    "norms over the batch": (
        "self.classifier = ",
        "self.norm = nn.ModuleList([nn.BatchNorm1d(3)]); self.classifier = ",
        r"has a BatchNorm1d \(norm\.0\), .* take a LayerNorm or a GroupNorm\.",
    ),
    "trains nothing": ("return self", "with torch.no_grad(): return self", "has nothing to train"),
    "another file": ("import torch\n", "import torch, helper\n", r"imports helper\.py beside it"),
    "of its weights": (
        "        self.classifier",
        "        self.mean = self.encoder.embeddings.word_embeddings.weight.detach().sum()\n        self.classifier",
        "gives other logits once it is saved and loaded",
        ("[:, 0])", "[:, 0]) + self.mean"),
    ),
    "of another folder": (
        "        self.classifier",
        "        open(model_dir + '/tokenizer.json').close()\n        self.classifier",
        "cannot be made anew as a saved model is",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(mistake, tiny_bert, tmp_path):
    there, wrong, sentence, *more = MISTAKES[mistake]
    code = START.replace(there, wrong, 1)
    for old, new in more:
        code = code.replace(old, new)
    (tmp_path / "helper.py").write_text("")
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(UserError, match=sentence) as caught:
        build(tiny_bert, tmp_path / "mine.py:Mine", splits={"train": ROWS})
    assert "\n" not in str(caught.value)


CONVOLUTION = """
        self.convolution = nn.Conv1d(self.encoder.config.hidden_size, 8, 5)
        self.classifier = nn.Linear(8, task.num_labels)

    def forward(self, input_ids, **inputs):
        real = inputs["attention_mask"][:, :, None]
        states = self.encoder(input_ids, **inputs).last_hidden_state
        found = self.convolution(states.transpose(1, 2)).masked_fill(real[:, None, 4:, 0] == 0, -1e9)
        return self.classifier(found.amax(-1))
"""


def test_a_convolution_that_leaves_out_padding_works_and_gets_the_mask_among_its_inputs(tiny_bert, tmp_path):
    beginning = START[: START.index("        self.classifier")]
    (tmp_path / "mine.py").write_text(beginning + CONVOLUTION)
    model = build(tiny_bert, tmp_path / "mine.py:Mine")
    ids = torch.tensor([[2, 5, 6, 7, 8, 9, 3], [2, 5, 6, 7, 3, 0, 0]])
    with torch.no_grad():
        together = model(input_ids=ids, attention_mask=(ids != 0).long()).logits
        alone = model(input_ids=ids[1:, :5]).logits
    torch.testing.assert_close(together[1:], alone)


def test_of_a_model_of_the_custom_recipe_no_folder_on_the_way_is_named(tiny_bert, tmp_path):
    model = build_classifier(str(tiny_bert), CustomArguments(pooling="mean"), LABELS)
    model.save_pretrained(tmp_path / "trained")
    (tmp_path / "mine.py").write_text(START.replace("task.num_labels)", "task.labels)"))
    with pytest.raises(UserError, match=r"cannot be made for runs/mine: AttributeError"):
        build(tmp_path / "trained", tmp_path / "mine.py:Mine", model="runs/mine")


def test_a_file_that_goes_along_already_is_refused(tiny_bert, tmp_path):
    (tmp_path / "wrapper.py").write_text(START)
    with pytest.raises(UserError, match=r"carries a file wrapper\.py of its own: rename yours"):
        build(tiny_bert, tmp_path / "wrapper.py:Mine")


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (["prize"], r"--extra_columns prize: the forward of .* has no argument of that name; did you mean price"),
        (["price"], "takes 'keyword', which is no column of the data"),
    ],
)
def test_columns_that_are_chosen_are_the_forwards(columns, sentence, tiny_bert):
    with pytest.raises(UserError, match=sentence):
        build(tiny_bert, f"{OWN_CLASSIFIERS}:WithColumns", splits={"train": ROWS}, extra_columns=columns)


def test_what_is_done_to_an_encoder_is_done_to_the_one_within(tiny_bert):
    model = build(tiny_bert, freeze_embeddings=True, freeze_layers=1, layer_decay=0.5, checkpointing=True)
    frozen = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    assert {name.split(".")[2] for name in frozen} == {"embeddings", "encoder"}
    assert {name.split(".")[4] for name in frozen if "layer" in name} == {"0"}
    groups = parameter_groups(model, 1.0, 0.0, set(), layer_decay=0.5, head_learning_rate=3.0)
    rates = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert rates[id(model.own.classifier.weight)] == 3.0
    assert rates[id(model.own.encoder.encoder.layer[1].output.dense.weight)] == 1.0
    model.gradient_checkpointing_enable()
    assert any(getattr(module, "gradient_checkpointing", False) for module in model.own.encoder.modules())


FLAGS = (("freeze_layers", 1), ("freeze_embeddings", True), ("layer_decay", 0.9), ("head_learning_rate", 1e-3))


@pytest.mark.parametrize(("flag", "value"), [*FLAGS, ("gradient_checkpointing", True)])
def test_what_needs_an_encoder_by_that_name_says_so(flag, value, tiny_bert, tmp_path):
    (tmp_path / "mine.py").write_text(START.replace("self.encoder", "self.bert"))
    flags = {"checkpointing": True} if flag == "gradient_checkpointing" else {flag: value}
    with pytest.raises(UserError, match=f"--{flag} cannot be honoured: .* has no attribute `encoder`"):
        build(tiny_bert, tmp_path / "mine.py:Mine", **flags)


@pytest.mark.parametrize(
    ("flag", "value"),
    [("pooling", "mean"), ("head_layers", 1), ("head_dropout", 0.5), ("reinit_layers", 1), ("lora_rank", 4)],
)
def test_what_it_takes_the_place_of_cannot_be_asked_for(flag, value):
    with pytest.raises(ValueError, match=f"--classifier brings its own pooling and head: leave out --{flag}"):
        CustomArguments(classifier="mine.py:Mine", **{flag: value})
    with pytest.raises(ValueError, match="--extra_columns are of a classifier of your own"):
        CustomArguments(extra_columns=["price"])


def test_dropout_and_layers_are_quickened_as_in_any_model(tiny_bert):
    from bert_recipes.modeling.cpu_kernels import ATTENTION, QuickDropout, quicken

    model = build(tiny_bert)
    quicken(model)
    assert isinstance(model.own.dropout, QuickDropout)
    assert model.own.encoder.config._attn_implementation == ATTENTION
    assert isinstance(model.own.classifier, nn.Linear)

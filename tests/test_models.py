"""The encoder under a head of our own: pooled right, saved and loaded whole, started as the stock model is."""

import subprocess
import sys

import pytest
import torch
from transformers import (
    AlbertConfig,
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    XLMRobertaConfig,
    pipeline,
    set_seed,
)

from bert_recipes.arguments import CustomArguments
from bert_recipes.encoders import build_classifier
from bert_recipes.errors import UserError
from bert_recipes.labels import Labels
from bert_recipes.models import EncoderClassifier
from bert_recipes.pooling import POOLINGS

TEXTS = ["fire in a storm", "lovely cake", "a"]
LABELS = Labels("multi-class", ["no", "yes", "maybe"], ["label"])
LAYERS = 4


def tiny(config_class, **options):
    names = {
        "hidden_size": 16,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 64,
    }
    if config_class is DistilBertConfig:
        names = {"dim": 16, "n_layers": LAYERS, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 64}
    return config_class(vocab_size=20, pad_token_id=0, **names, **options)


FAMILY = {
    "bert": tiny(BertConfig),
    "distilbert": tiny(DistilBertConfig),
    "roberta": tiny(RobertaConfig, type_vocab_size=1),
    "albert": tiny(AlbertConfig, embedding_size=8),
    "electra": tiny(ElectraConfig, embedding_size=8),
    "deberta-v2": tiny(DebertaV2Config, relative_attention=True, pos_att_type=["p2c", "c2p"], type_vocab_size=0),
    "xlm-roberta": tiny(XLMRobertaConfig, type_vocab_size=1),
    "mpnet": tiny(MPNetConfig),
    "modernbert": tiny(ModernBertConfig, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3),
}
WITHOUT_POOLER = {"distilbert", "electra", "deberta-v2", "modernbert"}


@pytest.fixture(scope="session")
def encoders(tmp_path_factory, tokenizer):
    """The folders of one tiny encoder of each family."""
    folders = {}
    for name, config in FAMILY.items():
        folders[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folders[name])
        tokenizer.save_pretrained(folders[name])
    return folders


def build(folder, **choices):
    return build_classifier(str(folder), CustomArguments(**choices), LABELS)


def inputs_of(tokenizer, texts=TEXTS):
    return tokenizer(texts, padding=True, return_tensors="pt")


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("family", FAMILY)
def test_every_encoder_with_every_pooling(family, pooling, encoders, tokenizer, tmp_path):
    if pooling == "pooler" and family in WITHOUT_POOLER:
        with pytest.raises(UserError, match="has no pooler: take --pooling with one of cls, mean, max"):
            build(encoders[family], pooling=pooling)
        return
    model = build(encoders[family], pooling=pooling)
    inputs = inputs_of(tokenizer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(model(**inputs).logits, torch.tensor([0, 1, 2])).backward()
    # A weight without a gradient would make DDP wait for one.
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    optimizer.step()
    model.eval().save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert isinstance(loaded, EncoderClassifier)
    assert AutoConfig.from_pretrained(tmp_path).id2label == LABELS.id2label
    with torch.no_grad():
        together = loaded(**inputs).logits
        alone = torch.cat([model(**inputs_of(tokenizer, [text])).logits for text in TEXTS])
    assert together.shape == (3, 3)
    # Saved and loaded, alone and among padding: the same logits.
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


class Output:
    last_hidden_state = torch.arange(12.0).reshape(1, 3, 4)
    pooler_output = torch.full((1, 4), 7.0)
    hidden_states = tuple(torch.full((1, 3, 4), float(i)) for i in range(5))


BY_HAND = {
    "pooler": [7, 7, 7, 7],
    "cls": [0, 1, 2, 3],
    "mean": [2, 3, 4, 5],
    "max": [4, 5, 6, 7],
    "mean_max": [2, 3, 4, 5, 4, 5, 6, 7],
    "attention": [2, 3, 4, 5],
    "cls_last4": [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4,
    "layer_mix": [2, 2, 2, 2],
}


@pytest.mark.parametrize("name", POOLINGS)
def test_poolings_by_hand(name):
    config = type("Config", (), {"hidden_size": 4, "num_hidden_layers": 4})
    pooled = POOLINGS[name](config)(Output, torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(pooled.detach(), torch.tensor([BY_HAND[name]], dtype=torch.float32))


def test_attention_and_layer_mix_follow_their_weights():
    config = type("Config", (), {"hidden_size": 4, "num_hidden_layers": 4})
    attention, mix = POOLINGS["attention"](config), POOLINGS["layer_mix"](config)
    torch.nn.init.eye_(attention.projection.weight)
    torch.nn.init.zeros_(attention.projection.bias)
    torch.nn.init.constant_(attention.context, 1.0)
    mask, hidden = torch.tensor([[1, 1, 0]]), Output.last_hidden_state[0, :2]
    shares = torch.tanh(hidden).sum(1).softmax(0)
    torch.testing.assert_close(attention(Output, mask)[0], shares @ hidden)
    mix.scores.data = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
    mix.gamma.data = torch.tensor(2.0)
    expected = 2 * (mix.scores.softmax(0) * torch.arange(5.0)).sum()
    torch.testing.assert_close(mix(Output, mask), expected.expand(1, 4))


def test_it_starts_with_the_stock_models_weights(tiny_bert):
    set_seed(3)
    stock = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=3)
    set_seed(3)
    custom = build(tiny_bert)
    for a, b in zip(stock.parameters(), custom.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_the_head_is_as_deep_and_wide_as_asked(tiny_bert, tokenizer, tmp_path):
    model = build(tiny_bert, pooling="mean_max", head_layers=2, head_size=24, head_activation="tanh", head_dropout=0.3)
    linear = [(m.in_features, m.out_features) for m in model.head if isinstance(m, torch.nn.Linear)]
    assert linear == [(32, 24), (24, 24)]
    assert model.classifier.in_features == 24
    assert {m.p for m in (*model.head, model.dropout) if isinstance(m, torch.nn.Dropout)} == {0.3}
    assert sum(isinstance(m, torch.nn.Tanh) for m in model.head) == 2
    model.eval().save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    inputs = inputs_of(tokenizer)
    torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits)


def test_dropout_samples_are_drawn_while_training_only(tiny_bert, tokenizer):
    model = build(tiny_bert, dropout_samples=4, head_dropout=0.5)
    inputs = inputs_of(tokenizer)
    samples = model.train()(**inputs).logits
    assert samples.shape == (3, 4, 3)
    assert not torch.equal(samples[:, 0], samples[:, 1])
    assert model.eval()(**inputs).logits.shape == (3, 3)


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"pooling": "men"}, "--pooling men is not known; did you mean mean: take one of pooler, cls"),
        ({"pooling": "cls_last4"}, "it joins the last four layers, and the encoder has 2"),
        ({"freeze_layers": 3}, "--freeze_layers 3 is more than the 2 layers that the encoder has"),
        ({"reinit_layers": 3}, "--reinit_layers 3 is more than the 2 layers"),
        ({"head_layers": 1, "head_activation": "glu"}, "--head_activation glu is not known; did you mean"),
        ({"pooling": "own.py:Own"}, r"there is no file own\.py"),
    ],
)
def test_choices_that_do_not_fit_the_encoder(choices, sentence, tiny_bert):
    with pytest.raises(UserError, match=sentence):
        build(tiny_bert, **choices)


def test_layers_that_are_shared_cannot_be_frozen_one_by_one(encoders):
    with pytest.raises(UserError, match="AlbertModel does not have 4 layers of its own each"):
        build(encoders["albert"], freeze_layers=1)


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
    done = subprocess.run([sys.executable, "-c", code, folder, TEXTS[0]], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    expected = model(**inputs_of(tokenizer, TEXTS[:1])).logits.softmax(1)[0].tolist()
    scores = eval(done.stdout)
    assert [scores[name] for name in LABELS.names] == pytest.approx(expected, abs=1e-5)


def test_an_own_file_may_be_named_as_a_library_and_not_as_what_a_model_carries(tiny_bert, tmp_path):
    for name in ("json.py", "pooling.py"):
        (tmp_path / name).write_text(OWN)
    assert build(tiny_bert, pooling=f"{tmp_path}/json.py:LastToken").config.pooling == "json.py:LastToken"
    import json

    assert json.loads("1") == 1
    with pytest.raises(UserError, match=r"a saved model carries a file pooling\.py of its own: rename yours"):
        build(tiny_bert, pooling=f"{tmp_path}/pooling.py:LastToken")


def test_fsdp_is_told_which_layers_to_shard(tiny_bert, tmp_path):
    model = build(tiny_bert)
    assert "BertLayer" in model._no_split_modules
    model.save_pretrained(tmp_path)
    assert "BertLayer" in AutoModelForSequenceClassification.from_pretrained(tmp_path)._no_split_modules


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


def test_a_pipeline_takes_the_answers_of_the_task(tiny_bert, tokenizer, tmp_path):
    for task, names in (("multi-label", ["a", "b"]), ("regression", ["score"])):
        labels = Labels(task, names, ["label"])
        model = build_classifier(str(tiny_bert), CustomArguments(), labels).eval()
        model.save_pretrained(tmp_path / task)
        tokenizer.save_pretrained(tmp_path / task)
        answers = pipeline("text-classification", model=str(tmp_path / task), top_k=None)(TEXTS[:1])[0]
        logits = model(**inputs_of(tokenizer, TEXTS[:1])).logits[0]
        expected = torch.sigmoid(logits) if task == "multi-label" else logits
        scores = {answer["label"]: answer["score"] for answer in answers}
        assert [scores[name] for name in names] == pytest.approx(expected.tolist(), abs=1e-5)

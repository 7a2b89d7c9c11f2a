"""The encoder under a head of our own: started as the stock model is, with the head and the fresh layers asked for."""

import pytest
import torch
from support.classifiers import LABELS, build, inputs_of
from support.encoders import tiny
from transformers import AutoModel, AutoModelForSequenceClassification, CanineConfig, set_seed

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.errors import UserError
from bert_recipes.modeling.building import build_classifier, encoder_layers


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


def test_an_encoder_that_does_not_take_texts_is_refused(tmp_path):
    # CANINE takes four characters or more.
    AutoModel.from_config(tiny(CanineConfig)).save_pretrained(tmp_path)
    with pytest.raises(
        UserError, match="CanineModel fails as an encoder of two texts of three tokens with RuntimeErr"
    ):
        build(tmp_path, pooling="mean")


def test_an_own_pooling_finds_no_pooler(tiny_bert, tmp_path):
    head = "def __init__(self, config):\n        super().__init__()\n"
    code = "    def forward(self, output, attention_mask):\n        return output.pooler_output * 2\n"
    (tmp_path / "mine.py").write_text(f"import torch\nclass P(torch.nn.Module):\n    {head}{code}")
    with pytest.raises(UserError, match="fails on two texts of three tokens with TypeError"):
        build(tiny_bert, pooling=f"{tmp_path}/mine.py:P")


def test_layers_that_are_shared_cannot_be_frozen_one_by_one(encoders):
    with pytest.raises(UserError, match="AlbertModel does not have 4 layers of its own each"):
        build(encoders["albert"], freeze_layers=1)


def test_the_last_layers_and_the_pooler_begin_anew(tiny_bert):
    model = build_classifier(str(tiny_bert), CustomArguments(reinit_layers=1), LABELS)
    new = dict(model.encoder.named_parameters())
    for name, parameter in AutoModel.from_pretrained(tiny_bert).named_parameters():
        begun_anew = (".layer.1." in name or "pooler" in name) and parameter.dim() == 2
        assert torch.equal(new[name], parameter) != begun_anew, name
    last = encoder_layers(model.encoder)[1].modules()
    weights = torch.cat([module.weight.flatten() for module in last if isinstance(module, torch.nn.Linear)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.1)


def test_layer_norms_begin_anew_too(tiny_bert, tokenizer, tmp_path):
    encoder = AutoModel.from_pretrained(tiny_bert)
    torch.nn.init.constant_(encoder.encoder.layer[1].output.LayerNorm.weight, 3.0)
    encoder.save_pretrained(tmp_path)
    model = build_classifier(str(tmp_path), CustomArguments(reinit_layers=1), LABELS)
    assert model.encoder.encoder.layer[1].output.LayerNorm.weight.unique().tolist() == [1.0]

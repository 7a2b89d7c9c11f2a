"""The encoder under a head of our own: pooled right, saved and loaded whole, started as the stock model is."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, DistilBertConfig, DistilBertModel, set_seed

from bert_recipes.errors import UserError
from bert_recipes.models import EncoderClassifier
from bert_recipes.pooling import POOLINGS

TEXTS = ["fire in a storm", "lovely cake", "a"]


def inputs_of(tokenizer, texts=TEXTS):
    return tokenizer(texts, padding=True, return_tensors="pt")


@pytest.mark.parametrize("pooling", POOLINGS)
def test_it_loads_as_it_was_saved(pooling, tiny_bert, tokenizer, tmp_path):
    labels = {0: "no", 1: "yes", 2: "maybe"}
    model = EncoderClassifier.from_encoder(str(tiny_bert), pooling=pooling, id2label=labels).eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert isinstance(loaded, EncoderClassifier)
    assert AutoConfig.from_pretrained(tmp_path).id2label == labels
    with torch.no_grad():
        torch.testing.assert_close(loaded(**inputs_of(tokenizer)).logits, model(**inputs_of(tokenizer)).logits)
    assert loaded(**inputs_of(tokenizer)).logits.shape == (3, 3)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_padding_changes_nothing(pooling, tiny_bert, tokenizer):
    model = EncoderClassifier.from_encoder(str(tiny_bert), pooling=pooling).eval()
    with torch.no_grad():
        together = model(**inputs_of(tokenizer)).logits
        alone = torch.cat([model(**inputs_of(tokenizer, [text])).logits for text in TEXTS])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=1e-5)


def test_poolings_by_hand():
    hidden = torch.arange(12.0).reshape(1, 3, 4)
    output = type("Output", (), {"last_hidden_state": hidden, "pooler_output": torch.full((1, 4), 7.0)})
    mask = torch.tensor([[1, 1, 0]])
    assert POOLINGS["cls"](output, mask).tolist() == [[0, 1, 2, 3]]
    assert POOLINGS["mean"](output, mask).tolist() == [[2, 3, 4, 5]]
    assert POOLINGS["pooler"](output, mask).tolist() == [[7, 7, 7, 7]]


def test_weights_that_get_no_gradient_are_left_out(tiny_bert, tokenizer):
    for pooling in POOLINGS:
        model = EncoderClassifier.from_encoder(str(tiny_bert), pooling=pooling)
        model(**inputs_of(tokenizer)).logits.sum().backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_it_starts_with_the_stock_models_weights(tiny_bert):
    set_seed(3)
    stock = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    set_seed(3)
    custom = EncoderClassifier.from_encoder(str(tiny_bert))
    for a, b in zip(stock.parameters(), custom.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_an_encoder_without_a_pooler_says_what_to_take(tmp_path, tokenizer):
    config = DistilBertConfig(vocab_size=len(tokenizer), dim=16, n_layers=1, n_heads=2, hidden_dim=16)
    DistilBertModel(config).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="has no pooler: take --pooling with one of cls, mean"):
        EncoderClassifier.from_encoder(str(tmp_path))
    inputs = inputs_of(tokenizer)
    model = EncoderClassifier.from_encoder(str(tmp_path), pooling="mean")
    assert model(inputs["input_ids"], inputs["attention_mask"]).logits.shape == (3, 2)

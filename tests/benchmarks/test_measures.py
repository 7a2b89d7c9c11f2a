"""What the bench counts is what is there."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AlbertConfig, AutoModelForSequenceClassification

from benchmarks.measures import TWEET_LENGTHS, Operations, matrix_rate, synthetic_texts
from bert_recipes.config.arguments import CustomArguments
from bert_recipes.errors import UserError
from bert_recipes.modeling.building import build_classifier
from bert_recipes.task import Task


@pytest.mark.parametrize("kind", ["stock", "custom"])
def test_operations_are_those_that_torch_counts(kind, tiny_bert):
    if kind == "stock":
        model = AutoModelForSequenceClassification.from_pretrained(tiny_bert, attn_implementation="eager")
    else:
        labels = Task("binary", ["0", "1"], ["label"])
        model = build_classifier(str(tiny_bert), CustomArguments(pooling="mean"), labels)
        model.set_attn_implementation("eager")
    model.eval()
    operations = Operations(model)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(input_ids=torch.randint(5, 15, (3, 20)))
    # Biases, layer norms and the embeddings' rows are no matrix products: they are what the two may differ by.
    assert operations.forward([20] * 3) == pytest.approx(counter.get_total_flops(), rel=0.08)
    assert operations.forward([20] * 3) >= counter.get_total_flops()
    assert operations.training([20] * 3) == 3 * operations.forward([20] * 3)


def test_texts_are_as_long_as_asked(tokenizer):
    lengths = [len(tokenizer(text)["input_ids"]) for text in synthetic_texts(5, tokenizer, length=20)]
    assert lengths == [20] * 5
    tweets = [len(tokenizer(text)["input_ids"]) for text in synthetic_texts(2000, tokenizer, seed=1)]
    assert np.median(tweets) == pytest.approx(np.median(TWEET_LENGTHS), abs=2)
    assert min(tweets) >= 3
    assert max(tweets) <= 84
    assert list(synthetic_texts(3, tokenizer)) == list(synthetic_texts(3, tokenizer))


def test_layers_that_share_weights_are_not_counted():
    config = AlbertConfig(vocab_size=9, embedding_size=4, hidden_size=8, num_attention_heads=2, intermediate_size=8)
    with pytest.raises(UserError, match="albert lists no layers"):
        Operations(AutoModelForSequenceClassification.from_config(config))


def test_a_rate_is_one():
    assert 1e8 < matrix_rate(torch.device("cpu"), torch.float32, size=128, seconds=0.05) < 1e14

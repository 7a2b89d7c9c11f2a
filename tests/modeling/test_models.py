"""The encoder under a head of our own: saved and loaded whole, the same alone and among padding."""

import pytest
import torch
from support.classifiers import LABELS, TEXTS, build, inputs_of
from support.encoders import FAMILY, tiny
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    BigBirdConfig,
    LayoutLMConfig,
    pipeline,
)

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.errors import UserError
from bert_recipes.modeling.building import build_classifier
from bert_recipes.modeling.models import EncoderClassifier
from bert_recipes.modeling.pooling import POOLINGS
from bert_recipes.task import Task

WITHOUT_POOLER = {"distilbert", "electra", "deberta-v2", "modernbert"}


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


@pytest.mark.parametrize("config", [tiny(LayoutLMConfig), tiny(BigBirdConfig)], ids=type)
def test_a_pooler_that_is_left_out_is_not_missed(config, tokenizer, tmp_path):
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(tmp_path / "encoder")
    model = build(tmp_path / "encoder", pooling="mean").eval()
    assert not any("pooler" in name for name in model.state_dict())
    model.save_pretrained(tmp_path / "model")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    inputs = inputs_of(tokenizer)
    torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits)


def test_dropout_samples_are_drawn_while_training_only(tiny_bert, tokenizer):
    model = build(tiny_bert, dropout_samples=4, head_dropout=0.5)
    inputs = inputs_of(tokenizer)
    samples = model.train()(**inputs).logits
    assert samples.shape == (3, 4, 3)
    assert not torch.equal(samples[:, 0], samples[:, 1])
    assert model.eval()(**inputs).logits.shape == (3, 3)


def test_fsdp_is_told_which_layers_to_shard(tiny_bert, tmp_path):
    model = build(tiny_bert)
    assert "BertLayer" in model._no_split_modules
    model.save_pretrained(tmp_path)
    assert "BertLayer" in AutoModelForSequenceClassification.from_pretrained(tmp_path)._no_split_modules


def test_a_pipeline_takes_the_answers_of_the_task(tiny_bert, tokenizer, tmp_path):
    for task, names in (("multi-label", ["a", "b"]), ("regression", ["score"])):
        labels = Task(task, names, ["label"])
        model = build_classifier(str(tiny_bert), CustomArguments(), labels).eval()
        model.save_pretrained(tmp_path / task)
        tokenizer.save_pretrained(tmp_path / task)
        answers = pipeline("text-classification", model=str(tmp_path / task), top_k=None)(TEXTS[:1])[0]
        logits = model(**inputs_of(tokenizer, TEXTS[:1])).logits[0]
        expected = torch.sigmoid(logits) if task == "multi-label" else logits
        scores = {answer["label"]: answer["score"] for answer in answers}
        assert [scores[name] for name in names] == pytest.approx(expected.tolist(), abs=1e-5)

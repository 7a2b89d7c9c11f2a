"""What is quicker on a CPU is the same: dropout drops what it should, attention attends as it did."""

import gc
import weakref

import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, SplinterConfig, SplinterModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.modeling import cpu_kernels
from bert_recipes.modeling.building import build_classifier
from bert_recipes.task import Task


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_a_mask_drops_the_share_that_it_should_and_keeps_the_mean(p, dtype):
    torch.manual_seed(0)
    mask = cpu_kernels.keep_mask(torch.empty(1000, 1001, dtype=dtype), p)
    assert mask.dtype == dtype
    assert mask.unique().tolist() == [0.0, torch.tensor(1 / (1 - p)).to(dtype).item()]
    # Five standard errors of a million draws.
    assert (mask == 0).double().mean().item() == pytest.approx(p, abs=5 * (p * (1 - p) / 1e6) ** 0.5 + 2**-16)


def test_a_mask_has_no_pattern():
    torch.manual_seed(0)
    dropped = (cpu_kernels.keep_mask(torch.empty(1 << 20), 0.5) == 0).double() - 0.5
    for lag in (1, 2, 3, 4, 5, 8, 64, 384):
        assert abs((dropped[lag:] * dropped[:-lag]).mean().item()) < 5 * 0.25 / 2**10


def test_dropout_is_that_of_torch_but_for_the_draw():
    x = torch.randn(64, 64, requires_grad=True)
    dropout = cpu_kernels.QuickDropout(0.25)
    y = dropout(x)
    y.sum().backward()
    kept = y != 0
    torch.testing.assert_close(y, torch.where(kept, x / 0.75, 0))
    torch.testing.assert_close(x.grad, kept / 0.75)
    assert dropout.eval()(x) is x
    assert cpu_kernels.QuickDropout(0.0)(x) is x
    assert not cpu_kernels.QuickDropout(1.0)(x).any()
    assert not cpu_kernels.QuickDropout(1 - 1e-9)(x).any()
    torch.manual_seed(1)
    again = cpu_kernels.QuickDropout(0.25)(x)
    torch.manual_seed(1)
    assert torch.equal(again, cpu_kernels.QuickDropout(0.25)(x))


@pytest.mark.parametrize("mask", ["none", "bool", "float"])
def test_attention_under_dropout_is_attention_with_a_masked_softmax(mask, monkeypatch):
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 7, 8)
    module = nn.Module()
    module.is_causal = False
    real = torch.arange(7) < torch.tensor([[7], [4]])
    masks = {
        "none": None,
        "bool": real[:, None, None, :].expand(2, 1, 7, 7),
        "float": torch.zeros(2, 1, 7, 7).masked_fill(~real[:, None, None, :], torch.finfo(torch.float32).min),
    }
    expected = sdpa_attention_forward(module, query, key, value, masks[mask])[0]
    monkeypatch.setattr(cpu_kernels, "keep_mask", lambda like, p: torch.ones_like(like))
    torch.testing.assert_close(cpu_kernels.attention(module, query, key, value, masks[mask], dropout=0.1)[0], expected)
    monkeypatch.undo()
    mean = torch.stack(
        [cpu_kernels.attention(module, query, key, value, masks[mask], dropout=0.1)[0] for _ in range(3000)]
    ).mean(0)
    torch.testing.assert_close(mean, expected, atol=0.05, rtol=0)


def test_attention_over_short_texts_in_half_precision_is_that_of_sdpa(monkeypatch):
    torch.manual_seed(0)
    tensors = torch.randn(3, 2, 4, 7, 8).bfloat16()
    mask = (torch.arange(7) < torch.tensor([[7], [4]]))[:, None, None, :].expand(2, 1, 7, 7)
    expected = sdpa_attention_forward(nn.Module(), *tensors.float(), mask, is_causal=False)[0]
    monkeypatch.setattr(cpu_kernels, "sdpa_attention_forward", None)
    result = cpu_kernels.attention(nn.Module(), *tensors, mask, is_causal=False)[0]
    torch.testing.assert_close(result.float(), expected, atol=0.02, rtol=0.02)


def test_an_encoder_that_has_no_sdpa_is_left_alone(tmp_path):
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    SplinterModel(SplinterConfig(vocab_size=20, **sizes)).save_pretrained(tmp_path)
    labels = Task("binary", ["0", "1"], ["label"])
    model = build_classifier(str(tmp_path), CustomArguments(pooling="mean"), labels)
    cpu_kernels.quicken(model)
    assert model(input_ids=torch.tensor([[1, 2, 3]])).logits.shape == (1, 2)


def test_what_is_not_plain_goes_to_sdpa(monkeypatch):
    asked = []
    monkeypatch.setattr(
        cpu_kernels, "sdpa_attention_forward", lambda *args, **kwargs: asked.append(kwargs) or (None, None)
    )
    tensors = torch.randn(3, 1, 2, 5, 4)
    cpu_kernels.attention(nn.Module(), *tensors, None, dropout=0.0)
    cpu_kernels.attention(nn.Module(), *torch.randn(3, 1, 2, cpu_kernels.SHORT + 1, 4).bfloat16(), None, dropout=0.0)
    cpu_kernels.attention(nn.Module(), *tensors, None, dropout=0.1, is_causal=True)
    cpu_kernels.attention(nn.Module(), *tensors, None, dropout=0.1, is_causal=False, position_bias=torch.zeros(1))
    assert [kwargs["dropout"] for kwargs in asked] == [0.0, 0.0, 0.1, 0.1]


def test_a_quickened_model_has_the_same_weights_and_scores_and_saves_the_same(tiny_bert, tokenizer, tmp_path):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert).eval()
    weights = {name: weight.clone() for name, weight in model.state_dict().items()}
    inputs = tokenizer(["fire in a storm", "cake"], padding=True, return_tensors="pt")
    with torch.no_grad():
        before = model(**inputs).logits
        model.save_pretrained(tmp_path / "before")
        cpu_kernels.quicken(model)
        assert torch.equal(model(**inputs).logits, before)
    assert model.config._attn_implementation == cpu_kernels.ATTENTION
    assert not any(type(module) is nn.Dropout for module in model.modules())
    assert model.state_dict().keys() == weights.keys()
    model.save_pretrained(tmp_path / "after")
    assert (tmp_path / "after/config.json").read_text() == (tmp_path / "before/config.json").read_text()
    model.train()
    torch.manual_seed(0)
    first = model(**inputs).logits
    assert not torch.equal(first, model(**inputs).logits)
    torch.manual_seed(0)
    assert torch.equal(first, model(**inputs).logits)


def embeddings():
    torch.manual_seed(0)
    usual, quick = nn.Embedding(50, 8, padding_idx=0), nn.Embedding(50, 8, padding_idx=0)
    quick.load_state_dict(usual.state_dict())
    weight = quick.weight
    cpu_kernels.QuickEmbedding.take_over(quick)
    assert quick.weight is weight
    return usual, quick


def test_the_gradient_of_an_embedding_is_that_of_torch_in_the_same_memory_step_by_step():
    usual, quick = embeddings()
    kept = set()
    for step in range(3):
        ids = torch.randint(50, (4, 9))
        ids[:, -2:] = 0
        for embedding in (usual, quick):
            embedding.weight.grad = None
            torch.manual_seed(step)
            (embedding(ids) * torch.randn(4, 9, 8)).sum().backward()
        assert torch.equal(usual(ids), quick(ids))
        assert torch.equal(usual.weight.grad, quick.weight.grad)
        # No copy of it was made on the way.
        assert quick.weight.grad.data_ptr() == quick.kept.data_ptr()
        kept.add(id(quick.kept))
    assert len(kept) == 1


def test_an_embedding_may_be_resized_between_two_steps():
    _, quick = embeddings()
    quick(torch.tensor(3)).sum().backward()
    quick.weight.grad = None
    quick.weight.data, quick.num_embeddings = torch.randn(60, 8), 60
    quick(torch.tensor([55])).sum().backward()
    assert torch.equal(quick.weight.grad.sum(1).nonzero(), torch.tensor([[55]]))


def test_an_embedding_that_was_trained_is_freed():
    _, quick = embeddings()
    quick(torch.arange(5)).sum().backward()
    weight = weakref.ref(quick.weight)
    del quick
    gc.collect()
    assert weight() is None


def test_gradients_of_micro_batches_and_of_two_uses_add_up():
    usual, quick = embeddings()
    for embedding in (usual, quick):
        for ids in torch.arange(12).view(3, 4):
            (embedding(ids).pow(2).sum() + embedding(ids + 2).pow(3).sum()).backward()
    torch.testing.assert_close(quick.weight.grad, usual.weight.grad)
    # And in the next step, when what was lent is back.
    for embedding in (usual, quick):
        embedding.weight.grad = None
        (embedding(torch.arange(5)).exp().sum() + embedding(torch.arange(3)).sum()).backward()
    torch.testing.assert_close(quick.weight.grad, usual.weight.grad)


def test_the_gradient_of_a_gradient_is_that_of_torch():
    results = []
    for embedding in embeddings():
        loss = embedding(torch.arange(6)).pow(3).sum()
        (gradient,) = torch.autograd.grad(loss, embedding.weight, create_graph=True)
        gradient.pow(2).sum().backward()
        results.append(embedding.weight.grad)
    torch.testing.assert_close(*results)


def test_a_frozen_embedding_stays_as_it_is(tiny_bert):
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    model.bert.embeddings.word_embeddings.weight.requires_grad_(False)
    cpu_kernels.quicken(model)
    assert type(model.bert.embeddings.word_embeddings) is nn.Embedding
    assert type(model.bert.embeddings.position_embeddings) is cpu_kernels.QuickEmbedding


def test_compiled_dropout_and_embeddings_are_still_that(tiny_bert):
    torch.manual_seed(0)
    dropout = torch.compile(
        nn.Sequential(nn.Linear(8, 8), cpu_kernels.QuickDropout(0.5)), backend="aot_eager", fullgraph=True
    )
    y = dropout(torch.ones(64, 8))
    y.sum().backward()
    assert 0.3 < (y == 0).double().mean() < 0.7
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    cpu_kernels.quicken(model)
    batch = {"input_ids": torch.randint(5, 15, (3, 20)), "labels": torch.tensor([0, 1, 0])}
    torch.compile(model.train(), backend="aot_eager", fullgraph=True)(**batch).loss.backward()
    assert model.bert.embeddings.word_embeddings.weight.grad.any()

"""Which parts of the encoder are trained, and at what learning rate."""

import pytest
import torch
from support.classifiers import inputs_of
from support.cuts import trainer_of
from transformers import AutoModel, AutoModelForSequenceClassification

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.modeling.building import build_classifier
from bert_recipes.task import Task

LABELS = Task("binary", ["no", "yes"], ["label"])


def trained(folder, tmp_path, case=None, **options):
    """Return a trainer after two steps, and the names of the parameters that moved."""
    case = {"kind": "custom", "batch": 4, "accumulation": 1, "rows": 16} | (case or {})
    trainer = trainer_of(case, folder, tmp_path, **{"max_steps": 2, "max_grad_norm": 1.0, **options})
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    after = dict(trainer.model.named_parameters())
    return trainer, {name for name in before if name in after and not torch.equal(before[name], after[name])}


def all_names(folder):
    return {name for name, _ in build_classifier(str(folder), CustomArguments(), LABELS).named_parameters()}


def test_everything_learns_by_default(tiny_bert, tmp_path):
    _, moved = trained(tiny_bert, tmp_path)
    assert moved == all_names(tiny_bert)


def test_frozen_parts_stay(tiny_bert, tmp_path):
    _, moved = trained(tiny_bert, tmp_path, {"choices": {"freeze_embeddings": True, "freeze_layers": 1}})
    frozen = {n for n in all_names(tiny_bert) if ".embeddings." in n or ".layer.0." in n}
    assert moved == all_names(tiny_bert) - frozen
    assert frozen


def test_learning_rates_fall_with_depth(tiny_bert, tmp_path):
    choices = {"layer_decay": 0.5, "head_learning_rate": 1e-2}
    trainer, moved = trained(
        tiny_bert, tmp_path, {"choices": choices}, learning_rate=1e-3, lr_scheduler_type="constant"
    )
    assert moved == all_names(tiny_bert)
    rate_of = {p: group["lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    model = trainer.model
    for part, rate in (
        (model.classifier, 1e-2),
        (model.encoder.pooler, 1e-2),
        (model.encoder.encoder.layer[1], 1e-3),
        (model.encoder.encoder.layer[0], 5e-4),
        (model.encoder.embeddings, 2.5e-4),
    ):
        assert {rate_of[p] for p in part.parameters()} == {rate}
    assert len(rate_of) == len(list(model.parameters()))
    # The rate that is logged is the head's.
    assert trainer.state.log_history[0]["learning_rate"] == 1e-2


def test_weight_decay_spares_biases_and_norms_at_every_depth(tiny_bert, tmp_path):
    trainer, _ = trained(tiny_bert, tmp_path, {"choices": {"layer_decay": 0.9}}, weight_decay=0.1)
    decay_of = {p: group["weight_decay"] for group in trainer.optimizer.param_groups for p in group["params"]}
    for name, parameter in trainer.model.named_parameters():
        assert decay_of[parameter] == (0.0 if name.endswith("bias") or "LayerNorm" in name else 0.1), name


def test_gradient_checkpointing_changes_no_step(tiny_bert, tmp_path):
    logs = []
    for flag in (False, True):
        trainer, _ = trained(tiny_bert, tmp_path, gradient_checkpointing=flag)
        assert trainer.model.encoder.is_gradient_checkpointing == flag
        logs.append([(e["loss"], e["grad_norm"]) for e in trainer.state.log_history if "loss" in e])
    torch.testing.assert_close(torch.tensor(logs[0]), torch.tensor(logs[1]), rtol=1e-5, atol=0)


@pytest.mark.parametrize("pooling", ["pooler", "mean"])
def test_lora_trains_its_matrices_and_leaves_a_plain_model(pooling, tiny_bert, tokenizer, tmp_path):
    case = {"choices": {"lora_rank": 2, "pooling": pooling}}
    trainer = trainer_of({"kind": "custom", "batch": 4, "accumulation": 1, "rows": 16, **case}, tiny_bert, tmp_path)
    learning = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert {n for n in learning if "lora" not in n} == {"classifier.weight", "classifier.bias"}
    before = {n: p.detach().clone() for n, p in AutoModel.from_pretrained(tiny_bert).named_parameters()}
    trainer.train()
    model = trainer.model.eval()
    after = dict(model.encoder.named_parameters())
    changed = {name for name in after if not torch.equal(before[name], after[name])}
    assert changed
    assert all((name.endswith("weight") and "dense" in name) or ".self." in name for name in changed)
    model.save_pretrained(tmp_path / "model")
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    inputs = inputs_of(tokenizer)
    torch.testing.assert_close(loaded(**inputs).logits, model(**inputs).logits)


def test_a_run_with_lora_goes_on_as_if_never_stopped(tiny_bert, tmp_path):
    case = {"kind": "custom", "batch": 4, "accumulation": 1, "rows": 16, "choices": {"lora_rank": 2}}
    options = {"save_strategy": "steps", "save_steps": 2}
    whole = trainer_of(case, tiny_bert, tmp_path, **options)
    whole.train()
    again = trainer_of(case, tiny_bert, tmp_path, **options)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)

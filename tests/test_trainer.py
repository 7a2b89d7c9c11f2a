"""The step is the same step however it is cut, and predictions come in the order of the rows."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, set_seed

from bert_recipes.arguments import RecipeTrainingArguments
from bert_recipes.losses import WeightedCrossEntropy, cross_entropy
from bert_recipes.models import EncoderClassifier
from bert_recipes.trainer import PerExampleTrainer, RecipeTrainer


def stock(folder, **config):
    return AutoModelForSequenceClassification.from_pretrained(folder, **config)


def custom(folder, **config):
    return EncoderClassifier.from_encoder(str(folder), **config)


def make_trainer(kind, folder, rows, tokenizer, tmp_path, loss=cross_entropy, config=(), **options):
    options = {"bf16": False, "max_steps": 3, "logging_steps": 1, "report_to": "none", "save_strategy": "no"} | options
    options |= {"label_names": ["labels"], "disable_tqdm": True, "output_dir": str(tmp_path)}
    set_seed(0)
    model = (stock if kind == "stock" else custom)(folder, **dict(config))
    options["per_device_eval_batch_size"] = options.get("per_device_eval_batch_size", 7)
    shared = {
        "train_dataset": rows,
        "eval_dataset": rows,
        "processing_class": tokenizer,
    }
    args = RecipeTrainingArguments(**options)
    if kind == "stock":
        return RecipeTrainer(model, args, **shared)
    return PerExampleTrainer(model, args, loss=loss, **shared)


def logged(trainer):
    return [(e["loss"], e["grad_norm"]) for e in trainer.state.log_history if "loss" in e]


def train_cut(kind, folder, rows, tokenizer, tmp_path, batch, accumulation, loss=cross_entropy):
    trainer = make_trainer(
        kind,
        folder,
        rows,
        tokenizer,
        tmp_path,
        loss,
        per_device_train_batch_size=batch,
        gradient_accumulation_steps=accumulation,
        max_grad_norm=0.05,
    )
    for module in trainer.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    trainer.model.double()
    trainer.train()
    return logged(trainer), torch.cat([p.detach().flatten() for p in trainer.model.parameters()])


@pytest.mark.parametrize("kind", ["stock", "custom", "weighted"])
@pytest.mark.parametrize(("batch", "accumulation"), [(4, 4), (2, 8), (1, 16)])
def test_a_step_does_not_depend_on_how_it_is_cut(
    kind, batch, accumulation, tiny_bert, tokenized_rows, tokenizer, tmp_path
):
    loss = WeightedCrossEntropy([0.5, 3.0]) if kind == "weighted" else cross_entropy
    kind = "custom" if kind == "weighted" else kind
    whole, whole_weights = train_cut(kind, tiny_bert, tokenized_rows, tokenizer, tmp_path, 16, 1, loss)
    cut, cut_weights = train_cut(kind, tiny_bert, tokenized_rows, tokenizer, tmp_path, batch, accumulation, loss)
    # Trainer adds up the loss it logs in float32. 40 rows make the third step a ragged one.
    np.testing.assert_allclose(cut, whole, rtol=1e-6)
    torch.testing.assert_close(cut_weights, whole_weights, rtol=1e-9, atol=1e-9)


def test_pooler_with_cross_entropy_is_the_stock_recipe(tiny_bert, tokenized_rows, tokenizer, tmp_path):
    runs = {}
    for kind in ("stock", "custom"):
        trainer = make_trainer(kind, tiny_bert, tokenized_rows, tokenizer, tmp_path, max_steps=20)
        start = [parameter.detach().clone() for parameter in trainer.model.parameters()]
        trainer.train()
        runs[kind] = start, logged(trainer), trainer.predict(tokenized_rows).predictions
    stock_start, stock_log, stock_logits = runs["stock"]
    custom_start, custom_log, custom_logits = runs["custom"]
    for a, b in zip(stock_start, custom_start, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    np.testing.assert_allclose(custom_log[0], stock_log[0], rtol=1e-6)
    np.testing.assert_allclose(custom_log, stock_log, rtol=1e-4)
    np.testing.assert_allclose(custom_logits, stock_logits, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("strategy", ["random", "sequential", "group_by_length"])
def test_predictions_come_in_the_order_of_the_rows(strategy, tiny_bert, tokenized_rows, tokenizer, tmp_path):
    trainer = make_trainer("custom", tiny_bert, tokenized_rows, tokenizer, tmp_path, train_sampling_strategy=strategy)
    logits = trainer.predict(tokenized_rows).predictions
    model = trainer.model.eval()
    for i, row in enumerate(tokenized_rows):
        inputs = {k: torch.tensor([row[k]]) for k in ("input_ids", "attention_mask", "token_type_ids")}
        with torch.no_grad():
            np.testing.assert_allclose(logits[i], model(**inputs).logits[0].numpy(), atol=1e-5)


def test_rows_without_labels_are_predicted(tiny_bert, tokenized_rows, tokenizer, tmp_path):
    trainer = make_trainer("custom", tiny_bert, tokenized_rows, tokenizer, tmp_path)
    output = trainer.predict(tokenized_rows.remove_columns("labels"))
    assert output.predictions.shape == (40, 2)
    assert output.label_ids is None

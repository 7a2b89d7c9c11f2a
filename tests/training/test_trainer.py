"""The step is the same step however it is cut, and predictions come in the order of the rows."""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.cases import KINDS, OWN, STRATEGIES, WEIGHTED, assert_same_steps, prediction_cases, uncut
from support.cuts import predict, rows_of, train, train_in_float32, trainer_of
from support.paths import OWN_CLASSIFIERS
from transformers import DataCollatorWithPadding

from bert_recipes.columns import COUNT
from bert_recipes.data import embedded
from bert_recipes.errors import UserError
from bert_recipes.training.trainer import PerExampleTrainer


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(
    kind=st.sampled_from(KINDS),
    strategy=st.sampled_from(STRATEGIES),
    batch=st.integers(1, 6),
    accumulation=st.integers(2, 6),
    rows=st.integers(5, 50),
)
def test_a_step_does_not_depend_on_its_accumulation(kind, strategy, batch, accumulation, rows, tiny_bert, tmp_path):
    case = {**kind, "strategy": strategy, "batch": batch, "accumulation": accumulation, "rows": rows}
    assert_same_steps(train(case, tiny_bert, tmp_path), train(uncut(case, 1), tiny_bert, tmp_path))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_nor_does_that_of_a_classifier_of_ones_own_with_columns(strategy, tiny_bert, tmp_path):
    case = {**OWN, "strategy": strategy, "batch": 3, "accumulation": 4, "rows": 31}
    assert_same_steps(train(case, tiny_bert, tmp_path), train(uncut(case, 1), tiny_bert, tmp_path))


def test_a_column_may_be_called_count(tiny_bert, tmp_path, monkeypatch):
    case = {"kind": "custom", "batch": 4, "accumulation": 2, "rows": 20}
    named_price = {"classifier": f"{OWN_CLASSIFIERS}:WithColumns"}
    expected = train({**case, "choices": named_price}, tiny_bert, tmp_path)
    (tmp_path / "mine.py").write_text(OWN_CLASSIFIERS.read_text().replace("price", "count"))
    monkeypatch.setattr("support.cuts.rows_of", lambda *given: rows_of(*given).rename_column("price", "count"))
    named_count = {"classifier": f"{tmp_path}/mine.py:WithColumns"}
    assert train({**case, "choices": named_count}, tiny_bert, tmp_path) == expected


@pytest.mark.parametrize("name", ["TextAlone", "WithColumns"])
def test_how_a_collator_pads_is_kept(name, tiny_bert, tmp_path, tokenizer):
    case = {"kind": "custom", "batch": 4, "accumulation": 1, "rows": 8}
    case["choices"] = {"classifier": f"{OWN_CLASSIFIERS}:{name}"}
    made = trainer_of(case, tiny_bert, tmp_path)
    collator = DataCollatorWithPadding(tokenizer, padding="max_length", max_length=30, pad_to_multiple_of=32)
    rows = made.train_dataset
    trainer = PerExampleTrainer(
        made.model, made.args, loss=made.loss, train_dataset=rows, eval_dataset=rows, data_collator=collator
    )
    for batch in (next(iter(trainer.get_train_dataloader())), next(iter(trainer.get_eval_dataloader()))):
        assert batch["input_ids"].shape == (4 if COUNT in batch else 8, 32)
    assert collator.pad_to_multiple_of == trainer.data_collator.pad_to_multiple_of == 32


def test_a_classifier_of_ones_own_learns_as_the_same_pooling_does(tiny_bert, tmp_path):
    shared = {"kind": "custom", "batch": 4, "accumulation": 2, "rows": 40}
    own = {"classifier": f"{OWN_CLASSIFIERS}:TextAlone"}
    runs = {}
    for name, choices in {"own": own, "cls": {"pooling": "cls"}}.items():
        trainer = trainer_of({**shared, "choices": choices}, tiny_bert, tmp_path, max_steps=8)
        if name == "cls":
            head = runs["own"][0]
            trainer.model.classifier.load_state_dict(head)
        else:
            head = {key: value.clone() for key, value in trainer.model.own.classifier.state_dict().items()}
        trainer.train()
        logged = [(e["loss"], e["grad_norm"]) for e in trainer.state.log_history if "loss" in e]
        runs[name] = head, logged, trainer.predict(trainer.eval_dataset).predictions
    assert runs["own"][1] == runs["cls"][1]
    np.testing.assert_array_equal(runs["own"][2], runs["cls"][2])


@pytest.mark.parametrize("kind", [KINDS[0], WEIGHTED], ids=["stock", "weighted"])
def test_in_float32_the_embedded_model_agrees_too(kind, tmp_path):
    folder = embedded.model_path("embedded:minilm")
    case = {**kind, "batch": 4, "accumulation": 4, "rows": 40, "options": {"max_steps": 2}}
    cut, whole = (train_in_float32(c, folder, tmp_path) for c in (case, uncut(case, 1)))
    np.testing.assert_allclose(cut["logged"], whole["logged"], rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "windows", "steps"), [("tiny", False, 20), ("tiny", True, 20), ("embedded:minilm", False, 5)], ids=str
)
def test_pooler_with_cross_entropy_is_the_stock_recipe(model, windows, steps, tiny_bert, tmp_path):
    folder = tiny_bert if model == "tiny" else embedded.model_path(model)
    runs = {}
    for kind in ("stock", "custom"):
        case = {"kind": kind, "batch": 4, "accumulation": 2, "rows": 60, "windows": windows}
        options = {"dropout": 0.1, "max_steps": steps, "learning_rate": 5e-5, "max_grad_norm": 1.0}
        trainer = trainer_of(case, folder, tmp_path, **options)
        start = [parameter.detach().clone() for parameter in trainer.model.parameters()]
        trainer.train()
        logged = [(e["loss"], e["grad_norm"]) for e in trainer.state.log_history if "loss" in e]
        runs[kind] = start, logged, trainer.predict(trainer.eval_dataset).predictions
    (stock_start, stock_log, stock_logits), (custom_start, custom_log, custom_logits) = runs["stock"], runs["custom"]
    for a, b in zip(stock_start, custom_start, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    np.testing.assert_allclose(custom_log[0], stock_log[0], rtol=1e-6)
    np.testing.assert_allclose([e[0] for e in custom_log], [e[0] for e in stock_log], rtol=1e-4)
    np.testing.assert_allclose(custom_logits, stock_logits, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "case", prediction_cases(), ids=lambda c: f"{c['strategy']}-{c['rows']}{'-windows' * c['windows']}"
)
def test_no_row_is_lost_whatever_the_batches(case, tiny_bert, tmp_path):
    output = predict(case, tiny_bert, tmp_path)
    plain = predict(case | {"strategy": "sequential", "options": {}}, tiny_bert, tmp_path)
    assert output["labels"] == plain["labels"]
    np.testing.assert_allclose(output["logits"], plain["logits"], atol=1e-5)


def test_a_step_in_which_nothing_weighs_anything_changes_nothing(tiny_bert, tmp_path):
    case = {"kind": "custom", "batch": 4, "accumulation": 2, "rows": 8}
    trainer = trainer_of(case, tiny_bert, tmp_path, max_steps=1)
    trainer.loss = lambda logits, labels: (logits[:, 0], torch.zeros(len(labels)))
    before = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    trainer.train()
    assert trainer.state.log_history[0]["loss"] == trainer.state.log_history[0]["grad_norm"] == 0
    for parameter, start in zip(trainer.model.parameters(), before, strict=True):
        torch.testing.assert_close(parameter, start, rtol=0, atol=0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_predictions_come_in_the_order_of_the_rows(strategy, tiny_bert, tmp_path):
    case = {"kind": "custom", "batch": 4, "accumulation": 1, "rows": 40, "strategy": strategy}
    trainer = trainer_of(case, tiny_bert, tmp_path, per_device_eval_batch_size=7)
    logits = trainer.predict(trainer.eval_dataset).predictions
    model = trainer.model.eval()
    for i, row in enumerate(trainer.eval_dataset):
        inputs = {k: torch.tensor([row[k]]) for k in ("input_ids", "attention_mask", "token_type_ids")}
        with torch.no_grad():
            np.testing.assert_allclose(logits[i], model(**inputs).logits[0].numpy(), atol=1e-5)


def test_the_windows_of_a_text_are_averaged_whatever_is_beside_them(tiny_bert, tmp_path):
    case = {"kind": "custom", "batch": 4, "accumulation": 1, "rows": 40, "windows": True}
    trainer = trainer_of(case, tiny_bert, tmp_path, per_device_eval_batch_size=7)
    logits = trainer.predict(trainer.eval_dataset).predictions
    model = trainer.model.eval()
    for i, row in enumerate(trainer.eval_dataset):
        names = ("input_ids", "attention_mask", "token_type_ids")
        windows = [{name: torch.tensor([row[name][k]]) for name in names} for k in range(row["num_windows"])]
        with torch.no_grad():
            alone = torch.cat([model(**window).logits for window in windows]).mean(0)
        np.testing.assert_allclose(logits[i], alone.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", ["stock", "custom"])
def test_a_text_of_one_window_is_a_text(kind, tiny_bert, tmp_path):
    case = {"kind": kind, "batch": 4, "accumulation": 1, "rows": 20}
    trainer = trainer_of(case, tiny_bert, tmp_path)

    def in_windows(row):
        inputs = {name: [row[name]] for name in ("input_ids", "attention_mask", "token_type_ids")}
        return inputs | {"num_windows": 1}

    plain = trainer.predict(trainer.eval_dataset).predictions
    windows = trainer.predict(trainer.eval_dataset.map(in_windows)).predictions
    np.testing.assert_array_equal(windows, plain)


def test_in_windows_a_training_that_goes_on_ends_as_one_undisturbed(tiny_bert, tmp_path):
    case = {"kind": "custom", "batch": 4, "accumulation": 2, "rows": 30, "windows": True}

    def trained(folder, checkpoint=None):
        trainer = trainer_of(case, tiny_bert, folder, dropout=0.1, max_steps=6, save_strategy="steps", save_steps=3)
        trainer.train(resume_from_checkpoint=checkpoint)
        return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])

    whole = trained(tmp_path)
    assert torch.equal(trained(tmp_path, str(tmp_path / "checkpoint-3")), whole)


def test_in_windows_checkpointing_takes_the_same_steps(tiny_bert, tmp_path):
    case = {"kind": "stock", "batch": 3, "accumulation": 2, "rows": 30, "windows": True}
    checkpointing = case | {"options": {"gradient_checkpointing": True}}
    assert_same_steps(train(checkpointing, tiny_bert, tmp_path), train(case, tiny_bert, tmp_path))


def test_rows_without_labels_are_predicted(tiny_bert, tmp_path):
    trainer = trainer_of({"kind": "stock", "batch": 4, "accumulation": 1, "rows": 40}, tiny_bert, tmp_path)
    output = trainer.predict(trainer.eval_dataset.remove_columns("labels"))
    assert output.predictions.shape == (40, 2)
    assert output.label_ids is None


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_evaluation_loss_is_that_of_all_rows_at_once(kind, tiny_bert, tmp_path):
    case = {**kind, "batch": 40, "accumulation": 1, "rows": 40}
    trainer = trainer_of(case, tiny_bert, tmp_path, per_device_eval_batch_size=7, max_steps=1, learning_rate=0.0)
    evaluated = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert evaluated == pytest.approx(trainer.state.log_history[-2]["loss"], rel=1e-5)


def test_a_loss_that_weights_by_the_logits_is_refused(tiny_bert, tmp_path):
    trainer = trainer_of({"kind": "custom", "batch": 4, "accumulation": 1, "rows": 8}, tiny_bert, tmp_path)
    trainer.loss = lambda logits, labels: (logits[:, 0], logits.softmax(1)[:, 0])
    with pytest.raises(UserError, match="weights examples by their logits"):
        trainer.train()


def test_too_few_rows_for_a_step_are_an_error(tiny_bert, tmp_path):
    case = {"kind": "custom", "batch": 16, "accumulation": 1, "rows": 10}
    trainer = trainer_of(case, tiny_bert, tmp_path, dataloader_drop_last=True)
    with pytest.raises(UserError, match="10 rows, too few for one step of 16"):
        trainer.train()


def test_every_row_is_trained_on_once_an_epoch(tiny_bert, tmp_path):
    case = {"kind": "custom", "batch": 3, "accumulation": 2, "rows": 20}
    trainer = trainer_of(case, tiny_bert, tmp_path, max_steps=-1, num_train_epochs=2)
    seen = []

    class Watching(PerExampleTrainer):
        def compute_loss(self, model, inputs, **kwargs):
            seen.extend(inputs["row"].tolist())
            return super().compute_loss(model, inputs, **kwargs)

    trainer.__class__ = Watching
    trainer.train()
    assert sorted(seen[:20]) == sorted(seen[20:]) == list(range(20))
    assert seen[:20] != seen[20:]

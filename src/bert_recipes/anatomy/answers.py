"""Stations 8 to 12: from logits to answers and losses, and which rows may decide what."""

from typing import Any

import torch
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification

from bert_recipes.anatomy.tour import Cell, Check, Code, Said, Station, Table, Tour, numbers, shape, source_of
from bert_recipes.modeling.losses import cross_entropy, losses_and_weights

# 8


def answers(logits):
    """Turn logits `[num_labels]` into shares, into independent probabilities, and into a class."""
    return logits.softmax(-1), logits.sigmoid(), logits.argmax(-1)


def decide(tour: Tour) -> Station:
    """Softmax, sigmoid, argmax and threshold."""
    with torch.no_grad():
        logits = tour.stock(**tour.tokens).logits[0]
    shares, independent, chosen = answers(logits)
    names: Any = tour.stock.config.id2label
    rows: list[list[Cell]] = [
        [Code(names[i]), numbers(logits[i]), numbers(shares[i]), numbers(independent[i]), "◀" if i == chosen else ""]
        for i in range(tour.num_labels)
    ]
    rows.append([Said("sum"), "", numbers(shares.sum()), numbers(independent.sum()), ""])
    header: list[Cell] = [Said("label"), Code("logits"), Code("softmax"), Code("sigmoid"), Code("argmax")]
    when: list[list[Cell]] = [
        [Said("one_of_many"), Code("softmax"), Code("argmax")],
        [Said("yes_or_no"), Code("softmax"), Said("threshold_one")],
        [Said("any_of_many"), Code("sigmoid"), Said("threshold_each")],
        [Said("a_number"), Said("nothing"), Said("as_it_is")],
    ]
    two = torch.tensor([0.3, 1.1])
    checks = [
        Check(Said("sums_to_one"), torch.allclose(shares.sum(), torch.tensor(1.0))),
        Check(Said("same_order"), bool(shares.argmax() == chosen and independent.argmax() == chosen)),
        Check(Said("two_is_one"), torch.allclose(two.softmax(-1)[1], (two[1] - two[0]).sigmoid())),
        Check(Said("half_is_argmax"), bool((two.softmax(-1)[1] > 0.5) == (two.argmax() == 1))),
    ]
    blocks = [
        Table(rows, header, marked=[int(chosen)]),
        Table(when, [Said("task"), Said("function"), Said("decision")]),
    ]
    return Station("decide", source_of(answers), blocks, checks)


# 9


@torch.no_grad()
def with_labels(stock, tokens, labels):
    """Take the stock model's loss, and the losses of the examples from its logits."""
    output = stock(**tokens, labels=labels)
    per_example = F.cross_entropy(output.logits, labels, reduction="none")
    return output.loss, per_example, output.logits


def loss(tour: Tour) -> Station:
    """The stock loss is one number, the mean over the batch."""
    labels = torch.tensor([1, 0])
    mean, per_example, logits = with_labels(tour.stock, tour.tokens, labels)
    ours, _ = losses_and_weights(cross_entropy, logits, labels)
    rows = [
        [Code("output.loss"), shape(mean), numbers(mean)],
        [Code("per_example"), shape(per_example), numbers(per_example)],
        [Code("per_example.mean()"), shape(per_example.mean()), numbers(per_example.mean())],
        [Code("bert_recipes.modeling.losses.cross_entropy"), shape(ours), numbers(ours)],
    ]
    checks = [
        Check(Said("scalar"), mean.shape == ()),
        Check(Said("is_mean"), torch.allclose(mean, per_example.mean(), atol=1e-6)),
        Check(Said("kept"), ours.shape == (2,) and torch.equal(ours, per_example)),
    ]
    return Station("loss", source_of(with_labels), [Table(rows, [Said("value"), Said("shape"), Said("seen")])], checks)


# 10


def chosen_loss(num_labels, labels, model=None):
    """Return the loss that a stock model chooses for these labels, what its config says then, and the model."""
    model = model or BertForSequenceClassification(tiny_config(num_labels=num_labels))
    try:
        output = model(input_ids=torch.full((len(labels), 3), 5), labels=labels)
        chosen = output.loss.grad_fn.name().removesuffix("Backward0")
    except ValueError as error:
        chosen = type(error).__name__
    return chosen, model.config.problem_type, model


def tiny_config(**options: Any) -> BertConfig:
    """Return the configuration of a BERT of two layers and 16 hidden units, without dropout."""
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    no_dropout: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertConfig(vocab_size=64, max_position_embeddings=160, **sizes, **no_dropout, **options)


REGRESSION, SINGLE, MULTI = "regression", "single_label_classification", "multi_label_classification"
MSE, NLL, BCE = "MseLoss", "NllLoss", "BinaryCrossEntropyWithLogits"


def problem(tour: Tour) -> Station:
    """The loss that the stock model chooses by the number of labels and by their dtype."""
    ids, floats = torch.tensor([0, 1, 1, 0]), torch.tensor([0.0, 1.0, 1.0, 0.0])
    hot = F.one_hot(ids, 3)
    cases = [
        (1, floats, MSE, REGRESSION),
        (1, ids, MSE, REGRESSION),
        (3, ids, NLL, SINGLE),
        (3, hot.float(), BCE, MULTI),
        (3, hot, "ValueError", SINGLE),
        (3, floats, "ValueError", MULTI),
    ]
    rows: list[list[Cell]] = []
    as_told = []
    for num_labels, labels, wanted, kind in cases:
        chosen, problem_type, _ = chosen_loss(num_labels, labels)
        as_told.append((chosen, problem_type) == (wanted, kind))
        rows.append(
            [
                Code(num_labels),
                Code(str(labels.dtype).removeprefix("torch.")),
                shape(labels),
                Code(chosen),
                Code(problem_type),
            ]
        )
    _, first, model = chosen_loss(3, hot.float())
    then, second, _ = chosen_loss(3, ids, model)
    rows.append([Said("then_same"), Code("int64"), shape(ids), Code(then), Code(second)])
    header: list[Cell] = [
        Code("num_labels"),
        Said("dtype"),
        Said("shape"),
        Said("chosen"),
        Code("config.problem_type"),
    ]
    checks = [
        Check(Said("one_label"), all(as_told[:2])),
        Check(Said("by_dtype"), all(as_told[2:4])),
        Check(Said("wrong_shape"), all(as_told[4:])),
        Check(Said("sticks"), (first, second) == (MULTI, MULTI) and then == "ValueError"),
    ]
    return Station("problem", source_of(chosen_loss), [Table(rows, header, marked=[1, 6])], checks)


# 11


@torch.no_grad()
def plain_with_labels(plain, tokens, labels):
    """Give labels to a model that has no use for them."""
    try:
        return list(plain(**tokens, labels=labels))
    except TypeError as error:
        return type(error).__name__


def swallowed(tour: Tour) -> Station:
    """A plain model does not take labels."""
    answer = plain_with_labels(tour.plain, tour.tokens, torch.tensor([1, 0]))
    refused = answer == "TypeError"
    rows = [[Code("plain(**tokens, labels=labels)"), Code(answer if refused else ", ".join(answer))]]
    checks = [Check(Said("refuses"), refused, None if refused or "loss" in answer else Said("swallows"))]
    return Station("swallowed", source_of(plain_with_labels), [Table(rows)], checks)


# 12


def best_threshold(scores, labels):
    """Return the threshold that gets most rows of each draw right, and its accuracy: scores `[draws, rows]`."""
    thresholds = torch.linspace(0, 1, 101)[:, None, None]
    accuracy = ((scores > thresholds) == labels).float().mean(-1)  # [thresholds, draws]
    best, which = accuracy.max(0)
    return thresholds[which, 0], best


def threshold_experiment(draws=400, rows=100):
    """Score coin tosses at random: no threshold is worth more than half."""
    random = torch.Generator().manual_seed(0)
    scores = torch.rand(2, draws, rows, generator=random)
    labels = torch.rand(2, draws, rows, generator=random) > 0.5
    threshold, on_chosen_rows = best_threshold(scores[0], labels[0])
    on_fresh_rows = ((scores[1] > threshold) == labels[1]).float().mean()
    return on_chosen_rows.mean(), on_fresh_rows


def splits(tour: Tour) -> Station:
    """What training, development and test rows are for."""
    chosen, fresh = threshold_experiment()
    rights = [
        [Said("train"), Said("yes"), Said("yes"), Said("no"), Said("no")],
        [Said("dev"), Said("yes"), Said("no"), Said("yes"), Said("no")],
        [Said("test"), Said("maybe"), Said("no"), Said("no"), Said("yes_once")],
    ]
    header = [Said("split"), Said("has_labels"), Said("weights"), Said("threshold"), Said("report")]
    rows: list[list[Cell]] = [[Said("same_rows"), numbers(chosen, 3)], [Said("fresh_rows"), numbers(fresh, 3)]]
    checks = [
        Check(Said("flatters"), bool(chosen > fresh + 0.03)),
        Check(Said("honest"), abs(float(fresh) - 0.5) < 0.01),
    ]
    code = source_of(best_threshold, threshold_experiment)
    return Station("splits", code, [Table(rights, header), Table(rows, title=Said("experiment"))], checks)

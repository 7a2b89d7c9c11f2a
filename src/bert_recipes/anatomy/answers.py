"""The stations from logits to answers and losses, and which rows may decide what."""

from typing import Any

import torch
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification

from bert_recipes.anatomy.tour import Cell, Check, Code, Said, Station, Table, Tour, numbers, shape, source_of
from bert_recipes.modeling.losses import cross_entropy, losses_and_weights


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
    errors, as_said = _label_errors()
    checks += [Check(Said("not_the_same"), _single_label_either_way()), Check(Said("messages"), as_said)]
    blocks = [_kinds(), Table(rows, header, title=Said("cases"), marked=[1, 6]), errors]
    return Station("problem", source_of(chosen_loss, error_of), blocks, checks)


def _kinds() -> Table:
    """Return how many classes there are and how many a row has, and what each needs."""
    rows: list[list[Cell]] = [
        [Said("binary"), "2", "1", Code("int64 [batch]"), Code(SINGLE)],
        [Said("multi_class"), "3 …", "1", Code("int64 [batch]"), Code(SINGLE)],
        [Said("multi_label"), "2 …", "0 …", Code("float32 [batch, num_labels]"), Code(MULTI)],
    ]
    header: list[Cell] = [Said("task"), Said("classes"), Said("per_row"), Said("labels"), Code("problem_type")]
    return Table(rows, header, title=Said("kinds"))


def _single_label_either_way() -> bool:
    """Return whether two classes and many are one kind to the model, and several labels a row another."""
    two, many = (chosen_loss(n, torch.tensor([0, 1, 1, 0]))[:2] for n in (2, 3))
    several = chosen_loss(2, torch.tensor([[1.0, 1.0], [0.0, 0.0]]))[:2]
    return two == many == (NLL, SINGLE) and several == (BCE, MULTI)


def error_of(num_labels, labels, problem_type):
    """Return what a stock model says of labels that do not fit its problem type."""
    model = BertForSequenceClassification(tiny_config(num_labels=num_labels, problem_type=problem_type))
    try:
        model(input_ids=torch.full((len(labels), 3), 5), labels=labels)
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _label_errors() -> tuple[Table, bool]:
    """Return what the wrong dtype and shape of labels are told, with the remedy, and whether each was refused."""
    floats = torch.tensor([0.0, 1.0, 1.0, 0.0])
    cases = [
        (floats, None, Said("make_long")),
        (floats, SINGLE, Said("make_long")),
        (torch.ones(4, 2).long(), MULTI, Said("make_float")),
        (torch.ones(4).long(), MULTI, Said("unset")),
    ]
    rows: list[list[Cell]] = []
    for labels, kind, remedy in cases:
        given = f"{str(labels.dtype).removeprefix('torch.')} {list(labels.shape)}"
        rows.append([Code(given), Code(kind), Code(error_of(2, labels, kind)), remedy])
    header: list[Cell] = [Said("labels"), Code("problem_type"), Said("error"), Said("remedy")]
    return Table(rows, header, title=Said("errors")), all(str(row[2]) for row in rows)


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
    checks = [Check(Said("swallows"), not refused and "loss" not in answer, Said("refuses") if refused else None)]
    return Station("swallowed", source_of(plain_with_labels), [Table(rows)], checks)


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

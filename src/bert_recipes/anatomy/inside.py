"""The stations inside the models: what is loaded, what the modules are, and how a text becomes logits."""

from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from bert_recipes.anatomy.tour import (
    Block,
    Cell,
    Check,
    Code,
    Flow,
    Said,
    Station,
    Table,
    Tour,
    load,
    numbers,
    shape,
    source_of,
)


def loaded(tour: Tour) -> Station:
    """What became of the checkpoint's weights in each of the two models."""
    stored = _stored(tour)
    base = set(tour.plain.state_dict())
    rows, new_of = [], {}
    for name, model, about in (("plain", tour.plain, tour.about_plain), ("stock", tour.stock, tour.about_stock)):
        new = sorted({*about["missing_keys"], *(key for key, *_ in about["mismatched_keys"])})
        new_of[name] = new
        unused = [key for key in stored if not _taken(key, model)]
        rows.append(
            [
                Code(type(model).__name__),
                Code(f"{len(stored):,}"),
                Code(f"{len(stored) - len(unused):,}"),
                _names(unused),
                _names(new),
            ]
        )
    stock_encoder = tour.stock.base_model.state_dict()
    shared = [key for key in base if key in stock_encoder]
    head = sorted(key for key in tour.stock.state_dict() if key.partition(".")[2] not in base)
    checks = [
        Check(
            Said("same_encoder", shared=len(shared)),
            all(
                torch.equal(tour.plain.state_dict()[key], stock_encoder[key])
                for key in shared
                if key not in new_of["plain"]
            ),
        ),
        Check(Said("new_head", head=", ".join(f"`{key}`" for key in head)), new_of["stock"] == head),
    ]
    elsewhere = None
    if not set(head) & set(new_of["stock"]):
        elsewhere, checks = Said("head_in_checkpoint"), checks[:1]
    elif new_of["stock"] != head:
        elsewhere, checks = Said("more_is_new"), checks[:1]
    header = [Said("model"), Said("stored"), Said("used"), Said("unused"), Said("new")]
    return Station("loaded", source_of(load), [Table(rows, header)], checks, elsewhere=elsewhere)


def _stored(tour: Tour) -> list[str]:
    names = []
    for path in Path(tour.source).glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            names += file.keys()
    return sorted(names)


def _taken(key: str, model: PreTrainedModel) -> bool:
    # transformers does not report all that it leaves, such as the position ids of old checkpoints.
    key = key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    prefix = f"{model.base_model_prefix}."
    return bool({key, prefix + key, key.removeprefix(prefix)} & model.state_dict().keys())


def _names(keys: list[str]) -> Cell:
    if not keys:
        return Said("none")
    shown = ", ".join(keys[:3])
    return Code(shown if len(keys) <= 3 else f"{shown}, … ({len(keys)})")


def from_the_pooler_down(model: nn.Module) -> dict[str, nn.Module]:
    """Return by name the modules from the pooler down: the pooler, and what stands beside the encoder."""
    base = model.base_model
    tops = {"pooler": getattr(base, "pooler", None)}
    tops |= {name: child for name, child in model.named_children() if base not in (model, child)}
    found = {}
    for top, module in tops.items():
        for name, part in module.named_modules() if module is not None else ():
            found[f"{top}.{name}".rstrip(".")] = part
    return found


def trees(tour: Tour) -> Station:
    """The two module trees side by side."""
    plain, stock = from_the_pooler_down(tour.plain), from_the_pooler_down(tour.stock)
    rows: list[list[Cell]] = [
        ["…", Code(type(tour.plain).__name__), "", _count(tour.plain, without="pooler"), "✓", "✓"]
    ]
    marked = []
    for name, module in {**plain, **stock}.items():
        if name not in plain:
            marked.append(len(rows))
        features = f"{module.in_features} → {module.out_features}" if isinstance(module, nn.Linear) else ""
        if isinstance(module, nn.Dropout):
            features = f"p = {module.p}"
        indent = "  " * name.count(".")
        own = sum(p.numel() for p in module.parameters(recurse=False))
        cells: list[Cell] = [Code(indent + name.rpartition(".")[2]), Code(type(module).__name__), Code(features)]
        cells += [f"{own:,}" if own else "", "✓" if name in plain else "", "✓" if name in stock else ""]
        rows.append(cells)
    total = [sum(p.numel() for p in model.parameters()) for model in (tour.plain, tour.stock)]
    rows.append([Said("total"), "", "", "", f"{total[0]:,}", f"{total[1]:,}"])
    hidden, labels = tour.plain.config.hidden_size, tour.num_labels
    header = [Said("module"), Said("class"), Said("features"), Said("parameters"), Said("plain"), Said("stock")]
    table = Table(rows, header, marked=marked)
    code = source_of(from_the_pooler_down)
    sizes = Said("sizes", hidden=hidden, labels=labels)
    if not tour.has_bert_head:
        names = ", ".join(f"`{name}`" for name in stock if name not in plain and "." not in name)
        return Station("trees", code, [table, sizes], elsewhere=Said("other_head", head=names))
    more = {name for name in stock if name not in plain}
    checks = [
        Check(Said("only_more"), more == {"dropout", "classifier"} and set(plain) <= set(stock)),
        Check(
            Said("parameters_more", hidden=hidden, labels=labels, more=f"{hidden * labels + labels:,}"),
            total[1] - total[0] == hidden * labels + labels,
        ),
    ]
    return Station("trees", code, [table, sizes], checks)


def _count(model: nn.Module, without: str) -> str:
    parts = (p.numel() for name, p in model.named_parameters() if not name.startswith(f"{without}."))
    return f"{sum(parts):,}"


def what_changes(source: str, few: int, many: int) -> dict:
    """Return the tensors whose shapes differ between a stock model of few and one of many labels."""
    shapes = []
    for num_labels in (few, many):
        model = AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=num_labels, ignore_mismatched_sizes=True
        )
        shapes.append({name: list(tensor.shape) for name, tensor in model.state_dict().items()})
    return {name: (was, shapes[1][name]) for name, was in shapes[0].items() if was != shapes[1][name]}


def more_labels(tour: Tour) -> Station:
    """What `num_labels` changes."""
    few = 2 if tour.num_labels != 2 else 5
    changed = what_changes(tour.source, few, tour.num_labels)
    names = list((tour.stock.config.id2label or {}).values())
    rows = [[Code(name), Code(was), Code(now)] for name, (was, now) in changed.items()]
    header: list[Cell] = [Said("tensor"), Code(f"num_labels={few}"), Code(f"num_labels={tour.num_labels}")]
    last = [name for name, module in tour.stock.named_modules() if isinstance(module, nn.Linear)][-1]
    outside = {name for name in changed if not name.startswith(f"{last}.")}
    checks = [
        Check(Said("only_last", count=len(changed), all=len(tour.stock.state_dict())), bool(changed) and not outside),
        Check(Said("names", first=names[0], last=names[-1]), names == [f"LABEL_{i}" for i in range(tour.num_labels)]),
        Check(Said("two_by_default"), type(tour.stock.config)().num_labels == 2),
    ]
    elsewhere = None
    if not checks[1].passed:
        elsewhere, checks = Said("has_names"), [checks[0], checks[2]]
    return Station("more_labels", source_of(what_changes), [Table(rows, header)], checks, elsewhere=elsewhere)


@torch.no_grad()
def without_labels(plain, stock, tokens):
    """Give both models the same batch and no labels."""
    return plain(**tokens), stock(**tokens)


def outputs(tour: Tour) -> Station:
    """What each model returns."""
    plain, stock = without_labels(tour.plain, tour.stock, tour.tokens)
    batch, length = tour.tokens["input_ids"].shape
    hidden = tour.plain.config.hidden_size
    rows = [[Code(type(tour.plain).__name__), Code(name), shape(value)] for name, value in plain.items()]
    rows += [[Code(type(tour.stock).__name__), Code(name), shape(value)] for name, value in stock.items()]
    pooled = plain.get("pooler_output")
    checks = [
        Check(
            Said("hidden_shape", shape=shape(plain.last_hidden_state)),
            plain.last_hidden_state.shape == (batch, length, hidden),
        ),
        Check(Said("logits_only"), list(stock) == ["logits"] and stock.logits.shape == (batch, tour.num_labels)),
    ]
    elsewhere = None
    steps = [
        ("input_ids", str([batch, length])),
        (type(tour.plain).__name__, ""),
        ("last_hidden_state", str([batch, length, hidden])),
    ]
    if pooled is None:
        elsewhere = Said("no_pooler")
    else:
        checks.insert(1, Check(Said("pooled_shape", shape=shape(pooled)), pooled.shape == (batch, hidden)))
        steps.append(("pooler_output", str([batch, hidden])))
    steps.append(("logits", str(list(stock.logits.shape))))
    blocks: list[Block] = [Flow(steps, len(steps) - 1), Table(rows, [Said("model"), Said("field"), Said("shape")])]
    return Station("outputs", source_of(without_labels), blocks, checks, elsewhere=elsewhere)


@torch.no_grad()
def pool_by_hand(plain, tokens):
    """Take the first token through the pooler's dense layer and tanh."""
    output = plain(**tokens)
    cls = output.last_hidden_state[:, 0]  # [batch, hidden]
    by_hand = torch.tanh(plain.pooler.dense(cls))
    return by_hand, output.pooler_output


def cls(tour: Tour) -> Station:
    """`[CLS]`, dense and tanh are the pooler's output."""
    if not isinstance(getattr(getattr(tour.plain, "pooler", None), "dense", None), nn.Linear):
        return Station("cls", source_of(pool_by_hand), elsewhere=Said("no_pooler"))
    by_hand, pooled = pool_by_hand(tour.plain, tour.tokens)
    rows = [
        [Code("by_hand[0, :4]"), numbers(by_hand[0, :4])],
        [Code("pooler_output[0, :4]"), numbers(pooled[0, :4])],
    ]
    close = torch.allclose(by_hand, pooled, atol=1e-6)
    steps = [("last_hidden_state[:, 0]", ""), ("dense", ""), ("tanh", ""), ("pooler_output", "")]
    batch, hidden = by_hand.shape
    checks = [Check(Said("same", batch=batch, hidden=hidden), close)]
    return Station("cls", source_of(pool_by_hand), [Flow(steps, 4), Table(rows)], checks)


@torch.no_grad()
def logits_by_hand(plain, stock, tokens):
    """Put the stock model's dropout and classifier on the plain model's pooler output."""
    pooled = plain(**tokens).pooler_output
    return stock.classifier(stock.dropout(pooled)), stock(**tokens).logits


@torch.no_grad()
def twice_in_training(stock, tokens):
    """Ask the same twice with dropout at work."""
    stock.train()
    first, second = stock(**tokens).logits, stock(**tokens).logits
    stock.eval()
    return first, second


def head(tour: Tour) -> Station:
    """Dropout and classifier over the pooler's output are the logits."""
    code = source_of(logits_by_hand, twice_in_training)
    if not tour.has_bert_head:
        return Station("head", code, elsewhere=Said("other_head", model=type(tour.stock).__name__))
    if not tour.pooler_is_stored:
        return Station("head", code, elsewhere=Said("new_pooler"))
    was_training = tour.stock.training
    by_hand, logits = logits_by_hand(tour.plain, tour.stock, tour.tokens)
    torch.manual_seed(0)
    first, second = twice_in_training(tour.stock, tour.tokens)
    rows: list[list[Cell]] = [
        [Code("by_hand[0]"), numbers(by_hand[0])],
        [Code("logits[0]"), numbers(logits[0])],
        [Said("training_first"), numbers(first[0])],
        [Said("training_second"), numbers(second[0])],
    ]
    checks = [
        Check(Said("same", count=by_hand.numel()), torch.allclose(by_hand, logits, atol=1e-6)),
        Check(Said("evaluating"), not was_training),
        Check(Said("dropout_differs"), not torch.allclose(first, second)),
    ]
    return Station("head", code, [Table(rows)], checks)

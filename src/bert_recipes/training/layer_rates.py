"""Learning rates by depth: smaller ones for lower layers, another one for the head."""

from typing import Any

from torch import nn

from bert_recipes.modeling.building import embeddings_of, encoder_layers
from bert_recipes.modeling.models import EncoderClassifier
from bert_recipes.modeling.wrapper import OwnClassifier


def parameter_groups(
    model: EncoderClassifier | OwnClassifier,
    learning_rate: float,
    weight_decay: float,
    decayed: set[str],
    layer_decay: float = 1.0,
    head_learning_rate: float | None = None,
) -> list[dict[str, Any]]:
    """Return the optimizer's groups of a classifier with an `encoder`, the head's first.

    The top layer learns at `learning_rate`, each layer below at `layer_decay` times the rate of the one above, and the
    embeddings one step below the lowest layer (discriminative fine-tuning, arXiv:1801.06146; arXiv:2006.05987).

    Args:
        model: the classifier.
        learning_rate: of the top layer, and of what stands above it.
        weight_decay: of the parameters named in `decayed`.
        decayed: their names.
        layer_decay: from one layer to the next lower one.
        head_learning_rate: of pooling, head and classifier, the encoder's own pooler included; by default
            `learning_rate`.
    """
    rate_of: dict[int, float] = {}
    encoder: Any = model.encoder
    of_encoder = {id(p) for p in encoder.parameters()}
    if layer_decay != 1.0:
        # LoRA wraps the encoder.
        plain = encoder.get_base_model() if hasattr(encoder, "get_base_model") else encoder
        layers = encoder_layers(plain)
        for below, layer in enumerate(reversed(layers)):
            rate_of |= {id(p): learning_rate * layer_decay**below for p in layer.parameters()}
        lowest = learning_rate * layer_decay ** len(layers)
        rate_of |= {id(p): lowest for part in embeddings_of(plain) for p in part.parameters()}
    head_rate = learning_rate if head_learning_rate is None else head_learning_rate
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    named = sorted(model.named_parameters(), key=lambda item: id(item[1]) in of_encoder)
    for name, parameter in named:
        if parameter.requires_grad:
            of_head = id(parameter) not in of_encoder or "pooler" in name.split(".")
            rate = head_rate if of_head else rate_of.get(id(parameter), learning_rate)
            groups.setdefault((rate, weight_decay if name in decayed else 0.0), []).append(parameter)
    return [{"params": parameters, "lr": rate, "weight_decay": decay} for (rate, decay), parameters in groups.items()]

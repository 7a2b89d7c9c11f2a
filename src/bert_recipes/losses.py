"""Losses: `(logits, labels) -> per-example losses`, or a pair with per-example weights; both of shape `[batch]`.

No loss here averages. The trainer does, once, over the whole optimizer step:
`sum(weight * loss) / sum(weight)`.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from bert_recipes.errors import UserError

PerExample = Tensor | tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], PerExample]


def cross_entropy(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross entropy of each example, `[batch]`, from logits `[batch, num_labels]` and class ids `[batch]`.

    Label smoothing mixes the one-hot target with the uniform one, as in arXiv:1512.00567.
    """
    return F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)


class WeightedCrossEntropy:
    """Cross entropy whose examples weigh what their class weighs.

    Averaged by the trainer as `sum(w_i * l_i) / sum(w_i)`, it equals `torch.nn.CrossEntropyLoss(weight=...)` on the
    whole batch. With label smoothing an example still weighs what its own class weighs, while torch's loss weighs
    the share that smoothing gives to the other classes by theirs.
    """

    def __init__(self, class_weights: list[float], label_smoothing: float = 0.0):
        self.class_weights = torch.tensor(class_weights)
        self.label_smoothing = label_smoothing

    def __call__(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the losses and the weights of the examples, each `[batch]`."""
        weights = self.class_weights.to(device=logits.device, dtype=logits.dtype)
        return cross_entropy(logits, labels, self.label_smoothing), weights[labels]


def losses_and_weights(loss: Loss, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `loss` gives each example and what each weighs, both `[batch]`: 1 where the loss does not weight.

    Raises:
        UserError: the loss returned something else than one number per example.
    """
    result = loss(logits, labels)
    losses, weights = result if isinstance(result, tuple) else (result, torch.ones_like(result))
    if losses.shape != labels.shape[:1] or weights.shape != losses.shape:
        raise UserError(
            f"the loss must return one number per example, shape [{len(labels)}], and returned "
            f"{list(losses.shape)}: leave the averaging to the trainer (reduction='none')."
        )
    return losses, weights


def balanced_class_weights(labels: list[int], num_labels: int) -> list[float]:
    """Weights that make every class count alike: `rows / (num_labels * rows of the class)`, as in scikit-learn."""
    counts = torch.bincount(torch.as_tensor(labels), minlength=num_labels)
    return (len(labels) / (num_labels * counts.to(torch.float64))).tolist()


def make_loss(
    class_weights: list[str] | None, label_smoothing: float, labels: list[int], label_names: list[str]
) -> Loss:
    """Return the loss that `--class_weights` and `--label_smoothing_factor` ask for, over the training `labels`.

    Raises:
        UserError: the weights are neither `balanced` nor one positive number per label.
    """
    if class_weights is None:
        return partial(cross_entropy, label_smoothing=label_smoothing)
    if class_weights == ["balanced"]:
        absent = [name for i, name in enumerate(label_names) if i not in set(labels)]
        if absent:
            raise UserError(f"--class_weights balanced: train has no row of {', '.join(absent)}: give the weights.")
        return WeightedCrossEntropy(balanced_class_weights(labels, len(label_names)), label_smoothing)
    try:
        weights = [float(w) for w in class_weights]
    except ValueError as error:
        raise UserError(f"--class_weights takes 'balanced' or numbers, not {' '.join(class_weights)}.") from error
    if len(weights) != len(label_names) or not all(0 < w < float("inf") for w in weights):
        raise UserError(
            f"--class_weights takes one positive number for each of the {len(label_names)} labels "
            f"({', '.join(label_names)}), and {' '.join(class_weights)} came."
        )
    return WeightedCrossEntropy(weights, label_smoothing)

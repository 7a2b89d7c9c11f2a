"""Losses: `(logits, labels) -> per-example losses`, or a pair with per-example weights; both of shape `[batch]`.

No loss here averages. The trainer does, once, over the whole optimizer step:
`sum(weight * loss) / sum(weight)`. Logits are `[batch, num_labels]`; labels are class ids `[batch]` where one label
holds, and `[batch, num_labels]` numbers otherwise. Where a loss has one term per label or target, an example's loss is
their mean, as in the stock model.

A loss with an attribute `passes = n` sees every example n times, each under other dropout, as logits
`[batch, n, num_labels]`; without dropout, as in evaluation, it gets `[batch, num_labels]`.
"""

import inspect
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.errors import UserError, nearest
from bert_recipes.modeling.own_code import CODE_ERRORS, is_own_code, load_object
from bert_recipes.task import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Task

PerExample = Tensor | tuple[Tensor, Tensor]
Loss = Callable[[Tensor, Tensor], PerExample]


def cross_entropy(
    logits: Tensor, labels: Tensor, class_weights: list[float] | None = None, label_smoothing: float = 0.0
) -> PerExample:
    """Cross entropy of each example, and with `class_weights` what its class weighs.

    Label smoothing mixes the one-hot target with the uniform one, as in arXiv:1512.00567. With class weights, averaged
    by the trainer, it equals `torch.nn.CrossEntropyLoss(weight=...)` on the whole batch. With smoothing too, an
    example still weighs what its own class weighs, while torch's loss weighs the share that smoothing gives to the
    other classes by theirs.
    """
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
    return losses if class_weights is None else (losses, _of_class(class_weights, logits)[labels])


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0, class_weights: list[float] | None = None) -> PerExample:
    """Focal loss, `(1 - p)^gamma * -log p` with `p` the probability of the true class (arXiv:1708.02002, equation 4).

    The paper's `alpha` is `class_weights`: an example weighs what its class weighs.
    """
    _check_range("gamma", gamma, gamma >= 0, "0 or more")
    log_p = F.log_softmax(logits, dim=-1)
    others = log_p.masked_fill(F.one_hot(labels, logits.shape[-1]).bool(), -torch.inf)
    log_p = log_p.gather(1, labels[:, None]).squeeze(1)
    # (1 - p)^gamma by its logarithm: 1 - p of a sure answer is lost to rounding, and its gradient with it.
    losses = -torch.exp(gamma * torch.logsumexp(others, dim=-1)) * log_p
    return losses if class_weights is None else (losses, _of_class(class_weights, logits)[labels])


class RDrop:
    """R-Drop: cross entropy of two passes, and how far apart dropout drives them (arXiv:2106.14448).

    `(CE_1 + CE_2) / 2 + alpha * (KL(p_1 || p_2) + KL(p_2 || p_1)) / 2`, the scale of the paper's code. It is a loss of
    one example, so a step stays the same step however it is cut; it costs twice the compute and memory.
    """

    passes = 2

    def __init__(self, alpha: float = 1.0, label_smoothing: float = 0.0):
        self.alpha = alpha
        self.label_smoothing = label_smoothing

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the losses `[batch]` of logits `[batch, 2, num_labels]`, or `[batch, num_labels]` without dropout."""
        if logits.dim() == 2:
            return self._entropy(logits, labels)
        first, second = logits.unbind(1)
        entropy = (self._entropy(first, labels) + self._entropy(second, labels)) / 2
        log_p, log_q = F.log_softmax(first, dim=-1), F.log_softmax(second, dim=-1)
        # KL(p || q) + KL(q || p) in one sum over the classes.
        divergence = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1) / 2
        return entropy + self.alpha * divergence

    def _entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)


def binary_cross_entropy(logits: Tensor, labels: Tensor, pos_weight: list[float] | None = None) -> Tensor:
    """Binary cross entropy of each label, averaged over the labels of an example.

    With `pos_weight` the term of a label that holds counts that many times, as in `torch.nn.BCEWithLogitsLoss`.
    """
    weight = None if pos_weight is None else _of_class(pos_weight, logits)
    labels = labels.to(logits)
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none", pos_weight=weight).mean(1)


def binary_focal(logits: Tensor, labels: Tensor, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """Focal loss of each label on its own, averaged over the labels of an example (arXiv:1708.02002, equation 5).

    `alpha` weights the labels that hold, and `1 - alpha` those that do not.
    """
    _check_range("gamma", gamma, gamma >= 0, "0 or more")
    _check_range("alpha", alpha, alpha is None or 0 <= alpha <= 1, "between 0 and 1")
    labels = labels.to(logits)
    towards = torch.where(labels > 0, logits, -logits)
    losses = -torch.exp(gamma * F.logsigmoid(-towards)) * F.logsigmoid(towards)
    if alpha is not None:
        losses = torch.where(labels > 0, alpha, 1 - alpha) * losses
    return losses.mean(1)


def asymmetric(
    logits: Tensor, labels: Tensor, gamma_pos: float = 0.0, gamma_neg: float = 4.0, clip: float = 0.05
) -> Tensor:
    """Asymmetric loss for several labels, of which few hold (arXiv:2009.14119, equation 7).

    Labels that do not hold are focused by `gamma_neg`, and their probability is shifted down by `clip`, so that easy
    ones drop out. Averaged over the labels of an example, where the paper sums.
    """
    for name, value in (("gamma_pos", gamma_pos), ("gamma_neg", gamma_neg)):
        _check_range(name, value, value >= 0, "0 or more")
    _check_range("clip", clip, 0 <= clip < 1, "0 or more, and less than 1")
    labels = labels.to(logits)
    holds = torch.exp(gamma_pos * F.logsigmoid(-logits)) * F.logsigmoid(logits)
    if clip:
        # A shift of clip also keeps 1 - shifted from 0; where nothing is left of p, nothing is left of the term.
        left = torch.sigmoid(logits) > clip
        shifted = torch.where(left, torch.sigmoid(logits) - clip, 0.5)
        does_not = torch.where(left, shifted**gamma_neg * torch.log1p(-shifted), 0.0)
    else:
        does_not = torch.exp(gamma_neg * F.logsigmoid(logits)) * F.logsigmoid(-logits)
    return -(labels * holds + (1 - labels) * does_not).mean(1)


def mean_squared_error(logits: Tensor, labels: Tensor) -> Tensor:
    """Squared error of each target, averaged over the targets of an example."""
    return F.mse_loss(logits, labels.to(logits), reduction="none").mean(1)


def huber(logits: Tensor, labels: Tensor, delta: float = 1.0) -> Tensor:
    """Huber's loss: squared up to an error of `delta`, linear beyond; mean over targets (10.1214/aoms/1177703732)."""
    return F.huber_loss(logits, labels.to(logits), reduction="none", delta=delta).mean(1)


def _check_range(name: str, value: float | None, holds: bool, wanted: str) -> None:
    if not holds:
        raise ValueError(f"{name} is {value}: give {wanted}")


# The losses of each kind of task; the first one is the stock model's own.
LOSSES: dict[str, dict[str, Callable[..., Any]]] = {
    SINGLE_LABEL: {"cross_entropy": cross_entropy, "focal": focal, "r_drop": RDrop},
    MULTI_LABEL: {"bce": binary_cross_entropy, "focal": binary_focal, "asymmetric": asymmetric},
    REGRESSION: {"mse": mean_squared_error, "huber": huber},
}
DEFAULT_LOSSES = {problem_type: next(iter(losses.values())) for problem_type, losses in LOSSES.items()}


def _of_class(weights: list[float], logits: Tensor) -> Tensor:
    return torch.as_tensor(weights, device=logits.device, dtype=logits.dtype)


def losses_and_weights(loss: Loss, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return what `loss` gives each example and what each weighs, both `[batch]`: 1 where the loss does not weight.

    Logits `[batch, samples, num_labels]` of a head with multi-sample dropout give each example the mean of its
    samples' losses, as in arXiv:1905.09788, unless the loss itself asks for several `passes`.

    Raises:
        UserError: the loss returned something else than one number per example.
    """
    samples = logits.shape[1] if logits.dim() == 3 and not hasattr(loss, "passes") else None
    if samples is not None:
        result = loss(logits.flatten(0, 1), labels.repeat_interleave(samples, dim=0))
    else:
        result = loss(logits, labels)
    losses, weights = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    expected = (len(labels) * (samples or 1),)
    for one in (losses,) if weights is None else (losses, weights):
        if not isinstance(one, Tensor) or one.shape != expected:
            came = f"shape {list(one.shape)}" if isinstance(one, Tensor) else f"a {type(one).__name__}"
            raise UserError(
                f"the loss must return one number per example, shape {list(expected)}, and returned {came}: leave "
                "the averaging to the trainer (reduction='none')."
            )
    weights = torch.ones_like(losses) if weights is None else weights
    if samples is not None:
        losses, weights = losses.view(-1, samples).mean(1), weights.view(-1, samples).mean(1)
    return losses, weights


def balanced_class_weights(labels: list[int], num_labels: int) -> list[float]:
    """Weights that make every class count alike: `rows / (num_labels * rows of the class)`, as in scikit-learn."""
    counts = torch.bincount(torch.as_tensor(labels[:]), minlength=num_labels)
    return (len(labels) / (num_labels * counts.to(torch.float64))).tolist()


def make_loss(args: CustomArguments, label_smoothing: float, task: Task, train_labels: list[Any]) -> Loss:
    """Return the loss that the flags ask for, tried on two examples.

    Args:
        args: `--loss` (a name from `LOSSES`, `file.py:name` of the user's own, or None for the task's own),
            `--loss_options`, `--class_weights` and `--pos_weight`.
        label_smoothing: `--label_smoothing_factor`.
        task: the task and its labels.
        train_labels: of the training rows, for weights that are `balanced`.

    Raises:
        UserError: the loss does not fit the task, takes no such option, or does not return one number per example.
    """
    name = args.loss or next(iter(LOSSES[task.problem_type]))
    loss = load_object(name, "--loss") if is_own_code(name) else _known_loss(name, task)
    given = _options(args.loss_options)
    for option in ("class_weights", "pos_weight"):
        if getattr(args, option) is not None:
            given[option] = _weights(f"--{option}", getattr(args, option), task, train_labels)
    if label_smoothing:
        given["label_smoothing"] = label_smoothing
    built = _with_options(loss, name, given, task)
    if hasattr(built, "passes") and args.dropout_samples > 1:
        raise UserError(f"--dropout_samples and --loss {name} both draw dropout anew for one text: take one.")
    _try_out(built, name, task)
    return built


def _known_loss(name: str, task: Task) -> Callable[..., Any]:
    known = LOSSES[task.problem_type]
    if name in known:
        return known[name]
    others = [task for task, losses in LOSSES.items() if name in losses]
    what = f"is no loss of a {task.name} task" if others else "is not known"
    raise UserError(
        f"--loss {name} {what}{'' if others else nearest(name, known)}: take one of {', '.join(known)}, or your own "
        "as file.py:name."
    )


def _options(options: list[str] | None) -> dict[str, Any]:
    given = {}
    for option in options or []:
        name, equals, value = option.partition("=")
        if not equals or not name.isidentifier():
            raise UserError(f"--loss_options takes name=value, as in gamma=1.5, and {option} came.")
        if name in FLAG_OF:
            raise UserError(f"--loss_options {option}: that has a flag of its own, {FLAG_OF[name]}.")
        given[name] = yaml.safe_load(value)
    return given


FLAG_OF = {
    "class_weights": "--class_weights",
    "pos_weight": "--pos_weight",
    "label_smoothing": "--label_smoothing_factor",
}


def _with_options(loss: Callable[..., Any], name: str, given: dict[str, Any], task: Task) -> Loss:
    """Return the loss with its options set: a class is made with them, a function is given them at each call."""
    parameters = inspect.signature(loss).parameters
    takes = [p for p in parameters if isinstance(loss, type) or p not in list(parameters)[:2]]
    for option in given:
        if option not in takes:
            fitting = [other for other, one in LOSSES[task.problem_type].items() if _takes(one, option)]
            instead = f"; it is an option of {', '.join(fitting)}" if fitting else ""
            raise UserError(
                f"{FLAG_OF.get(option, f'--loss_options {option}')} cannot be honoured by --loss {name}, whose "
                f"options are {', '.join(takes) or 'none'}{instead}."
            )
    if isinstance(loss, type):
        try:
            return loss(**given)
        except CODE_ERRORS as error:
            raise UserError(f"--loss {name} cannot be made: {' '.join(str(error).split())}.") from error
    if not given:
        return loss
    built = partial(loss, **given)
    # partial hides the attributes of what it wraps, such as `passes`.
    vars(built).update(vars(loss))
    return built


def _takes(loss: Callable[..., Any], option: str) -> bool:
    return option in inspect.signature(loss).parameters


def _try_out(loss: Loss, name: str, task: Task) -> None:
    """Ask the loss for a few examples of every class, so that a mistake in it is said before anything is trained."""
    # One example more than labels, so that a loss that returns one number per label does not pass for right.
    count, size = len(task.label_names) + 1, len(task.label_names)
    if task.problem_type == SINGLE_LABEL:
        examples = torch.arange(count) % size
    else:
        examples = (torch.arange(count * size).view(count, size) % 2).float()
    passes = getattr(loss, "passes", None)
    generator = torch.Generator().manual_seed(0)
    results = []
    for shape in [(count, size)] * 2 + ([(count, passes, size)] if passes else []):
        logits = torch.randn(shape, generator=generator).requires_grad_()
        try:
            results.append(losses_and_weights(loss, logits, examples))
        except UserError as error:
            raise UserError(f"--loss {name}: {error}") from error
        except CODE_ERRORS as error:
            raise UserError(
                f"--loss {name} fails on logits {list(shape)} and labels {list(examples.shape)} of a {task.name} "
                f"task with {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
    for losses, weights in results:
        if not (torch.isfinite(losses).all() and torch.isfinite(weights).all()):
            raise UserError(f"--loss {name} returns a number that is not finite: check its options.")
        if (weights < 0).any():
            raise UserError(f"--loss {name} gives an example a weight under 0: weights are shares of a mean.")
        if not losses.requires_grad:
            raise UserError(f"--loss {name} returns numbers without a gradient: compute them from the logits.")
    if not torch.allclose(results[0][1], results[1][1]):
        raise UserError(f"--loss {name} weights examples by their logits: it may weight by the labels alone.")


def _weights(flag: str, given: list[str], task: Task, train_labels: list[Any]) -> list[float]:
    names = task.label_names
    if given == ["balanced"]:
        balanced = _balanced_pos_weight if flag == "--pos_weight" else balanced_class_weights
        if task.problem_type == REGRESSION or (task.problem_type == MULTI_LABEL) != (flag == "--pos_weight"):
            raise UserError(f"{flag} balanced does not fit a {task.name} task.")
        weights = balanced(train_labels, len(names))
        absent = [name for name, weight in zip(names, weights, strict=True) if not 0 < weight < math.inf]
        if absent:
            raise UserError(f"{flag} balanced: train has no row of {', '.join(absent)}: give the weights.")
        return weights
    try:
        weights = [float(weight) for weight in given]
    except ValueError as error:
        raise UserError(f"{flag} takes 'balanced' or numbers, not {' '.join(given)}.") from error
    if len(weights) != len(names) or not all(0 < weight < math.inf for weight in weights):
        raise UserError(
            f"{flag} takes one positive number for each of the {len(names)} labels ({', '.join(names)}), and "
            f"{' '.join(given)} came."
        )
    return weights


def _balanced_pos_weight(labels: list[list[float]], num_labels: int) -> list[float]:
    """Rows without the label to rows with it, label by label, as torch's documentation recommends."""
    holds = torch.as_tensor(labels[:], dtype=torch.float64).sum(0)
    return ((len(labels) - holds) / holds).tolist()

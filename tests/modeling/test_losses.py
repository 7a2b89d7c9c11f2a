"""Per-example losses, averaged as the trainer does, are torch's own or the papers' formulas."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.errors import UserError
from bert_recipes.modeling.losses import LOSSES, balanced_class_weights, losses_and_weights, make_loss
from bert_recipes.task import Task

LABELS = {
    "binary": Task("binary", ["no", "yes"], ["label"]),
    "multi-class": Task("multi-class", ["a", "b", "c"], ["label"]),
    "multi-label": Task("multi-label", ["a", "b", "c"], ["label"]),
    "regression": Task("regression", ["x", "y"], ["x", "y"]),
}


def make(task="multi-class", smoothing=0.0, train_labels=(), **choices):
    return make_loss(CustomArguments(**choices), smoothing, LABELS[task], list(train_labels))


def draw(task, rows=20, seed=0):
    torch.manual_seed(seed)
    logits = 2 * torch.randn(rows, len(LABELS[task].label_names), dtype=torch.float64)
    if task == "multi-label":
        return logits, torch.randint(0, 2, logits.shape).double()
    return (logits, torch.randn_like(logits)) if task == "regression" else (logits, torch.randint(0, 3, (rows,)))


@pytest.fixture
def batch():
    return draw("multi-class")


def averaged(loss, logits, labels):
    losses, weights = losses_and_weights(loss, logits, labels)
    assert losses.shape == weights.shape == labels.shape[:1]
    return (losses * weights).sum() / weights.sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_torchs(smoothing, batch):
    expected = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(*batch)
    torch.testing.assert_close(averaged(make(smoothing=smoothing), *batch), expected)


def test_weighted_cross_entropy_is_torchs(batch):
    weight = torch.tensor([1, 2.5, 0.5], dtype=torch.float64)
    loss = make(class_weights=["1", "2.5", "0.5"])
    torch.testing.assert_close(averaged(loss, *batch), torch.nn.CrossEntropyLoss(weight=weight)(*batch))


def test_with_smoothing_an_example_weighs_what_its_own_class_weighs(batch):
    logits, labels = batch
    weight = torch.tensor([1, 2.5, 0.5], dtype=torch.float64)
    smooth = torch.nn.CrossEntropyLoss(label_smoothing=0.2, reduction="none")(logits, labels)
    expected = (weight[labels] * smooth).sum() / weight[labels].sum()
    loss = make(smoothing=0.2, class_weights=["1", "2.5", "0.5"])
    torch.testing.assert_close(averaged(loss, logits, labels), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_is_the_papers_formula(gamma, batch):
    logits, labels = batch
    p = logits.softmax(1)[range(len(labels)), labels]
    loss = make(loss="focal", loss_options=[f"gamma={gamma}"])
    torch.testing.assert_close(losses_and_weights(loss, logits, labels)[0], -((1 - p) ** gamma) * torch.log(p))


def test_focal_without_focus_is_cross_entropy(batch):
    weights = {"class_weights": ["1", "2.5", "0.5"]}
    focal = make(loss="focal", loss_options=["gamma=0"], **weights)
    torch.testing.assert_close(averaged(focal, *batch), averaged(make(**weights), *batch))


def test_binary_cross_entropy_is_torchs():
    logits, labels = draw("multi-label")
    weight = torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64)
    expected = torch.nn.BCEWithLogitsLoss(pos_weight=weight)(logits, labels)
    loss = make("multi-label", pos_weight=["2", "0.5", "1"])
    torch.testing.assert_close(averaged(loss, logits, labels), expected)
    torch.testing.assert_close(
        averaged(make("multi-label"), logits, labels), torch.nn.BCEWithLogitsLoss()(logits, labels)
    )


def test_binary_focal_is_the_papers_formula():
    logits, labels = draw("multi-label")
    p = torch.sigmoid(logits)
    p_t, alpha_t = torch.where(labels > 0, p, 1 - p), torch.where(labels > 0, 0.25, 0.75)
    loss = make("multi-label", loss="focal", loss_options=["gamma=2", "alpha=0.25"])
    torch.testing.assert_close(
        losses_and_weights(loss, logits, labels)[0], (-alpha_t * (1 - p_t) ** 2 * torch.log(p_t)).mean(1)
    )


def test_asymmetric_is_the_papers_formula():
    logits, labels = draw("multi-label")
    p = torch.sigmoid(logits)
    shifted = torch.clamp(p - 0.05, min=0)
    holds, does_not = (1 - p) * torch.log(p), shifted**4 * torch.log(1 - shifted)
    loss = make("multi-label", loss="asymmetric", loss_options=["gamma_pos=1"])
    expected = -torch.where(labels > 0, holds, does_not).mean(1)
    torch.testing.assert_close(losses_and_weights(loss, logits, labels)[0], expected)


def test_asymmetric_without_asymmetry_is_binary_cross_entropy():
    logits, labels = draw("multi-label")
    loss = make("multi-label", loss="asymmetric", loss_options=["gamma_neg=0", "clip=0"])
    torch.testing.assert_close(averaged(loss, logits, labels), averaged(make("multi-label"), logits, labels))


def test_r_drop_is_the_papers_formula(batch):
    first, labels = batch
    second = first + torch.randn_like(first)
    p, q = first.softmax(1), second.softmax(1)
    entropy = (
        F.cross_entropy(first, labels, reduction="none") + F.cross_entropy(second, labels, reduction="none")
    ) / 2
    divergence = ((p * torch.log(p / q)).sum(1) + (q * torch.log(q / p)).sum(1)) / 2
    loss = make(loss="r_drop", loss_options=["alpha=0.7"])
    both = torch.stack([first, second], dim=1)
    torch.testing.assert_close(losses_and_weights(loss, both, labels)[0], entropy + 0.7 * divergence)
    torch.testing.assert_close(averaged(loss, first, labels), averaged(make(), first, labels))


def test_the_regression_losses_are_torchs():
    logits, labels = draw("regression")
    torch.testing.assert_close(averaged(make("regression"), logits, labels), torch.nn.MSELoss()(logits, labels))
    loss = make("regression", loss="huber", loss_options=["delta=0.5"])
    torch.testing.assert_close(averaged(loss, logits, labels), torch.nn.HuberLoss(delta=0.5)(logits, labels))


@pytest.mark.parametrize("task", LABELS)
def test_extreme_logits_give_finite_losses_and_gradients(task):
    for name in LOSSES[LABELS[task].problem_type]:
        logits, labels = draw(task, rows=8)
        labels = labels % len(LABELS[task].label_names) if labels.dim() == 1 else labels
        extreme = (logits.float().sign() * 80).requires_grad_()
        losses, _ = losses_and_weights(make(task, loss=name), extreme, labels)
        losses.sum().backward()
        assert torch.isfinite(losses).all(), name
        assert torch.isfinite(extreme.grad).all(), name


@pytest.mark.parametrize("gamma", [0.1, 0.5, 1, 2])
def test_focusing_has_a_gradient_for_sure_answers_right_and_wrong(gamma):
    def gradient(loss, logits, labels):
        logits = torch.tensor(logits).requires_grad_()
        losses_and_weights(loss, logits, torch.tensor(labels))[0].sum().backward()
        assert torch.isfinite(logits.grad).all()
        return logits.grad

    focal = make("binary", loss="focal", loss_options=[f"gamma={gamma}"])
    assert gradient(focal, [[25.0, 0.0], [0.0, 25.0]], [0, 0])[1, 0] == pytest.approx(-1, abs=1e-3)
    focal = make("multi-label", loss="focal", loss_options=[f"gamma={gamma}"])
    signs = [[25.0, -25.0, 0.0]]
    assert gradient(focal, signs, [[0.0, 1.0, 0.0]])[0, 0] == pytest.approx(1 / 3, abs=1e-3)
    for clip in (0, 0.05):
        options = [f"gamma_pos={gamma}", f"gamma_neg={gamma}", f"clip={clip}"]
        loss = make("multi-label", loss="asymmetric", loss_options=options)
        wrong = gradient(loss, signs, [[0.0, 1.0, 0.0]])[0]
        # The shift keeps the loss of a label that does not hold, and so its slope, from growing without end.
        assert wrong[0] == pytest.approx(1 / 3, abs=1e-3) if clip == 0 else wrong[0] >= 0
        assert wrong[1] == pytest.approx(-1 / 3, abs=1e-3)
        gradient(loss, signs, [[1.0, 0.0, 1.0]])


def test_samples_of_a_head_give_each_example_the_mean_of_their_losses(batch):
    logits, labels = batch
    samples = torch.stack([logits, logits + 1, logits * 2], dim=1)
    loss = make(loss="focal", class_weights=["1", "2.5", "0.5"])
    losses, weights = losses_and_weights(loss, samples, labels)
    alone = [losses_and_weights(loss, one, labels) for one in samples.unbind(1)]
    torch.testing.assert_close(losses, torch.stack([one for one, _ in alone]).mean(0))
    torch.testing.assert_close(weights, alone[0][1])


def test_balanced_weights_are_scikit_learns(batch):
    labels = batch[1].numpy()
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_class_weights(labels.tolist(), 3), expected)


def test_balanced_pos_weight_is_rows_without_to_rows_with():
    logits, labels = draw("multi-label", rows=40)
    loss = make("multi-label", train_labels=labels.tolist(), pos_weight=["balanced"])
    weight = (40 - labels.sum(0)) / labels.sum(0)
    torch.testing.assert_close(
        averaged(loss, logits, labels), torch.nn.BCEWithLogitsLoss(pos_weight=weight)(logits, labels)
    )


WRONG = [
    ("multi-class", {"class_weights": ["heavy"]}, "takes 'balanced' or numbers, not heavy"),
    ("multi-class", {"class_weights": ["1", "2"]}, "one positive number for each of the 3 labels"),
    ("multi-class", {"class_weights": ["1", "2", "-1"]}, "one positive number"),
    ("multi-class", {"class_weights": ["1", "2", "nan"]}, "one positive number.* and 1 2 nan came"),
    ("multi-class", {"class_weights": ["1", "2", "inf"]}, "one positive number"),
    ("multi-class", {"class_weights": ["balanced"], "train_labels": [0, 1, 1]}, "train has no row of c"),
    ("multi-label", {"pos_weight": ["balanced"], "train_labels": [[1.0, 0.0, 0.0]]}, "train has no row of a, b, c"),
    ("regression", {"loss": "focal"}, "focal is no loss of a regression task: take one of mse, huber"),
    ("multi-label", {"loss": "cross_entropy"}, "cross_entropy is no loss of a multi-label task: take one of bce"),
    ("binary", {"loss": "mse"}, "mse is no loss of a binary task: take one of cross_entropy, focal, r_drop"),
    ("binary", {"loss": "focl"}, "focl is not known; did you mean focal"),
    ("regression", {"class_weights": ["1", "2"]}, "--class_weights cannot be honoured by --loss mse"),
    ("multi-label", {"class_weights": ["1", "2", "3"]}, "whose options are pos_weight"),
    ("regression", {"smoothing": 0.1}, "--label_smoothing_factor cannot be honoured by --loss mse"),
    ("binary", {"loss": "focal", "smoothing": 0.1}, "smoothing_factor .* it is an option of cross_entropy, r_drop"),
    ("binary", {"loss": "focal", "loss_options": ["gama=1"]}, "--loss_options gama cannot be .* options are gamma"),
    ("binary", {"loss": "focal", "loss_options": ["gamma"]}, "takes name=value"),
    ("binary", {"loss": "focal", "loss_options": ["gamma=-1"]}, "gamma is -1: give 0 or more"),
    ("multi-label", {"loss": "focal", "loss_options": ["alpha=2"]}, "alpha is 2: give between 0 and 1"),
    ("multi-label", {"loss": "asymmetric", "loss_options": ["clip=2"]}, "clip is 2: give 0 or more, and less than 1"),
    ("binary", {"loss_options": ["class_weights=[1,-5]"]}, "has a flag of its own, --class_weights"),
    ("binary", {"loss": "r_drop", "dropout_samples": 3}, "both draw dropout anew for one text: take one"),
    ("binary", {"loss": "focal", "loss_options": ["gamma=strong"]}, "focal fails on logits"),
    ("binary", {"loss": "focal", "loss_options": ["gamma=.nan"]}, "ValueError: gamma is nan: give 0 or more"),
]


@pytest.mark.parametrize(("task", "choices", "sentence"), WRONG, ids=[sentence[:30] for *_, sentence in WRONG])
def test_what_does_not_fit_is_one_sentence(task, choices, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        make(task, **choices)
    assert "\n" not in str(caught.value)


def test_a_loss_that_averages_is_refused(batch):
    with pytest.raises(UserError, match="one number per example"):
        losses_and_weights(torch.nn.CrossEntropyLoss(), *batch)


OWN = {
    "mean": (
        "def own(logits, labels):\n    return logits.mean()\n",
        r"one number per example, shape \[3\].*shape \[\]",
    ),
    "list": ("def own(logits, labels):\n    return [0, 0]\n", "returned a list"),
    "fails": ("def own(logits, labels):\n    return logits[:, 7]\n", "own.py:own fails on logits .* IndexError"),
    "no gradient": (
        "import torch\ndef own(logits, labels):\n    return torch.ones(len(labels))\n",
        "without a gradient",
    ),
    "one per label": (
        "def own(logits, labels):\n    return logits.sum(0)\n",
        r"shape \[3\], and returned shape \[2\]",
    ),
    "negative": ("def own(logits, labels):\n    return logits[:, 0], 0 * logits[:, 0] - 1\n", "a weight under 0"),
    "by logits": (
        "def own(logits, labels):\n    return logits[:, 0], logits[:, 0] ** 2\n",
        "weights examples by",
    ),
    "needs more": (
        "class own:\n    def __init__(self, factor):\n        self.factor = factor\n",
        "cannot be made: .*missing 1 required positional argument: 'factor'",
    ),
    "no name": ("def owm(logits, labels):\n    return 0\n", "does not define own; did you mean owm"),
    "no syntax": ("def own(:\n", "does not run: SyntaxError"),
    "no call": ("own = 3\n", "own is a int, and a class or a function is needed"),
}


@pytest.mark.parametrize("case", OWN)
def test_an_own_loss_that_does_not_work_is_one_sentence(case, tmp_path):
    code, sentence = OWN[case]
    (tmp_path / "own.py").write_text(code)
    with pytest.raises(UserError, match=sentence) as caught:
        make("binary", loss=f"{tmp_path}/own.py:own")
    assert "\n" not in str(caught.value)


def test_an_own_file_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*none\.py"):
        make("binary", loss=f"{tmp_path}/none.py:own")
    with pytest.raises(UserError, match="name what the file defines too"):
        make("binary", loss=f"{tmp_path}/none.py")


def test_an_own_loss_takes_options_and_helpers_beside_it(tmp_path, batch):
    (tmp_path / "beside_it.py").write_text("FACTOR = 2\n")
    code = (
        "from beside_it import FACTOR\nfrom torch.nn import functional as F\n"
        "def own(logits, labels, power=1):\n"
        "    return FACTOR**power * F.cross_entropy(logits, labels, reduction='none')\n"
    )
    (tmp_path / "own.py").write_text(code)
    loss = make(loss=f"{tmp_path}/own.py:own", loss_options=["power=3"])
    torch.testing.assert_close(averaged(loss, *batch), 8 * averaged(make(), *batch))

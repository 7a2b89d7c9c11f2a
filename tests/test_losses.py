"""Per-example losses, averaged as the trainer does, are the losses everyone knows."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from bert_recipes.errors import UserError
from bert_recipes.losses import balanced_class_weights, losses_and_weights, make_loss

NAMES = ["a", "b", "c"]


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.randn(20, 3, dtype=torch.float64), torch.randint(0, 3, (20,))


def averaged(loss, logits, labels):
    losses, weights = losses_and_weights(loss, logits, labels)
    assert losses.shape == weights.shape == labels.shape
    return (losses * weights).sum() / weights.sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_torchs(smoothing, batch):
    loss = make_loss(None, smoothing, batch[1].tolist(), NAMES)
    torch.testing.assert_close(averaged(loss, *batch), torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(*batch))


def test_weighted_cross_entropy_is_torchs(batch):
    loss = make_loss(["1", "2.5", "0.5"], 0.0, batch[1].tolist(), NAMES)
    weight = torch.tensor([1, 2.5, 0.5], dtype=torch.float64)
    torch.testing.assert_close(averaged(loss, *batch), torch.nn.CrossEntropyLoss(weight=weight)(*batch))


def test_with_smoothing_an_example_weighs_what_its_own_class_weighs(batch):
    logits, labels = batch
    weight = torch.tensor([1, 2.5, 0.5], dtype=torch.float64)
    smooth = torch.nn.CrossEntropyLoss(label_smoothing=0.2, reduction="none")(logits, labels)
    expected = (weight[labels] * smooth).sum() / weight[labels].sum()
    loss = make_loss(["1", "2.5", "0.5"], 0.2, labels.tolist(), NAMES)
    torch.testing.assert_close(averaged(loss, logits, labels), expected)


def test_balanced_weights_are_scikit_learns(batch):
    labels = batch[1].numpy()
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(balanced_class_weights(labels.tolist(), 3), expected)


@pytest.mark.parametrize(
    ("weights", "labels", "sentence"),
    [
        (["heavy"], [0, 1, 2], "takes 'balanced' or numbers, not heavy"),
        (["1", "2"], [0, 1, 2], "one positive number for each of the 3 labels"),
        (["1", "2", "-1"], [0, 1, 2], "one positive number"),
        (["1", "2", "inf"], [0, 1, 2], "one positive number"),
        (["balanced"], [0, 1, 1], "train has no row of c"),
    ],
)
def test_weights_that_make_no_sense(weights, labels, sentence):
    with pytest.raises(UserError, match=sentence):
        make_loss(weights, 0.0, labels, NAMES)


def test_a_loss_that_averages_is_refused(batch):
    with pytest.raises(UserError, match="one number per example"):
        losses_and_weights(torch.nn.CrossEntropyLoss(), *batch)

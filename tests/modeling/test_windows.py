"""The windows of a text become one row of logits."""

import pytest
import torch

from bert_recipes.modeling.windows import mean_of_windows


def test_the_mean_by_hand():
    logits = torch.tensor([[1.0, 2.0], [3.0, 6.0], [5.0, 7.0], [0.0, 0.0], [0.0, 3.0], [3.0, 0.0]])
    found = mean_of_windows(logits, torch.tensor([2, 1, 3]))
    assert found.tolist() == [[2.0, 4.0], [5.0, 7.0], [1.0, 1.0]]


@pytest.mark.parametrize("shape", [(4, 2), (4, 3, 2)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_a_single_window_keeps_its_logits(shape, dtype):
    logits = torch.randn(shape).to(dtype)
    found = mean_of_windows(logits, torch.ones(4, dtype=torch.int64))
    assert found.dtype == torch.promote_types(dtype, torch.float32)
    torch.testing.assert_close(found, logits.to(found.dtype), rtol=0, atol=0)


def test_the_gradient_is_shared_by_the_windows():
    logits = torch.randn(5, 2, requires_grad=True)
    mean_of_windows(logits, torch.tensor([4, 1])).sum().backward()
    assert logits.grad[:, 0].tolist() == [0.25] * 4 + [1.0]

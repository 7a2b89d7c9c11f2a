"""From the windows of a text to one prediction."""

import torch
from torch import Tensor


def mean_of_windows(logits: Tensor, windows: Tensor) -> Tensor:
    """Return the mean of the logits over each text's windows, in float32 or what is wider.

    A text with a single window keeps its logits as they are.

    Args:
        logits: of all windows, text by text: `[total windows, ...]`.
        windows: how many of them are each text's, `[texts]`.

    Returns:
        `[texts, ...]`.
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    # Not index_add, whose sums come in any order on a GPU.
    return torch.stack([of_text.mean(0, dtype=dtype) for of_text in logits.split(windows.tolist())])

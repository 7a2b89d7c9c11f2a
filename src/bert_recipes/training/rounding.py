"""What the half precision of a training makes of the numbers in columns beside the text."""

from collections.abc import Iterator, Mapping

import torch
from datasets import Dataset

from bert_recipes.data.cells import Known, read_cells

# Of the standard deviation: numbers around zero move by a fifth of that, the years since 2000 by a third of the whole.
MOST_MOVED = 0.01
NAMES = {torch.bfloat16: "bfloat16", torch.float16: "float16"}
FLAGS = {torch.bfloat16: "--bf16", torch.float16: "--fp16"}


def describe_rounding(columns: Mapping[str, Known], train: Dataset, dtype: torch.dtype) -> Iterator[str]:
    """Yield a sentence on each column whose numbers half precision cannot hold, or cannot well tell apart.

    Autocast rounds what a linear layer is given. A prediction, in float32, is given the numbers as they are.

    Args:
        columns: what is known of each.
        train: the training rows.
        dtype: the precision of autocast, bfloat16 or float16.
    """
    for name, known in columns.items():
        if "mean" not in known:
            continue
        numbers = torch.tensor([cell for cell in read_cells(train[name], known) if cell is not None])
        spread = numbers.double().std(correction=0).item()
        rounded = numbers.to(dtype).double()
        moved = (rounded - numbers).abs()
        worst = moved.argmax()
        share = moved.square().mean().sqrt().item() / (spread or torch.inf)
        if torch.isinf(rounded[worst]):
            what = ""
        elif share > MOST_MOVED:
            what = f", moving them by {share:.0%} of their standard deviation"
        else:
            continue
        yield (
            f"Column '{name}': in {NAMES[dtype]} a linear layer rounds its numbers, {numbers[worst]:.7g} to "
            f"{rounded[worst]:.7g}{what}: make them small in forward, as by ({name} - {numbers.double().mean():.4g}) "
            f"/ {spread or 1.0:.4g}, or train with {FLAGS[dtype]} false."
        )

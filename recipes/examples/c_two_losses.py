"""Step c: two losses added. Each gives one number per example, so they add up before anything is averaged.

    python recipes/examples/c_two_losses.py
    python recipes/custom.py --loss recipes/examples/c_two_losses.py:two_losses --loss_options share=0.2

Never average in here: the trainer does, once, over the whole optimizer step, and that is why the same step comes out
under gradient accumulation and on any number of processes.
"""

import runpy
import sys
from pathlib import Path

from torch import Tensor
from torch.nn import functional as F


def two_losses(logits: Tensor, labels: Tensor, share: float = 0.5) -> Tensor:
    """Cross entropy plus `share` times the Brier score, both `[batch]`.

    Cross entropy pays for the probability of the true class; the Brier score (Brier 1950, Monthly
    Weather Review 78), the squared distance of all probabilities from the truth, for how well they are calibrated.
    """
    entropy = F.cross_entropy(logits, labels, reduction="none")
    brier = (logits.softmax(-1) - F.one_hot(labels, logits.shape[-1])).pow(2).sum(-1)
    return entropy + share * brier


if __name__ == "__main__":
    sys.argv[1:1] = ["--loss", f"{__file__}:two_losses", "--output_dir", "runs/c-two-losses"]
    runpy.run_path(str(Path(__file__).parents[1] / "custom.py"), run_name="__main__")

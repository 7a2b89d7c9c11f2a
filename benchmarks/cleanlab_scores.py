"""The label quality scores of cleanlab, by its own Python: `python cleanlab_scores.py given.npz found.npz`.

`given.npz` has `labels` `[rows]` and `probabilities` `[rows, num_labels]`; `found.npz` gets an array `[rows]` for each
of cleanlab's methods, lower where a label is less likely right. See benchmarks/label_errors.py.
"""

import sys

import numpy as np
from cleanlab.rank import get_label_quality_scores

METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")

if __name__ == "__main__":
    given = np.load(sys.argv[1])
    scores = {
        method: get_label_quality_scores(given["labels"], given["probabilities"], method=method) for method in METHODS
    }
    np.savez(sys.argv[2], **scores)

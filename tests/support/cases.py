"""Cases for `support.cuts`: kinds of models and losses, how their steps are cut, and when two steps are the same."""

import numpy as np

from support.paths import OWN_CLASSIFIERS

KINDS = (
    {"kind": "stock"},
    {"kind": "stock", "smoothing": 0.2},
    {"kind": "stock", "task": "multi-label"},
    {"kind": "stock", "task": "regression"},
    {"kind": "custom"},
    {"kind": "custom", "smoothing": 0.1},
    {"kind": "custom", "choices": {"class_weights": ["0.5", "3"]}},
    {"kind": "custom", "choices": {"class_weights": ["2", "0.25"]}, "smoothing": 0.1},
    {"kind": "custom", "choices": {"loss": "focal", "class_weights": ["0.5", "3"], "pooling": "mean"}},
    {"kind": "custom", "choices": {"loss": "r_drop", "pooling": "layer_mix"}},
    {"kind": "custom", "choices": {"dropout_samples": 3, "pooling": "attention"}},
    {"kind": "custom", "task": "multi-label", "choices": {"pos_weight": ["2", "0.5"]}},
    {"kind": "custom", "task": "multi-label", "choices": {"loss": "asymmetric", "pooling": "max"}},
    {"kind": "custom", "task": "regression", "choices": {"loss": "huber"}},
    {"kind": "stock", "windows": True},
    {"kind": "stock", "task": "regression", "windows": True},
    {"kind": "custom", "choices": {"class_weights": ["0.5", "3"], "pooling": "mean"}, "windows": True},
    {"kind": "custom", "choices": {"loss": "r_drop"}, "windows": True},
    {"kind": "custom", "task": "multi-label", "choices": {"dropout_samples": 3}, "windows": True},
    {"kind": "custom", "choices": {"classifier": f"{OWN_CLASSIFIERS}:WithColumns"}, "windows": True},
    {"kind": "custom", "choices": {"classifier": f"{OWN_CLASSIFIERS}:WithColumns", "loss": "r_drop"}},
)
OWN = KINDS[-1]
WEIGHTED = next(kind for kind in KINDS if "choices" in kind)
STRATEGIES = ("random", "sequential", "group_by_length")


def assert_same_steps(cut, whole):
    np.testing.assert_allclose(cut["logged"], whole["logged"], rtol=1e-9)
    np.testing.assert_allclose(cut["weights"], whole["weights"], rtol=1e-9, atol=1e-12)


def uncut(case, processes):
    """Return the case with its whole step as one micro-batch of one process."""
    return case | {"batch": case["batch"] * case["accumulation"] * processes, "accumulation": 1}


def prediction_cases():
    return [
        {
            "do": "predict",
            "kind": "custom",
            "windows": windows,
            "strategy": strategy,
            "rows": rows,
            "batch": 2,
            "accumulation": 1,
            "options": {"per_device_eval_batch_size": size, "dataloader_drop_last": True, **more},
        }
        for windows, strategies in ((False, STRATEGIES), (True, STRATEGIES[:1]))
        for strategy in strategies
        for rows, size, more in ((41, 1, {}), (40, 3, {"eval_accumulation_steps": 2}), (13, 7, {}), (5, 64, {}))
    ]

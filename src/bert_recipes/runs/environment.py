"""What a run was made with: versions, device, seed, data, command."""

import importlib.metadata
import platform
import sys
from typing import Any

import torch

from bert_recipes.data.digests import text_digests
from bert_recipes.devices import describe_device
from bert_recipes.runs.settings import RunSettings

PACKAGES = ("bert-recipes", "transformers", "datasets", "evaluate", "accelerate", "torch", "scikit-learn", "numpy")
# What needs no network computes so.
IN_FLOAT64 = "CPU in float64"


def versions() -> dict[str, str]:
    """Return the versions of what a run is made with."""
    return {"python": platform.python_version()} | {p: importlib.metadata.version(p) for p in PACKAGES}


def environment_of(run: RunSettings) -> dict[str, Any]:
    """Return `environment` of metrics.json."""
    task, token = run.data.task, run.push.token if run.push else None
    corrections = run.data.corrections
    return {
        "versions": versions(),
        "device": describe_device(run.training) if run.model_dir else IN_FLOAT64,
        "processes": run.training.world_size,
        "threads": torch.get_num_threads(),
        "seed": run.training.seed,
        "data": run.digests,
        "texts": text_digests(run.data),
        **({"corrections": {"file": corrections.file, "changed": corrections.changed}} if corrections else {}),
        "labels": {"task": task.name, "problem_type": task.problem_type, "names": task.label_names},
        "command": " ".join(word.replace(token, "***") if token else word for word in sys.argv),
    }

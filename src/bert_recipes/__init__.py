"""Fine-tune a BERT classifier: the stock one, or the plain encoder under a head and a loss of your own.

    import bert_recipes as br

    run = br.train("custom", dataset=frame, pooling="mean", output_dir="runs/mine")
    run.predict(["Forest fire near La Ronge"])

The names below are loaded when they are first used: importing the package is quick, and loads no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bert_recipes.api import compare, load, train
    from bert_recipes.config.arguments import BaselineArguments, CustomArguments, DataArguments, StockArguments
    from bert_recipes.config.training_arguments import RecipeTrainingArguments
    from bert_recipes.data.loading import load_data
    from bert_recipes.data.tokenization import tokenize
    from bert_recipes.errors import UserError
    from bert_recipes.modeling.building import build_classifier
    from bert_recipes.modeling.losses import make_loss
    from bert_recipes.modeling.models import EncoderClassifier, EncoderClassifierConfig
    from bert_recipes.training.trainer import PerExampleTrainer, RecipeTrainer

_HOMES = {
    "train": "api",
    "load": "api",
    "compare": "api",
    "load_data": "data.loading",
    "tokenize": "data.tokenization",
    "build_classifier": "modeling.building",
    "make_loss": "modeling.losses",
    "RecipeTrainer": "training.trainer",
    "PerExampleTrainer": "training.trainer",
    "EncoderClassifier": "modeling.models",
    "EncoderClassifierConfig": "modeling.models",
    "DataArguments": "config.arguments",
    "StockArguments": "config.arguments",
    "CustomArguments": "config.arguments",
    "BaselineArguments": "config.arguments",
    "RecipeTrainingArguments": "config.training_arguments",
    "UserError": "errors",
}

__all__ = [
    "BaselineArguments",
    "CustomArguments",
    "DataArguments",
    "EncoderClassifier",
    "EncoderClassifierConfig",
    "PerExampleTrainer",
    "RecipeTrainer",
    "RecipeTrainingArguments",
    "StockArguments",
    "UserError",
    "build_classifier",
    "compare",
    "load",
    "load_data",
    "make_loss",
    "tokenize",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'bert_recipes' has no attribute '{name}'")
    from bert_recipes.extras import asking_for_extra

    with asking_for_extra(f"bert_recipes.{name}"):
        return getattr(importlib.import_module(f"bert_recipes.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})

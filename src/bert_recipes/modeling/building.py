"""A pretrained encoder made ready for the custom recipe: under a head, in part frozen, begun anew or adapted."""

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import AutoModel, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.dynamic_module_utils import get_relative_import_files

from bert_recipes.config.arguments import CustomArguments
from bert_recipes.errors import UserError, in_one_line, nearest
from bert_recipes.modeling.going_on import keep_head
from bert_recipes.modeling.loading import begin_anew, is_carried, load_pretrained
from bert_recipes.modeling.models import EncoderClassifier, EncoderClassifierConfig, leave_out_pooler
from bert_recipes.modeling.own_classifier import build_own_classifier
from bert_recipes.modeling.own_code import CODE_ERRORS, is_own_code, load_carried
from bert_recipes.modeling.pooling import POOLINGS
from bert_recipes.modeling.wrapper import OwnClassifier
from bert_recipes.task import Task

# The modules that travel with every saved model, beside a pooling of the user's own.
CARRIED = ("models", "pooling")


def build_classifier(
    model_dir: str,
    args: CustomArguments,
    task: Task,
    checkpointing: bool | None = False,
    splits: Mapping[str, Dataset] | None = None,
) -> EncoderClassifier | OwnClassifier:
    """Return the encoder in the folder `model_dir` under the head that `args` ask for, or the user's own classifier.

    The pooling or the classifier is tried on two short texts, so that what it returns is known before anything is
    trained. Of a model of the custom recipe pooling and head are kept as far as they are what `args` ask for.

    Args:
        model_dir: the encoder's folder.
        args: of the recipe.
        task: of the data.
        checkpointing: whether activations are computed again in the backward pass.
        splits: the rows, of which a user's own classifier may take columns; of those of train their categories.

    Raises:
        UserError: a choice does not fit the encoder, or a pooling or a classifier of the user's own does not work.
    """
    if args.classifier:
        own = build_own_classifier(model_dir, args, task, splits or {})
        _fit_encoder_of(own, args, checkpointing)
        return own
    pooling_class = _pooling_class(args.pooling)
    _check_head(args)
    encoder = load_pretrained(AutoModel, model_dir, trust_remote_code=args.trust_remote_code)
    _check_encoder(encoder, args, checkpointing)
    _check_carried(encoder)
    _reinitialise_last(encoder, args.reinit_layers)
    if args.pooling != "pooler":
        leave_out_pooler(encoder)
    pooling = _make_pooling(pooling_class, args.pooling, encoder, model_dir)
    config = EncoderClassifierConfig(
        encoder=encoder.config,
        pooling=args.pooling if args.pooling in POOLINGS else Path(args.pooling).name,
        pooled_size=_pooled_size(pooling, args.pooling, encoder),
        head_layers=args.head_layers,
        head_size=args.head_size,
        head_activation=args.head_activation,
        head_dropout=args.head_dropout,
        dropout_samples=args.dropout_samples,
        carries_encoder=is_carried(encoder),
        id2label=task.id2label,
        label2id=task.label2id,
        problem_type=task.problem_type,
        pad_token_id=getattr(encoder.config, "pad_token_id", None),
    )
    model = EncoderClassifier.from_encoder(encoder, config, pooling)
    keep_head(model, model_dir, args)
    _freeze(encoder, args)
    if args.lora_rank is not None:
        model.encoder = _with_lora(encoder, args.lora_rank, args.lora_alpha)
    return model


def _fit_encoder_of(own: OwnClassifier, args: CustomArguments, checkpointing: bool | None) -> None:
    """Do to the encoder in a user's own classifier what the flags say."""
    asked = {
        "freeze_embeddings": args.freeze_embeddings,
        "freeze_layers": args.freeze_layers,
        "layer_decay": args.layer_decay != 1.0,
        "head_learning_rate": args.head_learning_rate is not None,
        "gradient_checkpointing": checkpointing,
    }
    if own.encoder is not None:
        _check_encoder(own.encoder, args, checkpointing)
        _freeze(own.encoder, args)
    elif flags := [flag for flag, value in asked.items() if value]:
        raise UserError(
            f"--{flags[0]} cannot be honoured: --classifier {args.classifier} has no attribute `encoder` that is a "
            "model of transformers."
        )


def _check_encoder(encoder: PreTrainedModel, args: CustomArguments, checkpointing: bool | None) -> None:
    """Check that the encoder has what the flags will need once it is trained."""
    if args.layer_decay != 1.0 or args.freeze_embeddings:
        embeddings_of(encoder)  # raises where there are none
    if args.layer_decay != 1.0:
        encoder_layers(encoder)  # likewise
    if checkpointing and not encoder.supports_gradient_checkpointing:
        raise UserError(f"--gradient_checkpointing cannot be honoured: {type(encoder).__name__} does not support it.")


def _check_carried(encoder: PreTrainedModel) -> None:
    """Check that the files of an encoder's own code can stand beside those that every saved model carries."""
    for part in filter(is_carried, (encoder, encoder.config)):
        file = inspect.getfile(type(part))
        names = {Path(name).stem for name in (file, *get_relative_import_files(file))}
        if taken := sorted(names & {*CARRIED}):
            raise UserError(
                f"the code of {type(encoder).__name__} has a file {taken[0]}.py, and a saved model carries one of its "
                "own by that name: take the stock recipe."
            )


def encoder_layers(encoder: PreTrainedModel) -> nn.ModuleList:
    """Return the layers of an encoder, the lowest first.

    Raises:
        UserError: it has no list of as many layers as its configuration says, as ALBERT, which has one for all.
    """
    count = encoder.config.num_hidden_layers
    for module in encoder.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise UserError(
        f"{type(encoder).__name__} does not have {count} layers of its own each: --freeze_layers, --reinit_layers and "
        "--layer_decay do not fit it."
    )


def embeddings_of(encoder: PreTrainedModel) -> list[nn.Module]:
    """Return the parts of an encoder that stand below its layers or beside all of them.

    With the embeddings go ELECTRA's projection of them and the position embeddings that DeBERTa and MPNet share among
    their layers.

    Raises:
        UserError: it has none by that name.
    """
    if getattr(encoder, "embeddings", None) is None:
        raise UserError(
            f"{type(encoder).__name__} has no embeddings by that name: --freeze_embeddings and --layer_decay do not "
            "fit it."
        )
    names = [
        *("embeddings", "embeddings_project", "encoder.rel_embeddings", "encoder.relative_attention_bias"),
        *("encoder.LayerNorm", "encoder.conv"),  # DeBERTa's, of its relative positions
    ]
    known = dict(encoder.named_modules())
    return [known[name] for name in names if name in known]


def _pooling_class(name: str) -> Callable[..., Any]:
    if is_own_code(name):
        return load_carried(name, "--pooling", CARRIED)
    if name not in POOLINGS:
        raise UserError(
            f"--pooling {name} is not known{nearest(name, POOLINGS)}: take one of {', '.join(POOLINGS)}, or your own "
            "as file.py:Name."
        )
    return POOLINGS[name]


def _check_head(args: CustomArguments) -> None:
    if args.head_activation not in ACT2FN:
        raise UserError(
            f"--head_activation {args.head_activation} is not known{nearest(args.head_activation, ACT2FN)}: take "
            "gelu, relu, tanh or another of transformers' activations."
        )
    if args.lora_rank is not None and importlib.util.find_spec("peft") is None:
        raise UserError("--lora_rank needs the peft package: pip install -c constraints.txt -e '.[lora]'.")


def _make_pooling(pooling_class: Callable[..., Any], name: str, encoder: PreTrainedModel, model_dir: str) -> nn.Module:
    try:
        pooling = pooling_class(encoder.config)
    except CODE_ERRORS as error:
        raise UserError(
            f"--pooling {name} cannot be made for the {type(encoder).__name__} of {model_dir}: "
            f"{' '.join(str(error).split())}."
        ) from error
    if not isinstance(pooling, nn.Module) or not isinstance(pooling_class, type):
        raise UserError(
            f"--pooling {name} must be a subclass of torch.nn.Module whose constructor takes the encoder's "
            f"configuration, and gives a {type(pooling).__name__}."
        )
    return pooling


@torch.no_grad()
def _pooled_size(pooling: nn.Module, name: str, encoder: PreTrainedModel) -> int:
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    all_layers = getattr(pooling, "all_layers", False)
    try:
        output = encoder(input_ids=torch.zeros_like(mask), attention_mask=mask, output_hidden_states=all_layers)
    except CODE_ERRORS as error:
        raise UserError(
            f"{type(encoder).__name__} fails as an encoder of two texts of three tokens with {type(error).__name__}: "
            f"{in_one_line(error)}: take another --model, or the stock recipe."
        ) from error
    if name == "pooler" and getattr(output, "pooler_output", None) is None:
        others = [other for other in POOLINGS if other != "pooler"]
        raise UserError(f"{type(encoder).__name__} has no pooler: take --pooling with one of {', '.join(others)}.")
    try:
        pooled = pooling.eval()(output, mask)
    except CODE_ERRORS as error:
        raise UserError(
            f"--pooling {name} fails on two texts of three tokens with {type(error).__name__}: "
            f"{' '.join(str(error).split())}"
        ) from error
    if not isinstance(pooled, torch.Tensor) or pooled.dim() != 2 or len(pooled) != len(mask):
        came = f"shape {list(pooled.shape)}" if isinstance(pooled, torch.Tensor) else f"a {type(pooled).__name__}"
        raise UserError(
            f"--pooling {name} must return one vector per text, shape [batch, size], and returned {came} for 2 texts."
        )
    return pooled.shape[1]


def _reinitialise_last(encoder: PreTrainedModel, count: int) -> None:
    """Begin the last layers, and the pooler above them, anew (arXiv:2006.05987)."""
    if count == 0:
        return
    again = [*encoder_layers(encoder)[-_few_enough(encoder, "--reinit_layers", count) :]]
    if getattr(encoder, "pooler", None) is not None:
        again.append(encoder.pooler)
    for part in again:
        begin_anew(encoder, part)


def _freeze(encoder: PreTrainedModel, args: CustomArguments) -> None:
    frozen = []
    if args.freeze_embeddings:
        frozen += embeddings_of(encoder)
    if args.freeze_layers:
        frozen += encoder_layers(encoder)[: _few_enough(encoder, "--freeze_layers", args.freeze_layers)]
    for part in frozen:
        part.requires_grad_(False)


def _few_enough(encoder: PreTrainedModel, flag: str, count: int) -> int:
    layers = len(encoder_layers(encoder))
    if count > layers:
        raise UserError(f"{flag} {count} is more than the {layers} layers that the encoder has.")
    return count


def _with_lora(encoder: PreTrainedModel, rank: int, alpha: int) -> nn.Module:
    """Freeze the encoder and put a pair of small trained matrices beside each linear layer (arXiv:2106.09685)."""
    from peft import LoraConfig, get_peft_model  # an extra, and slow to import

    return get_peft_model(encoder, LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear"))


def merge_lora(model: nn.Module) -> None:
    """Add what LoRA learned to the encoder's own weights, so that the model is saved and loaded as any other."""
    encoder: Any = getattr(model, "encoder", None)
    if hasattr(encoder, "merge_and_unload"):
        model.encoder = encoder.merge_and_unload()

"""A pretrained model, or its tokenizer, from a folder that `resolve_model` has checked: what does not fit is said."""

import copy
import importlib.util
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from bert_recipes import terminal
from bert_recipes.data.normalization import normalizing
from bert_recipes.errors import UserError, in_one_line, some
from bert_recipes.modeling.models import EncoderClassifier, EncoderClassifierConfig
from bert_recipes.modeling.own_code import CODE_ERRORS
from bert_recipes.modeling.pooling import POOLINGS

# The weights of a head that is one linear layer.
LINEAR_HEAD = {"classifier.weight", "classifier.bias"}
# What transformers raises of a folder that does not hold what is asked for, or needs a package that is not here.
LOADING_ERRORS = (ValueError, OSError, ImportError, KeyError, SafetensorError)


def load_tokenizer(
    model_dir: str, trust_remote_code: bool = False, normalize: Collection[str] | None = None
) -> PreTrainedTokenizerBase:
    """Return the tokenizer in a model's folder.

    Args:
        model_dir: the folder.
        trust_remote_code: whether code in it may run.
        normalize: what it is to rewrite from now on, by what `--normalize` calls it.

    Raises:
        UserError: it cannot be made, or cannot rewrite anything.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(model_dir, trust_remote_code=trust_remote_code)
    except CODE_ERRORS as error:
        raise UserError(
            f"the tokenizer of --model {model_dir} cannot be made: {_why_no_tokenizer(error, model_dir)}"
        ) from error
    # transformers makes one without any where the files are those of another kind.
    if len(tokenizer) <= len(tokenizer.all_special_tokens):
        raise UserError(
            f"the tokenizer of --model {model_dir} has no vocabulary: save it there with tokenizer.save_pretrained."
        )
    return normalizing(tokenizer, normalize or ())


def _why_no_tokenizer(error: Exception, model_dir: str) -> str:
    names = {path.suffix: path.name for path in sorted(Path(model_dir).iterdir())}
    if (
        ".model" in names
        and "tokenizer.json" not in names.values()
        and importlib.util.find_spec("sentencepiece") is None
    ):
        return f"{names['.model']} needs the package sentencepiece, which is not installed: pip install sentencepiece."
    return f"{type(error).__name__}: {in_one_line(error)}"


def load_pretrained(
    auto_class: type[Any], model_dir: str, *, trust_remote_code: bool = False, **options: Any
) -> PreTrainedModel:
    """Return `auto_class.from_pretrained(model_dir, **options)`, in float32, ready to be trained.

    A classifier that comes with a head for other labels than those in `options` gets a new one, which is said. Of a
    model of the custom recipe the encoder is taken.

    Args:
        auto_class: of transformers, such as `AutoModelForSequenceClassification`.
        model_dir: the model's folder.
        trust_remote_code: whether code in it may run.
        options: `id2label` and the like.

    Raises:
        UserError: the folder does not hold such a model, or weights that do not fit its configuration.
    """
    if there := custom_config(model_dir):
        return _with_encoder_of(there, auto_class, model_dir, trust_remote_code, **options)
    model, info = _load(auto_class, model_dir, trust_remote_code, dtype=torch.float32, **options)
    head = scoring_layer(model) if "id2label" in options else None
    of_head = {f"{head[0]}.{name}" for name, _ in head[1].named_parameters()} if head else set()
    _refuse_mismatches(info, of_head, model_dir)
    if head and not of_head & info["missing_keys"]:
        _settle_head(model, head[1], of_head, info, model_dir, trust_remote_code)
    return model


def load_finished(
    auto_class: type[Any], model_dir: str, *, trust_remote_code: bool = False, **options: Any
) -> PreTrainedModel:
    """As `load_pretrained`, for a classifier that is not trained any more: it must have a head.

    Raises:
        UserError: as `load_pretrained`; or it has none.
    """
    model, info = _load(auto_class, model_dir, trust_remote_code, **options)
    _refuse_mismatches(info, set(), model_dir)
    head = scoring_layer(model)
    if head and f"{head[0]}.weight" in info["missing_keys"]:
        raise UserError(
            f"--model {model_dir} is an encoder without a head, which cannot classify yet: train it with "
            "recipes/stock.py or recipes/custom.py first."
        )
    return model


def scoring_layer(model: PreTrainedModel) -> tuple[str, nn.Linear] | None:
    """Return the last linear layer of a classifier, whose outputs are the logits, and its name; or None."""
    inner = f"{getattr(model, 'base_model_prefix', '')}."
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and not (inner != "." and name.startswith(inner))
    ]
    fitting = [layer for layer in layers if layer[1].out_features == model.config.num_labels]
    return fitting[-1] if fitting else None


def begin_anew(model: PreTrainedModel, part: nn.Module) -> None:
    """Give a part of a model fresh weights, as transformers begins them."""
    for module in part.modules():
        # transformers leaves alone what it has marked as loaded.
        holders: tuple[Any, ...] = (module, *module.parameters(recurse=False))
        for holder in holders:
            holder._is_hf_initialized = False
        model._init_weights(module)


def is_carried(model_or_config: Any) -> bool:
    """Whether the class of a model or a configuration is code that came in a model's folder."""
    return type(model_or_config).__module__.startswith("transformers_modules.")


def _load(
    auto_class: type[Any], model_dir: str, trust_remote_code: bool, **options: Any
) -> tuple[PreTrainedModel, dict[str, Any]]:
    # Foreign code may fail with anything.
    errors = CODE_ERRORS if trust_remote_code else LOADING_ERRORS
    try:
        model, info = auto_class.from_pretrained(
            model_dir,
            # Never by way of a question at the terminal.
            trust_remote_code=trust_remote_code,
            weights_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **options,
        )
    except errors as error:
        raise UserError(f"--model {model_dir} {_why_not(error, auto_class)}") from error
    if not is_carried(model) and getattr(model.config, "auto_map", None):
        # The code was not used, and will not be saved with the model.
        del model.config.auto_map
    return model, info


def _why_not(error: Exception, auto_class: type[Any]) -> str:
    said = in_one_line(error)
    if isinstance(error, SafetensorError):
        return f"has a damaged file of weights ({said}): get or save the model again."
    if said.startswith("Unrecognized configuration class"):
        return (
            f"cannot be taken as {auto_class.__name__}, which transformers does not have for it: take another model, "
            "or the other one of the recipes stock and custom."
        )
    return f"cannot be loaded: {type(error).__name__}: {said}"


def _refuse_mismatches(info: dict[str, Any], allowed: set[str], model_dir: str) -> None:
    found = sorted(entry for entry in info["mismatched_keys"] if entry[0] not in allowed)
    if found:
        name, there, expected = found[0]
        raise UserError(
            f"--model {model_dir} has weights that do not fit its config.json: {name} is {list(there)} and should be "
            f"{list(expected)}{f' ({len(found)} such)' if len(found) > 1 else ''}: get or save the model again."
        )


def custom_config(model_dir: str) -> EncoderClassifierConfig | None:
    """Return the configuration of a model of the custom recipe, or None where the folder holds another model.

    Raises:
        UserError: it cannot be read.
    """
    try:
        values, _ = EncoderClassifierConfig.get_config_dict(model_dir)
        if values.get("model_type") != EncoderClassifierConfig.model_type:
            return None
        return EncoderClassifierConfig.from_pretrained(model_dir)
    except (*LOADING_ERRORS, AttributeError, TypeError) as error:
        raise UserError(
            f"--model {model_dir} has a config.json of no model of the custom recipe ({in_one_line(error)}): get or "
            "save the model again."
        ) from error


def _with_encoder_of(
    there: EncoderClassifierConfig, auto_class: type[Any], model_dir: str, trust_remote_code: bool, **options: Any
) -> PreTrainedModel:
    """Return a model of `auto_class` with the encoder of a model of the custom recipe, and say what is new in it."""
    if there.pooling not in POOLINGS:
        there.pooling = "cls"  # the code of one's own need not run for the sake of the encoder
    whole, info = _load(EncoderClassifier, model_dir, trust_remote_code, dtype=torch.float32, config=there)
    _refuse_mismatches(info, set(), model_dir)
    encoder: Any = whole.encoder
    config = copy.deepcopy(encoder.config)
    for name, value in options.items():
        setattr(config, name, value)
    try:
        model = auto_class.from_config(config, dtype=torch.float32, trust_remote_code=trust_remote_code)
    except CODE_ERRORS as error:
        raise UserError(f"--model {model_dir} {_why_not(error, auto_class)}") from error
    fresh = model.base_model.load_state_dict(encoder.state_dict(), strict=False).missing_keys
    if options:
        _keep_linear_head(model, whole, model_dir, has_pooler=not fresh)
    return model


def is_on_pooler(config: EncoderClassifierConfig) -> bool:
    """Whether a model's output layer stands on the encoder's own pooler, with nothing but dropout in between."""
    return config.pooling == "pooler" and not config.head_layers


def _keep_linear_head(model: Any, there: Any, model_dir: str, *, has_pooler: bool) -> None:
    """Give a stock model whose head is one layer on the pooler, as BERT's is, the output layer of a custom one."""
    begins = f"--model {model_dir} is a model of the custom recipe"
    inner = f"{model.base_model_prefix}."
    head = {name for name, _ in model.named_parameters() if not name.startswith(inner)}
    pooler = getattr(model.base_model, "pooler", None)
    if not has_pooler or pooler is None or head != LINEAR_HEAD or not is_on_pooler(there.config):
        anew = "a new head is begun" if has_pooler else "a new head is begun, and a new pooler,"
        terminal.say(f"{begins}: {anew} over its encoder, which is kept.")
        return
    ours = label_names_of(model.config)
    same, said = compared_heads(there.config, ours, {there.config.num_labels} - {len(ours)})
    if same:
        model.classifier.load_state_dict(there.classifier.state_dict())
    terminal.say(f"{begins}, whose encoder is kept, and has a head {said}")


def _settle_head(
    model: PreTrainedModel,
    layer: nn.Module,
    of_head: set[str],
    info: dict[str, Any],
    model_dir: str,
    trust_remote_code: bool,
) -> None:
    """Keep the head that a checkpoint has, or begin a new one, by whether its labels are those of the task; say so."""
    there = AutoConfig.from_pretrained(model_dir, trust_remote_code=trust_remote_code)
    outputs = {entry[1][0] for entry in info["mismatched_keys"] if entry[0] in of_head}
    kept, said = compared_heads(there, label_names_of(model.config), outputs)
    if not kept and not outputs:  # where sizes differ transformers has begun a new one
        begin_anew(model, layer)
    terminal.say(f"--model {model_dir} has a head {said}")


def compared_heads(there: PretrainedConfig, ours: list[str], outputs: set[int]) -> tuple[bool, str]:
    """Return whether a checkpoint's head is kept for the labels `ours`, and the rest of the sentence that says so.

    Args:
        there: the checkpoint's configuration.
        ours: the names of the labels.
        outputs: how many outputs its head has, where it is another number.
    """
    anew = "a new output layer is begun in its place."
    if outputs:
        return False, f"of {outputs.pop()} outputs, and {len(ours)} are needed: {anew}"
    architectures = there.architectures or []
    if not any("ForSequenceClassification" in name or name == EncoderClassifier.__name__ for name in architectures):
        return False, f"of another kind ({some(architectures) or 'unknown'}): {anew}"
    names = label_names_of(there)
    theirs, wanted = ([name.strip().casefold() for name in labels] for labels in (names, ours))
    if theirs == wanted:
        return True, f"for these very labels ({some(names)}), which is kept."
    if _is_nameless(names) or _is_nameless(ours):
        return True, f"of as many outputs ({some(names)} for {some(ours)}, by their order), which is kept."
    if sorted(theirs) == sorted(wanted):
        order = shlex.join(ours[wanted.index(name)] for name in theirs)
        return False, f"for these labels in another order: {anew[:-1]}; --labels {order} keeps it."
    return False, f"for other labels ({some(names)}): {anew}"


def label_names_of(config: PretrainedConfig) -> list[str]:
    """Return the names of a classifier's labels in the order of its logits, `[num_labels]`."""
    return [str(name) for _, name in sorted((config.id2label or {}).items())]


def _is_nameless(names: Sequence[str]) -> bool:
    """Whether the names say no more than the numbers of the classes."""
    return all(name in (f"LABEL_{i}", str(i)) for i, name in enumerate(names))

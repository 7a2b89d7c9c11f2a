"""A user's own classifier, `--classifier file.py:Name`, made ready for the custom recipe and tried on two texts."""

import inspect
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig

from bert_recipes import terminal
from bert_recipes.columns import MODEL_INPUTS
from bert_recipes.config.arguments import CustomArguments
from bert_recipes.data.cells import read_cells
from bert_recipes.data.extra_columns import columns_to_choose_from, describe_column, learn_column
from bert_recipes.errors import UserError, in_one_line, nearest, some
from bert_recipes.modeling.loading import custom_config, is_carried, load_pretrained
from bert_recipes.modeling.own_code import CODE_ERRORS, load_carried
from bert_recipes.modeling.wrapper import OwnClassifier, OwnClassifierConfig, make, without_weights
from bert_recipes.task import Task

# The file of this project that goes along with a user's own.
CARRIED = ("wrapper",)
# Tokens of the texts that a classifier is tried on: enough for a convolution over some of them. The shorter comes
# first, as it may in training too, where a packed sequence that wants them sorted would fail.
TRIED_LENGTHS = (8, 12)


def build_own_classifier(
    model_dir: str, args: CustomArguments, task: Task, splits: Mapping[str, Dataset]
) -> OwnClassifier:
    """Return the classifier that `args.classifier` names, made from the encoder in the folder `model_dir`.

    It is tried on two short texts, of which the shorter one must have the logits that it has without padding. It is
    made once more as it is when a saved model is loaded: from the encoder's configuration and the weights.

    Args:
        model_dir: the encoder's folder.
        args: of the recipe.
        task: of the data.
        splits: the rows; what is known of their columns is learned from train.

    Raises:
        UserError: it does not work, or a column that it takes is not there or holds neither texts nor numbers.
    """
    if custom_config(model_dir) is None:
        return _build(model_dir, args, task, splits)
    # Of a model of the custom recipe the class gets the encoder, in a folder of its own.
    with tempfile.TemporaryDirectory() as folder:
        load_pretrained(AutoModel, model_dir, trust_remote_code=args.trust_remote_code).save_pretrained(folder)
        return _build(folder, args, task, splits)


def _build(model_dir: str, args: CustomArguments, task: Task, splits: Mapping[str, Dataset]) -> OwnClassifier:
    spec = f"--classifier {args.classifier}"
    found = _load(str(args.classifier))
    rows = splits.get("train")
    names = own_columns(args, columns_to_choose_from(rows) if rows is not None else [])
    known = {name: learn_column(splits["train"], name) for name in names}
    said = [describe_column(name, known[name], splits) for name in names]
    config = OwnClassifierConfig(
        encoder=_encoder_config(model_dir, args, spec),
        classifier=Path(str(args.classifier)).name,
        task_name=task.name,
        columns=known,
        id2label=task.id2label,
        label2id=task.label2id,
        problem_type=task.problem_type,
    )
    config.pad_token_id = getattr(config.encoder, "pad_token_id", None)
    model = OwnClassifier(config, _made(found, model_dir, config, args)).eval()
    _refuse_batch_norm(model.own, spec)
    inputs = _two_texts(config, rows)
    logits = _tried(model, inputs, spec)
    _check_remade(found, model, inputs, logits, spec)
    _check_padding(model, inputs, logits, spec)
    model.unused = _without_gradient(model, logits, spec)
    if model.unused:
        short = [name.removeprefix("own.") for name in model.unused]
        said.append(f"{spec}: no gradient reaches {some(short)}, which stay as they are.")
    if idle := _idle_arguments(found, names):
        said.append(f"{spec}: {some(idle)} of its forward are no columns here and stay at their defaults.")
    for sentence in said:
        terminal.say(sentence)
    return model


def own_columns(args: CustomArguments, there: Sequence[str]) -> list[str]:
    """Return the columns of the data that a user's own classifier takes, in the order of its `forward`.

    Args:
        args: of the recipe, with `classifier`.
        there: the columns that play no other part.

    Raises:
        UserError: `forward` cannot do without one that is not there, or `args.extra_columns` names another.
    """
    spec = f"--classifier {args.classifier}"
    arguments = _arguments(_load(str(args.classifier)))
    listed = some(there, most=20) or "none beside text, label and id"
    for name in args.extra_columns or []:
        if name not in arguments:
            raise UserError(
                f"--extra_columns {name}: the forward of {spec} has no argument of that name"
                f"{nearest(name, arguments)}: it has {some([*arguments]) or 'none beside the tokens'}."
            )
        if name not in there:
            raise UserError(f"--extra_columns {name}: the data has no such column{nearest(name, there)}: {listed}.")
    taken = [name for name in arguments if name in (there if args.extra_columns is None else args.extra_columns)]
    for name, needed in arguments.items():
        if needed and name not in taken:
            raise UserError(
                f"{spec}: its forward takes '{name}', which is no column of the data{nearest(name, there)}: there is "
                f"{listed}."
            )
    return taken


def encode_cells(config: Any, cells: Mapping[str, Sequence[Any]]) -> dict[str, Tensor]:
    """Return what a model takes of its columns, `[batch]` each, given their cells as the data has them.

    Args:
        config: of an `OwnClassifier`.
        cells: of each of its columns, `[batch]`.
    """
    return config.encode_columns({name: read_cells(cells[name], known) for name, known in config.columns.items()})


def _load(classifier: str) -> type[nn.Module]:
    spec = f"--classifier {classifier}"
    found = load_carried(classifier, "--classifier", CARRIED)
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        raise UserError(f"{spec} must be a subclass of torch.nn.Module, and is a {type(found).__name__}.")
    signature = inspect.signature(found)
    try:
        signature.bind("", None, **({"columns": {}} if "columns" in signature.parameters else {}))
    except TypeError as error:
        raise UserError(
            f"{spec} must be made from (model_dir, task), or (model_dir, task, columns) to know the sizes of its "
            f"columns, and takes {signature}."
        ) from error
    if "input_ids" not in inspect.signature(found.forward).parameters:
        raise UserError(
            f"{spec}: its forward must take input_ids, and takes {', '.join(_parameters(found)) or 'nothing'}."
        )
    return found


def _parameters(found: type[nn.Module]) -> dict[str, inspect.Parameter]:
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    _, *parameters = inspect.signature(found.forward).parameters.values()
    return {parameter.name: parameter for parameter in parameters if parameter.kind not in several}


def _arguments(found: type[nn.Module]) -> dict[str, bool]:
    """Return the arguments of `forward` beside the tokens, and whether it needs each."""
    return {
        name: parameter.default is inspect.Parameter.empty
        for name, parameter in _parameters(found).items()
        if name not in MODEL_INPUTS
    }


def _idle_arguments(found: type[nn.Module], names: Sequence[str]) -> list[str]:
    return [name for name in _arguments(found) if name not in names]


def _encoder_config(model_dir: str, args: CustomArguments, spec: str) -> PretrainedConfig:
    config = AutoConfig.from_pretrained(model_dir, trust_remote_code=args.trust_remote_code)
    if is_carried(config):
        raise UserError(
            f"{spec} cannot be saved with the encoder of {args.model}, which brings its own code: take another model."
        )
    config._name_or_path = ""  # a folder of this machine
    if hasattr(config, "auto_map"):
        del config.auto_map  # of code that is not used
    return config


def _made(found: type[nn.Module], model_dir: str, config: OwnClassifierConfig, args: CustomArguments) -> nn.Module:
    try:
        return make(found, model_dir, config)
    except CODE_ERRORS as error:
        raise UserError(
            f"--classifier {args.classifier} cannot be made for {args.model}: {type(error).__name__}: "
            f"{in_one_line(error)}"
        ) from error


def _refuse_batch_norm(own: nn.Module, spec: str) -> None:
    for name, module in own.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise UserError(
                f"{spec} has a {type(module).__name__} ({name}), which makes of a text what the others of its "
                "micro-batch are like, so that a step would depend on how it is cut: take a LayerNorm or a GroupNorm."
            )


def _two_texts(config: OwnClassifierConfig, rows: Dataset | None) -> dict[str, Tensor]:
    """Return two texts of `TRIED_LENGTHS` tokens, with the columns of the first two rows of train."""
    padding = config.pad_token_id or 0
    longest = max(TRIED_LENGTHS)
    mask = (torch.arange(longest) < torch.tensor(TRIED_LENGTHS)[:, None]).long()
    # All of them other tokens, so that it shows where padding is taken for some.
    tokens = torch.tensor([token for token in range(longest + 1) if token != padding])
    inputs = {"input_ids": torch.where(mask == 1, tokens, padding), "attention_mask": mask}
    if rows is not None and "token_type_ids" in rows.column_names:
        inputs["token_type_ids"] = torch.zeros_like(mask)
    if rows is None or not config.columns:
        return inputs
    two = rows.select([0, min(1, len(rows) - 1)]).select_columns([*config.columns])
    return inputs | encode_cells(config, {name: two[name][:] for name in config.columns})


def _tried(model: OwnClassifier, inputs: dict[str, Tensor], spec: str) -> Tensor:
    """Return the logits of one or two texts, checked."""
    labels, texts = model.config.num_labels, len(inputs["input_ids"])
    lengths = " and ".join(str(int(length)) for length in inputs["attention_mask"].sum(1))
    what = f"{texts} text{'s' * (texts > 1)}"
    try:
        logits = model(**inputs).logits
    except CODE_ERRORS as error:
        raise UserError(
            f"{spec} fails on {what} of {lengths} tokens with {type(error).__name__}: {in_one_line(error)}"
        ) from error
    if not isinstance(logits, Tensor) or logits.shape != (texts, labels):
        came = f"shape {list(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise UserError(
            f"{spec} must return logits of shape [batch, {labels}], or an output with such .logits, and returned "
            f"{came} for {what}."
        )
    return logits


def _check_remade(
    found: type[nn.Module], model: OwnClassifier, inputs: dict[str, Tensor], logits: Tensor, spec: str
) -> None:
    """Check that the classifier can be saved and loaded: made from a configuration and the weights it is the same."""
    with torch.random.fork_rng(devices=[]):
        try:
            with without_weights(model.config.encoder) as folder:
                again = OwnClassifier(model.config, make(found, folder, model.config)).eval()
            again.load_state_dict(model.state_dict())
        except CODE_ERRORS as error:
            raise UserError(
                f"{spec} cannot be made anew as a saved model is, with another folder of the encoder that has its "
                f"configuration alone: {type(error).__name__}: {in_one_line(error)}"
            ) from error
        with torch.no_grad():
            others = again(**inputs).logits
    if not _are_alike(others, logits):
        raise UserError(
            f"{spec} gives other logits once it is saved and loaded: what it computes from the encoder's weights when "
            "it is made must be a parameter or a buffer that is saved, and evaluation must not be random."
        )


@torch.no_grad()
def _check_padding(model: OwnClassifier, inputs: dict[str, Tensor], logits: Tensor, spec: str) -> None:
    """Check that the shorter text alone, as it is without padding, has the logits of its padded row."""
    length = TRIED_LENGTHS[0]
    alone = {name: rows[:1, :length] if name in MODEL_INPUTS else rows[:1] for name, rows in inputs.items()}
    if not _are_alike(_tried(model, alone, spec), logits[:1]):
        raise UserError(
            f"{spec} gives a text other logits alone than padded beside a longer one, so that a step would depend on "
            "how it is cut: let its forward take attention_mask, pass it to the encoder, and leave out the tokens "
            "where it is 0."
        )


def _are_alike(found: Tensor, expected: Tensor) -> bool:
    # By the largest: a small logit may be the difference of large numbers, such as those of a column.
    largest = expected.detach().abs().max().item()
    return torch.allclose(found, expected, rtol=0, atol=max(1e-5, 1e-4 * largest), equal_nan=True)


def _without_gradient(model: OwnClassifier, logits: Tensor, spec: str) -> list[str]:
    """Return the names of the trained weights that have no part in the logits."""
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if not logits.requires_grad or not trained:
        raise UserError(f"{spec} has nothing to train: no gradient reaches its weights.")
    gradients = torch.autograd.grad(logits.sum(), [*trained.values()], allow_unused=True)
    return [name for name, gradient in zip(trained, gradients, strict=True) if gradient is None]

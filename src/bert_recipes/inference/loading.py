"""What predicts, given a name: an export by its own engine, anything else by torch, which is imported for it alone."""

from pathlib import Path

from bert_recipes.devices import share_cores, take_gpu
from bert_recipes.extras import asking_for_extra
from bert_recipes.inference.export_format import is_export
from bert_recipes.inference.rows_predictor import RowsPredictor
from bert_recipes.processes import Process


def load_predictor(
    name: str,
    *,
    max_length: int | None = None,
    bf16: bool | None = None,
    trust_remote_code: bool = False,
    process: Process | None = None,
) -> RowsPredictor:
    """Load what predicts rows.

    Args:
        name: the folder of an export, a run folder (its folds, or the runs of a blend, as one), a model folder or a
            Hub id.
        max_length: by default what the run was trained with, or else the most that the model takes.
        bf16: whether to compute in bfloat16; by default where the device has it natively.
        trust_remote_code: whether code that the models carry may run.
        process: this one, where it shares its machine with others: it takes its GPU and its share of the cores.

    Raises:
        UserError: as `ExportedPredictor.load` and `load_trained`; or it is no export, and torch is not installed.
    """
    if process is not None:
        share_cores()
    if is_export(name):
        from bert_recipes.inference.exported import ExportedPredictor

        return ExportedPredictor.load(name, max_length=max_length, bf16=bf16)
    folder = Path(name).expanduser()
    what = "is no export, and any other model" if folder.exists() else "is no folder here, and a model of the Hub"
    if is_export(export := folder / "export"):
        what = f"is no export, as {export} is, and any other model"
    with asking_for_extra(f"--model {name} {what}"):
        from bert_recipes.inference.folds import load_trained
    if process is not None:
        take_gpu(process.local_rank)
    return load_trained(name, max_length=max_length, bf16=bf16, trust_remote_code=trust_remote_code)

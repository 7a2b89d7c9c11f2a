"""Folders that `datasets` has written with `save_to_disk`."""

from pathlib import Path
from typing import TYPE_CHECKING

from bert_recipes.errors import UserError, in_one_line
from bert_recipes.extras import asking_for_extra

if TYPE_CHECKING:
    from datasets import Dataset


def is_saved_to_disk(folder: Path) -> bool:
    """Whether a folder is one that `save_to_disk` wrote."""
    return (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file()


def read_from_disk(folder: Path) -> "dict[str, Dataset]":
    """Return the splits of such a folder; that of a single `Dataset` is called train.

    Raises:
        UserError: the folder is damaged, or what reads it is not installed.
    """
    with asking_for_extra(f"{folder}, which save_to_disk wrote,"):
        import pyarrow as pa
        from datasets import DatasetDict, load_from_disk

    try:
        found = load_from_disk(str(folder))
    except (OSError, ValueError, TypeError, LookupError, pa.ArrowException) as error:
        raise UserError(
            f"{folder} cannot be read as what save_to_disk wrote: {in_one_line(error)}: write it again."
        ) from error
    splits = found if isinstance(found, DatasetDict) else {"train": found}
    return {str(split): rows.with_format(None) for split, rows in splits.items()}

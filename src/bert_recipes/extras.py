"""What an installation lacks, said in one sentence: the package, and the extra of this project that brings it."""

import contextlib
from collections.abc import Iterator

from bert_recipes.errors import UserError

# The packages by whose absence the extra `train` is missed, under the names that they are imported by.
OF_TRAIN = {
    *("accelerate", "datasets", "evaluate", "huggingface_hub", "jinja2", "matplotlib", "packaging", "safetensors"),
    *("scipy", "sklearn", "statsmodels", "torch", "transformers"),
}
INSTALL_TRAIN = "pip install 'bert-recipes[train]'"


@contextlib.contextmanager
def asking_for_extra(what: str) -> Iterator[None]:
    """Make an import that fails for want of a package of the extra `train` an error that names the extra.

    Args:
        what: needs the package: the beginning of a sentence, as in `br.train`.

    Raises:
        UserError: there was such an import in the block.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = missing_package(error)
        if package is None:
            raise
        raise UserError(f"{what} needs {package}, which is not installed: {INSTALL_TRAIN}.") from error


def missing_package(error: ModuleNotFoundError) -> str | None:
    """Return the package of the extra `train` that an import has not found, or None where it was another."""
    package = (error.name or "").partition(".")[0]
    return package if package in OF_TRAIN else None

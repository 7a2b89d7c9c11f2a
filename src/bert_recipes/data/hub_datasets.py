"""Data sets of the Hub: which files a subset needs, and their rows, also where the Hub cannot be asked.

The files are fetched as those of a model are and read from the folder: `load_dataset` given the id would, after any
failure, take the newest revision that it has prepared, whichever was asked for.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets.config
import yaml
from datasets import Dataset, DatasetDict, load_dataset
from datasets.exceptions import DatasetsError
from datasets.naming import camelcase_to_snakecase
from datasets.packaged_modules.cache.cache import Cache
from huggingface_hub import metadata_load

from bert_recipes.data import embedded
from bert_recipes.data.hub import COMMIT, HUB_ERRORS, HubFiles, HubName, OutOfReachError, parse_hub_name
from bert_recipes.errors import UserError, in_one_line, nearest, some
from bert_recipes.files import NO_SPACE
from bert_recipes.terminal import warn

CARD, CARD_YAML = "README.md", ".huggingface.yaml"
# The last one is there whatever else is: the client warns where it finds nothing to fetch.
ABOUT = (CARD, CARD_YAML, "dataset_infos.json", ".gitattributes")
# What a card says about columns and files may be anything, and so is what reading it raises.
CARD_ERRORS = (DatasetsError, yaml.YAMLError, TypeError, LookupError, AttributeError, NotImplementedError, *HUB_ERRORS)
# Where the Hub keeps what it has converted to Parquet itself: without a card, with a folder for each subset.
CONVERTED = "refs/convert/parquet"
CONVERTED_FILE = re.compile(r"([^/]+)/[^/]+/\d{4}\.parquet")


def read_hub_dataset(
    name: str, not_here: Sequence[str], split_names: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Dataset], str]:
    """Return the splits of a data set of the Hub, and the name that finds the very same again.

    Args:
        name: `owner/name`, `owner/name@revision` or `owner/name:subset@revision`.
        not_here: the data sets that were asked for first, and are not here.
        split_names: for each split the names that it goes by.

    Raises:
        UserError: it is no such name; there is no such data set, subset or revision; or it is not in the cache and the
            Hub is out of reach.
    """
    without_hub = [embedded.PREFIX + key for key in embedded.DATASETS]
    wanted = parse_hub_name(name)
    if wanted is None:
        raise UserError(
            f"--dataset {name}: no such file or folder, and no Hub id either (owner/name, owner/name@revision or "
            f"owner/name:subset@revision); without a hub there are {', '.join(without_hub)}."
        )
    files = HubFiles(wanted, "dataset", f"--dataset {' '.join([*not_here, name])}", [*not_here, *without_hub])
    try:
        splits, found = _from_files(files)
    except OutOfReachError:
        prepared = _prepared(files)
        if prepared is None:
            raise
        splits, found = prepared
    stems = {split: next((stem for stem in names if stem in splits), None) for split, names in split_names.items()}
    if unused := [split for split in splits if split not in stems.values()]:
        warn(f"{found}: not used of its splits are {some(unused)}.")
    return {split: splits[stem] for split, stem in stems.items() if stem}, str(found)


def _from_files(files: HubFiles) -> tuple[DatasetDict, HubName]:
    script = f"{files.name.repository.split('/')[1]}.py"
    about = files.fetch([*ABOUT, script], files.name.revision)
    if (about / script).is_file():
        raise UserError(
            f"--dataset {files.name} is made by a script of its own, {script}, which datasets runs no more: give "
            f"--dataset {files.name.repository}@{CONVERTED}, the Hub's conversion, if there is one."
        )
    try:
        patterns, how = _files_of(files.name, about, files.listed(about.name) or [])
        rows = files.fetch(patterns, about.name)
        # Unchecked is what a card counts, which may be of older files; those here have the sizes that the Hub lists.
        return load_dataset(str(rows), verification_mode="no_checks", **how), files.name.at(about.name)
    except CARD_ERRORS as error:
        if getattr(error, "errno", None) in NO_SPACE:
            raise
        cause = error.__cause__ if isinstance(error, DatasetsError) and error.__cause__ else error
        repository = files.name.repository
        raise UserError(
            f"--dataset {files.name} cannot be read as it stands on the Hub ({in_one_line(cause)}): fetch its files "
            f"with hf download --repo-type dataset {repository} --local-dir data/{repository}, and give the one to "
            "train on."
        ) from error


def _files_of(name: HubName, about: Path, listed: Sequence[str]) -> tuple[list[str] | None, dict[str, str]]:
    """Return the patterns of the files that the subset needs, or None for all, and how `load_dataset` finds it."""
    card = (metadata_load(about / CARD) if (about / CARD).is_file() else None) or {}
    configs = {str(config["config_name"]): config for config in card.get("configs") or []}
    if configs:
        default = [
            key for key, config in configs.items() if len(configs) == 1 or key == "default" or config.get("default")
        ]
        subset = _chosen(name, list(configs), default)
        # The first one's too: `datasets` looks at them, whichever is wanted, for the format of all.
        needed = [next(iter(configs.values())), configs[subset]]
        if (about / CARD_YAML).is_file() or any("data_files" not in config for config in needed):
            return None, {"name": subset}
        return [*ABOUT, *(path for config in needed for path in _patterns(config))], {"name": subset}
    converted = [CONVERTED_FILE.fullmatch(path) for path in listed if not path.startswith(".")]
    if converted and all(converted):
        folders = sorted({found[1] for found in converted if found})
        subset = _chosen(name, folders, folders if len(folders) == 1 else [])
        return [f"{subset}/*"], {"data_dir": subset}
    if name.subset:
        raise UserError(f"--dataset {name}: {name.repository} has no subsets: leave :{name.subset} out.")
    return None, {}


def _chosen(name: HubName, subsets: list[str], default: list[str]) -> str:
    if name.subset is None:
        if default:
            return default[0]
        example = HubName(name.repository, subsets[0], name.revision)
        raise UserError(f"--dataset {name} has the subsets {some(subsets)}: name one, as in --dataset {example}.")
    if name.subset not in subsets:
        near = nearest(name.subset, subsets, f"{name.repository}:")
        raise UserError(
            f"--dataset {name}: {name.repository} has no subset {name.subset}{near}; it has {some(subsets)}."
        )
    return name.subset


def _patterns(config: Mapping[str, Any]) -> Iterator[str]:
    """Yield patterns that match at least the files of a subset."""
    for path in _paths(config["data_files"]):
        inner = path.rpartition("::")[2].removeprefix("./").replace("**/", "*")
        yield inner
        if "data_dir" in config:
            yield f"{config['data_dir']}/{inner}"


def _paths(data_files: Any) -> Iterator[str]:
    if isinstance(data_files, str):
        yield data_files
    elif isinstance(data_files, Mapping):
        yield from _paths(data_files.get("path", list(data_files.values())))
    else:
        for part in data_files:
            yield from _paths(part)


def _prepared(files: HubFiles) -> tuple[DatasetDict, HubName] | None:
    """Return what `load_dataset` itself has prepared of the commit that is asked for, or of the newest it knows."""
    name = files.name
    owner, _, rest = name.repository.partition("/")
    root = Path(datasets.config.HF_DATASETS_CACHE) / f"{owner}___{camelcase_to_snakecase(rest)}"
    commit = files.commit_in_cache()
    found = [
        folder
        for folder in root.glob(f"*/*/{commit or '*'}")
        if (folder / "dataset_info.json").is_file() and COMMIT.fullmatch(folder.name)
    ]
    if commit is None and name.revision is None and found:
        newest = max(found, key=lambda folder: folder.stat().st_mtime).name
        found = [folder for folder in found if folder.name == newest]
    elif commit is None:
        return None
    subsets = {folder.parts[-3]: folder for folder in found}
    if not subsets or (name.subset and name.subset not in subsets):
        return None
    subset = _chosen(name, list(subsets), list(subsets) if len(subsets) == 1 else [])
    version, commit = subsets[subset].parts[-2:]
    rows = Cache(repo_id=name.repository, dataset_name=rest, config_name=subset, version=version, hash=commit)
    files.warn_of_cache(name.revision, commit)
    return rows.as_dataset(), HubName(name.repository, None if subset == "default" else subset, commit)

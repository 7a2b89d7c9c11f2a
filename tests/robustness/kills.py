"""Kill runs at their file operations, give the command again, and compare the end with that of a run left alone.

    make kills                                        # 100 kills in all
    python tests/robustness/kills.py --only folds --kills 30 --seed 5
    python tests/robustness/kills.py --only search --at 11 12 --after 2   # at these operations, 2 seconds after each

A run dies by SIGKILL, with all its processes, at the N-th file that it opens for writing, renames or removes, or the
N-th folder that it makes or removes, below its folder (dying/sitecustomize.py counts them): half the time right
before, half the time up to a second later. Every kind of operation is drawn before one is drawn twice. The end is
the same if the same files are there, with the same weights, predictions, configuration, losses and scores. The status
is 1 if any end is not.

Recipes run in forks of this process, which has imported what takes them seconds.
"""

import argparse
import dataclasses
import json
import math
import os
import random
import re
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
RECIPES = HERE.parents[1] / "recipes"
AGAIN = 4  # times that a command is given after a kill before it counts as one that does not end
LIMIT = 180  # seconds that one start may take
LATER = (0.0005, 1.0)  # seconds between an operation and a death that is not right before it


@dataclasses.dataclass(frozen=True)
class Kind:
    """What is killed: a script with its flags, run in a folder of its own, and how many kills of 100 it gets."""

    script: str
    flags: list[str]
    share: int
    # What another kind's undisturbed run has to lie beside it.
    needs: str | None = None
    # Whether that run stands where this one goes, to be replaced.
    replaces: bool = False


@dataclasses.dataclass
class Result:
    """How a kill ended."""

    operation: str
    differences: list[str]


def kinds(model: Path, competition: Path) -> dict[str, Kind]:
    """Return what is killed, by name. Each writes into `run` of the folder in which it is started."""
    data = ["--dataset", str(competition), "--output_dir", "run"]
    common = [*data, "--model", str(model), "--max_length", "32", "--bf16", "false", "--disable_tqdm", "true"]
    common += ["--per_device_train_batch_size", "8", "--learning_rate", "1e-3", "--logging_steps", "2"]
    steps = ["--max_steps", "12", "--eval_strategy", "steps", "--eval_steps", "3"]
    steps += ["--save_strategy", "steps", "--save_steps", "3", "--save_total_limit", "2"]
    of_compare = [flag for flag in common if flag not in ("--output_dir", "run")]
    return {
        "stock": Kind("stock", [*common, *steps], 16),
        "custom": Kind("custom", [*common, *steps, "--pooling", "mean"], 16),
        "folds": Kind("custom", [*common, "--folds", "2", "--num_train_epochs", "1"], 16),
        "overwrite": Kind("stock", [*common, *steps, "--seed", "7", "--overwrite"], 12, needs="stock", replaces=True),
        "baseline": Kind("baseline", data, 12),
        "compare": Kind("compare", compare(of_compare), 12),
        "search": Kind("search", [*common, "--trials", "2"], 10),
        "predict": Kind("predict", predict(competition), 6, needs="stock"),
    }


def compare(flags: list[str]) -> list[str]:
    """Return the flags of a comparison of two recipes."""
    empty = ["--config", "empty.yaml", "--seeds", "1", "--output_dir", "run"]
    return ["baseline", "stock", *empty, *flags, "--num_train_epochs", "1"]


def predict(competition: Path) -> list[str]:
    """Return the flags of a prediction with the model of another kind's run."""
    return ["--model", "needed/model", "--input", str(competition / "test.csv"), "--output", "run/predictions.csv"]


# Starting


def start(kind: Kind, folder: Path, log: Path, at: int = 0, after: float = 0.0) -> tuple[int, str]:
    """Run a script in a fork of this process; return its status, negative for a signal, and what it said."""
    said = folder.with_name(f"{folder.name}.said")
    log.unlink(missing_ok=True)
    pid = os.fork()
    if pid == 0:
        _be_the_script(kind, folder, log, said, at, after)
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), said.read_text(errors="replace")
        time.sleep(0.02)
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return -signal.SIGKILL, f"still running after {LIMIT} seconds"


def _be_the_script(kind: Kind, folder: Path, log: Path, said: Path, at: int, after: float) -> None:
    os.setsid()
    output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(folder)
    os.environ.update({"DYING_BELOW": str(folder / "run"), "DYING_LOG": str(log)})
    os.environ.update({"DYING_AT": str(at), "DYING_AFTER": str(after)})
    # Processes that the script starts import it by themselves.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE / "dying"), os.environ.get("PYTHONPATH"))))
    import dying.sitecustomize  # noqa: F401

    script = RECIPES / f"{kind.script}.py"
    sys.argv = [str(script), *kind.flags]
    status = 1
    try:
        runpy.run_path(str(script), run_name="__main__")
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else 1 if error.code else 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def prepare(kind: Kind, folder: Path, needed: Path | None) -> None:
    """Make the folder in which a kind is started."""
    folder.mkdir()
    (folder / "empty.yaml").write_text("{}\n")
    if needed and kind.replaces:
        shutil.copytree(needed / "run", folder / "run")
    elif needed:
        (folder / "needed").symlink_to(needed / "run")
        (folder / "run").mkdir()


def to_the_end(kind: Kind, folder: Path, log: Path) -> str | None:
    """Give a command again until it ends; return what it said at last if it does not."""
    said = ""
    for _ in range(AGAIN):
        status, said = start(kind, folder, log)
        if status == 0 or "holds a finished run" in said:
            return None
    return said.strip().splitlines()[-1] if said.strip() else "nothing"


def choose(operations: list[str], kills: int, draw: random.Random) -> list[tuple[int, float]]:
    """Return which operations to die at, from 1, and how long after each: every kind of operation comes first."""
    of_name: dict[str, list[int]] = {}
    for number, operation in enumerate(operations, 1):
        # The figures are many, and alike in how they are written.
        name = re.sub(r"\d+", "N", re.sub(r"plots/\S+", "plots/", operation))
        of_name.setdefault(name, []).append(number)
    for numbers in of_name.values():
        draw.shuffle(numbers)
    names, chosen = list(of_name), []
    while len(chosen) < kills:
        draw.shuffle(names)
        for name in names[: kills - len(chosen)]:
            numbers = of_name[name]
            numbers.append(numbers.pop(0))
            later = math.exp(draw.uniform(*map(math.log, LATER)))
            chosen.append((numbers[-1], draw.choice((0.0, later))))
    return chosen


# Comparing

SAME_BYTES = {"model.safetensors", "predictions.csv", "validation_predictions.csv", "submission.csv", "run.yaml"}
SAME_BYTES |= {"best.yaml", "search.yaml", "compare.yaml", "comparison.json", "README.md", "config.json"}
OF_THE_MOMENT = re.compile(r"runtime|per_second|memory|threads|command")


def lasting(values):
    """Return scores or a log without times and memory."""
    if isinstance(values, dict):
        return {key: lasting(value) for key, value in values.items() if not OF_THE_MOMENT.search(key)}
    return [lasting(value) for value in values] if isinstance(values, list) else values


def files(folder: Path) -> dict[str, Path]:
    """Return what lies in a folder, folders included, by its path in it."""
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*"))}


def differences(there: Path, here: Path) -> list[str]:
    """Tell in words how the folder `here` is not what `there` is."""
    a, b = files(there), files(here)
    found = [f"left behind: {name}" for name in b if name not in a]
    found += [f"not there: {name}" for name in a if name not in b]
    for name in a:
        if name in b and "checkpoints/" not in name:
            if a[name].name in SAME_BYTES and a[name].read_bytes() != b[name].read_bytes():
                found.append(f"{name} differs{_first_difference(a[name], b[name])}")
            elif a[name].name == "metrics.json" or a[name].name == "trainer_state.json":
                found += _different_keys(name, _json(a[name]), _json(b[name]))
    return found


def _json(path: Path) -> dict:
    values = json.loads(path.read_text())
    return lasting({"log_history": values["log_history"]} if path.name == "trainer_state.json" else values)


def _first_difference(a: Path, b: Path) -> str:
    if a.suffix == ".safetensors":
        return ""
    lines = zip(a.read_text().splitlines(), b.read_text().splitlines(), strict=False)
    different = next(((x, y) for x, y in lines if x != y), ("", ""))
    return f": {different[0][:60]!r} is {different[1][:60]!r}"


def _different_keys(name: str, a, b, path: str = "") -> list[str]:
    """Tell where two values of JSON differ, and how."""
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        a, b = dict(enumerate(a)), dict(enumerate(b))
    if isinstance(a, dict) and isinstance(b, dict):
        keys = dict.fromkeys([*a, *b])
        return [one for key in keys for one in _different_keys(name, a.get(key), b.get(key), f"{path} {key}")]
    return [] if a == b else [f"{name}:{path} was to be {str(a)[:60]} and is {str(b)[:60]}".replace("\n", " ")]


# The whole


def import_what_recipes_need() -> None:
    """Import once, for all forks, what takes seconds; nothing may be computed here, since threads do not fork."""
    from bert_recipes.inference.predictor import Predictor  # noqa: F401
    from bert_recipes.modeling.baseline import Baseline  # noqa: F401
    from bert_recipes.modeling.building import build_classifier  # noqa: F401
    from bert_recipes.reporting.run_page import write_report  # noqa: F401
    from bert_recipes.runs.comparison import compare_runs  # noqa: F401
    from bert_recipes.runs.folds import runs  # noqa: F401
    from bert_recipes.training.search import Search  # noqa: F401
    from bert_recipes.training.trainer import RecipeTrainer  # noqa: F401


def kill(
    kind: Kind,
    name: str,
    moments: Callable[[list[str]], list[tuple[int, float]]],
    scratch: Path,
    needed: Path | None,
    tell: Callable[[str], None],
) -> list[Result]:
    """Run a kind undisturbed, then killed at each of the `moments` that are chosen of its operations."""
    alone, log = scratch / f"{name}-alone", scratch / f"{name}.log"
    if not alone.exists():
        prepare(kind, alone, needed)
        status, said = start(kind, alone, log)
        if status:
            raise SystemExit(f"{name} failed undisturbed with status {status}:\n{said[-3000:]}")
        log.rename(scratch / f"{name}.operations")
    operations = (scratch / f"{name}.operations").read_text().splitlines()
    tell(f"{name}: {len(operations)} file operations")
    results = []
    for i, (at, after) in enumerate(moments(operations)):
        folder = scratch / f"{name}-{i}"
        prepare(kind, folder, needed)
        status, said = start(kind, folder, log, at, after)
        if status == 0 and after:  # it was too quick: right before the operation, then
            shutil.rmtree(folder)
            prepare(kind, folder, needed)
            after = 0.0
            status, said = start(kind, folder, log, at)
        when = f"{after * 1000:.1f} ms after" if after else "before"
        operation = f"{when} operation {at}, {operations[at - 1]}"
        found = []
        if status != -signal.SIGKILL:
            found.append(f"the start that was to be killed ended with status {status}: {said[-300:]}")
        output = folder / "run" / "predictions.csv"
        if name == "predict" and output.exists() and output.read_bytes() != (alone / "run" / output.name).read_bytes():
            found.append("the output stands there in part")
        unended = to_the_end(kind, folder, log)
        found += [f"does not end: {unended}"] if unended else differences(alone / "run", folder / "run")
        results.append(Result(operation, found))
        tell(f"  {operation}: {'the same' if not found else '; '.join(found[:3])}")
        shutil.rmtree(folder)
    return results


def show(results: dict[str, list[Result]]) -> None:
    """Print the table and the first differences of each kind."""
    print(f"\n{'kind':10}{'kills':>7}{'same end':>10}   first differences")
    for name, of_kind in results.items():
        bad = [result for result in of_kind if result.differences]
        first = f"{bad[0].operation}: {bad[0].differences[0]}" if bad else ""
        print(f"{name:10}{len(of_kind):>7}{len(of_kind) - len(bad):>10}   {first}")
    for name, of_kind in results.items():
        causes: dict[str, list[Result]] = {}
        for result in of_kind:
            for difference in result.differences:
                cause = re.split(" was to be| differs", difference)[0]
                causes.setdefault(re.sub(r"\d+", "N", cause), []).append(result)
        for cause, those in sorted(causes.items(), key=lambda both: -len(both[1])):
            print(f"\n{name}: {len(those)} times {cause}\n    as when killed {those[0].operation}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = list(kinds(Path(), Path()))
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these kinds")
    parser.add_argument("--kills", type=int, help="of each kind (100 spread over all)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of moments")
    parser.add_argument("--at", type=int, nargs="+", help="the numbers of the operations, instead of a choice")
    parser.add_argument("--after", type=float, default=0.0, help="seconds after these (0: right before)")
    parser.add_argument("--quiet", action="store_true", help="the table only")
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="kills-")).resolve()
    caches = {name: str(scratch / "cache" / name) for name in ("HF_HOME", "HF_DATASETS_CACHE", "HF_MODULES_CACHE")}
    os.environ.update(caches | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""})
    tell = (lambda sentence: None) if args.quiet else (lambda sentence: print(sentence, flush=True))
    # In a process of its own, so that this one has computed nothing when it forks.
    make = f"import sys; sys.path.insert(0, {str(HERE)!r}); import tiny; from pathlib import Path\n"
    make += f"tiny.save_bert(Path({str(scratch / 'bert')!r})); tiny.write_competition(Path({str(scratch / 'data')!r}))"
    subprocess.run([sys.executable, "-c", make], check=True, capture_output=True)
    import_what_recipes_need()
    results = {}
    try:
        every = kinds(scratch / "bert", scratch / "data")
        for name in args.only:
            kind, needed = every[name], None
            draw = random.Random(f"{name} {args.seed}")
            if kind.needs:
                needed = scratch / f"{kind.needs}-alone"
                kill(every[kind.needs], kind.needs, lambda operations: [], scratch, None, tell)

            def moments(operations: list[str], share=kind.share, draw=draw) -> list[tuple[int, float]]:
                if args.at:
                    return [(at, args.after) for at in args.at]
                return choose(operations, share if args.kills is None else args.kills, draw)

            results[name] = kill(kind, name, moments, scratch, needed, tell)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    show(results)
    return 1 if any(result.differences for those in results.values() for result in those) else 0


if __name__ == "__main__":
    sys.exit(main())

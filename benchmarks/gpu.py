"""Whatever needs a GPU, in one command: what the bench measures, and whether every way to train takes its steps.

    python -m benchmarks.gpu                       all of it, half an hour or so
    python -m benchmarks.gpu --only bench fsdp2    some of it

What is timed runs alone, the rest beside each other. Each check has a limit, at which it is killed; the log of each,
what the bench has measured by then, and checks.json stay in the output folder.
"""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from benchmarks.serving import has_wrk
from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.errors import UserError
from bert_recipes.files import write_json

ROOT = Path(__file__).parents[1]
TWEETS = ROOT / "data" / "disaster-tweets"
SEEDS = (1, 2, 3)


class Check(NamedTuple):
    """A command that ought to succeed.

    Attributes:
        command: what is run in the root of the repository.
        seconds: after which it is killed.
        timed: whether it must run alone.
        missing: what it needs and this machine lacks, or nothing.
    """

    command: Sequence[str]
    seconds: int
    timed: bool = False
    missing: str = ""


def checks(out: Path) -> dict[str, Check]:
    """Return the checks by name, in the order in which they are begun; what they write goes into `out`."""
    python = sys.executable
    launch = [python, "-m", "accelerate.commands.launch", "--num_processes", "1"]
    short = ["--config", "recipes/configs/quickstart.yaml", "--max_steps", "20", "--overwrite", "--output_dir"]
    seeded = ["--config", "benchmarks/configs/minilm_fast.yaml", "--overwrite"]
    bench = [python, "-m", "benchmarks.bench", "--steps", "24", "--output_dir", f"{out}/bench"]
    bench += ["--rows", "16384"]  # four chunks, so that one is tokenized while another is predicted
    quickstart = ["--config", "recipes/configs/quickstart.yaml", "--overwrite", "--output_dir"]
    deepspeed = "" if importlib.util.find_spec("deepspeed") else "pip install -c constraints.txt -e '.[deepspeed]'"
    tweets = "" if TWEETS.is_dir() else f"the competition's files in {TWEETS.relative_to(ROOT)}"
    wrk = "" if has_wrk() else "wrk (apt install wrk)"
    found = {
        "stock": Check([python, "recipes/stock.py", *quickstart, f"{out}/stock"], 180, timed=True),
        "custom": Check(
            [python, "recipes/custom.py", *quickstart, f"{out}/custom", "--pooling", "mean"], 180, timed=True
        ),
        "bench": Check([*bench, "--only", "grid", "train", "predict", "length", "profile"], 600, timed=True),
        "service": Check([*bench, "--only", "serve"], 300, timed=True, missing=wrk),
        # Apart, since it may not come to its end.
        "compiled": Check([*bench, "--only", "compiled"], 300, timed=True),
        "exactness": Check([python, "-m", "benchmarks.exactness"], 240),
        "exactness-bf16": Check([python, "-m", "benchmarks.exactness", "--bf16"], 240),
        "float16": Check([python, "recipes/custom.py", *short, f"{out}/float16", "--fp16"], 180),
    }
    # Beside each other, so each with a port of its own.
    for name, port, config, lacks in (
        ("fsdp2", "29611", "fsdp2", ""),
        ("zero2", "29612", "deepspeed_zero2", deepspeed),
    ):
        by = [*launch, "--main_process_port", port, "--config_file", f"recipes/launch/{config}.yaml"]
        found[name] = Check([*by, "recipes/custom.py", *short, f"{out}/{name}"], 180, missing=lacks)
    measured = {"means": [], "choices": ["--seeds", "1", "2", "3", "4", "5", "--num_train_epochs", "3"]}
    for name, flags in measured.items():
        # Many small trainings, of which a GPU takes several at once.
        command = [python, "-m", f"benchmarks.{name}", "--jobs", "6", "--output_dir", f"{out}/{name}", *flags]
        found[name] = Check(command, 900, timed=True, missing=tweets)
    for seed in SEEDS:
        own = ["--seed", str(seed), "--output_dir", f"{out}/tweets-{seed}"]
        found[f"tweets-{seed}"] = Check([python, "recipes/stock.py", *seeded, *own], 240, missing=tweets)
    return found


def run_check(name: str, check: Check, out: Path) -> dict:
    """Run a check and return its name, its end, its seconds and the last line that it wrote."""
    if check.missing:
        return {"check": name, "end": "left out", "seconds": 0.0, "last": f"needs {check.missing}"}
    log = out / "logs" / f"{name}.txt"
    started = time.perf_counter()
    with log.open("wb") as file:
        process = subprocess.Popen(
            check.command,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            status = process.wait(check.seconds)
            end = "ok" if status == 0 else f"status {status}"
        except subprocess.TimeoutExpired:
            end = f"killed after {check.seconds} s"
        finally:
            # A recipe takes SIGTERM for a request to save first; a launcher leaves its processes behind.
            _kill(process)
    lines = log.read_text(encoding="utf-8", errors="replace").replace("\r", "\n").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return {"check": name, "end": end, "seconds": round(time.perf_counter() - started, 1), "last": last[:200]}


def _kill(process: subprocess.Popen) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def run_checks(chosen: dict[str, Check], out: Path, jobs: int) -> list[dict]:
    """Run checks, those that are timed first and one by one; checks.json has what is done at any time."""
    (out / "logs").mkdir(parents=True, exist_ok=True)
    results: list[dict] = []

    def run(name: str) -> None:
        result = run_check(name, chosen[name], out)
        results.append(result)
        write_json(out / "checks.json", {"checks": results})
        print("{check:<16} {end:<20} {seconds:>6.1f} s  {last}".format(**result), flush=True)

    for name, check in chosen.items():
        if check.timed:
            run(name)
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run, [name for name, check in chosen.items() if not check.timed]))
    return results


def main():
    parser = ScriptParser(__doc__)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/gpu"), help="where all goes (runs/gpu)")
    parser.add_argument("--only", nargs="+", choices=list(checks(Path())), help="checks to run (all)")
    parser.add_argument("--jobs", type=int, default=4, help="checks beside each other, where they are not timed (4)")
    args = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        raise UserError("torch sees no GPU here: run this on a machine that has one (make doctor says why not).")
    out = args.output_dir.resolve()
    chosen = {name: check for name, check in checks(out).items() if not args.only or name in args.only}
    results = run_checks(chosen, out, args.jobs)
    if failed := [result["check"] for result in results if result["end"] not in ("ok", "left out")]:
        raise UserError(f"{', '.join(failed)}: {out}/logs has what each of them wrote.")


if __name__ == "__main__":
    run_main(main)

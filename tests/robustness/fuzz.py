"""Damage what a user gives, thousands of times: each time all must go well or end in a `UserError`.

    make fuzz                                               # 3,000 cases of each kind, within --seconds
    python tests/robustness/fuzz.py --only csv --seed 17
    python tests/robustness/fuzz.py --only csv --seed 17 --case 120 --keep /tmp/case    # one, with its traceback

Case 120 of a kind and a seed is always the same. Kinds run in processes of their own, so that one that crashes or
hangs costs a case and no more. The status is 1 if any case failed: by another exception, `SystemExit`, a crash, more
than a few seconds, a value of no sense taken, or a write outside its scratch folder.
"""

import argparse
import collections
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Timer

# What each kind damages; the cases are made in cases.py.
KINDS = {
    "csv": "CSV and TSV files, loaded for training",
    "jsonl": "JSONL files, loaded for training",
    "parquet": "Parquet files, bytes and columns, loaded for training",
    "yaml": "configurations",
    "flags": "command lines",
    "predict": "inputs of predict, of every format",
    "starts": "lengths, sizes and rates of whole runs",
}
COUNTS = {"starts": 168}  # each such flag with four values; more with --count
LIMIT = {"starts": 30}  # seconds for one case, and 10 for those of other kinds
STILL = 60  # seconds after which a process that says nothing hangs in C code
MEMORY = 12 * 2**30
SHOWN = 4  # cases of a failure
FINE, REFUSED, FAILED = "fine", "UserError", "other"


class TooLongError(BaseException):
    """A case ran past its limit; no `except Exception` holds it up."""


@dataclass
class Failure:
    """Cases that failed in the same way."""

    what: str
    where: str
    cases: dict[int, str] = field(default_factory=dict)  # how each was damaged, by its number


@dataclass
class Tally:
    """What came of the cases of one kind."""

    kind: str
    ends: collections.Counter = field(default_factory=collections.Counter)
    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, report: dict) -> None:
        """Count a case."""
        self.ends[report["end"]] += 1
        if report["end"] == FAILED:
            key = report["what"], report["where"]
            failure = self.failures.setdefault(key, Failure(report["said"], report["where"]))
            failure.cases[report["case"]] = report["damage"]


# The process that runs the cases of one kind


@contextmanager
def time_limit(seconds: int):
    """Raise `TooLongError` in the block after so many seconds."""

    def stop(number, frame):
        raise TooLongError(f"still running after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Watch:
    """Notes what is written, made, moved or removed outside a folder."""

    def __init__(self, scratch: Path):
        self.scratch = str(scratch)
        self.strange: list[str] = []
        self.on = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, args: tuple) -> None:
        if not self.on:
            return
        writes = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        # Beside a descriptor (not -1) stands what a folder that was looked at already holds.
        if writes or (event in ("os.mkdir", "os.remove", "os.rmdir", "os.rename") and args[-1] == -1):
            self._look(args[0])

    def _look(self, path) -> None:
        if isinstance(path, int):
            return
        path = os.path.abspath(os.fsdecode(path))
        if not path.startswith((self.scratch, "/dev/", "/proc/")):
            self.strange.append(path)


def innermost_frame(error: BaseException) -> str:
    """Return the innermost frame inside bert_recipes, or of the recipes, as `file:line function`."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/bert_recipes/" in frame.filename or "/recipes/" in frame.filename]
    if not own:
        return "-"
    path = Path(own[-1].filename)
    return f"{path.parent.name}/{path.name}:{own[-1].lineno} {own[-1].name}"


def outcome(start, watch: Watch, seconds: int) -> tuple[dict, BaseException | None]:
    """Start a case and tell how it ended."""
    from bert_recipes.errors import UserError

    caught = None
    watch.strange, watch.on = [], True
    try:
        with time_limit(seconds):
            start()
        end, what, said = FINE, "", ""
    except UserError as error:
        end, what, said, caught = REFUSED, "UserError", str(error), error
    except (Exception, TooLongError, SystemExit) as error:
        said = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        end, what, caught = FAILED, type(error).__name__, error
    finally:
        watch.on = False
    if watch.strange:
        end, what, said = FAILED, "written outside", f"wrote outside of the scratch folder: {watch.strange[0]}"
    if what == "NotRefusedError":
        said = what = f"taken, and no such number: {caught}"
    return {"end": end, "what": what, "said": said, "where": innermost_frame(caught) if caught else "-"}, caught


def make_cases(kind: str, scratch: Path):
    """Return the function that makes a case of this kind from `(draw, folder, number)`."""
    import cases

    if kind in ("csv", "jsonl", "parquet"):
        make = cases.loading({"csv": cases.delimited, "jsonl": cases.json_lines, "parquet": cases.parquet}[kind])
    elif kind == "yaml":
        make = cases.configurations
    elif kind == "flags":
        return cases.flags
    elif kind == "predict":
        make = cases.predicting(cases.Models(scratch / "models"))
    else:
        return cases.starting(cases.Models(scratch / "models"))
    return lambda draw, folder, number: make(draw, folder)


def run_cases(kind: str, seed: int, numbers: range, scratch: Path, deadline: float, out) -> BaseException | None:
    """Run cases of one kind; write a line of JSON before and after each. Returns what the last one raised."""
    import cases

    watch = Watch(scratch)
    make, caught = make_cases(kind, scratch), None
    os.chdir(scratch)
    for number in numbers:
        if time.time() > deadline:
            break
        folder = scratch / f"case-{number}"
        folder.mkdir()
        case = make(Random(f"{kind} {seed} {number}"), folder, number)
        print(json.dumps({"case": number, "damage": case.damage}), file=out, flush=True)
        with cases.as_before():
            report, caught = outcome(case.start, watch, LIMIT.get(kind, 10))
        print(json.dumps(report), file=out, flush=True)
        if number % 50 == 49:
            shutil.rmtree(os.environ["HF_DATASETS_CACHE"], ignore_errors=True)
        if len(numbers) > 1:
            shutil.rmtree(folder, ignore_errors=True)
    return caught


def be_worker(args) -> None:
    """Run the cases that the parent asks for, and report them on what is standard output now."""
    # Whatever a library prints goes elsewhere; a file of random sizes must not take the machine's memory.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    run_cases(args.only[0], args.seed, range(args.case, args.count), Path(args.worker), args.until, out)


# The process that starts those


def environment(scratch: Path) -> dict:
    """Return the environment of a worker: no network, one thread, every cache in the scratch folder."""
    (scratch / "tmp").mkdir(parents=True)
    caches = {name: str(scratch / "cache" / name) for name in ("HF_HOME", "HF_DATASETS_CACHE", "HF_MODULES_CACHE")}
    caches["MPLCONFIGDIR"] = caches["TORCHINDUCTOR_CACHE_DIR"] = str(scratch / "cache")
    own = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": ""}
    return os.environ | caches | own | {"TMPDIR": str(scratch / "tmp")}


def fuzz(kind: str, seed: int, count: int, deadline: float) -> Tally:
    """Run `count` cases of a kind, and go on behind one that ends the process."""
    tally, started, number = Tally(kind), time.time(), 0
    while number < count and time.time() < deadline:
        scratch = Path(tempfile.mkdtemp(prefix=f"fuzz-{kind}-"))
        number = _run_worker(tally, kind, seed, number, count, deadline, scratch)
        shutil.rmtree(scratch, ignore_errors=True)
    tally.seconds = time.time() - started
    return tally


def _run_worker(tally: Tally, kind: str, seed: int, first: int, count: int, deadline: float, scratch: Path) -> int:
    """Start a worker at case `first`; return the case to go on from once it has ended."""
    command = [sys.executable, __file__, "--only", kind, "--seed", str(seed), "--case", str(first)]
    command += ["--count", str(count), "--until", str(deadline), "--worker", str(scratch)]
    errors = scratch / "stderr"
    with errors.open("w") as log:
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment(scratch), text=True)
    running = None
    for line in worker.stdout:
        heard = json.loads(line)
        if "damage" in heard:
            running = heard
            silence = Timer(STILL, worker.kill)
            silence.start()
            continue
        silence.cancel()
        tally.add(running | heard)
        running = None
    status = worker.wait()
    if running is None:
        if status:
            raise SystemExit(f"a worker of {kind} ended with status {status}: {errors.read_text()[-2000:]}")
        return count
    what = f"the process ended with status {status}" if silence.is_alive() else f"hangs for {STILL} seconds in C code"
    silence.cancel()
    tally.add(running | {"end": FAILED, "what": what, "said": what, "where": "-"})
    return running["case"] + 1


def show_counts(tally: Tally) -> None:
    """Print a row of the table."""
    counts = "".join(f"{tally.ends[end]:>{width}}" for end, width in ((FINE, 8), (REFUSED, 11), (FAILED, 8)))
    tried = sum(tally.ends.values())
    print(f"{tally.kind:10}{tried:>8}{counts}{tally.seconds:>9.0f}   {KINDS[tally.kind]}", flush=True)


def show_failures(tallies: list[Tally], seed: int) -> None:
    """Print each distinct failure once, the most frequent of a kind first, with its first cases."""
    for tally in tallies:
        for failure in sorted(tally.failures.values(), key=lambda failure: -len(failure.cases)):
            print(f"\n{tally.kind}: {len(failure.cases)} times {_printable(failure.what)}\n    in {failure.where}")
            for case, damage in list(failure.cases.items())[:SHOWN]:
                print(f"    --only {tally.kind} --seed {seed} --case {case}: {_printable(damage)[:200]}")


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def show_one(args) -> int:
    """Run a single case in this process and print its traceback; keep its files if asked."""
    if "HF_DATASETS_CACHE" not in os.environ or not args.worker:
        scratch = Path(tempfile.mkdtemp(prefix="fuzz-"))
        words = [sys.executable, __file__, *sys.argv[1:], "--worker", str(scratch)]
        status = subprocess.run(words, env=environment(scratch)).returncode
        if args.keep:
            shutil.copytree(scratch / f"case-{args.case}", args.keep, dirs_exist_ok=True)
        shutil.rmtree(scratch, ignore_errors=True)
        return status
    numbers = range(args.case, args.case + 1)
    error = run_cases(args.only[0], args.seed, numbers, Path(args.worker), time.time() + 60, sys.stdout)
    if error is not None:
        traceback.print_exception(error)
    return 0


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS), help="these kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, help="cases of each kind (3000; 168 whole runs)")
    parser.add_argument("--seconds", type=float, default=900, help="for all of them; what is left then is not tried")
    parser.add_argument("--jobs", type=int, default=1, help="kinds at once")
    parser.add_argument("--case", type=int, help="this one alone, with its traceback")
    parser.add_argument("--keep", type=Path, help="a folder for that case's files")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=float("inf"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case is not None and len(args.only) != 1:
        parser.error("--case needs the kind: --only KIND")
    return args


def main() -> int:
    args = parse()
    if args.worker and args.count:
        be_worker(args)
        return 0
    if args.case is not None:
        return show_one(args)
    deadline = time.time() + args.seconds
    with ThreadPoolExecutor(args.jobs) as pool:
        counts = {kind: args.count or COUNTS.get(kind, 3000) for kind in args.only}
        print(f"{'kind':10}{'tried':>8}{FINE:>8}{REFUSED:>11}{FAILED:>8}{'seconds':>9}   what", flush=True)
        tallies = []
        for tally in pool.map(lambda kind: fuzz(kind, args.seed, counts[kind], deadline), args.only):
            show_counts(tally)
            tallies.append(tally)
    show_failures(tallies, args.seed)
    return 1 if any(tally.failures for tally in tallies) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Load the service with `wrk`, with and without batching: requests a second, latency and errors by number of clients.

    python -m benchmarks.serving --model runs/custom --output runs/bench/serving.json

Each client sends one random text as long as a tweet, and the next as soon as it has its answer. Both services run side
by side, are loaded in turn in interleaved rounds, and the medians are shown. Needs `wrk` (apt install wrk).
"""

import argparse
import importlib.metadata
import json
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SERVE = Path(__file__).parents[1] / "recipes" / "serve.py"
# By name, what each service gets of --max_batch.
SERVICES = {"batching": "64", "one by one": "1"}
TEXTS = 1000
WRK = """
local bodies, next_body = {}, 0
for line in io.lines("%(bodies)s") do bodies[#bodies + 1] = line end
wrk.method, wrk.headers["Content-Type"] = "POST", "application/json"
function request()
  next_body = next_body %% #bodies + 1
  return wrk.format(nil, nil, nil, bodies[next_body])
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('RESULT {"requests": %%d, "seconds": %%f, "p50_ms": %%f, "p99_ms": %%f, "errors": %%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@contextmanager
def serving(model: str, max_batch: str) -> Iterator[str]:
    """Run a service of the model; its address is given while it runs."""
    command = [sys.executable, str(SERVE), "--model", model, "--port", "0", "--max_batch", max_batch]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        found = re.search(r"http://\S+", said)
        if found is None:
            raise UserError(f"--model {model} is not served: see the message above.")
        yield found[0]
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def load(address: str, clients: int, seconds: int, script: Path) -> dict[str, float]:
    """Return what wrk measured of a service under that many clients for that long."""
    command = ["wrk", "--threads", "1", "--connections", str(clients), "--duration", f"{seconds}s", "--timeout", "30s"]
    done = subprocess.run([*command, "--script", str(script), f"{address}/predict"], capture_output=True, text=True)
    found = re.search(r"^RESULT (.*)$", done.stdout, re.M)
    if found is None:
        raise UserError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    measured = json.loads(found[1])
    return measured | {"requests_per_second": measured["requests"] / measured["seconds"]}


def tokenizer_of(model: str) -> "PreTrainedTokenizerBase":
    """Return the tokenizer of a run, a model folder or an export."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    from bert_recipes.inference.export_format import is_export
    from bert_recipes.modeling.pretrained import resolve_model

    if is_export(model):
        return PreTrainedTokenizerFast(tokenizer_file=str(Path(model) / "tokenizer.json"))
    return AutoTokenizer.from_pretrained(resolve_model(model, finished=True))


def measure(args: argparse.Namespace, folder: Path) -> list[dict]:
    """Return, for each service and number of clients, the medians of all rounds and the errors of all together."""
    from benchmarks.measures import synthetic_texts

    tokenizer = tokenizer_of(args.model)
    bodies, script = folder / "bodies.jsonl", folder / "predict.lua"
    bodies.write_text("".join(json.dumps({"text": text}) + "\n" for text in synthetic_texts(TEXTS, tokenizer)))
    script.write_text(WRK % {"bodies": bodies})
    rounds: dict[tuple[str, int], list[dict]] = {}
    with ExitStack() as stack:
        services = {name: stack.enter_context(serving(args.model, size)) for name, size in SERVICES.items()}
        for address in services.values():
            load(address, max(args.clients), 1, script)  # what the first requests cost
        for _ in range(args.rounds):
            for clients in args.clients:
                for name, address in services.items():
                    rounds.setdefault((name, clients), []).append(load(address, clients, args.seconds, script))
    return [
        {"service": name, "clients": clients}
        | {key: statistics.median(one[key] for one in found) for key in ("requests_per_second", "p50_ms", "p99_ms")}
        | {key: sum(one[key] for one in found) for key in ("requests", "errors")}
        for (name, clients), found in rounds.items()
    ]


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--model", required=True, help="a run, a model folder or an export")
    parser.add_argument("--output", type=Path, help="a JSON file")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64], help="at once (1 8 64)")
    parser.add_argument("--seconds", type=int, default=20, help="of each load (20)")
    parser.add_argument("--rounds", type=int, default=3, help="(3)")
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        raise UserError("the service is loaded with wrk, which is not installed: apt install wrk.")
    import torch

    from benchmarks.measures import machine
    from bert_recipes.files import writing
    from bert_recipes.reporting.documents import markdown_table
    from bert_recipes.runs.environment import versions

    with tempfile.TemporaryDirectory() as folder:
        lines = measure(args, Path(folder))
    header = ["service", "clients", "requests/s", "p50 ms", "p99 ms", "errors"]
    cells = [
        [
            line["service"],
            str(line["clients"]),
            f"{line['requests_per_second']:,.0f}",
            f"{line['p50_ms']:,.1f}",
            f"{line['p99_ms']:,.1f}",
            f"{line['errors']:,}",
        ]
        for line in lines
    ]
    print(markdown_table(header, cells, "lrrrrr"))
    if args.output:
        args.output.parent.mkdir(parents=True, exist_ok=True)
        accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
        of_service = {name: importlib.metadata.version(name) for name in ("fastapi", "uvicorn")}
        about = {
            "model": args.model,
            "machine": machine(accelerator or torch.device("cpu")),
            "versions": versions() | of_service,
        }
        results = about | {"seconds": args.seconds, "rounds": args.rounds, "lines": lines}
        with writing(args.output) as file:
            json.dump(results, file, indent=2)


if __name__ == "__main__":
    run_main(main)

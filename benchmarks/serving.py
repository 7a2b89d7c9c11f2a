"""The table `serve` of the bench: the service under the load of `wrk`, beside one without batching and LitServe.

All services have the same model, precision and number of threads. They are loaded in turn, in interleaved rounds, and
stand still meanwhile, since LitServe is busy waiting for requests; of the rounds the medians count, and the errors of
all together. Each client sends one text, and the next as soon as it has its answer. LitServe, which is no dependency,
is taken from an environment of its own (`pip install torch transformers litserve`).
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bert_recipes.devices import has_native_bf16, threads
from bert_recipes.errors import UserError

if TYPE_CHECKING:
    from benchmarks.lines import Bench

ROOT = Path(__file__).parents[1]
BATCH, TEXTS = 64, 1000
# Seconds within which a service has to answer.
STARTS_WITHIN = 300
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


def has_wrk() -> bool:
    """Whether the tool that loads the services is installed."""
    return shutil.which("wrk") is not None


class Service(NamedTuple):
    """A service that runs.

    Attributes:
        address: of its root.
        group: the id of its process group.
    """

    address: str
    group: int


def measure(bench: "Bench", args: argparse.Namespace, say: Callable[[str], None]) -> Iterator[list[dict]]:
    """Yield after each round, for each service and number of clients, the medians so far and the errors of all."""
    rounds: dict[tuple[str, int], list[dict]] = {}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        bench.model().save_pretrained(folder / "model")
        bench.tokenizer.save_pretrained(folder / "model")
        bodies, script = folder / "bodies.jsonl", folder / "predict.lua"
        bodies.write_text("".join(json.dumps({"text": text}) + "\n" for text in bench.texts[:TEXTS]))
        script.write_text(WRK % {"bodies": bodies})
        services = {}
        for service, (command, port) in commands(folder / "model", args.litserve_python).items():
            say(f"service: {service}")
            services[service] = stack.enter_context(running(command, port))
            # What the first requests cost.
            if load(services[service], max(args.clients), 1, script)["errors"]:
                raise UserError(f"{service} answers with errors: see the messages above.")
        for number in range(args.rounds):
            for clients in args.clients:
                for service, started in services.items():
                    say(f"{clients} at once, round {number + 1} of {args.rounds}: {service}")
                    rounds.setdefault((service, clients), []).append(load(started, clients, args.seconds, script))
            yield [
                {"service": service, "clients": clients} | summary(found)
                for (service, clients), found in rounds.items()
            ]


def commands(model: Path, litserve_python: str | None) -> dict[str, tuple[list[str], int]]:
    """Return, by name, what starts each service of a model folder, and its port."""
    found = {}
    for name, most in (("**this service**", BATCH), ("… without batching", 1)):
        port = free_port()
        flags = ["--model", str(model), "--port", str(port), "--max_batch", str(most)]
        found[name] = [sys.executable, str(ROOT / "recipes/serve.py"), *flags], port
    if litserve_python:
        port, dtype = free_port(), "bfloat16" if has_native_bf16() else "float32"
        script = str(ROOT / "benchmarks/litserve_api.py")
        name = f"LitServe {version_of('litserve', litserve_python)}"
        found[name] = [litserve_python, script, str(model), str(port), dtype], port
    return found


def version_of(package: str, python: str) -> str:
    """Return the version of a package that another Python has.

    Raises:
        UserError: there is no such Python, or it lacks the package.
    """
    code = f"import importlib.metadata; print(importlib.metadata.version({package!r}))"
    try:
        return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"--{package}_python {python} is no Python that has {package}: make it an environment of its own, with "
            f"'pip install torch transformers {package}'."
        ) from error


def free_port() -> int:
    """Return a port on which nothing listens now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@contextmanager
def running(command: Sequence[str], port: int) -> Iterator[Service]:
    """Run a service in a process group of its own, which stands still as soon as it is healthy.

    Raises:
        UserError: it ended before, or was not healthy in time.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(threads())}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment, start_new_session=True)
    service, until = Service(f"http://127.0.0.1:{port}", process.pid), time.monotonic() + STARTS_WITHIN
    try:
        while not is_healthy(service):
            if process.poll() is not None or time.monotonic() > until:
                raise UserError(f"{' '.join(command)} did not start a service: see the messages above.")
            time.sleep(0.1)
        os.killpg(service.group, signal.SIGSTOP)
        yield service
    finally:
        # With all its processes, of which LitServe leaves some behind at SIGTERM.
        with suppress(ProcessLookupError):
            os.killpg(service.group, signal.SIGKILL)
        process.wait()


def is_healthy(service: Service) -> bool:
    """Whether a service says that it works."""
    try:
        with urllib.request.urlopen(f"{service.address}/health", timeout=10):
            return True
    except OSError:  # nothing listens yet, it does not answer yet, or it answers that it does not work yet
        return False


def answer_what_is_left(service: Service) -> None:
    """Wait until a service has done with what the clients of the last load were no longer there for."""
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{service.address}/predict", b'{"text": "a"}', headers)
    with suppress(urllib.error.HTTPError), urllib.request.urlopen(request, timeout=STARTS_WITHIN):
        pass


def load(service: Service, clients: int, seconds: int, script: Path) -> dict[str, float]:
    """Let a service run under that many clients for that long, and return what wrk measured."""
    command = ["wrk", "--threads", "1", "--connections", str(clients), "--duration", f"{seconds}s", "--timeout", "30s"]
    command += ["--script", str(script), f"{service.address}/predict"]
    os.killpg(service.group, signal.SIGCONT)
    answer_what_is_left(service)
    done = subprocess.run(command, capture_output=True, text=True)
    os.killpg(service.group, signal.SIGSTOP)
    found = re.search(r"^RESULT (.*)$", done.stdout, re.M)
    if found is None:
        raise UserError(f"wrk failed: {done.stderr.strip() or done.stdout.strip()}")
    measured = json.loads(found[1])
    return measured | {"requests_per_second": measured["requests"] / measured["seconds"]}


def summary(rounds: Sequence[dict]) -> dict[str, float]:
    """Return the medians of rates and latencies, and the sums of requests and errors."""
    medians = ("requests_per_second", "p50_ms", "p99_ms")
    return {key: statistics.median(one[key] for one in rounds) for key in medians} | {
        key: sum(one[key] for one in rounds) for key in ("requests", "errors")
    }

"""Restart the service by SIGTERM in the middle of a load: no request may be lost.

    make restarts                                     # ten minutes, with a tiny model
    python tests/robustness/restarts.py --model runs/stock --clients 16 --seconds 60

It is restarted as a supervisor does it: as soon as the first process has ended, the second is started on its port. It
listens before it loads its model, so requests wait for it; until it listens, connections are refused. A client that is
refused has sent nothing, and tries again. Whatever was sent must be answered with a prediction, or else it is lost.
Half of the clients ask again as soon as they are answered, the others up to a second later, on connections that are
idle meanwhile. The status is 1 if a request is lost, or if the first process does not end with 0.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

SERVE = Path(__file__).parents[2] / "recipes" / "serve.py"
TEXTS = ("fire in a storm", "a lovely cake", "smoke", "music of a sunny party")
LIMIT = 120  # seconds within which a request is to be answered, and a process to end
RETRY = 0.5  # seconds after which a client that was refused tries again
LATER = 1.0  # seconds that half of the clients wait at most before they ask again


@dataclasses.dataclass
class Tally:
    """What became of the requests."""

    answered: int = 0
    lost: list[str] = dataclasses.field(default_factory=list)
    refused: list[float] = dataclasses.field(default_factory=list)  # when a connection was
    longest: float = 0.0  # seconds that one waited for its answer, refusals included


async def ask(client: httpx.AsyncClient, text: str, tally: Tally) -> None:
    """Send one request, and count what becomes of it."""
    started = time.monotonic()
    while True:
        try:
            answer = await client.post("/predict", json={"text": text})
        except httpx.ConnectError:
            tally.refused.append(time.monotonic())
            await asyncio.sleep(RETRY)
            continue
        except httpx.HTTPError as error:
            tally.lost.append(f"{type(error).__name__}: {error}")
        else:
            if answer.status_code == 200 and len(answer.json()["predictions"]) == 1:
                tally.answered += 1
            else:
                tally.lost.append(f"status {answer.status_code}: {answer.text}")
        tally.longest = max(tally.longest, time.monotonic() - started)
        return


async def load(address: str, clients: int, seconds: float, tally: Tally) -> None:
    """Ask for that long, as many clients at once."""
    until = time.monotonic() + seconds

    async def go_on(client: httpx.AsyncClient, later: float) -> None:
        while time.monotonic() < until:
            await ask(client, random.choice(TEXTS), tally)
            await asyncio.sleep(random.uniform(0, later))

    async with contextlib.AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        for number in range(clients):
            # Each with a connection of its own.
            client = await stack.enter_async_context(httpx.AsyncClient(base_url=address, timeout=LIMIT, verify=False))
            group.create_task(go_on(client, LATER * (number % 2)))


@contextlib.contextmanager
def serving(model: str, port: int = 0) -> Iterator[tuple[subprocess.Popen, int]]:
    """Run a service, which is ready; its port is given."""
    command = [sys.executable, str(SERVE), "--model", model, "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+:(\d+)", process.stdout.readline())
        if found is None:
            raise SystemExit("the service did not start: see above")
        yield process, int(found[1])
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


async def restart_under_load(model: str, clients: int, seconds: float) -> tuple[Tally, str]:
    """Load a service, restart it in the middle; return what became of the requests, and how it ended."""
    tally = Tally()
    with contextlib.ExitStack() as stack:
        first, port = stack.enter_context(serving(model))
        loading = asyncio.create_task(load(f"http://127.0.0.1:{port}", clients, seconds, tally))
        await asyncio.sleep(seconds / 2)
        answered, started = tally.answered, time.monotonic()
        first.send_signal(signal.SIGTERM)
        try:
            status = await asyncio.to_thread(first.wait, LIMIT)
        except subprocess.TimeoutExpired:
            raise SystemExit(f"the first process had not ended {LIMIT} seconds after SIGTERM") from None
        ended = time.monotonic() - started
        await asyncio.to_thread(stack.enter_context, serving(model, port))
        again = time.monotonic() - started
        await loading
    if status:
        tally.lost.append(f"the first process ended with status {status}")
    waited = max(tally.refused) - min(tally.refused) if tally.refused else 0.0
    return tally, (
        f"{answered:,} were answered before SIGTERM. The first process ended {ended:.1f} s after it, and the second "
        f"was ready after {again:.1f} s. For {waited:.1f} s connections were refused; the longest wait for an answer "
        f"was {tally.longest:.1f} s."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="as recipes/serve.py takes it (a tiny one with random weights)")
    parser.add_argument("--clients", type=int, default=64, help="at once (64)")
    parser.add_argument("--seconds", type=float, default=600, help="of load, the restart in the middle (600)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if args.model is None:
            import tiny

            args.model = str(tiny.save_classifier(Path(folder, "tiny")))
        tally, told = asyncio.run(restart_under_load(args.model, args.clients, args.seconds))
    print(f"{tally.answered:,} requests answered, {len(tally.lost):,} lost. {told}")
    for lost in tally.lost[:20]:
        print(f"lost: {lost}")
    return 1 if tally.lost or not tally.answered else 0


if __name__ == "__main__":
    sys.exit(main())

"""Answer requests with a model that a recipe trained: JSON for programs, a page for people.

    python recipes/serve.py --model runs/custom
    curl localhost:8000/predict --json '{"texts": ["Forest fire near La Ronge Sask. Canada"]}'

What is waiting is predicted together. SIGTERM ends it gracefully: `/ready` says no, and what was taken is answered.
docs/serving.md tells of the routes, the limits and the metrics. Needs the extra `serve`.
"""

import argparse
import os
import signal
import sys

from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.config.ranges import check_ranges
from bert_recipes.errors import UserError

# Whose absence means that the extra `serve` is missing, under the names that they are imported by.
OF_SERVE = {"fastapi", "httptools", "prometheus_client", "pydantic", "starlette", "uvicorn"}
# Of the flags that are numbers of its own, the least and the most.
RANGES = {
    "port": (0, 65535),
    "max_texts": (1, 100_000),
    "max_characters": (1, 10_000_000),
    # Of it one client has half, in which a text of a hundred words has to have room without each of them.
    "max_queue": (202, 10_000_000),
    "max_batch": (1, 65_536),
    "max_body": (1, 1024),
    "drain_seconds": (0, 3600),
}


def parse_arguments() -> argparse.Namespace:
    parser = ScriptParser(__doc__)
    parser.add_argument(
        "--model", required=True, help="a run (its folds together), an export, a model folder or a Hub id"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for any (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="0 for any that is free (8000)")
    parser.add_argument("--max_texts", type=int, default=1000, help="texts of one request (1000)")
    parser.add_argument("--max_characters", type=int, default=20_000, help="characters of one text (20000)")
    parser.add_argument("--max_body", type=int, default=8, help="MiB of one request (8)")
    parser.add_argument(
        "--max_queue", type=int, default=4096, help="texts that wait; half of them of one client (4096)"
    )
    parser.add_argument("--max_batch", type=int, default=64, help="texts predicted together; 1: no batching (64)")
    parser.add_argument("--drain_seconds", type=float, default=1, help="between `/ready` saying no and the end (1)")
    parser.add_argument("--max_length", type=int, help="tokens a text is cut to (what the model was trained with)")
    parser.add_argument("--bf16", choices=["true", "false"], help="compute in bfloat16 (where the device has it)")
    parser.add_argument("--trust_remote_code", action="store_true", help="let code that the model carries run")
    args = parser.parse_args()
    check_ranges({"max_length": args.max_length})
    for name, (least, most) in RANGES.items():
        value = getattr(args, name)
        if not least <= value <= most:
            raise UserError(f"--{name} must be between {least:,} and {most:,}, got {value}.")
    if args.max_texts > args.max_queue // 2:
        raise UserError(
            f"--max_texts {args.max_texts} has no room in --max_queue {args.max_queue}, of which one client has half: "
            f"give a queue of at least {2 * args.max_texts}."
        )
    return args


def main() -> None:
    if os.getpid() == 1:  # of a container: what such a process has no handler for, it ignores
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    args = parse_arguments()
    try:
        from bert_recipes.inference.web_server import bind, serve
    except ModuleNotFoundError as error:
        if error.name not in OF_SERVE:
            raise
        raise UserError(
            f"serving needs {error.name}, which is not installed: pip install 'bert-recipes[serve]'."
        ) from error
    listener = bind(args.host, args.port)
    from bert_recipes.inference.loading import load_predictor
    from bert_recipes.inference.payloads import Limits
    from bert_recipes.inference.service import Service
    from bert_recipes.terminal import say

    predictor = load_predictor(
        args.model,
        max_length=args.max_length,
        bf16=None if args.bf16 is None else args.bf16 == "true",
        trust_remote_code=args.trust_remote_code,
    )
    limits = Limits(args.max_texts, args.max_characters, args.max_body * 2**20)
    service = Service(args.model, predictor, limits, most_rows=args.max_batch, most_waiting=args.max_queue)
    service.warm_up()
    host, port = listener.getsockname()[:2]
    say(f"Serving {args.model} at http://{f'[{host}]' if ':' in host else host}:{port} (Ctrl-C ends it).", whole=True)
    if serve(service, listener, args.drain_seconds):
        say("All requests that were taken are answered.")
    else:
        say("Ended by a second Ctrl-C: requests that were waiting are not answered.")


if __name__ == "__main__":
    run_main(main)

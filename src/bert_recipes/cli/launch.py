"""`accelerate launch`, which ends as its processes do: with what they have said, and with their status.

    python -m bert_recipes.cli.launch --multi_gpu --num_processes 2 recipes/stock.py --config my.yaml

The launcher itself adds a traceback of its own to every sentence, and its status is 1 whatever theirs is.
"""

import logging
import signal
import sys

from accelerate.commands.accelerate_cli import main as accelerate
from torch.distributed.elastic.agent.server import api as agents
from torch.distributed.elastic.multiprocessing import api as processes
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError


def main() -> None:
    """Launch what the command line says and end with the status of the process that failed first.

    That is 2 where a signal has ended it, told in a sentence, and 128 + the number of a signal that the launcher got.
    """
    # They tell which process is ended by which signal, and how each has ended.
    for part in (agents, processes):  # imported here, since a module that is imported sets the level of its logger
        part.logger.setLevel(logging.CRITICAL)
    sys.argv[1:1] = ["launch"]
    try:
        accelerate()
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            sys.exit(failure.exitcode)
        name = signal.Signals(-failure.exitcode).name
        sentence = (
            f"process {rank} was ended by {name}: once that is mended the same command goes on from what is there"
        )
        print(f"error: {sentence}.", file=sys.stderr)
        sys.exit(2)
    except SignalException as error:
        # The processes have been told, and say what is left.
        sys.exit(128 + error.sigval)


if __name__ == "__main__":
    main()

"""What a user did wrong, said in one sentence."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake of the user's: what was wrong, where, and what to do, in one sentence without a traceback."""


def run_main(main: Callable[[], None]) -> None:
    """Run a script's `main` and end the process: status 2 after a `UserError`, told in one sentence on stderr.

    `--debug` anywhere on the command line lets the traceback through instead.
    """
    try:
        main()
    except UserError as error:
        if "--debug" in sys.argv:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

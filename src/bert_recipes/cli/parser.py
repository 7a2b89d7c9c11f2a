"""The flags of a script that is no recipe, read without torch and transformers, so that --help answers at once."""

import argparse
from typing import NoReturn

from bert_recipes.config.help import command_name
from bert_recipes.errors import UserError, nearest

UNKNOWN = "unrecognized arguments: "  # what argparse says of them


class ScriptParser(argparse.ArgumentParser):
    """A parser that shows the script's docstring, has `--debug`, and whose errors are a `UserError` of one sentence.

    Args:
        doc: the script's docstring.
    """

    def __init__(self, doc: str | None):
        super().__init__(
            prog=command_name(),
            description=doc,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--debug", action="store_true", help="show the traceback of an error")

    def error(self, message: str) -> NoReturn:
        """Raise `message` as a `UserError`, which names the flag that is most like an unknown one."""
        flag = message.removeprefix(UNKNOWN).split()[0].split("=")[0]
        near = ""
        if message.startswith(UNKNOWN) and flag.startswith("-"):
            near = nearest(flag, self._option_string_actions)
        raise UserError(f"{message}{near or ' (see --help)'}.")

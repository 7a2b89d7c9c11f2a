"""What a run says at the terminal. Only the main process speaks."""

import logging
import os
import re

from rich.console import Console
from rich.markup import escape

console = Console(quiet=int(os.environ.get("RANK", "0")) > 0, highlight=False)


def quiet_libraries() -> None:
    """Keep back what a user cannot act on: bars of a second's work, and a report of the weights that are to be new."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    logging.getLogger("transformers.modeling_utils").addFilter(_tells_more_than_a_new_head)


def _tells_more_than_a_new_head(record: logging.LogRecord) -> bool:
    """Whether a report on loaded weights has something to act on: a new head is what fine-tuning is about."""
    message = record.getMessage()
    if "LOAD REPORT" not in message:
        return True
    missing = [line.split("|")[0] for line in message.splitlines() if "| MISSING" in line]
    return "MISMATCH" in message or any(not re.search(r"classifier|pooler|score|head", name) for name in missing)


def say(text: str, style: str | None = None) -> None:
    """Print `text` as it is, unless this is not the main process."""
    console.print(text, style=style, markup=False)


def warn(text: str) -> None:
    """Print a warning, unless this is not the main process."""
    console.print(f"[yellow]warning:[/yellow] {escape(text)}")

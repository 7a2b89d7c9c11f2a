"""What a finished run says of itself at the terminal."""

from typing import Any

from rich.table import Table

from bert_recipes.evaluation.titles import scores_table
from bert_recipes.terminal import console


def show_scores(title: str, scores: dict[str, Any]) -> None:
    """Print the scores of the splits that have any.

    Args:
        title: of the table.
        scores: by split, as metrics.json has them.
    """
    header, *rows = scores_table(scores)
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("")
    for name in header[1:]:
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)

"""Make disaster_tweets.ipynb and disaster_tweets.ko.ipynb from disaster_tweets.py: texts in two languages, one code.

    python recipes/notebooks/build.py
    python recipes/notebooks/build.py --texts        after a change of texts alone

The code is executed once, in an empty folder and so with the embedded data, and both notebooks get its outputs.
"""

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bert_recipes.cli.main import run_main
from bert_recipes.cli.parser import ScriptParser
from bert_recipes.errors import UserError
from bert_recipes.files import writing

HERE = Path(__file__).parent
SOURCE = HERE / "disaster_tweets.py"
# The notebooks by language.
NOTEBOOKS = {"en": HERE / "disaster_tweets.ipynb", "ko": HERE / "disaster_tweets.ko.ipynb"}
BEGINNING = re.compile(r"^# %%(?: \[markdown\] (\w+))?\n", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    """A cell of the source.

    Attributes:
        language: of a text; None of code.
        content: as the notebook has it.
    """

    language: str | None
    content: str


def read_cells(source: str) -> list[Cell]:
    """Return the cells of a source, in its order.

    Raises:
        UserError: a text is in a language of no notebook, or a line of a text is no comment.
    """
    _, *parts = BEGINNING.split(source)
    cells = []
    for language, content in zip(parts[::2], parts[1::2], strict=True):
        content = content.strip("\n")
        if language:
            if language not in NOTEBOOKS:
                raise UserError(f"{SOURCE}: a text in '{language}' has no notebook: take {' or '.join(NOTEBOOKS)}.")
            lines = content.split("\n")
            if wrong := [line for line in lines if not line.startswith("#")]:
                raise UserError(f"{SOURCE}: '{wrong[0]}' stands in a text and is no comment: begin it with '# '.")
            content = "\n".join(re.sub("^# ?", "", line) for line in lines)
        cells.append(Cell(language, content))
    return cells


def notebook(cells: list[Cell], language: str) -> Any:
    """Return the notebook of a language, not executed."""
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    made = [
        new_markdown_cell(cell.content) if cell.language else new_code_cell(cell.content)
        for cell in cells
        if cell.language in (None, language)
    ]
    for number, cell in enumerate(made):
        cell["id"] = f"cell-{number:02}"  # a random one otherwise
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new_notebook(cells=made, metadata={"kernelspec": kernel, "language_info": {"name": "python"}})


def execute(made: Any, folder: Path) -> None:
    """Run a notebook's code in a folder, and keep of the outputs what another run would give too.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell ended in an exception.
    """
    from nbclient import NotebookClient

    metadata = dict(made.metadata)
    # Whether this machine has ipywidgets is no part of what the notebook shows.
    environment = os.environ | {"PYTHONWARNINGS": "ignore:IProgress not found"}
    client = NotebookClient(made, timeout=3600, record_timing=False, coalesce_streams=True)
    client.execute(cwd=str(folder), env=environment)
    made.metadata = metadata  # with the versions of this Python otherwise
    for cell in made.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not _is_removed(output)]


def _is_removed(output: Any) -> bool:
    """Whether an output was a bar, which is empty in the end."""
    return output["output_type"] == "display_data" and output["data"].get("text/html") == ""


def code_of(made: Any) -> list[Any]:
    """Return the cells of code."""
    return [cell for cell in made.cells if cell.cell_type == "code"]


def recorded() -> Any:
    """Return the notebook that is there, with its outputs."""
    import nbformat

    return nbformat.read(NOTEBOOKS["en"], as_version=4)


def main() -> None:
    parser = ScriptParser(__doc__)
    parser.add_argument("--texts", action="store_true", help="write the texts anew, and keep the outputs of the code")
    args = parser.parse_args()
    import nbformat

    cells = read_cells(SOURCE.read_text(encoding="utf-8"))
    made = {language: notebook(cells, language) for language in NOTEBOOKS}
    first = recorded() if args.texts else notebook(cells, "en")
    if [cell.source for cell in code_of(first)] != [cell.content for cell in cells if cell.language is None]:
        raise UserError(f"--texts: the code of {SOURCE} has changed: leave it out, so that it is executed.")
    if not args.texts:
        with tempfile.TemporaryDirectory() as folder:
            execute(first, Path(folder))
    for language, path in NOTEBOOKS.items():
        for executed, cell in zip(code_of(first), code_of(made[language]), strict=True):
            cell.outputs, cell.execution_count = executed.outputs, executed.execution_count
        with writing(path) as file:
            nbformat.write(made[language], file)


if __name__ == "__main__":
    run_main(main)

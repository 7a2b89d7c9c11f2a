"""Rows that a stray quotation mark has swallowed, told from cells that do hold line breaks.

A cell that opens with a mark which was meant as text, as in `2<tab>"report quake<tab>0`, ends at the next mark. Where
that one happens to end a cell, a reader makes one row of many and has nothing to complain of.
"""

import re

# Distinct cells of a column that are kept: more are no set of labels.
MOST_VALUES = 1000
# Suspects kept: one is enough to refuse a file, and any of the first may turn out to be innocent.
MOST_SUSPECTS = 1000


class StrayQuotes:
    """Looks at the rows of a file for those that were made of several.

    A row is one if each of its lines, taken alone and without quoting, has as many cells as the header, and the cells
    of these look like those of the same columns in the other rows: in at least one column they are among its few
    values, or of the one shape that its cells have, and in no such column they are not.

    Args:
        delimiter: between cells.
    """

    def __init__(self, delimiter: str):
        self.delimiter = delimiter
        # First line, last line, the column of the quoted cell, and the cells of each line.
        self.suspects: list[tuple[int, int, int, list[list[str]]]] = []
        self.rows = 0
        self.values: list[set[str]] = []
        self.shapes: list[set[str]] = []

    def see(self, first: int, last: int, cells: list[str]) -> None:
        """Take in a row.

        Args:
            first: its first line in the file.
            last: its last.
            cells: of it.
        """
        if first == last:
            self._learn(cells)
        elif len(self.suspects) < MOST_SUSPECTS:
            broken = [i for i, cell in enumerate(cells) if "\n" in cell or "\r" in cell]
            # A mark within the cell was written as two: whoever did that quotes properly.
            if len(broken) == 1 and '"' not in cells[broken[0]]:
                lines = self._lines_of(cells, broken[0])
                if all(len(line) == len(cells) for line in lines):
                    self.suspects.append((first, last, broken[0], lines))

    def found(self) -> tuple[int, int] | None:
        """Return first and last line of the first row that was made of several, or None."""
        for first, last, quoted, lines in self.suspects:
            if self._are_rows(lines, quoted):
                return first, last
        return None

    def _learn(self, cells: list[str]) -> None:
        if not self.values:
            self.values = [set() for _ in cells]
            self.shapes = [set() for _ in cells]
        self.rows += 1
        for cell, values, shapes in zip(cells, self.values, self.shapes, strict=True):
            if len(values) <= MOST_VALUES:
                values.add(cell)
            if len(shapes) <= MOST_VALUES:
                shapes.add(_shape(cell))

    def _lines_of(self, cells: list[str], quoted: int) -> list[list[str]]:
        """Return the cells of each line of a row, parted without quoting."""
        whole = self.delimiter.join(f'"{cell}"' if i == quoted else cell for i, cell in enumerate(cells))
        return [line.split(self.delimiter) for line in re.split(r"\r\n|\n|\r", whole)]

    def _are_rows(self, lines: list[list[str]], quoted: int) -> bool:
        if not self.rows:
            return False
        alike = 0
        for column, (values, shapes) in enumerate(zip(self.values, self.shapes, strict=True)):
            if column == quoted:
                continue
            cells = [line[column] for line in lines]
            if len(values) <= max(1, self.rows // 2) and len(values) <= MOST_VALUES:
                fits = all(cell in values for cell in cells)
            elif len(shapes) == 1:
                fits = all(_shape(cell) in shapes for cell in cells)
            else:
                continue
            if not fits:
                return False
            alike += 1
        return alike > 0


def _shape(cell: str) -> str:
    """Return a cell with every letter as `a` and every run of digits as `0`."""
    return re.sub(r"[0-9]+", "0", re.sub(r"[^\W\d_]", "a", cell))

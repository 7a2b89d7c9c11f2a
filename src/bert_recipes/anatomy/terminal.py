"""The tour at the terminal, drawn with rich."""

import re
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.rule import Rule
from rich.syntax import Syntax
from rich.table import Table as RichTable
from rich.text import Text

from bert_recipes.anatomy.tour import (
    BROKEN,
    CHANGED,
    HOLDS,
    Bars,
    Block,
    Cell,
    Code,
    Flow,
    Heat,
    PerLanguage,
    Printed,
    Rays,
    Said,
    Station,
    Table,
    Tokens,
    Trap,
    text_of,
    texts,
    verdict_of,
)

COLOURS = {HOLDS: "green", CHANGED: "yellow", BROKEN: "red"}
INDENT = (0, 0, 0, 2)


def show_station(console: Console, number: int, station: Station, language: str) -> None:
    """Print one station."""

    def said(key: str) -> Text:
        return _text(text_of(Said(key), language, station.key))

    console.print()
    console.print(Rule(Text.assemble((f"{number}  ", "dim"), said("title")), align="left", style="blue"))
    console.print(Padding(said("claim"), INDENT))
    if station.code:
        console.print()
        console.print(_code(station.code))
    for block in station.blocks:
        console.print()
        console.print(Padding(_block(block, language, station.key), INDENT))
    for trap in station.traps:
        _show_trap(console, trap, language)
    console.print()
    for check in station.checks:
        mark = ("✓ ", "green") if check.passed else ("✗ ", "yellow" if check.instead else "red")
        console.print(Padding(Text.assemble(mark, _text(text_of(check.what, language, station.key))), INDENT))
    verdict, instead = verdict_of(station, language)
    line = Text.assemble((verdict, f"bold {COLOURS.get(station.verdict, 'cyan')}"))
    console.print(Padding(Text.assemble("→ ", line, ": " if instead else "", _text(instead)), INDENT))


def _show_trap(console: Console, trap: Trap, language: str) -> None:
    words = texts(language)["common"]
    console.print()
    console.print(Padding(_text(text_of(Said(trap.key), language, "traps")), INDENT))
    console.print(_code(trap.code))
    table = RichTable(box=None, padding=(0, 2, 0, 0), show_header=False)
    colour = "red" if not trap.safe else "yellow" if trap.still else "green"
    table.add_row(
        _text(words["trap_plain"]), _cell(trap.plain, language, "traps"), Text(verdict_of(trap, language)[0], colour)
    )
    table.add_row(_text(words["trap_ours"]), _cell(trap.ours, language, "traps"), "")
    console.print(Padding(table, INDENT))


def _code(code: str) -> Padding:
    lexer = "python" if "def " in code or "=" in code.split("\n")[0].split(" --")[0] else "bash"
    return Padding(Syntax(code, lexer, theme="ansi_dark", background_color="default", word_wrap=True), (0, 0, 0, 4))


def _block(block: Block, language: str, station: str) -> RenderableType:
    if isinstance(block, PerLanguage):
        return Group(*(_block(table, language, station) for table in block.tables[language]))
    if isinstance(block, Said):
        return _cell(block, language, station)
    if isinstance(block, Flow):
        return _flow(block)
    drawn: RenderableType
    if isinstance(block, Table):
        drawn = _table(block, language, station)
    elif isinstance(block, Tokens):
        drawn = _tokens(block, language)
    elif isinstance(block, Printed):
        drawn = Text(block.text, "cyan")
    elif isinstance(block, Rays):
        drawn = _rays(block)
    elif isinstance(block, Heat):
        drawn = _heat(block, language, station)
    else:
        assert isinstance(block, Bars)
        drawn = _bars(block, language, station)
    if block.title is None:
        return drawn
    title = _cell(block.title, language, station)
    title.style = "italic"
    return Group(title, drawn)


def _table(block: Table, language: str, station: str) -> RichTable:
    drawn = RichTable(box=None, padding=(0, 2, 0, 0), header_style="dim", show_header=block.header is not None)
    for name in block.header or block.rows[0]:
        drawn.add_column(_cell(name, language, station) if block.header else "", overflow="fold")
    for i, row in enumerate(block.rows):
        style = "bold" if i in block.marked else None
        drawn.add_row(*(_cell(cell, language, station) for cell in row), style=style)
    return drawn


def _flow(block: Flow) -> Text:
    parts: list[tuple[str, str]] = []
    for i, (name, size) in enumerate(block.steps):
        arrow = "" if i == 0 else " ⇢ " if i >= block.fork else " → "
        colour = "magenta" if i >= block.fork else "cyan"
        parts += [(arrow, "dim"), (name, colour), (f" {size}" if size else "", "dim")]
    return Text.assemble(*parts)


def _tokens(block: Tokens, language: str, at_once: int = 9) -> Group:
    names = [text_of(Said(name), language, "common") for name in ("token", "id", "type", "mask")]
    cells = [[token, str(i), "-" if t is None else str(t), str(m)] for token, i, t, m in block.columns]
    parts = []
    for start in range(0, len(cells), at_once):
        part = RichTable(box=None, padding=(0, 1, 0, 0), show_header=False)
        for number, name in enumerate(names):
            style = "dim" if number else "cyan"
            part.add_row(_text(name), *(Text(cell[number], style) for cell in cells[start : start + at_once]))
        parts.append(part)
    return Group(*parts)


def _rays(block: Rays) -> RichTable:
    most = max(block.weights)
    drawn = RichTable(box=None, padding=(0, 2, 0, 0), show_header=False)
    for word, weight in zip(block.words, block.weights, strict=True):
        ray = "━" * max(1, round(28 * weight / most))
        drawn.add_row(Text(word, "cyan"), Text(f"{weight:.3f}"), Text(f"{ray}▶ {block.target}", "magenta"))
    return drawn


def _heat(block: Heat, language: str, station: str) -> RichTable:
    drawn = RichTable(box=None, padding=(0, 2, 0, 0), show_header=False)
    drawn.add_column(no_wrap=True)
    for word in block.words:
        drawn.add_column(min_width=min(len(word), 5))
    drawn.add_row("", *(Text(word, "cyan") for word in block.words))
    most = max(max(weights) for _, weights in block.rows)
    for label, weights in block.rows:
        shades = (Text(f" {weight:.2f} ", _shade(weight / most)) for weight in weights)
        drawn.add_row(_cell(label, language, station), *shades)
    return drawn


def _bars(block: Bars, language: str, station: str) -> RichTable:
    drawn = RichTable(box=None, padding=(0, 2, 0, 0), show_header=False)
    most = max(value for _, value, _, _ in block.rows)
    for label, value, shown, marked in block.rows:
        bar = Text("█" * max(1, round(28 * value / most)), "magenta" if marked else "blue")
        drawn.add_row(_cell(label, language, station), Text(str(shown)), bar)
    return drawn


def _shade(share: float) -> str:
    red, green, blue = (round(a + (b - a) * share) for a, b in ((32, 255), (40, 150), (60, 40)))
    return f"{'black' if share > 0.45 else 'white'} on rgb({red},{green},{blue})"


def _cell(cell: Cell, language: str, station: str) -> Text:
    text = text_of(cell, language, station)
    return Text(text, "cyan") if isinstance(cell, Code) else _text(text)


def _text(text: str) -> Text:
    """Return a text whose `code` and **bold** are set so."""
    styled = escape(text)
    styled = re.sub(r"`([^`]+)`", r"[cyan]\1[/cyan]", styled)
    return Text.from_markup(re.sub(r"\*\*(.+?)\*\*", r"[bold]\1[/bold]", styled))


def wait(console: Console, language: str) -> None:
    """Wait for Enter before the next station."""
    console.print()
    console.input(Text(texts(language)["common"]["pause"], "dim"))


def show_summary(console: Console, stations: list[Station], path: Path, language: str) -> None:
    """Print how the stations came out and where the page is."""
    words = texts(language)["common"]
    verdicts = [station.verdict for station in stations]
    counts = {verdict: verdicts.count(verdict) for verdict in ("holds", "changed", "broken", "elsewhere")}
    console.print()
    console.print(Rule(style="blue"))
    console.print(_text(words["summary"].format(**counts)))
    console.print(Text(words["wrote"].format(path=path)))

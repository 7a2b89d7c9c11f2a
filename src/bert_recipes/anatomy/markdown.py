"""The tour as Markdown, for docs/anatomy.md and docs/anatomy.ko.md."""

from bert_recipes.anatomy.tour import (
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
    Tour,
    Trap,
    text_of,
    texts,
    verdict_of,
    versions,
)
from bert_recipes.reporting.documents import markdown_table


def markdown(tour: Tour, stations: dict[int, Station], language: str) -> str:
    """Return the tour as one Markdown text."""
    words = texts(language)["common"]
    parts = [f"# {words['title']}", words["lead"].format(model=f"`{tour.model}`", **versions()), words["doc_note"]]
    for number, station in stations.items():
        parts += [f"## {number}. {text_of(Said('title'), language, station.key)}"]
        parts += [text_of(Said("claim"), language, station.key)]
        if station.code:
            parts.append(f"```python\n{station.code}\n```")
        parts += [_block(block, language, station.key) for block in station.blocks]
        parts += [_trap(trap, language) for trap in station.traps]
        if station.checks:
            marks = [("✓" if c.passed else "✗", text_of(c.what, language, station.key)) for c in station.checks]
            parts.append("\n".join(f"- {mark} {what}" for mark, what in marks))
        parts.append(f"→ {_bold(verdict_of(station, language))}")
    return "\n\n".join(part for part in parts if part) + "\n"


def _bold(verdict: tuple[str, str]) -> str:
    return f"**{verdict[0]}**" + (f": {verdict[1]}" if verdict[1] else "")


def _trap(trap: Trap, language: str) -> str:
    def said(cell: Cell) -> str:
        return _cell(cell, language, "traps")

    words = texts(language)["common"]
    rows = [[words["trap_plain"], said(trap.plain)], [words["trap_ours"], said(trap.ours)]]
    fence = "python" if "def " in trap.code else "sh" if trap.code.startswith("accelerate") else "python"
    head = f"### {text_of(Said(trap.key), language, 'traps')}"
    verdict = _bold((verdict_of(trap, language)[0], ""))
    return "\n\n".join([_heading(head), f"```{fence}\n{trap.code}\n```", _rows(rows, None), f"→ {verdict}"])


def _heading(text: str) -> str:
    # What stands in bold is the heading, and what follows it the paragraph.
    name = text.removeprefix("### **").partition("**")[0]
    return f"### {name}\n\n{text.removeprefix('### ')}"


def _block(block: Block, language: str, station: str) -> str:
    def said(cell: Cell) -> str:
        return _cell(cell, language, station)

    if isinstance(block, PerLanguage):
        return "\n\n".join(_block(table, language, station) for table in block.tables[language])
    if isinstance(block, Said):
        return said(block)
    if isinstance(block, Flow):
        return (
            "```text\n"
            + "\n".join(f"{'→ ' * bool(i)}{n} {s}".rstrip() for i, (n, s) in enumerate(block.steps))
            + "\n```"
        )
    title = f"{said(block.title).removesuffix('.')}:\n\n" if block.title else ""
    if isinstance(block, Printed):
        return f"{title}```text\n{block.text}\n```"
    if isinstance(block, Rays):
        most = max(block.weights)
        rows = [
            [_code(w), f"{each:.3f}", _bar(each / most)] for w, each in zip(block.words, block.weights, strict=True)
        ]
        return title + _rows(rows, [said(Said("word")), said(Said("attention")), ""])
    if isinstance(block, Table):
        header = None if block.header is None else [said(cell) for cell in block.header]
        return title + _rows([[said(cell) for cell in row] for row in block.rows], header)
    if isinstance(block, Tokens):
        header = [said(Said(name)) for name in ("token", "id", "type", "mask")]
        rows = [[_code(token), str(i), "-" if t is None else str(t), str(m)] for token, i, t, m in block.columns]
        return title + _rows(rows, header)
    if isinstance(block, Heat):
        most = max(max(weights) for _, weights in block.rows)
        rows = [[said(label), *(_shade(weight / most) for weight in weights)] for label, weights in block.rows]
        return title + _rows(rows, ["", *(_code(word) for word in block.words)])
    assert isinstance(block, Bars)
    most = max(value for _, value, _, _ in block.rows)
    return title + _rows(
        [[said(label), str(shown), _bar(value / most)] for label, value, shown, _ in block.rows], ["", "", ""]
    )


def _bar(share: float, width: int = 24) -> str:
    return "█" * max(1, round(share * width))


def _shade(share: float) -> str:
    return "░▒▓█"[min(3, int(share * 4))]


def _rows(rows: list[list[str]], header: list[str] | None) -> str:
    return markdown_table([""] * len(rows[0]) if header is None else header, rows)


def _cell(cell: Cell, language: str, station: str) -> str:
    text = text_of(cell, language, station)
    return _code(text) if isinstance(cell, Code) and text else text


def _code(text: str) -> str:
    indent = len(text) - len(text.lstrip())
    text = "\u00a0" * indent + text.strip()
    return f"`` {text} ``" if "`" in text else f"`{text}`"

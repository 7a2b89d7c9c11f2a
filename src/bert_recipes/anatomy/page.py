"""The tour as one HTML page that needs nothing beside itself."""

import re
from html import escape
from importlib.resources import files

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import BashLexer, PythonLexer

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

MARKS = {"holds": "✓", "changed": "≠", "broken": "✗", "elsewhere": "·"}


def page(tour: Tour, stations: dict[int, Station], language: str) -> str:
    """Return the tour as an HTML page; all that comes from the model or the user is escaped."""
    words = texts(language)["common"]
    lead = _inline(words["lead"].format(model=f"`{tour.model}`", **versions()))
    entries = [
        f'<a href="#{s.key}"><b>{i}</b><span>{_text(Said("title"), language, s.key)}</span>'
        f'<i class="{s.verdict}">{MARKS[s.verdict]}</i></a>'
        for i, s in stations.items()
    ]
    verdicts = [station.verdict for station in stations.values()]
    summary = words["summary"].format(**{key: verdicts.count(key) for key in MARKS})
    light = HtmlFormatter(style="friendly", nobackground=True).get_style_defs("pre")
    dark = HtmlFormatter(style="github-dark", nobackground=True).get_style_defs("pre")
    style = files("bert_recipes.anatomy").joinpath("page.css").read_text(encoding="utf-8")
    sections = "\n".join(_section(i, station, language) for i, station in stations.items())
    return f"""<!doctype html>
<html lang="{language}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(words["title"])}</title>
<style>
{style}
{light}
@media (prefers-color-scheme: dark) {{
{dark}
}}
pre, pre .err {{ background: var(--code); border-color: var(--line); }}
</style>
<header>
<a class="language" href="{words["other_page"]}">{words["other_language"]}</a>
<h1>{escape(words["title"])}</h1>
<p class="lead">{lead}</p>
<nav aria-label="{escape(words["contents"])}">{"".join(entries)}</nav>
</header>
<main>
{sections}
</main>
<footer>{escape(summary)}</footer>
</html>
"""


def _section(number: int, station: Station, language: str) -> str:
    parts = [
        f'<h2><span class="number">{number}</span><span>{_text(Said("title"), language, station.key)}</span></h2>',
        f"<p>{_text(Said('claim'), language, station.key)}</p>",
    ]
    if station.code:
        parts.append(_code(station.code))
    parts += [_block(block, language, station.key) for block in station.blocks]
    parts += [_trap(trap, language) for trap in station.traps]
    checks = [
        f"<li{'' if check.passed else ' class=failed'}>{_text(check.what, language, station.key)}</li>"
        for check in station.checks
    ]
    if checks:
        parts.append(f'<ul class="checks">{"".join(checks)}</ul>')
    verdict, instead = verdict_of(station, language)
    said = f'<span class="instead">{_inline(instead)}</span>' if instead else ""
    parts.append(f'<span class="verdict {station.verdict}">{escape(verdict)}</span>{said}')
    return f'<section id="{station.key}">\n' + "\n".join(parts) + "\n</section>"


def _trap(trap: Trap, language: str) -> str:
    words = texts(language)["common"]
    verdict = verdict_of(trap, language)[0]
    state = "unsafe" if not trap.safe else "still" if trap.still else "fixed"
    return f"""<div class="trap" id="{trap.key}"><h3>{_text(Said(trap.key), language, "traps")}</h3>
<dl><dt>{_inline(words["trap_plain"])}</dt>
<dd class="{"fell" if trap.still else "safe"}">{_text(trap.plain, language, "traps")}</dd>
<dt>{_inline(words["trap_ours"])}</dt>
<dd class="{"safe" if trap.safe else "fell"}">{_text(trap.ours, language, "traps")}</dd></dl>
<details><summary>{escape(words["code"])}</summary>{_code(trap.code)}</details>
<span class="verdict {state}">{escape(verdict)}</span></div>"""


def _block(block: Block, language: str, station: str) -> str:
    def said(cell: Cell) -> str:
        return _text(cell, language, station)

    if isinstance(block, PerLanguage):
        return "\n".join(_block(table, language, station) for table in block.tables[language])
    if isinstance(block, Said):
        return f"<p>{said(block)}</p>"
    if isinstance(block, Table):
        caption = f'<div class="caption">{said(block.title)}</div>' if block.title else ""
        header = "".join(f"<th>{said(cell)}</th>" for cell in block.header or [])
        rows = "".join(
            f"<tr{' class=marked' if i in block.marked else ''}>{''.join(f'<td>{said(c)}</td>' for c in row)}</tr>"
            for i, row in enumerate(block.rows)
        )
        return f'{caption}<div class="scroll"><table>{f"<tr>{header}</tr>" if header else ""}{rows}</table></div>'
    if isinstance(block, Flow):
        boxes = []
        for i, (name, size) in enumerate(block.steps):
            box = f"<div class={'stock' if i >= block.fork else 'plain'}><code>{escape(name)}</code>"
            boxes.append(box + (f"<small class=mono>{escape(size)}</small>" if size else "") + "</div>")
        return f'<div class="flow">{"<span>→</span>".join(boxes)}</div>'
    caption = f'<div class="caption">{said(block.title)}</div>'
    if isinstance(block, Printed):
        return f"{caption}{_lines(escape(block.text))}"
    if isinstance(block, Rays):
        return caption + _rays(block)
    if isinstance(block, Tokens):
        names = [said(Said(name)) for name in ("token", "id", "type", "mask")]
        if block.columns[0][2] is None:
            del names[2]
        chips = [f'<div class="token names"><span>{names[0]}</span><small>{"<br>".join(names[1:])}</small></div>']
        for token, number, kind, mask in block.columns:
            name = f"token{' off' if not mask else ''} type-{kind or 0}"
            details = f"{number}" + ("" if kind is None else f"<br>{kind}") + f"<br>{mask}"
            chips.append(f'<div class="{name}"><span class=mono>{escape(token)}</span><small>{details}</small></div>')
        return f'{caption}<div class="tokens">{chips[0]}<div>{"".join(chips[1:])}</div></div>'
    if isinstance(block, Heat):
        return caption + _heat(block, language, station)
    assert isinstance(block, Bars)
    return caption + _bars(block, language, station)


def _rays(block: Rays) -> str:
    width = max(64, min(110, 760 // len(block.words)))
    whole, most = width * len(block.words) + 20, max(block.weights)
    middle = whole / 2
    drawn = []
    for i, (word, weight) in enumerate(zip(block.words, block.weights, strict=True)):
        x, share = 10 + width * (i + 0.5), weight / most
        drawn.append(
            f'<line class="ray" x1="{x:.0f}" y1="128" x2="{middle:.0f}" y2="36" stroke-width="{1 + 7 * share:.1f}" '
            f'stroke-opacity="{0.15 + 0.85 * share:.2f}"/>'
            f'<text x="{x:.0f}" y="146" text-anchor="middle">{escape(word)}</text>'
            f'<text class="soft" x="{x:.0f}" y="163" text-anchor="middle">{weight:.3f}</text>'
        )
    drawn.append(
        f'<rect class="target" x="{middle - 34:.0f}" y="8" width="68" height="28" rx="7"/>'
        f'<text x="{middle:.0f}" y="27" text-anchor="middle">{escape(block.target)}</text>'
    )
    box = f'viewBox="0 0 {whole} 172" style="min-width:{min(whole, 560)}px"'
    return f'<div class="scroll"><svg {box} role="img" width="{whole}">{"".join(drawn)}</svg></div>'


def _heat(block: Heat, language: str, station: str) -> str:
    left, width, height, top = 135, max(34, min(64, 700 // len(block.words))), 22, 70
    most = max(max(weights) for _, weights in block.rows)
    drawn = [
        f'<text x="{left + i * width + width / 2}" y="{top - 8}" transform="rotate(-35 {left + i * width + width / 2} '
        f'{top - 8})">{escape(word)}</text>'
        for i, word in enumerate(block.words)
    ]
    for r, (label, weights) in enumerate(block.rows):
        y = top + r * height + (6 if r else 0)
        shown = _plain(label, language, station)
        drawn.append(f'<text class="soft" x="{left - 10}" y="{y + 15}" text-anchor="end">{shown}</text>')
        for i, weight in enumerate(weights):
            cell = f'x="{left + i * width}" y="{y}" width="{width - 2}" height="{height - 2}" rx="3"'
            hint = f"<title>{escape(block.words[i])}: {weight:.3f}</title>"
            drawn.append(f'<rect class="cell" {cell} fill-opacity="{0.05 + 0.95 * weight / most:.3f}">{hint}</rect>')
    whole = left + len(block.words) * width + 60
    box = f'viewBox="0 0 {whole} {top + len(block.rows) * height + 10}" style="min-width:{min(whole, 560)}px"'
    return f'<div class="scroll"><svg {box} role="img" width="{whole}">{"".join(drawn)}</svg></div>'


def _bars(block: Bars, language: str, station: str) -> str:
    most = max(value for _, value, _, _ in block.rows)
    drawn = []
    for i, (label, value, shown, marked) in enumerate(block.rows):
        width = 360 * value / most
        drawn.append(
            f'<text x="196" y="{i * 26 + 17}" text-anchor="end">{_plain(label, language, station)}</text>'
            f'<rect class="bar{" marked" if marked else ""}" x="204" y="{i * 26 + 4}" width="{width:.0f}" '
            'height="18" rx="4"/>'
            f'<text class="soft" x="{212 + width:.0f}" y="{i * 26 + 17}">{escape(str(shown))}</text>'
        )
    return f'<svg viewBox="0 0 640 {len(block.rows) * 26 + 6}" width="640" role="img">{"".join(drawn)}</svg>'


def _code(code: str) -> str:
    lexer = PythonLexer() if "def " in code or " = " in code else BashLexer()
    return _lines(highlight(code, lexer, HtmlFormatter(nowrap=True)).rstrip("\n"))


def _lines(code: str) -> str:
    """Return code whose long lines go on indented where the page is narrow."""
    lines = []
    for line in code.split("\n"):
        shown = re.sub("<[^>]+>", "", line)
        indent = len(shown) - len(shown.lstrip()) + 4
        lines.append(f'<span class="line" style="--indent:{indent}ch">{line}\n</span>')
    return f"<pre>{''.join(lines)}</pre>"


def _text(cell: Cell, language: str, station: str) -> str:
    text = text_of(cell, language, station)
    return f"<code>{escape(text)}</code>" if isinstance(cell, Code) and text else _inline(text)


def _plain(cell: Cell, language: str, station: str) -> str:
    return escape(text_of(cell, language, station))


def _inline(text: str) -> str:
    """Return escaped HTML of a text with `code` and **bold**."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))
    return re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", marked)

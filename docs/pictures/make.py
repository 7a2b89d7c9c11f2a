"""Draw the pictures of README.md: the fork, light and dark, and the report of a run as a browser shows it.

    make pictures           # needs the extra `pictures` and a Chromium (Debian: apt install chromium)

The report is that of runs/stock, which `make recipe-stock` makes.
"""

import argparse
import io
import shutil
import sys
from pathlib import Path

from jinja2 import Template
from PIL import Image

from bert_recipes.cli.main import run_main
from bert_recipes.errors import UserError

HERE = Path(__file__).parent
THEMES = {
    "light": {
        "ink": "#1b1f24",
        "faint": "#57606a",
        "line": "#8b949e",
        "box": "#f6f8fa",
        "stock": "#0072b2",
        "custom": "#d55e00",
    },
    "dark": {
        "ink": "#e6edf3",
        "faint": "#9198a1",
        "line": "#6e7681",
        "box": "#161b22",
        "stock": "#56b4e9",
        "custom": "#e69f00",
    },
}
REPORT_SIZE = {"width": 1100, "height": 980}
# Where the second half of the picture begins.
SECOND_HALF = "h2:has-text('Training')"


def draw_fork() -> None:
    """Write fork-light.svg and fork-dark.svg from their template."""
    template = Template((HERE / "fork.svg.jinja").read_text(encoding="utf-8"))
    for theme, colours in THEMES.items():
        (HERE / f"fork-{theme}.svg").write_text(template.render(colours) + "\n", encoding="utf-8")


def photograph(page: Path, picture: Path, browser: str) -> None:
    """Write what a browser shows of a report, its top beside its figures.

    Raises:
        UserError: there is no such page, browser or package.
    """
    if not page.is_file():
        raise UserError(f"{page} is not there: run make recipe-stock first.")
    executable = shutil.which(browser)
    if executable is None:
        raise UserError(f"there is no {browser}: install a Chromium, or name one with --browser.")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise UserError("playwright is not installed: pip install -c constraints.txt -e '.[pictures]'.") from error
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        window = chromium.new_page(viewport=REPORT_SIZE)
        window.goto(page.resolve().as_uri())
        halves = [window.screenshot()]
        window.locator(SECOND_HALF).evaluate("(heading) => heading.scrollIntoView()")
        halves.append(window.screenshot())
        chromium.close()
    width, height = REPORT_SIZE.values()
    both = Image.new("RGB", (2 * width, height))
    for i, half in enumerate(halves):
        both.paste(Image.open(io.BytesIO(half)), (i * width, 0))
    smaller = both.resize((width * 3 // 2, height * 3 // 4), Image.Resampling.LANCZOS)
    smaller.quantize(128).save(picture, optimize=True)


def main() -> None:
    """Draw the fork and photograph the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--browser", default="chromium", help="name or path of a Chromium [chromium]")
    parser.add_argument("--report", default="runs/stock/report.html", type=Path, help="the page to show")
    args = parser.parse_args()
    draw_fork()
    photograph(args.report, HERE / "report.png", args.browser)
    print(f"The pictures are in {HERE}.", file=sys.stderr)


if __name__ == "__main__":
    run_main(main)

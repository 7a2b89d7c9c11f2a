"""A page of docs/ as a notebook: a section is a kernel, and its code blocks are the cells."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
RUN = "import subprocess\n\n\ndef shell(command):\n    subprocess.run(command, shell=True, check=True)\n"


@dataclass
class Section:
    """What is to be run one after the other in one kernel, and what is to be seen at the end."""

    title: str
    cells: list[tuple[str, str]] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    def script(self, only=""):
        """Return a program that does what the cells do: `only` those lines of the shell that hold this."""
        parts = [RUN]
        for language, content in self.cells:
            if language == "python":
                parts.append(content)
            else:
                lines = [line.removeprefix("!") for line in content.splitlines() if only in line]
                parts += [f"shell({line!r})" for line in lines]
        return "\n".join(parts) + "\n"


def sections_of(page):
    """Return the sections of a page by their titles."""
    found = {}
    for part in re.split(r"^#{2,} ", Path(page).read_text(encoding="utf-8"), flags=re.M):
        section = Section(part.partition("\n")[0])
        for language, content in BLOCK.findall(part):
            if language == "text":
                section.shown.append(content.strip())
            else:
                section.cells.append((language, content))
        found[section.title] = section
    return found


def run_script(script, folder, replaced, command=("python",), **options):
    """Run what `Section.script` returned in `folder`, as a new process.

    Args:
        script: the program.
        folder: to work in.
        replaced: what stands there, and what is to stand there instead.
        command: what runs it.
    """
    texts = "|".join(re.escape(text) for text in sorted(replaced, key=len, reverse=True))
    script = re.sub(texts, lambda found: str(replaced[found[0]]), script)
    path = Path(folder) / "cells.py"
    path.write_text(script)
    return subprocess.run([*command, str(path)], cwd=folder, capture_output=True, text=True, **options)

"""From docstrings to Markdown."""

import inspect
import re

SECTION = re.compile(r"^(\w+):$")


def markdown(doc: str) -> str:
    """A docstring as Markdown: sections ("Args:") as lists, and what is no code protected."""
    lines, within = [], False
    for line in inspect.cleandoc(doc).splitlines():
        found, indent = SECTION.match(line), len(line) - len(line.lstrip())
        if found:
            lines += [f"**{found[1]}**", ""]
            within = True
        elif within and indent == 4:
            lines.append("- " + escaped(line.strip()))
        elif within and indent > 4:
            lines.append("  " + escaped(line.strip()))
        else:
            within = within and not line
            lines.append(escaped(line.strip()))
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Text whose stars, underscores and angles mean themselves; code between backticks stays as it is."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_<>|\[\]])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def first_sentence(doc: str) -> str:
    """The first sentence of a docstring, on one line."""
    whole = " ".join(inspect.cleandoc(doc).split("\n\n")[0].split())
    found = re.match(r".*?[.:](?= [A-Z]|$)", whole)
    return found[0] if found else whole


def title_of(page: str) -> str:
    """The text of a page's first heading."""
    return page.splitlines()[0].lstrip("# ")

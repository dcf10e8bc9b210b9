"""Tables as GitHub Markdown and as LaTeX, whatever text stands in their cells."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from analysis.plain_text import one_line

NEEDS = r"% needs \usepackage{booktabs,amssymb}; table* spans both columns of a page, table one"
PLAIN = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "`": r"\`{}", '"': "''"} | {
    character: f"\\{character}" for character in "&%$#_{}"
}
MATH = {
    "×": r"$\times$", "✓": r"\checkmark{}", "−": "$-$", "–": "--", "<": "$<$", ">": "$>$", "±": r"$\pm$",
    "·": r"$\cdot$", "|": r"$|$", "≤": r"$\le$", "≥": r"$\ge$", "≈": r"$\approx$", "∞": r"$\infty$", "√": r"$\surd$",
    "→": r"$\to$", "⟨": r"$\langle$", "⟩": r"$\rangle$", "…": r"\dots{}", "—": "---",
}  # fmt: skip
GREEK = {
    letter: f"$\\{unicodedata.name(letter).split()[-1].lower().replace('lamda', 'lambda')}$"
    for letter in "αβγδεζηθικλμνξπρστυφχψω"
}
LATEX = PLAIN | MATH | GREEK
FOREIGN = re.compile("[^ -~\u00a1-\u017f‘’“”•]|[«»ÐÞðþĄąĐđĘęĦħĮįĸĿŀŉŊŋŦŧŲųſ]")
"""What pdfLaTeX has no sign for with its own fonts."""


@dataclass(frozen=True)
class Grid:
    """A table as text: a title, column heads and rows of cells.

    For LaTeX: caption (default: the title), label (default: made of the title), and which cells, as (row, column), are
    bold.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    label: str = ""
    bold: frozenset[tuple[int, int]] = frozenset()

    def columns(self, order: Iterable[int]) -> "Grid":
        """The same with these columns, in this order."""
        order = list(order)
        heads, *rows = (tuple(row[i] for i in order) for row in (self.heads, *self.rows))
        bold = frozenset((row, order.index(column)) for row, column in self.bold if column in order)
        return replace(self, heads=heads, rows=tuple(rows), bold=bold)

    def without(self, heads: Collection[str]) -> "Grid":
        """The same without the columns of these heads."""
        return self.columns(i for i, head in enumerate(self.heads) if head not in heads)


def markdown(tables: list[Grid], lines: list[str]) -> str:
    """Tables and footer as GitHub Markdown."""
    parts = []
    for table in tables:
        heads, *rows = ([_markdown_cell(cell) for cell in row] for row in (table.heads, *table.rows))
        body = [heads, ["---" if i == 0 else "---:" for i in range(len(heads))], *rows]
        text = "\n".join("| " + " | ".join(row) + " |" for row in body)
        parts.append(f"**{escape_markdown(one_line(table.title))}**\n\n{text}")
    return "\n\n".join([*parts, "\n".join(f"- {escape_markdown(one_line(each))}" for each in lines)]) + "\n"


def escape_markdown(text: str) -> str:
    """Text that is neither markup nor mathematics."""
    return re.sub(r"([\\`*_<|$]|\](?=[(\[:])|~(?=~)|^[#>+-])", r"\\\1", text)


def _markdown_cell(text: str) -> str:
    """A cell: what could be markup is escaped, `<0.001` and `a_b` stay as they are."""
    return re.sub(
        r"([\\`*|$]|\](?=[(\[:])|~(?=~)|<(?=[A-Za-z/!?])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))", r"\\\1", one_line(text)
    )


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is; no two hyphens become a dash."""
    characters = re.sub("-(?=-)", "-\0", one_line(text))
    return "".join({**LATEX, "\0": "{}"}.get(character, character) for character in characters)


def latex(tables: list[Grid], lines: list[str]) -> str:
    """Tables as LaTeX, each a table* with caption and label, with the footer as comments; booktabs and amssymb."""
    body = [_floating(table) for table in tables]
    foreign = " ".join(sorted(set(FOREIGN.findall("".join(part for _, part in body))) - {"\n"}))
    other = (
        f"\n% pdflatex has no sign for {foreign}: use lualatex or xelatex, with a font that has them" if foreign else ""
    )
    comments = "\n".join(f"% {one_line(each)}" for text in lines for each in text.split("\n"))
    return "\n\n".join([NEEDS + other, *(f"{title}\n{part}" for title, part in body), comments]) + "\n"


def _floating(table: Grid) -> tuple[str, str]:
    """The title as a comment, and the table as one that floats over the width of the page."""
    body = [_row(row, {column for at, column in table.bold if at == i}) for i, row in enumerate(table.rows)]
    rows = [r"\toprule", _row(table.heads), r"\midrule", *body, r"\bottomrule"]
    head = [r"\begin{table*}[t]", r"\centering", r"\small", r"\setlength{\tabcolsep}{4pt}"]
    label = re.sub(r"[^a-z0-9]+", "-", (table.label or table.title).lower()).strip("-")
    head += [rf"\caption{{{escape_latex(table.caption or table.title)}}}", rf"\label{{tab:{label}}}"]
    columns = f"l{'r' * (len(table.heads) - 1)}"
    lines = [*head, rf"\begin{{tabular}}{{{columns}}}", *rows, r"\end{tabular}", r"\end{table*}"]
    return f"% {one_line(table.title)}", "\n".join(lines)


def _row(row: Iterable[str], bold: Collection[int] = ()) -> str:
    """A row; one that begins with a bracket would be read as an option of the row break before it."""
    cells = [rf"\textbf{{{text}}}" if i in bold else text for i, text in enumerate(map(escape_latex, row))]
    text = " & ".join(cells) + r" \\"
    return "{}" + text if text.startswith(("[", "*")) else text

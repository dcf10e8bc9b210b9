"""Tables as GitHub Markdown and as LaTeX, whatever text stands in their cells."""

import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from analysis.plain_text import one_line

NEEDS = r"% needs \usepackage{booktabs,amssymb}"
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
    """A table as text: a title, column heads and rows of cells."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def columns(self, order: Iterable[int]) -> "Grid":
        """The same with these columns, in this order."""
        order = list(order)
        heads, *rows = (tuple(row[i] for i in order) for row in (self.heads, *self.rows))
        return Grid(self.title, heads, tuple(rows))

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
    return re.sub(r"([\\`*_<|$])", r"\\\1", text)


def _markdown_cell(text: str) -> str:
    """A cell: what could be markup is escaped, `<0.001` and `a_b` stay as they are."""
    return re.sub(r"([\\`*|$]|<(?=[A-Za-z/!?])|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))", r"\\\1", one_line(text))


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is; no two hyphens become a dash."""
    characters = re.sub("-(?=-)", "-\0", one_line(text))
    return "".join({**LATEX, "\0": "{}"}.get(character, character) for character in characters)


def latex(tables: list[Grid], lines: list[str]) -> str:
    """Tables as LaTeX with the footer as comments (a caption is the author's); needs booktabs and amssymb."""
    body = [_tabular(table) for table in tables]
    foreign = " ".join(sorted(set(FOREIGN.findall("".join(part for _, part in body))) - {"\n"}))
    other = (
        f"\n% pdflatex has no sign for {foreign}: use lualatex or xelatex, with a font that has them" if foreign else ""
    )
    comments = "\n".join(f"% {one_line(each)}" for text in lines for each in text.split("\n"))
    return "\n\n".join([NEEDS + other, *(f"{title}\n{part}" for title, part in body), comments]) + "\n"


def _tabular(table: Grid) -> tuple[str, str]:
    """The title as a comment, and the table."""
    rows = [r"\toprule", _row(table.heads), r"\midrule", *map(_row, table.rows), r"\bottomrule"]
    columns = f"l{'r' * (len(table.heads) - 1)}"
    return f"% {one_line(table.title)}", "\n".join([rf"\begin{{tabular}}{{{columns}}}", *rows, r"\end{tabular}"])


def _row(row: Iterable[str]) -> str:
    """A row; one that begins with a bracket would be read as an option of the row break before it."""
    text = " & ".join(map(escape_latex, row)) + r" \\"
    return "{}" + text if text.startswith(("[", "*")) else text

"""Tables as Markdown and LaTeX: any text stays text, and LaTeX compiles what is written."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from fake_runs import edit, write_study
from fake_search import write_search

from analysis import markup, tables
from analysis.figures.write_search import write_tables
from analysis.load import load
from analysis.markup import Grid
from analysis.searches import load_search

PDFLATEX = shutil.which("pdflatex")
NAMES = [
    r"100% a_b & c # d $x_1$ {e} ~ ^ \alpha",
    "[1] − · ✓ – — … ≤ λ \u202e\x07 <b>|</b>",
    "two\nlines -- `q` \"r\" 's' *bold* _x_",
    "été Zürich łódź",
]
DOCUMENT = r"""\documentclass{article}
\usepackage{%s}
\begin{document}
\input{%s}
\end{document}
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of a study and of a search, with difficult names and reasons."""
    root = tmp_path_factory.mktemp("runs")
    search = write_search(root, "token_loss")
    for file in (root / "token_loss" / "study.json", root / "token_loss-tuned" / "study.json", search / "search.json"):
        arms = json.loads(file.read_text())["arms"]
        edit(file, arms=[arm | {"label": name} for arm, name in zip(arms, NAMES, strict=True)], banner=NAMES[1])
    edit(next((root / "token_loss").glob("rounding-s1-*/run.json")), state="failed", reason="\n".join(NAMES))
    edit(next((root / "token_loss").glob("anchor-s1-*/run.json")), outcome="diverged", command=NAMES[2])
    tables.write(load(root / "token_loss"), root / "out")
    found = load_search(search)
    assert found is not None
    write_tables(found, root / "out")
    return root / "out"


def compiled(file: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """What pdflatex says of a document that holds nothing but this file and the packages it says it needs."""
    needed = re.match(r"% needs \\usepackage\{([\w,]+)\}", file.read_text("utf-8"))
    assert needed is not None
    (out / "document.tex").write_text(DOCUMENT % (needed[1], file), encoding="utf-8")
    command = [str(PDFLATEX), "-interaction=nonstopmode", "-halt-on-error", "document.tex"]
    return subprocess.run(command, cwd=out, capture_output=True, text=True, errors="replace", check=False)


@pytest.mark.skipif(PDFLATEX is None, reason="install LaTeX: apt-get install texlive-latex-recommended")
@pytest.mark.parametrize("name", ["table.tex", "tuned.tex"])
def test_latex_compiles_what_is_written(name: str, written: Path, tmp_path: Path) -> None:
    done = compiled(written / name, tmp_path)
    assert done.returncode == 0, done.stdout[-1500:]
    assert (tmp_path / "document.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("name", ["table.tex", "tuned.tex"])
def test_nothing_in_a_cell_is_a_command(name: str, written: Path) -> None:
    """Without LaTeX: unescaped, only what we write ourselves is left."""
    lines = (written / name).read_text("utf-8").splitlines()
    rows = [row for row in lines if row.endswith(r"\\")]
    assert len(rows) > 6
    widths = [row.count("r") + 1 for line in lines for row in re.findall(r"tabular}\{l(r+)\}", line)]
    ours = {each for text in markup.LATEX.values() for each in re.findall(r"\\[A-Za-z]+", text)}
    for row in rows:
        bare = re.sub(r"\\[&%$#_{}`]|\$\\?[^$]*\$|\{\}", " ", row.removesuffix(r"\\"))
        bare = re.sub(r"\\textbf\{([^{}]*)\}", r"\1", bare)
        assert bare.count("&") + 1 in widths
        assert not re.search(r"[%$#_{}~^]", bare), row
        assert set(re.findall(r"\\[A-Za-z]+", bare)) <= ours
    assert all(line.startswith(("%", "\\")) or line.endswith(r"\\") for line in lines if line)


def test_every_escape_is_what_latex_prints() -> None:
    assert markup.escape_latex("a_b & 5% of {x}\\") == r"a\_b \& 5\% of \{x\}\textbackslash{}"
    assert markup.escape_latex("−1 · λ – --- <") == r"$-$1 $\cdot$ $\lambda$ -- -{}-{}- $<$"


def test_latex_holds_what_would_end_a_comment_or_open_an_option() -> None:
    """A reason or a title of two lines stays a comment; a cell that begins with a bracket is no option."""
    text = markup.latex([Grid("t\nu", ("a",), (("x",), ("[1, 2]",)))], ["No result: first\nsecond_line."])
    assert text.endswith("% No result: first\n% second_line.\n")
    assert "x \\\\\n{}[1, 2] \\\\" in text
    assert "\n% t u\n" in text


def test_signs_that_pdflatex_lacks_are_named_at_the_top() -> None:
    text = markup.latex([Grid("t", ("a",), (("日 é ×",), ("x",)))], [])
    assert text.splitlines()[1].startswith("% pdflatex has no sign for 日: use lualatex or xelatex")
    assert "pdflatex" not in markup.latex([Grid("t", ("a",), (("é × ✓ – ’",), ("x",)))], [])


def test_latex_of_plain_names_is_ascii(tmp_path: Path) -> None:
    made = tables.tabulate(load(write_study(tmp_path, "modules", seeds=(1, 2, 3))))
    text = markup.latex(made.paper, made.lines)
    body = "\n".join(row for row in text.splitlines() if not row.startswith("%"))
    assert r"BLEU [95\% interval]" in body
    assert body.isascii()
    assert body.count(r"\toprule") == body.count(r"\bottomrule") == 2
    assert body.count(r"\begin{table*}[t]") == body.count(r"\end{table*}") == body.count(r"\caption{") == 2
    assert r"\label{tab:modules-arms}" in body and r"\label{tab:modules-effects}" in body
    best = [row for row in body.splitlines() if r"\textbf{" in row]
    assert len(best) == 1 and best[0].startswith(r"anchor $\cdot$ norm $\cdot$ F4 &") and best[0].count("textbf") == 3


@pytest.mark.parametrize("name", ["table.md", "tuned.md"])
def test_markdown_tables_keep_their_columns(name: str, written: Path) -> None:
    text = (written / name).read_text("utf-8")
    blocks = re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE)
    assert len(blocks) > 1
    for block in blocks:
        assert len({len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in block.splitlines()}) == 1
    table = blocks[0]
    assert r"a_b & c # d \$x_1\$ {e} ~ ^ \\alpha" in table
    assert r"⟨U+202E⟩⟨U+0007⟩ \<b>\|\</b>" in table
    assert r"two lines -- \`q\`" in table and r"\*bold\* \_x\_" in table


def test_a_name_is_no_link_heading_or_struck_out_in_markdown() -> None:
    name = "# a [x](javascript:alert(1)) ![y](http://example.org/z.png) [u][v] ~~w~~"
    grid = Grid(name, ("arm", "BLEU [95% interval]"), ((name, "1.0 [0.5, 1.5] (n/a)"),))
    written = markup.markdown([grid], [name])
    assert not re.search(r"(?<!\\)\](?=[(\[])|(?<!\\)~~|^- #", written, re.M)
    assert "1.0 [0.5, 1.5] (n/a)" in written

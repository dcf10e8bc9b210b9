"""What stands out in a text: pieces of words, held-out sentences in training, copies, forms; where it is told."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_runs import write_study
from hypothesis import given
from hypothesis import strategies as st

from analysis import footer, load
from analysis.report.html import join
from analysis.report.sections.provenance import recipe
from core.config import DataConfig
from core.errors import UserError
from core.text import corpus, findings, materials, pieces
from core.use import load_text
from sweeps.running.point_runs import run_of

WORDS = ["ein", "kleines", "Haus", "steht", "im", "alten", "Garten", "und"]


def text(count: int, form: Callable[[str], str] = str, first: int = 0) -> list[str]:
    """Different sentences."""
    rows = [" ".join(WORDS[(n // 8**k) % 8] for k in range(5)) for n in range(first, first + count)]
    return [form(row) for row in rows]


def write(folder: Path, **splits: tuple[list[str], list[str]]) -> DataConfig:
    """A folder of text; what is not given is sentences of its own."""
    usual = {name: (text(40, first=1000 * n), text(40, str.upper, 1000 * n)) for n, name in enumerate(corpus.SPLITS)}
    for split, sides in (usual | splits).items():
        for suffix, lines in zip(("de", "en"), sides, strict=True):
            (folder / f"{split}.{suffix}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return DataConfig(data=str(folder))


def joined(config: DataConfig) -> DataConfig:
    return DataConfig(data=config.data, undo_bpe=True)


# Pieces


def cut_at(mark: str, line: str) -> str:
    """A line with the word Garten, or its first one, in two pieces."""
    word = "GARTEN" if "GARTEN" in line else line.split()[0]
    return line.replace(word, f"{word[:1]}{mark}{word[1:]}", 1)


FORMS: dict[str, Callable[[str], str]] = {
    "@@": lambda line: cut_at("@@ ", line),
    "##": lambda line: cut_at(" ##", line),
    "\uffed": lambda line: cut_at("\uffed ", line),
    "\u2581": lambda line: " ".join(f"\u2581{word[:2]} {word[2:]}".strip() for word in line.split()),
    "\u0120": lambda line: " ".join(f"\u0120{word[:2]} {word[2:]}".strip() for word in line.split()),
    "</w>": lambda line: " ".join(f"{word[:2]} {word[2:]}".strip() + "</w>" for word in line.split()),
}


@pytest.mark.parametrize("mark", FORMS)
def test_targets_in_pieces_are_refused_and_joined_by_undo_bpe(mark: str, tmp_path: Path) -> None:
    plain = text(40, str.upper)
    config = write(tmp_path, train=(text(40), [FORMS[mark](line) for line in plain]))
    with pytest.raises(UserError, match=rf"train\.en, line 1: .* \({re.escape(mark)}\).*--undo_bpe True") as caught:
        corpus.load(config)
    assert "\n" not in str(caught.value)
    read = corpus.load(joined(config))
    assert [target for _, target in read.train] == plain and read.found["joined"] == {"target": mark}
    assert read.digest == corpus.digest(config), "the bytes of the files"


@pytest.mark.parametrize("mark", FORMS)
def test_pieces_in_the_middle_of_a_file_are_found(mark: str, tmp_path: Path) -> None:
    plain = text(40, str.upper)
    targets = [FORMS[mark](line) if 15 <= i < 25 else line for i, line in enumerate(plain)]
    config = write(tmp_path, train=(text(40), targets))
    with pytest.raises(UserError, match=rf"train\.en, line 16: .* \({re.escape(mark)}\)"):
        corpus.load(config)
    assert [target for _, target in corpus.load(joined(config)).train] == plain, "whole lines stay as they are"


def test_pieces_of_bytes_become_the_letters_that_they_stand_for() -> None:
    (cut,) = (cut for cut in pieces.CUTS if cut.name == "\u0120")
    assert cut.join("\u0120caf \u00c3\u00a9 \u0120\u00d0\u00b4\u00d0 \u00b0") == "caf\u00e9 \u0434\u0430"
    assert pieces.whole("\u0120anni mar id-dar") == "\u0120anni mar id-dar", "Maltese"


def test_a_split_with_few_pieces_is_joined_as_the_others_are(tmp_path: Path) -> None:
    pairs = (text(40), [FORMS["@@"](line) for line in text(40, str.upper)])
    one = text(39, str.upper, 500)
    config = write(tmp_path, train=pairs, test=(text(40), [*one, "WO@@ RT"]))
    assert [target for _, target in corpus.load(joined(config)).test] == [*one, "WORT"]


def test_sources_in_pieces_are_said_and_joined(tmp_path: Path) -> None:
    config = write(tmp_path, train=([FORMS["@@"](line) for line in text(40)], text(40, str.upper)))
    read = corpus.load(config)
    assert read.found["cut"] == {"source": "@@"} and any("undo_bpe joins them" in said for said in read.found["said"])
    assert [source for source, _ in corpus.load(joined(config)).train] == text(40)


@pytest.mark.parametrize(
    "lines",
    [
        ["the diff says @@ -1,3 +1,4 @@ here", "an @@ alone", "@@ at the start", "and at the end @@"],
        ["write to me@@ home"],
        ["## a heading", "##another", "number ## 3", "see #5"],
        ["fill in the \u2581\u2581\u2581\u2581", "\u2581\u2582\u2583 a bar"],
        ["a</w>b"],
        ["\u0120anni mar id-dar"] * 20,
    ],
)
def test_marks_in_ordinary_text_are_no_pieces(lines: list[str], tmp_path: Path) -> None:
    targets = [*lines, *text(40 - len(lines), str.upper)]
    assert corpus.load(write(tmp_path, train=(text(40), targets))).train == list(zip(text(40), targets, strict=True))


def test_notebooks_and_sweep_files_know_the_option(tmp_path: Path) -> None:
    config = write(tmp_path, train=(text(40), [FORMS["@@"](line) for line in text(40, str.upper)]))
    assert load_text(config.data, undo_bpe=True, vocab_size=300).corpus.found["joined"] == {"target": "@@"}
    point = {"study": "norm", "preset": "smoke", "norm_placement": "none", "data": config.data, "undo_bpe": True}
    assert run_of(point).job.config["undo_bpe"] is True


def test_undo_bpe_without_pieces_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="option undo_bpe: the text holds no pieces of words"):
        corpus.load(joined(write(tmp_path)))
    with pytest.raises(UserError, match="option undo_bpe: joins the pieces of a text in a folder"):
        corpus.load(DataConfig(undo_bpe=True))


@given(st.lists(st.text("abäß.,'", min_size=1, max_size=9), min_size=1, max_size=9), st.data())
def test_joining_undoes_cutting(words: list[str], data: st.DataObject) -> None:
    line = " ".join(words)
    cuts = [data.draw(st.integers(0, len(word) - 1)) for word in words]
    halves = [(word[:at], word[at:]) for word, at in zip(words, cuts, strict=True)]
    forms = {
        "@@": " ".join(f"{one}@@ {two}" if one else two for one, two in halves),
        "\u2581": " ".join(f"\u2581{one} {two}" if one else f"\u2581{two}" for one, two in halves),
        "</w>": " ".join(f"{one} {two}</w>" if one else f"{two}</w>" for one, two in halves),
    }
    for cut in pieces.CUTS:
        assert cut.name not in forms or cut.join(forms[cut.name]) == line


# Counts


def test_held_out_sentences_in_training_repetitions_and_copies_are_counted(tmp_path: Path) -> None:
    train = (text(40) + text(10), text(40, str.upper) + text(10, str.upper))
    test = (text(20), [*text(5, str.upper), *text(15, first=900)])
    config = write(tmp_path, train=train, valid=(text(4, first=700), text(4, first=700)), test=test)
    found = corpus.load(config).found
    assert found["overlap"]["test in train"] == {"pairs": 5, "sources": 20, "targets": 5}
    assert found["repeated"] == {"train": 10, "valid": 0, "test": 0}
    assert found["copied"] == {"train": 0, "valid": 4, "test": 0}
    assert found["said"] == [
        "5 of 20 test pairs are in train too (20 sources, 5 targets)",
        "10 of 50 train pairs repeat an earlier one",
        "in 4 of 4 valid pairs the target is the source",
    ]


def test_white_space_around_a_sentence_hides_nothing(tmp_path: Path) -> None:
    test = ([f" {line}" for line in text(40)], [f"{line}  " for line in text(40, str.upper)])
    assert corpus.load(write(tmp_path, test=test)).found["overlap"]["test in train"]["pairs"] == 40


def test_what_is_rare_is_counted_and_not_said(tmp_path: Path) -> None:
    config = write(tmp_path, train=(text(300), text(300, str.upper)), test=(text(200, first=299), text(200, str, 299)))
    found = corpus.load(config).found
    assert found["overlap"]["test in train"]["sources"] == 1 and found["copied"]["test"] == 200
    assert not [said for said in found["said"] if "train too" in said]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("ab")), min_size=1), st.data())
def test_the_counts_are_those_of_a_slow_loop(train: list[tuple[str, str]], data: st.DataObject) -> None:
    test = data.draw(st.lists(st.sampled_from([*train, ("c", "a"), ("d", "d")]), min_size=1))
    found = findings.counted({"train": train, "valid": test, "test": test})
    assert found["overlap"]["test in train"] == {
        "pairs": sum(any(one == other for other in train) for one in test),
        "sources": sum(any(one[0] == other[0] for other in train) for one in test),
        "targets": sum(any(one[1] == other[1] for other in train) for one in test),
    }
    assert found["repeated"]["test"] == sum(one in test[:n] for n, one in enumerate(test))
    assert found["copied"]["test"] == sum(one == two for one, two in test)


# Forms


@pytest.mark.parametrize(
    ("lines", "is_so"),
    [
        (["A house , and a dog .", "it is here .", "so it is .", "no sign"], True),
        (["we do n't know", "they 're here", "I 'll go"], True),
        (["A house, and a dog.", "It's here.", "Don't!"], False),
        (["Vraiment ? Oui !", "C'est \u00e7a : rien.", "Bien s\u00fbr."], False),
        (["no sign at all"], False),
        (["\u6211 \u559c\u6b22 \u732b \u3002", "\u4ed6 \u6765 \u3002", "\u662f \u3002"], True),
        (["\u6211\u559c\u6b22\u732b\u3002", "\u4ed6\u6765\u3002", "\u662f\u3002"], False),
    ],
)
def test_tokenised_text_is_told_by_its_punctuation(lines: list[str], is_so: bool) -> None:
    assert findings.tokenised(lines) is is_so


def test_escaped_text_is_told_by_its_entities() -> None:
    assert findings.escaped(["it &apos;s", "a &quot; b", "x &amp; y"])
    assert not findings.escaped(["AT&T; and R&D", "a & b", "&notanentity"])


def test_forms_are_said_once_for_both_sides(tmp_path: Path) -> None:
    lines = [f"{line} &quot; ." for line in text(40)]
    said = corpus.load(write(tmp_path, train=(lines, [line.upper().replace("QUOT", "quot") for line in lines]))).found
    assert said["tokenised"] == said["escaped"] == ["source", "target"]
    assert "source and target escaped (such as &apos;); scores are of that form, not of plain text" in said["said"]


# Where they are told


def test_they_are_said_at_the_start_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(tmp_path, test=(text(40), text(40, str.upper)))
    facts = materials.prepare(DataConfig(data=config.data, vocab_size=300)).facts()
    line = "40 of 40 test pairs are in train too (40 sources, 40 targets)"
    assert f"{tmp_path.name} de-en: {line}" in capsys.readouterr().err
    assert json.loads(json.dumps(facts))["found"]["said"] == [line]


def test_the_embedded_corpus_has_nothing_to_say() -> None:
    made = materials.prepare(DataConfig(corpus_pairs=50, corpus_heldout=5, corpus_lexicon=60))
    assert "found" not in made.facts()


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ({"said": ["a thing", "another"]}, "Text: a thing; another."),
        ({"said": []}, None),
        ({"said": "x"}, None),
        (["x"], None),
        (None, None),
    ],
)
def test_footer_and_report_repeat_them(found: Any, line: str | None, tmp_path: Path) -> None:
    folder = write_study(tmp_path, "modules", seeds=(1, 2))
    for path in folder.glob("*/run.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps(record | {"data": record["data"] | {"found": found}}))
    study = load.load(folder)
    lines = [each for each in footer.footer(study) if each.startswith("Text: ")]
    assert lines == ([line] if line else [])
    shown = str(join(recipe(study)))
    assert f"<dt>Text</dt><dd>{line.removeprefix('Text: ')}</dd>" in shown if line else "<dt>Text</dt>" not in shown


# References


def test_references_in_pieces_are_refused_and_joined_with_the_targets(tmp_path: Path) -> None:
    config = write(tmp_path)
    (tmp_path / "test.ref0").write_text("".join(f"{FORMS['@@'](line)}\n" for line in text(40, str.upper)))
    with pytest.raises(UserError, match=r"test\.ref0, line 1: the words of the targets are cut into pieces"):
        corpus.load(config)
    for split in corpus.SPLITS:
        lines = [FORMS["@@"](line) for line in (tmp_path / f"{split}.en").read_text().splitlines()]
        (tmp_path / f"{split}.en").write_text("".join(f"{line}\n" for line in lines))
    read = corpus.load(joined(config))
    assert [group[1] for group in read.references["test"]] == text(40, str.upper)
    assert [group[0] for group in read.references["test"]] == [target for _, target in read.test]

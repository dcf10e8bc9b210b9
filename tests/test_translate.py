"""Translation from a command line: a line for each line, whatever stands in it; long lines; candidates; windows."""

import io
import json
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from core import line_answers, line_input, methods, model_folder, run_folder, translate
from core.config import RunConfig, with_values
from core.errors import UserError
from core.line_answers import Answers, Progress
from core.line_input import Line, windows
from core.model import Model
from core.text.fitting import parts_of
from core.text.lines import LINE_ENDS, on_one_line
from core.text.tokenizer import Tokenizer, Words, train_bpe

ROOT = Path(__file__).resolve().parent.parent
SMALL = {"model_dim": 16, "ffn_dim": 16, "heads": 2, "encoder_layers": 1, "decoder_layers": 1}
ENDS = ["a\nb", "\r", "c\r\nd", "\u2028", "\x85e", "\x0b\x0c\x1c\x1d\x1e\u2029"]
"""Types that break lines: what a BPE over bytes may write."""
LONGEST = 11
"""Most tokens of a source of the model below."""


def model_of(tokenizer: Tokenizer, **values: Any) -> Model:
    """A model that has learned nothing."""
    torch.manual_seed(1)
    config = with_values(RunConfig(), {**SMALL, **values})
    method = methods.method_for(config.method)
    network = method.build(len(tokenizer), LONGEST + 1).eval()
    return Model(method, network, config, tokenizer)


@pytest.fixture(scope="module")
def model() -> Model:
    """It writes nothing but line ends."""
    return model_of(Tokenizer(Words(ENDS)))


def answers(model: Model, *lines: str, **how: Any) -> list[str]:
    made = Answers(model, how.pop("decoding", model.decoding), 1, how.pop("long", "cut"), **how)
    return list(made.of([Line(number, text) for number, text in enumerate(lines, 1)]))


# One line for one line


@given(st.text())
def test_text_on_one_line_is_one_for_every_reader(text: str) -> None:
    made = on_one_line(text)
    assert len(made.splitlines()) <= 1 and "\n" not in made and "\r" not in made
    assert LINE_ENDS.sub("", text).replace(" ", "") == made.replace(" ", "")


def test_a_predicted_line_end_is_a_blank(model: Model) -> None:
    raw = model.translate(["x y", "z"])
    assert any(LINE_ENDS.search(text) for text in raw), "the model writes some"
    shown = answers(model, "x y", "z")
    assert shown == [on_one_line(text) for text in raw] and all(len(line.splitlines()) <= 1 for line in shown)


def test_blank_in_blank_out(model: Model) -> None:
    shown = answers(model, "", "x", "  \t", "\u3000")
    assert shown[0] == shown[2] == shown[3] == "" and len(shown) == 4
    assert answers(model, "", " ") == ["", ""]


# Reading


def read(content: bytes, **how: Any) -> list[list[Line]]:
    """What is made of a pipe that holds this."""
    out, into = os.pipe()

    def write() -> None:
        with open(into, "wb") as file:
            file.write(content)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        return list(windows(out, **how))
    finally:
        writer.join()
        os.close(out)


@given(st.lists(st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))), st.booleans())
@example(["\ufeffa\r", "\ufeffb\rc\r"], True)
def test_only_lf_ends_a_line_of_input(texts: list[str], ended: bool) -> None:
    content = "\n".join(texts).encode() + (b"\n" if ended and texts else b"")
    lines = [line for window in read(content, size=3) for line in window]
    wanted = [text.removesuffix("\r") for text in texts]
    if wanted and not ended and not texts[-1]:
        wanted.pop()  # nothing after the last LF is no line
    if wanted:
        wanted[0] = texts[0].removeprefix("\ufeff").removesuffix("\r")
    assert [line.text for line in lines] == wanted
    assert [line.number for line in lines] == list(range(1, len(wanted) + 1))


def test_windows_are_full_but_for_the_last_whatever_comes_at_once() -> None:
    content = b"".join(b"%d\n" % number for number in range(20_000))
    sizes = [len(window) for window in read(content, size=3000)]
    assert sizes == [3000] * 6 + [2000]


def test_a_line_that_is_not_utf8_is_named() -> None:
    with pytest.raises(UserError, match="standard input, line 2: not UTF-8"):
        read(b"good\n\xff\n")


def test_a_folder_as_input_is_one_message(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(UserError, match="standard input: cannot be read"):
        list(windows(folder))
    os.close(folder)


def test_what_has_come_is_given_out_when_the_input_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_input, "PAUSE", 0.01)
    out, into = os.pipe()
    os.write(into, b"one\ntwo\nthr")
    made = windows(out)
    assert [line.text for line in next(made)] == ["one", "two"]
    os.write(into, b"ee\n")
    assert [line.text for line in next(made)] == ["three"]
    os.close(into)
    assert list(made) == []
    os.close(out)


# Long lines


@given(st.text("ab \u00e9\u732b", min_size=1, max_size=80), st.integers(6, 20))
def test_parts_hold_the_whole_text_and_fit(text: str, most: int) -> None:
    codec = Tokenizer(train_bpe(["abab aab \u00e9\u732b"], 300))

    def lengths(texts: Any) -> list[int]:
        return [len(ids) for ids in codec.encode_many(list(texts))]

    parts = parts_of(text, lengths, most)
    assert "".join("".join(parts).split()) == "".join(text.split())
    assert all(length <= most for length in lengths(parts))


def test_a_long_line_is_named_and_cut(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    long = " ".join(["x"] * 30)
    cut, short = answers(model, long, "x")
    assert cut == answers(model, " ".join(["x"] * LONGEST))[0] and short == answers(model, "x")[0]
    said = capsys.readouterr().err
    assert said == f"standard input, line 1: 30 tokens, and the model takes {LONGEST} tokens; cut to those\n"


def test_a_long_line_is_translated_in_parts(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    long = " ".join(["x"] * 30)
    (whole,) = answers(model, long, long="split")
    parts = [11 * "x ", 11 * "x ", 8 * "x "]
    assert whole == " ".join(answers(model, *[part.strip() for part in parts]))
    assert "translated in 3 parts" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"standard input, line 2: 30 tokens, .* --long split"):
        answers(model, "x", long, long="refuse")


def test_many_long_lines_are_named_once_each_and_then_no_more(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(answers(model, *[" ".join(["x"] * 30)] * 40)) == 40
    assert len(capsys.readouterr().err.splitlines()) == line_answers.NAMED


def test_a_word_of_a_million_characters_is_cut_too(capsys: pytest.CaptureFixture[str]) -> None:
    model = model_of(Tokenizer(train_bpe(["ab ba"], 300)))
    assert len(answers(model, "ab" * 500_000, "ab")) == 2
    assert "line 1: 1,000,000 characters" in capsys.readouterr().err


def test_pieces_are_joined_for_a_model_of_joined_text(model: Model) -> None:
    joining = model_of(model.tokenizer, data="x", undo_bpe=True)
    made = Answers(joining, joining.decoding, 1, "cut")
    assert made.parts(Line(1, "ha@@ us im gar@@ ten")) == ["haus im garten"]
    assert Answers(model, model.decoding, 1, "cut").parts(Line(1, "ha@@ us")) == ["ha@@ us"]


# Candidates


def test_candidates_are_rows_of_json_with_the_chosen_one_first(model: Model) -> None:
    decoding = with_values(model.config, {"noise_candidates": 4, "length_candidates": 2}).method.decoding  # type: ignore[attr-defined]
    rows = answers(model, "x y", "", "z\u2028", decoding=decoding, best=sys.maxsize)
    assert all(len(row.splitlines()) == 1 for row in rows)
    first, blank, last = map(json.loads, rows)
    assert (first["line"], first["source"], last["source"]) == (1, "x y", "z\u2028")
    assert blank == {"line": 2, "source": "", "candidates": []}
    assert first["candidates"][0]["text"] == answers(model, "x y", "", "z\u2028", decoding=decoding)[0]
    assert len(first["candidates"]) == 8 and all(row["score"] < 0 for row in first["candidates"])
    others = [row["score"] for row in first["candidates"][1:]]
    assert others == sorted(others, reverse=True)
    few = [json.loads(row) for row in answers(model, "x y", "", "z\u2028", decoding=decoding, best=3)]
    texts = [row["text"] for row in few[0]["candidates"]]
    assert len(texts) == len(set(texts)) <= 3 and texts[0] == first["candidates"][0]["text"]


def test_a_beam_has_candidates_of_its_own() -> None:
    model = model_of(Tokenizer(Words(["a", "b", "c"])), method="autoregressive")
    decoding = model.method.with_candidates(model.decoding, 3)
    assert model.method.count(decoding) == 3
    for row, best in zip(
        answers(model, "a b", "c", decoding=decoding, best=sys.maxsize), model.translate(["a b", "c"]), strict=True
    ):
        found = json.loads(row)["candidates"]
        assert len(found) == 3 and found[0]["text"] == best
        assert [one["score"] for one in found] == sorted((one["score"] for one in found), reverse=True)
    (row,) = answers(model, "a b", decoding=decoding, best=2)
    assert len(json.loads(row)["candidates"]) == 2


@pytest.mark.parametrize("beam", [1, 4])
def test_weights_that_overflow_still_end_each_line(beam: int) -> None:
    """Finite ones, so that no training is said to have diverged, whose scores are no numbers."""
    model = model_of(Tokenizer(Words(["a", "b", "c"])), method="autoregressive", beam=beam, hypotheses=1)
    for value in model.network.parameters():
        value.data.fill_(3e38)
    assert len(answers(model, "a b", "c", "")) == 3


def test_progress_is_said_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    quiet = Progress()
    quiet.add(1000)
    assert capsys.readouterr().err == ""
    talking = Progress(seconds=0.0)
    talking.add(1000)
    assert "1,000 lines translated, " in capsys.readouterr().err


def test_each_window_is_given_out_before_the_next_is_waited_for(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    written, given = io.BytesIO(), list[bytes]()

    def windows(source: int) -> Iterator[list[Line]]:
        for number in (1, 2):
            yield [Line(number, "x")]
            given.append(written.getvalue())

    monkeypatch.setattr(translate, "windows", windows)
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(written, encoding="utf-8"))
    with open(os.devnull) as nothing:  # what tests run with has no number
        monkeypatch.setattr("sys.stdin", nothing)
        translate.answer(Answers(model, model.decoding, 1, "cut"))
    assert [each.count(b"\n") for each in given] == [1, 2]


# The command


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, model: Model) -> Path:
    """A model's folder."""
    made = tmp_path_factory.mktemp("model")
    model_folder.save_weights(made, model.network, model.config)
    model.tokenizer.save(made / run_folder.TOKENIZER)
    return made


def command(folder: Path, *more: str, given: bytes = b"x\n") -> subprocess.CompletedProcess[bytes]:
    line = [sys.executable, "-m", "core.translate", str(folder), *more]
    return subprocess.run(line, cwd=ROOT, input=given, capture_output=True, timeout=120)


def test_the_command_keeps_lines_aligned(folder: Path) -> None:
    done = command(folder, given=b"\xef\xbb\xbfx\ry\r\n\n" + b"x " * 30 + b"\n\xe2\x80\xa8z")
    assert done.returncode == 0 and done.stdout.count(b"\n") == 4 and len(done.stdout.decode().splitlines()) == 4
    assert done.stdout.split(b"\n")[1] == b"" and b"line 3: 30 tokens" in done.stderr


def test_the_command_says_how_far_it_is(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").write_text("x\ny\n")
    monkeypatch.setattr(line_answers, "PROGRESS_SECONDS", 0.0)
    monkeypatch.setattr("sys.argv", ["translate", str(folder)])
    with open(tmp_path / "in") as file:
        monkeypatch.setattr("sys.stdin", file)
        assert translate.main() == 0
    assert "2 lines translated, " in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--lengths", "0"), "option length_candidates: 0 must be at least 1"),
        (("--threads", "0"), "option threads: 0 must be at least 1"),
        (("--n_best", "0"), "option n_best: 0 must be at least 1"),
        (("--n_best", "5"), "option n_best: 5, and this decoding writes 1 for a sentence; --lengths and --noises"),
        (("--all", "--long", "split"), "option long: parts of a line have no candidates in common"),
        (("--noises", "1000000"), "option noise_candidates: 1,000,000 is too large"),
    ],
)
def test_the_command_refuses_what_cannot_be(folder: Path, more: tuple[str, ...], said: str) -> None:
    done = command(folder, *more)
    assert done.returncode == 2 and said in done.stderr.decode() and done.stdout == b""
    assert b"Traceback" not in done.stderr


@pytest.fixture
def terminal(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The command at a terminal of its own."""
    ours, its = pty.openpty()
    line = [sys.executable, "-m", "core.translate", str(folder)]
    running = subprocess.Popen(line, cwd=ROOT, stdin=its, stdout=its, stderr=its)
    os.close(its)
    yield ours, running
    running.kill()
    running.wait()
    os.close(ours)


def until(terminal: int, seen: bytes, text: bytes, seconds: float = 60.0) -> bytes:
    """What a terminal shows until it shows this."""
    deadline = time.monotonic() + seconds
    while text not in seen:
        assert time.monotonic() < deadline, seen
        seen += os.read(terminal, 4096)
    return seen


@pytest.mark.slow
def test_at_a_terminal_each_line_is_asked_for_and_answered(terminal: tuple[int, subprocess.Popen[bytes]]) -> None:
    ours, running = terminal
    shown = until(ours, b"", b"> ")
    os.write(ours, b"x\n")
    shown = until(ours, shown, b"\n> ")
    os.write(ours, b"\x04")
    assert running.wait(60) == 0
    assert shown.count(b"> ") == 2

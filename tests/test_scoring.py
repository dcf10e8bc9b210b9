"""Scores in any script: a perfect output is worth 100, words are words, and what was counted is said."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer
from sacrebleu.metrics import BLEU
from sacrebleu.metrics.bleu import _TOKENIZERS

from ablations.evaluate import ProbedText
from core import scores
from core.candidates import chooser
from core.errors import UserError
from core.evaluator import Evaluator
from core.scoring.bleu import mbr_choice, sentence_bleu
from core.scoring.rouge import rouge
from core.scoring.scripts import words
from core.scoring.tokenizers import AUTO, NAMES, choose
from core.sections import BleuTokenizer

ROOT = Path(__file__).parents[1]

SCRIPTS = {
    "english": ("13a", ["The cat sat on the mat.", "It doesn't rain."]),
    "german": ("13a", ["Die Häuser sind größer als früher.", "Straße und Fußgänger"]),
    "vietnamese": ("13a", ["Tôi thích những con mèo đen.", "Hôm nay trời đẹp quá."]),
    "greek": ("13a", ["Μου αρέσουν πολύ οι γάτες.", "Σήμερα έχει καλό καιρό."]),
    "russian": ("13a", ["Я очень люблю чёрных кошек.", "Сегодня хорошая погода."]),
    "arabic": ("13a", ["أنا أحب القطط السوداء كثيرًا.", "الطقس جميل اليوم جدا."]),
    "persian": ("13a", ["من به خانه می‌روم و می‌خوابم.", "هوا امروز خیلی خوب است."]),
    "hebrew": ("13a", ["אֲנִי אוהב מאוד חתולים שחורים.", "מזג האוויר יפה היום מאוד."]),
    "hindi": ("13a", ["मुझे काली बिल्लियाँ बहुत पसंद हैं।", "आज मौसम बहुत अच्छा है।"]),
    "tamil": ("13a", ["எனக்கு கருப்பு பூனைகள் மிகவும் பிடிக்கும்.", "இன்று வானிலை மிகவும் நன்றாக உள்ளது."]),
    "georgian": ("13a", ["მე ძალიან მიყვარს შავი კატები.", "დღეს ძალიან კარგი ამინდია."]),
    "amharic": ("13a", ["ጥቁር ድመቶችን በጣም እወዳለሁ።", "ዛሬ አየሩ በጣም ጥሩ ነው።"]),
    "chinese": ("zh", ["我非常喜欢黑色的猫。", "今天天气很好,我们去 Paris 吧。"]),
    "japanese": ("char", ["私は黒い猫がとても好きです。", "東京タワーへ行きました。"]),
    "korean": ("char", ["나는 검은 고양이를 아주 좋아합니다.", "오늘은 날씨가 좋네요."]),
    "thai": ("char", ["ฉันชอบแมวดำมาก", "วันนี้อากาศดี"]),
    "lao": ("char", ["ຂ້ອຍມັກແມວສີດຳຫຼາຍ", "ມື້ນີ້ອາກາດດີ"]),
    "khmer": ("char", ["ខ្ញុំចូលចិត្តឆ្មាខ្មៅណាស់។", "ថ្ងៃនេះអាកាសធាតុល្អ។"]),
    "burmese": ("char", ["ငါကြောင်နက်ကိုအရမ်းကြိုက်တယ်။", "ဒီနေ့ရာသီဥတုကောင်းတယ်။"]),
    "tibetan": ("char", ["ང་བྱི་ལ་ནག་པོ་ལ་དགའ་པོ་ཡོད།", "དེ་རིང་གནམ་གཤིས་ཡག་པོ་འདུག"]),
    "emoji": ("char", ["😀🎉👍🏽", "👩‍👩‍👧", "😀"]),
    "digits": ("13a", ["12 345", "6789", "1 2 3"]),
}
MECAB = {"japanese": "ja-mecab", "korean": "ko-mecab"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_perfect_output_scores_100_in_every_script(name: str) -> None:
    tokenizer, texts = SCRIPTS[name]
    found = scores.score(texts, texts)
    assert found["bleu"] == pytest.approx(100) and found["chrf"] == pytest.approx(100)
    said = found["signature"].split("|tok:")[1]
    assert said.startswith((f"{tokenizer}|", MECAB.get(name, tokenizer)))
    for rouge_type in ("rouge1", "rougeL"):
        assert found[rouge_type] is None if name == "emoji" else found[rouge_type] == pytest.approx(100)
    assert "tok:unicode-words" in found["rouge_signature"]
    for text in texts:
        assert sentence_bleu(text, text, choose(AUTO, texts).name) == pytest.approx(100)


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in ("emoji", "digits", "tibetan", "amharic")])
def test_a_worse_output_scores_less(name: str) -> None:
    """Sentences without their second half, or another's, are not perfect; halves are worth something."""
    tokenizer, texts = SCRIPTS[name]
    half = [text[: (len(text) + 1) // 2] for text in texts]
    found = scores.score(half, texts)
    assert found["bleu"] < 60 and 0 < found["rougeL"] < 95 and (found["bleu"] > 0 or tokenizer == "13a")
    other = scores.score(texts[::-1], texts)
    assert other["bleu"] < 50 and other["rougeL"] < 60


def test_the_majority_of_words_decides() -> None:
    chinese, english = "我非常喜欢黑色的猫。", "I like cats with a long black tail"
    assert choose(AUTO, [chinese, english, "and"]).name == "13a", "9 words against 9, and Latin first"
    assert choose(AUTO, [chinese, chinese, english]).name == "zh"
    assert choose(AUTO, ["我用 Python 写了一个 script。", "请打开 terminal 然后 run 它吧"]).name == "zh", (
        "more Latin letters"
    )
    assert choose(AUTO, ["漢字漢字漢字漢字漢字漢字です"]).name in ("char", "ja-mecab"), "little kana is Japanese"
    assert choose(AUTO, ["ฉันชอบแมว", "ຂ້ອຍມັກແມວ", "I like black cats"]).name == "char", "both have no spaces"
    assert choose(AUTO, []).name == "char"
    assert choose("intl", [chinese]).name == "intl"
    assert "Chinese" in choose(AUTO, [chinese]).sentence and choose(AUTO, [english]).sentence == ""


def test_the_option_has_all_of_sacrebleus_tokenizers() -> None:
    assert set(get_args(BleuTokenizer)) == {AUTO, *_TOKENIZERS} == {AUTO, *NAMES}


def test_a_tokenizer_that_is_not_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_ja_mecab.MeCab", None)
    from core.scoring import tokenizers

    for cached in (tokenizers.metric, tokenizers._mecab):
        cached.cache_clear()
    with pytest.raises(UserError, match=r"option bleu_tokenizer: ja-mecab needs pip install 'sacrebleu\[ja\]'"):
        choose("ja-mecab", [])
    assert "MeCab is not installed" in choose(AUTO, ["私は黒い猫がとても好きです。"]).sentence
    for cached in (tokenizers.metric, tokenizers._mecab):
        cached.cache_clear()


@pytest.mark.parametrize("name", MECAB)
def test_mecab_is_taken_where_it_is_installed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from core.scoring import tokenizers

    monkeypatch.setattr(tokenizers, "metric", lambda name: None)
    tokenizers._mecab.cache_clear()
    assert choose(AUTO, SCRIPTS[name][1]).name == MECAB[name]
    tokenizers._mecab.cache_clear()


# Words


ascii_text = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@given(ascii_text)
def test_words_of_ascii_are_those_of_rouge_score(text: str) -> None:
    assert words(text) == DefaultTokenizer(use_stemmer=False).tokenize(text)


@given(ascii_text, ascii_text)
def test_rouge_of_ascii_is_that_of_rouge_score(hypothesis: str, reference: str) -> None:
    theirs = RougeScorer(("rouge1", "rouge2", "rougeL")).score(reference, hypothesis)
    ours = rouge([hypothesis], [[reference]])
    for name, found in ours.items():
        assert found is None if not words(reference) else found == pytest.approx(100 * theirs[name].fmeasure)


def test_words_of_other_scripts() -> None:
    assert words("Die Häuser, naïve 3½ x_y!") == ["die", "häuser", "naïve", "3½", "x", "y"]
    assert words("私はTシャツとタワーを見た。") == ["私", "は", "tシャツ", "と", "タワー", "を", "見", "た"]
    assert words("मुझे क्षमा है।") == ["मुझे", "क्षमा", "है"], "marks belong to their letter"
    assert words("می‌روم خانه") == ["می\u200cروم", "خانه"], "a joiner ends no word"
    assert words("ฉันรัก") == ["ฉั", "น", "รั", "ก"]
    assert words("ང་ཞི་མི") == ["ང", "ཞི", "མི"], "syllables have a mark between them"
    assert words("안녕 세계") == ["안녕", "세계"]
    assert words("😀 ... ！") == []


def test_sentences_without_words_are_left_out_of_rouge() -> None:
    assert rouge(["a b", "😀"], [["a b"], ["😀"]])["rouge1"] == pytest.approx(100)
    assert rouge(["a b", "x"], [["a c"], ["..."]])["rouge1"] == pytest.approx(50)


# Sentences and candidates


@given(st.lists(st.sampled_from(["a b c d", "a b", "b c d e f", "x", "a b c"]), min_size=1, max_size=4), ascii_text)
def test_sentence_bleu_against_several_references_is_sacrebleus(references: list[str], hypothesis: str) -> None:
    theirs = BLEU(effective_order=True).sentence_score(hypothesis, references).score
    assert sentence_bleu(hypothesis, references) == pytest.approx(theirs, abs=1e-9)


def test_candidates_are_compared_in_the_tokens_of_their_script() -> None:
    candidates = ["甲乙丙丁", "我喜欢黑猫", "我喜欢白猫"]
    assert mbr_choice(candidates) == 0, "13a sees three words that have nothing in common"
    assert mbr_choice(candidates, "zh") == 1
    assert chooser("mbr", "zh")(candidates, [3.0, 1.0, 2.0]) == 1
    assert chooser("model", "zh")(candidates, [3.0, 1.0, 2.0]) == 0


# The names of scores


def test_one_score_alone_is_the_one_of_all() -> None:
    hypotheses, references = ["the cat sat on a mat", "a dog"], ["the cat sat on the mat", "the dog barks at it"]
    found = scores.score(hypotheses, references)
    assert {"bleu", "chrf", "rouge1", "rouge2", "rougeL"} <= set(scores.names())
    for name in scores.names():
        assert scores.value(name, hypotheses, references) == found[name]
    with pytest.raises(UserError, match=r"option metric: there is no score 'rouge_l'\. Did you mean 'rougeL'\?"):
        scores.check_name("rouge_l")
    with pytest.raises(UserError, match="option metric: rougeL is n/a for this text"):
        scores.value("rougeL", ["😀"], ["😀"])


# The command


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "core.scores", *arguments]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "PATH": ""})


def test_the_command_prints_scores_and_signatures(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("我喜欢黑猫。\n今天天气很好。\n", "utf-8")
    (tmp_path / "ref0").write_text("我喜欢黑猫。\r\n今天很热。\r\n", "utf-8-sig")
    (tmp_path / "ref1").write_text("\n今天天气很好。\n", "utf-8")
    done = command("out", "--reference", "ref0", "--reference", "ref1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["BLEU", "100.00", f"nrefs:var|case:mixed|eff:no|tok:zh|smooth:exp|version:{version()}"]
    assert lines[4].split()[:2] == ["ROUGE-L", "100.00"] and lines[5].startswith("2 sentences, brevity penalty 1.000")
    as_json = command("out", "--reference", "ref0", "--json", "--bleu_tokenizer", "char", cwd=tmp_path)
    found = json.loads(as_json.stdout)
    assert found["bleu"] < 100 and "nrefs:1|" in found["signature"] and "tok:char" in found["signature"]


def version() -> str:
    return str(scores.score(["a"], ["a"])["signature"].rpartition(":")[2])


@pytest.mark.parametrize(
    ("references", "says"),
    [
        (["one\n"], "ref0 has 1 lines, out has 2"),
        (["one\n\n", "\n\n"], "ref0, line 2 is empty, and no other reference has that line"),
        (["one\ntwo\n", None], "ref1"),
    ],
)
def test_files_that_cannot_be_scored_are_named(references: list[str | None], says: str, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("one\ntwo\n")
    for i, text in enumerate(references):
        if text is not None:
            (tmp_path / f"ref{i}").write_text(text)
    given = [word for i in range(len(references)) for word in ("--reference", f"ref{i}")]
    done = command("out", *given, cwd=tmp_path)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_a_sentence_that_ends_before_others_keeps_its_text_in_the_steps_that_follow() -> None:
    """Batches of one test set may take other numbers of calls."""
    steps = {3.0: {0: "a b c d", 1: "x"}, 1.0: {1: "e f g h"}, 2.0: {0: "a b c e", 1: "e f g x"}}
    evaluator = SimpleNamespace(
        test_head=SimpleNamespace(references=[["a b c e"], ["e f g h"]]),
        batched=lambda split: [],
        texts_by_step=lambda *_: steps,
        value=lambda name, references, texts: scores.value(name, texts, references),
    )
    found = ProbedText(cast(Evaluator, evaluator), None).bleu_by_step(None)
    assert list(found) == [3.0, 2.0, 1.0] and found[1.0] == pytest.approx(100)

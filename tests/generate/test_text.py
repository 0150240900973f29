"""Streamed = whole: whatever the pieces, no half character and nothing of a stop string is shown."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import tiny_base
from tokenizers import Tokenizer, decoders, models

from camelid.data.vocabulary import Vocabulary
from camelid.generate.text import AnswerText, StopStrings

TINY = Vocabulary.from_directory(tiny_base())
ALPHABET = "你好世界客单价，。👩‍👩‍👧🏳️‍🌈😀é abc\n<>|"
STOPS = ["\n\n", "客单价", "。", "世界", "👧", "<|im", "abc", "ab", "b\n", "你", "é "]


def _before_first_stop(text: str, stops: list[str]) -> tuple[str, bool]:
    """By the definition: the stop string whose end comes first, and of those the longest."""
    found = [(text.find(stop) + len(stop), text.find(stop)) for stop in stops if stop in text]
    return (text[: min(found)[1]], True) if found else (text, False)


def _pieces(text: str, rng: random.Random) -> list[str]:
    cuts = sorted(rng.randint(0, len(text)) for _ in range(rng.randint(0, len(text))))
    return [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def test_ten_thousand_splits_of_texts_and_stop_strings() -> None:
    rng = random.Random(0)
    stopped = 0
    for _ in range(10_000):
        text = "".join(rng.choice([*ALPHABET, *STOPS]) for _ in range(rng.randint(0, 24)))
        stops = rng.sample(STOPS, rng.randint(0, 3))
        gate = StopStrings(stops)
        shown = "".join(gate.add(piece) for piece in _pieces(text, rng))
        shown += "" if gate.stopped else gate.rest()
        wanted, ends = _before_first_stop(text, stops)
        assert (shown, gate.stopped) == (wanted, ends), (text, stops)
        assert not any(stop in shown for stop in stops)
        stopped += ends
    assert 2_000 < stopped < 8_000


def test_what_may_begin_a_stop_string_is_held_and_no_more() -> None:
    gate = StopStrings(["</end>"])
    assert [gate.add(piece) for piece in ("a <", "/e", "nx", "b</end", ">c")] == ["a ", "", "</enx", "b", ""]
    assert gate.stopped
    assert gate.add("more") == ""


@given(st.text(ALPHABET, max_size=30), st.integers(0, 2**32), st.lists(st.sampled_from(STOPS), max_size=2))
def test_tokens_in_any_number_give_whole_characters(text: str, seed: int, stops: list[str]) -> None:
    ids = TINY.backend.encode(text, add_special_tokens=False).ids
    answer = AnswerText(TINY, stops)
    shown: list[str] = []
    for token in ids:
        shown.append(answer.add(token))
        if answer.stopped:
            break
    shown.append(answer.rest())
    assert "�" not in "".join(shown)
    wanted, ends = _before_first_stop(text, stops)
    assert ("".join(shown), answer.stopped) == (wanted, ends)


def test_bytes_that_are_no_character_come_out_as_the_decoder_has_them() -> None:
    """A random model breaks off in the middle of characters and mixes their parts."""
    rng = random.Random(1)
    broken = 0
    for _ in range(500):
        ids = [rng.randrange(3, 512) for _ in range(rng.randint(1, 12))]
        answer = AnswerText(TINY)
        text = "".join(answer.add(token) for token in ids) + answer.rest()
        assert text == TINY.decode(ids)
        broken += "�" in text
    assert broken > 100


def test_sentencepiece_spaces_and_byte_fallback() -> None:
    words = ["<unk>", "▁Hello", "▁", "▁world", *(f"<0x{byte:02X}>" for byte in "好".encode())]
    backend = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, [], byte_fallback=True))
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    vocabulary = Vocabulary(backend)
    answer = AnswerText(vocabulary)
    pieces = [answer.add(token) for token in (1, 3, 4, 5, 6, 3)]
    assert pieces[2:4] == ["", ""]
    assert "".join(pieces) + answer.rest() == vocabulary.decode([1, 3, 4, 5, 6, 3]) == "Hello world好 world"


@pytest.mark.parametrize("stops", [["a"], ["ab", "b"], ["aa"]])
def test_stop_strings_at_the_very_beginning_and_end(stops: list[str]) -> None:
    for text in ("a", "ab", "aa", "xa", "xaa", "xab", ""):
        gate = StopStrings(stops)
        shown = "".join(gate.add(c) for c in text)
        shown += "" if gate.stopped else gate.rest()
        assert (shown, gate.stopped) == _before_first_stop(text, stops)

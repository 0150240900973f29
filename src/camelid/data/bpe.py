"""Train a byte-level BPE tokenizer for Chinese and English, and write it as a directory that every tool can load.

Byte-level BPE as in GPT-2 (Radford et al. 2019): all 256 bytes are in the vocabulary, so every text can be encoded and
decoded exactly and there is no unknown token. The training itself is the `tokenizers` library's.

    tokenizer = train_bpe(texts, vocabulary_size=4096)
    save_tokenizer(tokenizer, "base", chat_template=source, max_length=1024)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from camelid.errors import UserError

END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
CONTROL_TOKENS = (END_OF_TEXT, TURN_START, TURN_END)  # their ids are 0, 1, 2
NUM_BYTES = 256

# What no merge may cross. Unlike the patterns of large vocabularies: Chinese runs stand alone (no blank or Latin letter
# joins them), digits stand alone (numbers of any length are written one way), and only a blank may lead a word, so that
# a few thousand tokens are not spent on the same word behind every kind of bracket.
_PATTERN = "|".join(
    (
        r"['’](?:[sdmt]|ll|ve|re)(?!\p{L})",  # 's 'd 'm 't 'll 've 're
        r"\p{Han}+",
        r" ?(?:[^\P{L}\p{Han}]\p{M}*)+",  # letters that are not Han, with their marks
        r" ?\p{N}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",  # punctuation, with the line break that follows it
        r"\s*[\r\n]+",
        r"\s+(?!\S)",  # blanks but the last one, which leads the word after it
        r"\s+",
    )
)


def train_bpe(
    texts: Iterable[str], *, vocabulary_size: int, control_tokens: Sequence[str] = CONTROL_TOKENS
) -> Tokenizer:
    """A byte-level BPE tokenizer whose vocabulary has exactly `vocabulary_size` entries, the control tokens first.

    The same texts in the same order give the same tokenizer. Special tokens are added only when asked for
    (`add_special_tokens=True` puts the first control token before a text).
    Raises UserError where the size leaves no room for the bytes, or the texts are too few to fill it.
    """
    least = NUM_BYTES + len(control_tokens)
    if vocabulary_size < least:
        raise UserError(
            f"a vocabulary of {vocabulary_size} has no room for the bytes and the control tokens",
            mend=f"take at least {least}",
        )
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        min_frequency=2,
        special_tokens=list(control_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    learnt = tokenizer.get_vocab_size()
    if learnt < vocabulary_size:
        raise UserError(
            f"the texts give only {learnt:,} tokens, fewer than the {vocabulary_size:,} asked for",
            mend="give more text, or take a smaller vocabulary",
        )
    if control_tokens:
        first = control_tokens[0]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{first} $A", pair=f"{first} $A {first} $B", special_tokens=[(first, tokenizer.token_to_id(first))]
        )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, directory: str | Path, *, chat_template: str, max_length: int) -> None:
    """Write tokenizer.json, tokenizer_config.json and chat_template.jinja, for a tokenizer with CONTROL_TOKENS.

    A text begins and ends with END_OF_TEXT; a chat turn ends with TURN_END, which the model's generation_config.json
    has to name as a second end. `max_length` is in tokens.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "add_bos_token": True,
        "add_prefix_space": False,
        "additional_special_tokens": [TURN_START, TURN_END],
        "bos_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TEXT,
        "model_max_length": max_length,
        "pad_token": END_OF_TEXT,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    (directory / "chat_template.jinja").write_text(chat_template, encoding="utf-8")

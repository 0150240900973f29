"""Our ids are those of transformers' `apply_chat_template`, on texts without oddities at their borders.

Where they differ by design: an answer that the template ends with no control token gets eos; and a header that ends
with two line breaks, which tokenizers with GPT-2's pre-tokenizer join or part according to what follows (`encode.py`).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from cases.templates import zoo
from hypothesis import given, settings
from hypothesis import strategies as st

from camelid.data.records import Conversation, Message, Origin
from camelid.data.render import Renderer
from camelid.data.templates import named_template, template_for
from camelid.data.templates.formats import FORMATS
from camelid.data.templates.jinja import JinjaTemplate
from camelid.data.vocabulary import Vocabulary

HERE = Origin("rows.jsonl", 1)
FOREIGN = [case["file"] for case in zoo.templates()]
LAST_END_ADDED = {"chatglm3_no_end", "text_only", "chatglm3"}
DOUBLE_BREAK = {"llama3_date", "llama3"}  # templates whose header ends with two line breaks
GPT2_PRE_TOKENIZER = {"tiny", "prefix", "gpt2", "smollm2"}
TALKS = [
    ["What is the capital of France?", "Paris."],
    ["你好！请介绍一下北京。", "北京是中国的首都。\n\n它有三千年的历史。", "谢谢 🙂", "不客气。"],
    ["Fix: `x = [1,  2]`", "```python\nx = [1, 2]\n```", "And 12+30?", "42", "Sure?", "Yes, 42."],
]


@lru_cache
def vocabulary(tokenizer: str, shared: Path | None) -> Vocabulary:
    if tokenizer == "smollm2":
        return zoo.vocabulary(zoo.Tokenizer.from_str(zoo.smollm2().backend.to_str()))
    return zoo.vocabulary_named(tokenizer, shared)


@lru_cache
def peer(tokenizer: str, shared: Path | None):
    from transformers import PreTrainedTokenizerFast

    known = vocabulary(tokenizer, shared)
    return PreTrainedTokenizerFast(tokenizer_object=known.backend, **zoo.NAMES, clean_up_tokenization_spaces=False)


@lru_cache
def ours(template: str, tokenizer: str, shared: Path | None) -> Renderer:
    known = vocabulary(tokenizer, shared)
    if template in FORMATS:
        return Renderer(known, named_template(template, known), 10_000)
    return Renderer(known, JinjaTemplate(zoo.template_source(template), known, name=template), 10_000)


def chat(texts: list[str], system: str | None) -> Conversation:
    messages = [Message("system", system)] if system else []
    messages += [Message("assistant" if i % 2 else "user", text) for i, text in enumerate(texts)]
    return Conversation(tuple(messages), HERE)


def theirs(
    render: Renderer, tokenizer: str, shared: Path | None, conversation: Conversation, prompt: bool
) -> list[int]:
    assert isinstance(render.template, JinjaTemplate)
    messages = [{"role": m.role, "content": m.content} for m in conversation.messages]
    ids = peer(tokenizer, shared).apply_chat_template(
        messages,
        chat_template=render.template.source,
        add_generation_prompt=prompt,
        tokenize=True,
        return_dict=False,
    )
    assert isinstance(ids, list)
    return [int(i) for i in ids]  # type: ignore[arg-type]  # a flat list for one conversation


def check(template: str, tokenizer: str, shared: Path | None, conversation: Conversation) -> None:
    render = ours(template, tokenizer, shared)
    question = Conversation(conversation.messages[:-1], HERE)
    if template == "no_generation_prompt":
        assert len(render.prompt(question)) > len(theirs(render, tokenizer, shared, question, True))
    else:
        assert render.prompt(question).tolist() == theirs(render, tokenizer, shared, question, True)
    (row,) = render.render(conversation)
    ids = row.ids.tolist()
    whole = theirs(render, tokenizer, shared, conversation, False)
    if template in LAST_END_ADDED:
        assert ids.pop() == render.vocabulary.id_of("</s>")
        whole = whole[: len(ids)] if template == "text_only" else whole  # it writes two line breaks instead
    assert ids == whole


def skip_double_breaks(template: str, tokenizer: str) -> None:
    if template in DOUBLE_BREAK and tokenizer in GPT2_PRE_TOKENIZER:
        pytest.skip("joins the header's line breaks with what follows: see the module's docstring")


@pytest.mark.parametrize("tokenizer", list(zoo.TRAINED))
@pytest.mark.parametrize("template", [*FOREIGN, *FORMATS])
def test_trained_tokenizers(template: str, tokenizer: str) -> None:
    skip_double_breaks(template, tokenizer)
    for i, texts in enumerate(TALKS):
        system = "Be brief." if i % 2 and template != "gemma_no_system" else None
        check(template, tokenizer, None, chat(texts, system))


PAIRS = [
    ("llama2-old", "llama2_folded"),
    ("llama2-old", "zephyr_eos"),
    ("llama2-old", "chatglm3_no_end"),
    ("llama2-new", "mistral_late_system"),
    ("llama2-new", "gemma3_folded"),
    ("llama2-new", "vicuna"),
    ("gpt2", "qwen3_think"),
    ("smollm2", "alpaca"),
]


@pytest.mark.parametrize(("tokenizer", "template"), PAIRS)
def test_real_tokenizers(template: str, tokenizer: str, shared_data: Path) -> None:
    check_real(template, tokenizer, shared_data)


@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", [*zoo.REAL, "smollm2"])
@pytest.mark.parametrize("template", [*FOREIGN, *FORMATS])
def test_all_templates_on_real_tokenizers(template: str, tokenizer: str, shared_data: Path) -> None:
    check_real(template, tokenizer, shared_data)


def check_real(template: str, tokenizer: str, shared: Path) -> None:
    skip_double_breaks(template, tokenizer)
    for i, texts in enumerate(TALKS):
        system = "你是一个助手。" if i % 2 and template != "gemma_no_system" else None
        check(template, tokenizer, shared, chat(texts, system))


def test_smollm2_with_its_own_template() -> None:
    known = zoo.smollm2()
    source = known.chat_template
    assert source is not None
    render = Renderer(known, template_for("auto", known), 1000)
    assert render.stop_ids == (2, 0)  # <|im_end|>, and the <|endoftext|> of pretraining
    assert not known.adds_bos
    from transformers import PreTrainedTokenizerFast

    other = PreTrainedTokenizerFast(tokenizer_object=known.backend, bos_token="<|im_start|>", eos_token="<|im_end|>")
    for texts in TALKS:
        conversation = chat(texts, None)
        messages = [{"role": m.role, "content": m.content} for m in conversation.messages]
        (row,) = render.render(conversation)
        want = other.apply_chat_template(messages, chat_template=source, tokenize=True, return_dict=False)
        assert row.ids.tolist() == want
        assert "SmolLM" in known.decode(row.ids)  # the system prompt that the template itself puts in
        answers = known.decode(row.ids[row.trained])
        assert answers == "".join(f"{text}<|im_end|>" for text in texts[1::2])


words = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FFF, exclude_categories=["Cs", "Cn", "Z", "C", "M"]), min_size=1
)
sentence = st.lists(words, min_size=1, max_size=6).map(" ".join)
sentence = sentence.filter(lambda text: not any(token in text for token in (*zoo.CONTROL, *zoo.NAMES.values())))


@settings(max_examples=15)
@given(texts=st.lists(sentence, min_size=2, max_size=2))
@pytest.mark.parametrize("template", ["qwen2_tools", "llama2_folded", "zephyr_eos", "gemma3_folded", "vicuna"])
@pytest.mark.parametrize("tokenizer", ["llama3", "unigram"])
def test_any_words(template: str, tokenizer: str, texts: list[str]) -> None:
    check(template, tokenizer, None, chat(texts, None))


def test_unknown_to_transformers_is_only_what_we_add(shared_data: Path) -> None:
    """The tests above would pass on equal nonsense: two ids known from elsewhere."""
    render = ours("llama2_folded", "llama2-new", shared_data)
    ids = render.prompt(chat(["Hello"], None))
    assert ids[0] == 1
    assert 15043 in ids.tolist()  # "▁Hello" in Llama 2
    assert np.count_nonzero(ids == 1) == 1  # bos once, though the tokenizer's post-processor would add one too

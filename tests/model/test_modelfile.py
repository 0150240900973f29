"""Modelfiles: the Go template renders what the model's own template renders, and is left out where none is known."""

from __future__ import annotations

import re

import pytest
from go_template import render
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from camelid.data.records import Conversation, Message, Origin
from camelid.data.templates.jinja import JinjaTemplate
from camelid.data.templates.named import named_template
from camelid.data.vocabulary import Vocabulary
from camelid.model.modelfile import GO_TEMPLATES, known_layout, modelfile

CONTROL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
           "<start_of_turn>", "<end_of_turn>")  # fmt: skip


def vocabulary(*, adds_bos: bool = False) -> Vocabulary:
    """Bytes, and the control tokens of every format."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: index for index, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True) for token in CONTROL])
    return Vocabulary(backend, {"bos_token": "<s>", "eos_token": "</s>"}, adds_bos=adds_bos)


TALKS = [
    ["user"],
    ["system", "user"],
    ["user", "assistant", "user"],
    ["system", "user", "assistant", "user", "assistant", "user"],
]


def text_of(template: JinjaTemplate, roles: list[str]) -> str:
    turns = tuple(Message(role, f"words of {role} {i}。") for i, role in enumerate(roles))  # type: ignore[arg-type]
    pieces = template.pieces(Conversation(turns, Origin("test", 0)), add_generation_prompt=True)
    return "".join(piece.text for piece in pieces)


def go_source(name: str, system: str | None = None) -> str:
    from camelid.model.modelfile import PromptLayout

    text = modelfile("./m.gguf", PromptLayout(name, system), eos="</s>", stops=["</s>"])
    match = re.search(r'TEMPLATE """(.*?)"""', text, re.DOTALL)
    assert match
    return match[1]


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("name", GO_TEMPLATES)
def test_the_go_template_renders_as_the_format_does(name: str, adds_bos: bool) -> None:
    template = named_template(name, vocabulary(adds_bos=adds_bos))
    for roles in TALKS:
        messages = [{"Role": role, "Content": f"words of {role} {i}。"} for i, role in enumerate(roles)]
        expected = text_of(template, roles)
        if adds_bos:  # which Ollama puts there itself
            assert expected.startswith("<s>")
            expected = expected.removeprefix("<s>")
        assert render(go_source(name), messages) == expected, roles


@pytest.mark.parametrize("name", GO_TEMPLATES)
def test_a_format_is_known_by_what_it_renders(name: str) -> None:
    words = vocabulary()
    layout = known_layout(named_template(name, words), words)
    assert layout is not None
    assert go_source(layout.name) == go_source(name)
    assert layout.system is None


def test_the_system_prompt_that_a_template_brings_is_written_down() -> None:
    words = vocabulary()
    source = named_template("chatml", words).source
    own = "{%- if messages[0].role != 'system' %}{{ '<|im_start|>system\\nYou are a camel.<|im_end|>\\n' }}{% endif %}"
    layout = known_layout(JinjaTemplate(own + source, words), words)
    assert layout is not None
    assert (layout.name, layout.system) == ("chatml", "You are a camel.")
    text = modelfile("./m.gguf", layout, eos="</s>", stops=["<|im_end|>"])
    assert 'SYSTEM """You are a camel."""' in text
    assert 'PARAMETER stop "<|im_end|>"' in text


@pytest.mark.parametrize("change", [("assistant\\n", "bot\\n"), ("'\\n' + m.content", "' ' + m.content")])
def test_a_template_that_is_only_near_a_known_one_gets_none(change: tuple[str, str]) -> None:
    words = vocabulary()
    source = named_template("chatml", words).source
    assert change[0] in source
    assert known_layout(JinjaTemplate(source.replace(*change), words), words) is None
    assert "TEMPLATE" not in modelfile("./m.gguf", None, eos="</s>", stops=["</s>"])

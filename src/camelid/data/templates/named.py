"""Prompt formats by name, for bases that bring no chat template. Each is a Jinja source of ours, so that a finished
model carries it along and every server renders as we trained.

The wording of alpaca (Stanford), vicuna (FastChat, v1.1) and so on is a fact of each format: adapters in the world
expect it. A format whose control tokens the vocabulary lacks is refused, except where the format was made as text:
alpaca, vicuna, zephyr, llama2, mistral, chatglm and plain write their headers as text and end an answer with the
tokenizer's own eos.
"""

from __future__ import annotations

from dataclasses import dataclass

from camelid.data.templates.jinja import JinjaTemplate
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError


@dataclass(frozen=True, slots=True)
class Format:
    """A named format. `bos`: it writes bos itself; else bos is put first where the tokenizer's convention says so."""

    source: str
    needs: tuple[str, ...] = ()  # control tokens without which it is another format
    bos: bool = False
    eos: bool = True  # it ends answers with the tokenizer's eos


_NO_TOOLS = (
    "{% if tools %}{{ raise_exception('this template has no place for tools') }}{% endif %}"
    "{% for m in messages %}{% if m.role == 'tool' or m.tool_calls %}"
    "{{ raise_exception('this template has no place for tool calls') }}{% endif %}{% endfor %}"
)

# The system message, if it comes first, is taken out of the turns.
_SYSTEM_APART = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if m.role == 'system' %}"
    "{{ raise_exception('a system message may only stand first in this template') }}{% endif %}{% endfor %}"
)


def _alpaca(newline: str) -> str:
    return (
        _NO_TOOLS
        + _SYSTEM_APART
        + "{{ (system or 'Below is an instruction that describes a task. "
        + "Write a response that appropriately completes the request.') + '\n\n' }}"
        + "{% for m in turns %}{% if m.role == 'user' %}"
        + "{{ '### Instruction:\n' + m.content + '\n\n' }}"
        + "{% else %}{{ '### Response:"
        + newline
        + "' + m.content + eos_token }}"
        + "{% if not loop.last %}{{ '\n\n' }}{% endif %}{% endif %}{% endfor %}"
        + "{% if add_generation_prompt %}{{ '### Response:"
        + newline
        + "' }}{% endif %}"
    )


_CHATML = (
    _NO_TOOLS + "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

_PLAIN = (
    _NO_TOOLS + "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content + eos_token }}"
    "{% if not loop.last %}{{ '\n' }}{% endif %}{% else %}{{ m.content + '\n' }}{% endif %}{% endfor %}"
)

FORMATS: dict[str, Format] = {
    "alpaca": Format(_alpaca("")),
    "alpaca-lora": Format(_alpaca("\n")),
    "chatml": Format(_CHATML, needs=("<|im_start|>", "<|im_end|>"), eos=False),
    "plain": Format(_PLAIN),
}


def named_template(name: str, vocabulary: Vocabulary) -> JinjaTemplate:
    """The named format over this vocabulary. Raises UserError for an unknown name or an unfit vocabulary."""
    form = FORMATS.get(name)
    if form is None:
        raise UserError(f"no template is called {name!r}", mend="one of: auto, " + ", ".join(sorted(FORMATS)))
    missing = [token for token in form.needs if token not in vocabulary.control]
    if missing:
        mend = "choose alpaca, vicuna or plain, which are written as text, or a base that has them"
        raise UserError(
            f"template {name!r} needs the control tokens {' '.join(missing)}, which this tokenizer lacks",
            where=vocabulary.name,
            mend=mend,
        )
    if form.eos and vocabulary.eos is None:
        mend = "name the tokenizer's eos_token in tokenizer_config.json"
        raise UserError(
            f"template {name!r} ends an answer with eos, and this tokenizer has none", where=vocabulary.name, mend=mend
        )
    source = form.source
    if not form.bos and vocabulary.adds_bos:
        source = "{{ bos_token }}" + source
    return JinjaTemplate(source, vocabulary, name=name, trusted=True)


def choose_template(name: str, vocabulary: Vocabulary) -> JinjaTemplate:
    """`auto`: the tokenizer's own chat template; where it has none, the format its control tokens speak for, else
    alpaca. Any other name: that format. Raises UserError."""
    if name != "auto":
        return named_template(name, vocabulary)
    if vocabulary.chat_template is not None:
        return JinjaTemplate(vocabulary.chat_template, vocabulary, tool_source=vocabulary.tool_template)
    for form in ("chatml",):
        if all(token in vocabulary.control for token in FORMATS[form].needs):
            return named_template(form, vocabulary)
    return named_template("alpaca", vocabulary)

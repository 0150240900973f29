"""The sources of the named prompt formats, in Jinja: facts of formats that adapters and servers in the world expect.

Each is an ordinary chat template (`messages`, `add_generation_prompt`, `bos_token`, `eos_token`), so a finished model
carries it along. `m.input` is ours alone: an Alpaca row's input, where the row has one (elsewhere it follows the
instruction in `content`).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Format:
    """`needs`: control tokens without which it would be another format. `writes_bos`: it writes bos itself; else bos
    is put first where the tokenizer's convention says so. `ends_with_eos`: its answers end with the tokenizer's eos.
    `splits_input`: it shows an Alpaca input under a heading of its own. `glm_prefix`: GLM's two tokens go first."""

    source: str
    needs: tuple[str, ...] = ()
    writes_bos: bool = False
    ends_with_eos: bool = True
    splits_input: bool = False
    glm_prefix: bool = False


_NO_TOOLS = r"""
{%- if tools %}{{ raise_exception('this template has no place for tools') }}{% endif %}
{%- for m in messages %}
    {%- if m.role == 'tool' or m.tool_calls %}
        {{- raise_exception('this template has no place for tool calls and their results') }}
    {%- endif %}
{%- endfor %}"""

# `system`: the text of a system message that stands first; `turns`: the other messages.
_SYSTEM_APART = r"""
{%- set system = '' %}
{%- set turns = messages %}
{%- if messages and messages[0].role == 'system' %}
    {%- set system = messages[0].content %}
    {%- set turns = messages[1:] %}
{%- endif %}
{%- for m in turns %}
    {%- if m.role == 'system' %}
        {{- raise_exception('in this template a system message may only stand first') }}
    {%- endif %}
{%- endfor %}"""


def _alpaca(before_answer: str) -> str:
    """Stanford's wording. History stands before, turn by turn; a system message replaces the introduction."""
    return (
        _NO_TOOLS
        + _SYSTEM_APART
        + r"""
{%- if system %}
    {{- system + '\n\n' }}
{%- elif turns and turns[0].input %}
    {{- 'Below is an instruction that describes a task, paired with an input that provides further context. ' }}
    {{- 'Write a response that appropriately completes the request.\n\n' }}
{%- else %}
    {{- 'Below is an instruction that describes a task. ' }}
    {{- 'Write a response that appropriately completes the request.\n\n' }}
{%- endif %}
{%- for m in turns %}
    {%- if m.role == 'user' %}
        {{- '### Instruction:\n' + m.content + '\n\n' }}
        {%- if m.input %}{{ '### Input:\n' + m.input + '\n\n' }}{% endif %}
    {%- else %}
        {{- '### Response:BEFORE' + m.content + eos_token }}
        {%- if not loop.last %}{{ '\n\n' }}{% endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '### Response:BEFORE' }}{% endif %}""".replace("BEFORE", before_answer)
    )


_VICUNA = (
    _NO_TOOLS
    + _SYSTEM_APART
    + r"""
{%- if not system %}
    {%- set system = 'A chat between a curious user and an artificial intelligence assistant. ' +
        "The assistant gives helpful, detailed, and polite answers to the user's questions." %}
{%- endif %}
{{- system + ' ' }}
{%- for m in turns %}
    {%- if m.role == 'user' %}{{ 'USER: ' + m.content + ' ' }}
    {%- else %}{{ 'ASSISTANT: ' + m.content + eos_token }}{% endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"""
)

_CHATML = r"""
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}{{ messages[0].content + '\n\n' }}{% endif %}
    {{- 'These functions can be called. Each line describes one in JSON.\n<tools>\n' }}
    {%- for tool in tools %}{{ tool | tojson + '\n' }}{% endfor %}
    {{- '</tools>\nTo call one, write its name and its arguments in JSON:\n' }}
    {{- '<tool_call>\n{"name": NAME, "arguments": ARGUMENTS}\n</tool_call><|im_end|>\n' }}
{%- endif %}
{%- for m in messages %}
    {%- if not (tools and loop.first and m.role == 'system') %}
        {{- '<|im_start|>' + m.role + '\n' + m.content }}
        {%- for call in m.tool_calls or [] %}
            {%- if m.content or not loop.first %}{{ '\n' }}{% endif %}
            {%- set f = call.function if call.function else call %}
            {{- '<tool_call>\n{"name": ' + f.name | tojson + ', "arguments": ' }}
            {{- (f.arguments if f.arguments is string else f.arguments | tojson) + '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""

_LLAMA2 = (
    _NO_TOOLS
    + _SYSTEM_APART
    + r"""
{%- for m in turns %}
    {%- if m.role == 'user' %}
        {{- bos_token ~ '[INST] ' }}
        {%- if loop.first and system %}{{ '<<SYS>>\n' + system + '\n<</SYS>>\n\n' }}{% endif %}
        {{- m.content | trim + ' [/INST]' }}
    {%- else %}
        {{- ' ' + m.content | trim + ' ' + eos_token }}
    {%- endif %}
{%- endfor %}"""
)

_MISTRAL = (
    _NO_TOOLS
    + _SYSTEM_APART
    + r"""
{{- bos_token }}
{%- for m in turns %}
    {%- if m.role == 'user' %}
        {{- '[INST] ' }}
        {%- if loop.first and system %}{{ system + '\n\n' }}{% endif %}
        {{- m.content + ' [/INST]' }}
    {%- else %}
        {{- ' ' + m.content | trim + eos_token }}
    {%- endif %}
{%- endfor %}"""
)

_LLAMA3 = (
    _NO_TOOLS
    + r"""
{{- bos_token }}
{%- for m in messages %}
    {{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"""
)

_GEMMA = (
    _NO_TOOLS
    + _SYSTEM_APART
    + r"""
{{- bos_token }}
{%- for m in turns %}
    {%- if m.role == 'assistant' %}{{ '<start_of_turn>model\n' }}
    {%- else %}{{ '<start_of_turn>user\n' }}{% endif %}
    {%- if loop.first and system and m.role == 'user' %}{{ system + '\n\n' }}{% endif %}
    {{- m.content | trim + '<end_of_turn>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"""
)

_ZEPHYR = (
    _NO_TOOLS
    + r"""
{%- for m in messages %}
    {{- '<|' + m.role + '|>\n' + m.content + eos_token + '\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"""
)


def _chatglm(first_round: int, line: str) -> str:
    """Rounds are numbered by questions. ChatGLM-6B sent a lone first question bare; here it is a round like any
    other, so that a turn is laid out alike whether or not others follow. An answer ends with eos in each round."""
    return (
        _NO_TOOLS
        + _SYSTEM_APART
        + r"""
{%- if system %}{{ system + 'LINE' }}{% endif %}
{%- set n = namespace(round=FIRST) %}
{%- for m in turns %}
    {%- if m.role == 'user' %}
        {{- '[Round ' ~ n.round ~ ']LINE问：' + m.content + 'LINE' }}
        {%- set n.round = n.round + 1 %}
    {%- else %}
        {{- '答：' + m.content + eos_token }}
        {%- if not loop.last %}{{ 'LINE' }}{% endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '答：' }}{% endif %}""".replace("FIRST", str(first_round)).replace("LINE", line)
    )


# The next role's token ends an answer (and stops generation); after the last answer comes eos.
_CHATGLM3 = (
    _NO_TOOLS
    + r"""
{%- for m in messages %}{{ '<|' + m.role + '|>\n ' + m.content }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""
)

_PLAIN = (
    _NO_TOOLS
    + r"""
{%- for m in messages %}
    {%- if m.role == 'assistant' %}{{ m.content + eos_token }}{% if not loop.last %}{{ '\n' }}{% endif %}
    {%- else %}{{ m.content + '\n' }}{% endif %}
{%- endfor %}"""
)

FORMATS: dict[str, Format] = {
    "alpaca": Format(_alpaca(""), splits_input=True),
    "alpaca-lora": Format(_alpaca(r"\n"), splits_input=True),
    "chatglm": Format(_chatglm(0, r"\n")),
    "chatglm2": Format(_chatglm(1, r"\n\n"), glm_prefix=True),
    "chatglm3": Format(_CHATGLM3, needs=("<|system|>", "<|user|>", "<|assistant|>"), glm_prefix=True),
    "chatml": Format(_CHATML, needs=("<|im_start|>", "<|im_end|>"), ends_with_eos=False),
    "gemma": Format(_GEMMA, needs=("<start_of_turn>", "<end_of_turn>"), writes_bos=True, ends_with_eos=False),
    "llama2": Format(_LLAMA2, writes_bos=True),
    "llama3": Format(
        _LLAMA3,
        needs=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        writes_bos=True,
        ends_with_eos=False,
    ),
    "mistral": Format(_MISTRAL, writes_bos=True),
    "plain": Format(_PLAIN),
    "vicuna": Format(_VICUNA),
    "zephyr": Format(_ZEPHYR),
}

# Where a base brings no template of its own, its control tokens may tell which format it was made for.
TOLD_BY_TOKENS = ("chatml", "llama3", "gemma", "chatglm3")

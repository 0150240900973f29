"""Ollama's Modelfile: where the model lies, how a prompt is laid out, where an answer stops.

Ollama lays prompts out by a template in Go's language, not by the Jinja template in the GGUF file. For the prompt
formats known here such a template is written, but only after the model's own template has been seen to render several
conversations exactly as the known format does. For any other one nothing is written rather than something near it.

Format: https://github.com/ollama/ollama/blob/main/docs/modelfile.mdx and docs/template.mdx. Ollama puts bos before the
prompt itself where the GGUF file asks for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from camelid.data.records import Conversation, Message, Origin
from camelid.data.templates.base import RowFault, Template
from camelid.data.templates.formats import FORMATS
from camelid.data.templates.named import named_template
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError

_CHATML = "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
_LLAMA3 = (
    "{{- range .Messages }}<|start_header_id|>{{ .Role }}<|end_header_id|>\n\n{{ .Content }}<|eot_id|>{{ end }}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
# A system message goes into the first question.
_GEMMA = (
    '{{- range $i, $m := .Messages }}{{- if eq .Role "user" }}<start_of_turn>user\n'
    "{{ if and $.System (le $i 1) }}{{ $.System }}\n\n{{ end }}{{ .Content }}<end_of_turn>\n"
    '{{ else if eq .Role "assistant" }}<start_of_turn>model\n{{ .Content }}<end_of_turn>\n{{ end }}{{ end }}'
    "<start_of_turn>model\n"
)
_MISTRAL = (
    '{{- range $i, $m := .Messages }}{{- if eq .Role "user" }}[INST] '
    "{{ if and $.System (le $i 1) }}{{ $.System }}\n\n{{ end }}{{ .Content }} [/INST]"
    '{{ else if eq .Role "assistant" }} {{ .Content }}EOS{{ end }}{{ end }}'
)
_ZEPHYR = "{{- range .Messages }}<|{{ .Role }}|>\n{{ .Content }}EOS\n{{ end }}<|assistant|>\n"
_VICUNA = (
    "{{- if .System }}{{ .System }}{{ else }}A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions.{{ end }} "
    '{{ range .Messages }}{{- if eq .Role "user" }}USER: {{ .Content }} '
    '{{ else if eq .Role "assistant" }}ASSISTANT: {{ .Content }}EOS{{ end }}{{ end }}ASSISTANT:'
)


def _alpaca(before_answer: str) -> str:
    return (
        "{{- if .System }}{{ .System }}{{ else }}Below is an instruction that describes a task. "
        "Write a response that appropriately completes the request.{{ end }}\n\n"
        '{{ range .Messages }}{{- if eq .Role "user" }}### Instruction:\n{{ .Content }}\n\n'
        f'{{{{ else if eq .Role "assistant" }}}}### Response:{before_answer}{{{{ .Content }}}}EOS\n\n'
        f"{{{{ end }}}}{{{{ end }}}}### Response:{before_answer}"
    )


# Format name -> Go template; EOS stands for the tokenizer's end token.
GO_TEMPLATES = {
    "chatml": _CHATML,
    "llama3": _LLAMA3,
    "gemma": _GEMMA,
    "mistral": _MISTRAL,
    "zephyr": _ZEPHYR,
    "vicuna": _VICUNA,
    "alpaca": _alpaca(""),
    "alpaca-lora": _alpaca("\n"),
}


@dataclass(frozen=True, slots=True)
class PromptLayout:
    """A known format, and the system prompt that the model's own template writes where none is given."""

    name: str
    system: str | None


def known_layout(template: Template, vocabulary: Vocabulary) -> PromptLayout | None:
    """The known format that a template renders conversations by, if it is one of them."""
    for name in GO_TEMPLATES:
        form = FORMATS[name]
        if any(token not in vocabulary.control for token in form.needs):
            continue
        try:
            known = named_template(name, vocabulary)
        except UserError:  # the vocabulary does not fit that format
            continue
        layout = _same(template, known, name)
        if layout is not None:
            return layout
    return None


_TALKS = (("user",), ("user", "assistant", "user"), ("user", "assistant", "user", "assistant", "user"))
_SYSTEM = "Answer briefly."


def _same(template: Template, known: Template, name: str) -> PromptLayout | None:
    """With a system message both must render alike; without one too, or as with the one that the model brings."""
    if any(_render(template, talk, _SYSTEM) != _render(known, talk, _SYSTEM) for talk in _TALKS):
        return None
    if all(_render(template, talk, None) == _render(known, talk, None) for talk in _TALKS):
        return PromptLayout(name, None)
    before, _, after = (_render(known, _TALKS[0], _SYSTEM) or "").partition(_SYSTEM)
    alone = _render(template, _TALKS[0], None) or ""
    if not (before and alone.startswith(before) and alone.endswith(after)):
        return None
    own = alone[len(before) : len(alone) - len(after)]
    if any(_render(template, talk, None) != _render(known, talk, own) for talk in _TALKS):
        return None
    return PromptLayout(name, own)


def _render(template: Template, roles: Sequence[str], system: str | None) -> str | None:
    head = [] if system is None else [Message("system", system)]
    turns = [Message(role, f"{role} {i}") for i, role in enumerate(roles)]  # type: ignore[arg-type]
    conversation = Conversation((*head, *turns), Origin("Modelfile", 0))
    try:
        return "".join(piece.text for piece in template.pieces(conversation, add_generation_prompt=True))
    except RowFault:
        return None


def modelfile(
    model: str, layout: PromptLayout | None, *, eos: str, stops: Sequence[str], adapter: str | None = None
) -> str:
    """The file's text. model, adapter: paths beside it; stops: the tokens at which an answer ends."""
    lines = [f"FROM {model}"]
    if adapter is not None:
        lines.append(f"ADAPTER {adapter}")
    if layout is None:
        lines.append("# The chat template is in the GGUF file. It is not one for which a Go template is known here, so")
        lines.append("# Ollama will look for a similar one of its own: compare its prompts before you rely on them.")
    else:
        template = GO_TEMPLATES[layout.name].replace("EOS", eos)
        lines.append(f'TEMPLATE """{template}"""')
        if layout.system is not None:
            lines.append(f'SYSTEM """{layout.system}"""')
    lines += [f"PARAMETER stop {_quoted(stop)}" for stop in stops]
    lines.append("PARAMETER temperature 0")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

"""Choosing a template: the tokenizer's own, or a prompt format by name (their sources are in `formats.py`).

A format whose control tokens the vocabulary lacks is refused: spelled as text it would be another format. alpaca,
vicuna, zephyr, llama2, mistral, chatglm, chatglm2 and plain were made as text (zephyr's headers and `[INST]` become
control tokens where the vocabulary has them) and need only the tokenizer's eos, with which their answers end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from camelid.data.templates.formats import FORMATS, TOLD_BY_TOKENS
from camelid.data.templates.jinja import JinjaTemplate
from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError

DEFAULT = "alpaca"  # for a base without template and without control tokens of any format


def template_for(
    name: str,
    vocabulary: Vocabulary,
    *,
    now: str | None = None,
    variables: Mapping[str, Any] | None = None,
    announce: Callable[[str], None] | None = None,
) -> JinjaTemplate:
    """The template of that name. `auto`: the tokenizer's own chat template; where it has none, the format that its
    control tokens speak for, else alpaca; said through `announce`.

    now: the ISO time that a foreign template may ask for, so that a resumed run renders as it began.
    variables: more that the tokenizer's own template may ask for, such as {"enable_thinking": False}.
    Raises UserError for an unknown name or an unfit vocabulary.
    """
    say = announce or (lambda line: None)
    if name != "auto":
        return named_template(name, vocabulary)
    if vocabulary.chat_template is not None:
        return JinjaTemplate(
            vocabulary.chat_template,
            vocabulary,
            tool_source=vocabulary.tool_template,
            now=now,
            variables=variables or {},
        )
    for told in TOLD_BY_TOKENS:
        if all(token in vocabulary.control for token in FORMATS[told].needs):
            say(f"template: the base has no chat template of its own; its control tokens are those of {told}")
            return named_template(told, vocabulary)
    say(f"template: the base has no chat template and no control tokens of a known format; taking {DEFAULT}")
    return named_template(DEFAULT, vocabulary)


def named_template(name: str, vocabulary: Vocabulary) -> JinjaTemplate:
    """The named format over this vocabulary. Raises UserError for an unknown name or an unfit vocabulary."""
    form = FORMATS.get(name)
    if form is None:
        raise UserError(f"no template is called {name!r}", where="template", mend="one of: auto, " + ", ".join(FORMATS))
    missing = [token for token in form.needs if token not in vocabulary.control]
    if missing:
        what = f"template {name!r} needs control tokens that this tokenizer lacks: {' '.join(missing)}"
        mend = "take auto, or alpaca, vicuna or plain, which are written as text"
        raise UserError(what, where=vocabulary.name, mend=mend)
    if form.ends_with_eos and vocabulary.eos is None:
        what = f"template {name!r} ends an answer with eos, and this tokenizer has none"
        raise UserError(what, where=vocabulary.name, mend="name its eos_token in tokenizer_config.json")
    prefix = ""
    if form.glm_prefix:
        start = next((s for s in ("<sop>", "sop") if s in vocabulary.control), None)
        prefix = "[gMASK]" + start if start and "[gMASK]" in vocabulary.control else ""
    if vocabulary.adds_bos and not form.writes_bos and not prefix:
        prefix = "{{ bos_token }}"
    source = form.source.lstrip("\n")
    if not vocabulary.adds_bos:
        source = source.replace("bos_token", "''")  # this tokenizer's texts begin without one, whatever it is named
    return JinjaTemplate(prefix + source, vocabulary, name=name, trusted=True, splits_input=form.splits_input)

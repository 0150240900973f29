"""What belongs to templates and not to texts: control tokens, headings of prompts, names of speakers, placeholders."""

from __future__ import annotations

import re

from camelid.data.factory.lint.patterns import either
from camelid.data.factory.lint.residue import about_code
from camelid.data.factory.lint.sample import Exchange, Sample, Turn, around

_CONTROL_TOKEN = either(
    r"<\|[A-Za-z_][\w /\-]{0,40}\|>|<｜[^｜<>]{1,40}｜>|\[/?INST\]|<</?SYS>>|</s>|(?:^|\n)<s>|<(?:unk|pad|bos|eos)>",
    r"<(?:start|end)_of_turn>|<(?:begin|end)_of_(?:text|sentence|image)>|\[gMASK\]|<sop>|<eop>|<eod>|<eo[aht]>",
    r"<reserved_\d+>|<\|?(?:im_start|im_end|endoftext|eot_id)\|?>|<extra_id_\d+>|<unused\d+>|<0x[0-9A-F]{2}>",
    r"\[\|(?:human|ai|assistant|user|system)\|\]|(?:^|\n)<(?:human|bot|assistant|user)>[:：]|<tool_call>\s*$",
    r"(?:^|\n)\[(?:CLS|BOS)\]|\[(?:SEP|EOS|PAD|UNK)\]\s*$|(?:\[PAD\]){2,}",
)


def control_token(turn: Turn) -> str | None:
    """The spelling of a control token: in training it stays text, and teaches the model to write it out."""
    text = turn.text
    if "<" not in text and "[" not in text:
        return None
    match = _CONTROL_TOKEN.search(turn.prose)  # in marked code it is what the text is about
    return around(turn.prose, match.start(), match.end()) if match else None


_TEMPLATE_SIGNS = ("#", "USER", "elow is an", "[R", "A chat between", "Write a response that", "BEGINNING")
_TEMPLATE_TEXT = re.compile(
    "|".join(
        (
            r"^#{2,4} ?(?:Instruction|Response|Human|Assistant|User|System)s?[:：]",
            r"^#{3} ?(?:指令|回答|回复|输入|输出)[:：]|^#{3} ?(?:Input|Output)[:：]\s*$|^### ?(?:Response"
            r"|Instruction)\b",
            r"Below is an instruction that describes a task|Write a response that appropriately completes the request",
            r"A chat between a curious (?:user|human) and an artificial intelligence assistant"
            r"|USER: .{0,400}\bASSISTANT:",
            r"以下是一个描述任务的指令|下面是一个描述任务的指令|^\[Round \d+\]|^(?:BEGINNING OF CONVERSATION"
            r"|<start_chat>)",
        )
    ),
    re.MULTILINE | re.DOTALL,
)


def template_text(turn: Turn) -> str | None:
    """The words that a prompt template puts around a question or an answer."""
    text = turn.text
    if turn.role == "system" or (turn.ascii and not any(sign in text for sign in _TEMPLATE_SIGNS)):
        return None
    match = _TEMPLATE_TEXT.search(turn.prose)
    return around(turn.prose, match.start(), match.end()) if match else None


_ASKER, _ANSWERER = "Human|User|USER", "Assistant|ASSISTANT|AI|Bot|Chatbot|ChatGPT|GPT"
_ASKER_ZH, _ANSWERER_ZH = "用户|人类|提问者", "助手|机器人"
_NAMED = rf"(?:\*\*)?(?:{_ASKER}|{_ANSWERER})(?:\*\*)?\s?[:：]"
_SPEAKER = re.compile(
    # a sentence; or behind a blank line; or both of them
    rf"(?:^|\n)\s*{_NAMED}[ \t]*\S+(?:[ \t]+\S+){{2}}|\n\s*\n\s*{_NAMED}\s*\S"
    rf"|\n\s*(?:{_ASKER})[:：][^\n]*\n\s*(?:{_ANSWERER})[:：]"
    rf"|(?:^|\n)\s*(?:\*\*)?(?:{_ASKER_ZH}|{_ANSWERER_ZH})(?:\*\*)?\s?[:：]\s*\S{{2}}"
)
_NEXT_TASK = re.compile(
    r"\n\s*(?:\d+\. )?(?:Instruction|Input)[:：][^\n]*\n(?:[^\n]*\n)?\s*Output[:：]|\n(?:指令"
    r"|输入)[:：][^\n]*\n\s*输出[:：]"
)
_ABOUT_TALK = either(
    r"dialog|conversat|chat|script|interview|transcript|role[ -]?play|skit|scene|play\b|debate|discussion|support"
    r"|customer",
    r"bot\b|assistant\b|\bAI\b|speech|exchange|q\s?&\s?a|\bqa\b|question|interact|story|respond|reply|talk|sms"
    r"|message|example",
    "对话|聊天|剧本|台词|采访|访谈|脚本|客服|扮演|辩论|问答|提问|交谈|机器人|助手|相声|小品|模拟|问题|回复|故事|例子"
    "|示例|算法|程序",
)


def turns_in_answer(exchange: Exchange) -> str | None:
    """An answer that goes on with the next turns of the talk, or begins with the name of its speaker."""
    text = exchange.answer.text
    if ":" not in text and "：" not in text:
        return None
    task = _NEXT_TASK.search(text)
    if task is not None and not exchange.answer.code and not exchange.asks(_ABOUT_TALK):
        return around(text, task.start(), task.end())
    first = _SPEAKER.search(text)
    if first is None or exchange.asks(_ABOUT_TALK) or exchange.asks(_SPEAKER):
        return None
    return around(text, first.start(), first.end())


_PLACEHOLDER = either(
    r"(?<![$\\{%#\w])\{\{? ?(?:input|instruction|output|question|answer|context|prompt|query|response|history|text"
    r"|system"
    r"|user|message|content|name|topic|title|date)s? ?\}?\}",
    r"\[(?:insert|put|add|enter) [^\]\n]{2,40}\]|<(?:insert|your) [^>\n]{2,40}>|\bTODO\b[:：]",
    r"[\[【](?:此处|在此|请)(?:填写|插入|输入)[^\]】\n]{0,20}[\]】]|（此处省略[^）]{0,20}）",
)
_PLACEHOLDER_SIGNS = re.compile(r"[{\[<【]|TODO|（此处")
_WANTS_FORM = either(
    r"template|form\b|letter|e-?mail|placeholder|variable|fill|format|script|message|invitation|contract|agreement"
    r"|memo",
    r"announcement|cover|press release|模板|模版|填写|邮件|信|格式|合同|通知|占位|变量|\[|\{|【",
)


def placeholder_left(sample: Sample) -> str | None:
    """The name of a field where its value should be."""
    for exchange in sample.exchanges:
        for turn in (exchange.question, exchange.answer):
            match = _PLACEHOLDER.search(turn.prose) if _PLACEHOLDER_SIGNS.search(turn.text) else None
            if match and not about_code(sample) and (turn is exchange.question or not exchange.asks(_WANTS_FORM)):
                return around(turn.prose, match.start(), match.end())
    return None


_NO_INPUT = frozenset(
    (
        *("<noinput>", "noinput", "no input", "<no input>", "[no input]", "(no input)", "no input required", "n/a"),
        *("none", "null", "nan", "not applicable", "no input needed", "无", "无输入", "空", "没有输入", "不需要输入"),
        *("无需输入", "<无输入>", "（无输入）", "（无）", "暂无", "未输入"),
    )
)
_NO_INPUT_TAG = re.compile(r"<\s?no ?input\s?>|\[\s?no ?input\s?\]|<无输入>", re.IGNORECASE)


def no_input_marker(exchange: Exchange) -> str | None:
    """An input that says that there is none: the model learns to see it."""
    given = exchange.input
    if given and len(given) < 40 and given.strip(" \n.。").lower() in _NO_INPUT:
        return f"“{given.strip()}”"
    text = exchange.question.text
    if ("<" in text or "[" in text) and (match := _NO_INPUT_TAG.search(text)):
        return around(text, match.start(), match.end())
    return None

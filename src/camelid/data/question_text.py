"""A question as running text, for a base that was not trained to answer: two examples, then the question.

Such a base answers what it knows when the text before makes an answer likely (Brown et al. 2020): Gemma 3 270M had 8 of
193 plain questions right in a chat template that it never saw, and 108 so.
"""

from __future__ import annotations

_ASKED = {"en": "Question: {}\nAnswer:", "zh": "问题：{}\n回答："}
_EXAMPLES = {
    "en": (
        ("What is the capital of Turkey?", " Ankara."),
        ("What do people wear on their heads in winter?", " A hat."),
    ),
    "zh": (("土耳其的首都是哪里？", "安卡拉。"), ("冬天人们头上戴什么？", "帽子。")),
}


def asked(question: str, language: str) -> str:
    """The question alone, up to where its answer begins."""
    return _ASKED[language].format(question)


def asked_after_examples(question: str, language: str) -> str:
    """The question behind two that are answered."""
    examples = [asked(text, language) + answer for text, answer in _EXAMPLES[language]]
    return "\n\n".join([*examples, asked(question, language)])

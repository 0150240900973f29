"""What lint knows: the name of each fault, how grave it is, its words in both languages, and what mends it.

error: the text is broken, training would teach nothing or what must never be taught, or a number stands in it that the
law protects; lint then ends with exit code 1. warning: probably not what the row's maker wanted. note: look at it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from camelid.runs.report_words import Words

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
SEVERITY_WORDS = {
    "error": Words("error", "错误"),
    "warning": Words("warning", "警告"),
    "note": Words("note", "提示"),
}


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault. mend: advice; command: what does it, "" where nothing can

    Of a command {data} stands for the sources, {base} and {max_length} for what lengths were measured with.
    """

    name: str
    severity: Severity
    title: Words
    mend: Words
    command: str = ""


_CLEAN = "camelid data clean {data} --output clean.jsonl"
_CUT = "camelid data clean {data} --output shorter.jsonl --base {base} --max-length {max_length}"
_EXACT = "camelid data dedup {data} --output unlike.jsonl --method exact --on all"
_NEAR = "camelid data dedup {data} --output unlike.jsonl --method minhash --on all --threshold 0.6"
_FIRST = "camelid data dedup {data} --output unlike.jsonl --method exact --on prompt"
_SCRIPT = "camelid data translate {data} --output simplified.jsonl --script simplified"

_IN_FILE = Words("mend the row in its file; training would reject it", "在文件中修好这一行；训练时会拒绝它")
_TURNS = Words("bring the turns into order", "理顺各轮顺序")
_FROM_LATIN = Words(
    "read the source as UTF-8, or turn it back: text.encode('cp1252').decode('utf-8')",
    "用 UTF-8 重新读取原文件，或还原：text.encode('cp1252').decode('utf-8')",
)
_FROM_GBK = Words(
    "read the source as UTF-8, or turn it back: text.encode('gbk').decode('utf-8')",
    "用 UTF-8 重新读取原文件，或还原：text.encode('gbk').decode('utf-8')",
)
_DECODE = Words(
    "read the source again in its own encoding; what was lost cannot be won back",
    "用正确的编码重新读取原文件；已丢失的字符无法恢复",
)
_REPAIR = Words("clean the text", "清洗文本")
_REPLACE = Words("replace them in the file", "在文件中替换")
_CUT_OUT = Words("take it out of the text, or leave the row out", "从文本中删去，或去掉这一行")
_ONE_SCRIPT = Words("bring all into one script", "统一为一种字体")
_ANSWER = Words(
    "leave the row out, or have its question answered again (camelid data answer)",
    "去掉这一行，或重新生成回答（camelid data answer）",
)
_REWRITE = Words("have it written again by a speaker of the language", "请母语者改写")
_LOOK = Words("look at the rows; keep what is meant", "查看这些行，有意为之的保留")
_EMPTY_INPUT = Words("make the input empty", "把 input 改为空")
_RENAME = Words(
    "leave the row out, or put your own name there (--vendor rewrite --name NAME --maker MAKER)",
    "去掉这一行，或换成自己的身份（--vendor rewrite --name 名称 --maker 厂商）",
)
_CORRECT = Words("correct it, or leave the row out", "改正，或去掉这一行")
_SHORTEN = Words(
    "raise max_length in the recipe, or cut conversations between exchanges; what does not fit is cut off in training",
    "在配方中提高 max_length，或在轮次之间切分；放不下的部分训练时会被截掉",
)
_ADD_TEXT = Words("add the text, or leave the row out", "补上文本，或去掉这一行")
_MASK = Words("mask it, or leave the row out", "脱敏，或去掉这一行")
_LATER = Words("drop the later ones", "去掉后面的")
_RIGHT = Words("find the right one; the command keeps the first", "找出正确的；该命令只保留第一条")
_MEANT = Words("keep them if they are meant; the command keeps the first", "有意为之可保留；该命令只保留第一条")
_BALANCE = Words(
    "add rows of the rare labels, or weigh them as a source of their own (camelid data mix)",
    "补充少数类，或单独作为一个数据源加权（camelid data mix）",
)
_UNJUDGED = Words(
    "leave the row out: a model that learnt it cannot be judged by that set",
    "去掉这一行：学过它的模型无法再用该评测集评价",
)


def _kind(name: str, severity: Severity, en: str, zh: str, mend: Words, command: str = "") -> Kind:
    return Kind(name, severity, Words(en, zh), mend, command)


KINDS: tuple[Kind, ...] = (
    # rows
    _kind("unreadable-row", "error", "row that no reader can use", "无法读取的行", _IN_FILE),
    _kind(
        "role-order",
        "warning",
        "turns out of order: some are left out in training",
        "角色顺序有误：部分轮次会被舍弃",
        _TURNS,
        _CLEAN,
    ),
    # encoding
    _kind(
        "mojibake-latin1",
        "error",
        "mojibake: UTF-8 read as Latin-1 (cafÃ©)",
        "乱码：UTF-8 被当作 Latin-1（ä½ å¥½）",
        _FROM_LATIN,
    ),
    _kind(
        "mojibake-gbk",
        "error",
        "mojibake: Chinese in a wrong encoding (浣犲ソ, 锟斤拷)",
        "乱码：中文编码错误（浣犲ソ、锟斤拷）",
        _FROM_GBK,
    ),
    _kind(
        "replacement-character", "error", "characters lost in a conversion (\\ufffd, ????)", "转换时丢失的字符", _DECODE
    ),
    # residue
    _kind("control-characters", "warning", "control characters", "控制字符", _REPLACE),
    _kind(
        "invisible-characters",
        "warning",
        "invisible characters (zero width, directions)",
        "不可见字符（零宽、方向标记）",
        _REPAIR,
        _CLEAN,
    ),
    _kind(
        "escapes-left",
        "warning",
        "a program's escapes in plain text (\\n, \\u4f60)",
        "正文中残留转义符（\\n、\\u4f60）",
        _REPLACE,
    ),
    _kind("html-left", "warning", "HTML tags or entities in plain text", "正文中残留 HTML 标签或实体", _REPAIR, _CLEAN),
    _kind(
        "page-leftovers",
        "warning",
        "leftovers of a web page (Copy code)",
        "网页残留（复制代码、引用标记）",
        _REPAIR,
        _CLEAN,
    ),
    # script and width
    _kind(
        "script-mix",
        "warning",
        "simplified and traditional Chinese in one row",
        "同一行内简繁混用",
        _ONE_SCRIPT,
        _SCRIPT,
    ),
    _kind(
        "script-minority",
        "note",
        "rows in the rarer Chinese script of the set",
        "数据集中占少数的简体或繁体行",
        _ONE_SCRIPT,
        _SCRIPT,
    ),
    _kind(
        "fullwidth-letters",
        "note",
        "full-width letters or digits (ＡＢＣ１２３)",
        "全角字母或数字（ＡＢＣ１２３）",
        _REPLACE,
    ),
    _kind(
        "halfwidth-punctuation",
        "note",
        "half-width punctuation between Chinese characters",
        "中文之间使用半角标点",
        _REPLACE,
    ),
    _kind("fullwidth-punctuation", "note", "full-width punctuation in English", "英文中使用全角标点", _REPLACE),
    _kind("spaced-characters", "warning", "blanks between Chinese words", "中文词语之间有空格（分词残留）", _REPLACE),
    _kind("doubled-punctuation", "note", "punctuation doubled", "重复的标点", _REPLACE),
    # language
    _kind("language-drift", "warning", "answer in another language than its question", "回答与提问语言不一致", _ANSWER),
    _kind(
        "untranslated-left",
        "warning",
        "sentence of another language inside an answer",
        "回答中夹有另一语言的整句",
        _ANSWER,
    ),
    _kind(
        "translationese",
        "note",
        "translationese: put into the language word by word",
        "翻译腔：逐词直译的表达",
        _REWRITE,
    ),
    # endings
    _kind("answer-empty", "error", "no answer, or a word that stands for none", "回答为空，或只有占位词", _ANSWER),
    _kind("answer-void", "note", "answer that says there is none (N/A)", "以“无”“N/A”作答", _LOOK),
    _kind("answer-cut-off", "warning", "answer cut off", "回答被截断", _ANSWER),
    _kind("answer-no-end-mark", "note", "last sentence without an end mark", "最后一句缺少结束标点", _LOOK),
    _kind("code-fence-open", "warning", "code block that is not closed", "代码块没有闭合", _ANSWER),
    # leaks
    _kind("control-token", "error", "control token of a template in the text", "正文中出现模板的控制 token", _CUT_OUT),
    _kind("template-text", "error", "words of a prompt template in the text", "正文中出现提示模板的文字", _CUT_OUT),
    _kind(
        "turns-in-answer", "warning", "answer goes on with the next speaker's turn", "回答中续写了下一轮对话", _CUT_OUT
    ),
    _kind("placeholder-left", "warning", "placeholder that was never filled in", "未填写的占位符", _CUT_OUT),
    _kind(
        "no-input-marker",
        "warning",
        "input that says there is none (<noinput>)",
        "用文字表示“无输入”（<noinput>、无）",
        _EMPTY_INPUT,
    ),
    # voice
    _kind(
        "vendor-disclaimer", "warning", "“as an AI language model …”", "“作为一个人工智能语言模型……”", _REPAIR, _CLEAN
    ),
    _kind(
        "vendor-identity",
        "warning",
        "answer names itself as another maker's model",
        "自称是其他厂商的模型",
        _RENAME,
        _CLEAN,
    ),
    _kind("answer-refuses", "note", "answer declines", "拒绝回答", _LOOK),
    # shape
    _kind("repetition-loop", "warning", "text that repeats itself", "文本陷入重复", _ANSWER),
    _kind("answer-echoes-prompt", "warning", "answer only repeats what was asked", "回答只是重复提问", _ANSWER),
    _kind("list-misnumbered", "note", "numbered list that leaves out or repeats a number", "编号列表缺号或重号", _LOOK),
    _kind("too-few-items", "note", "fewer items than were asked for", "条目数少于要求", _LOOK),
    _kind("answer-too-short", "note", "far shorter than was asked for", "远短于要求的长度", _LOOK),
    _kind("wrong-sum", "warning", "sum whose result is false", "算式结果有误", _CORRECT),
    _kind("over-long", "warning", "longer than training reads", "超过训练长度", _SHORTEN, _CUT),
    _kind("input-missing", "warning", "question about a text that is not there", "提问所指的文本不存在", _ADD_TEXT),
    _kind("needs-picture", "note", "question about a picture or file", "提问涉及模型看不到的图片或文件", _LOOK),
    # personal data
    _kind("pii-id-cn", "error", "Chinese identity number (check digit right)", "身份证号（校验位正确）", _MASK),
    _kind(
        "pii-bank-card",
        "error",
        "bank card or account number (check digits right)",
        "银行卡号或账号（校验位正确）",
        _MASK,
    ),
    _kind("secret", "error", "key or password", "密钥或密码", _MASK),
    _kind("pii-phone-cn", "warning", "Chinese mobile number", "手机号码", _MASK),
    _kind("pii-phone-foreign", "warning", "telephone number outside China", "境外电话号码", _MASK),
    _kind("pii-landline-cn", "note", "Chinese landline number", "固定电话号码", _MASK),
    _kind("pii-email", "warning", "e-mail address of a person", "个人邮箱地址", _MASK),
    _kind("pii-ssn-us", "warning", "number like a US social security number", "疑似美国社会安全号", _MASK),
    _kind("pii-ip", "note", "public IP address", "公网 IP 地址", _MASK),
    # the whole set
    _kind("exact-duplicate", "warning", "row that is there already", "完全重复的行", _LATER, _EXACT),
    _kind("near-duplicate", "warning", "row that is almost there already", "近似重复的行", _LATER, _NEAR),
    _kind(
        "contradicting-answers",
        "warning",
        "same prompt, answers that cannot both be right",
        "同一提问，回答互相矛盾",
        _RIGHT,
        _FIRST,
    ),
    _kind("several-answers", "note", "same prompt, another answer", "同一提问，另一种回答", _MEANT, _FIRST),
    _kind("label-imbalance", "warning", "labels out of balance", "标签不均衡", _BALANCE),
    _kind("evaluation-leak", "error", "text of an evaluation set", "评测集泄漏", _UNJUDGED),
)
BY_NAME = {kind.name: kind for kind in KINDS}

"""The words of the page in both languages."""

from __future__ import annotations

from camelid.runs.report_words import Words

SIDE = {
    "prompt": Words("prompt", "提问"),
    "answer": Words("answer", "回答"),
    "whole": Words("whole", "整段"),
}
LANGUAGE = {
    "en": Words("English", "英文"),
    "zh": Words("Chinese", "中文"),
    "mixed": Words("Chinese and English mixed", "中英混合"),
    "code": Words("mostly code", "以代码为主"),
    "other": Words("another language", "其他语言"),
    "none": Words("no letters", "没有文字"),
}
SCRIPT = {
    "Latin": Words("Latin", "拉丁字母"),
    "Han": Words("Chinese characters", "汉字"),
    "Kana": Words("kana", "假名"),
    "Hangul": Words("Hangul", "谚文"),
    "Cyrillic": Words("Cyrillic", "西里尔字母"),
    "Greek": Words("Greek", "希腊字母"),
    "Arabic": Words("Arabic", "阿拉伯字母"),
    "Hebrew": Words("Hebrew", "希伯来字母"),
    "Devanagari": Words("Devanagari", "天城文"),
    "Thai": Words("Thai", "泰文"),
    "other": Words("other letters", "其他文字"),
}
WORDS = {
    "title": Words("Data statistics", "数据统计"),
    "and_more": Words("{name} and {more} more", "{name} 和另外 {more} 个"),
    "rows": Words("rows", "行"),
    "rejected": Words("{rows} could not be read", "{rows} 行读不了"),
    "median": Words("{measure}: the median {side}", "{side}长度中位数（{measure}）"),
    "in_characters": Words("characters", "字符"),
    "in_tokens": Words("tokens", "token"),
    "up_to": Words("95% up to {p95}", "95% 不超过 {p95}"),
    "near_prompts": Words("of the prompts are like an earlier one", "的提问与前面的相似"),
    "exactly": Words("{share} exactly", "其中完全相同 {share}"),
    "pairs": Words("different verb–object pairs", "不同的动宾组合"),
    "entropy": Words("entropy {bits} bits", "熵 {bits} 比特"),
    "languages": Words("Languages", "语言"),
    "languages_lead": Words(
        "By the letters of each text: English or Chinese is what has four fifths of its letters in that script (and, "
        "in Latin letters, no more small words of another language than of English); mixed holds a tenth or more of "
        "each.",
        "按文字判断：八成以上是该文字的算英文或中文（拉丁字母的文本还要看虚词是不是英文的）；两种各占一成以上的算混合。",
    ),
    "characters": Words("Lengths in characters", "长度（字符）"),
    "tokens_of": Words("Lengths in tokens of {base}", "长度（{base} 的 token）"),
    "lengths_lead": Words(
        "Prompt: everything before the last answer. Whole: prompt and longest answer. Without what a template adds. "
        "Each bar is half a doubling wide.",
        "提问：最后一个回答之前的全部内容。整段：提问加最长的回答。不含模板添加的内容。每两个柱子长度翻一倍。",
    ),
    "mean": Words("mean", "平均"),
    "percentile": Words("{rank}% are at most", "{rank}% 不超过"),
    "longest": Words("longest", "最长"),
    "above": Words("above {limit}", "超过 {limit}"),
    "asked": Words("What is asked for: {language}", "要求做什么：{language}"),
    "asked_lead_en": Words(
        "Root verbs and their objects, as in Self-Instruct's figure: the twenty commonest verbs within, their four "
        "commonest objects around them. Found by rules and a list of verbs, not by a parser: of instructions written "
        "by models nearly all are right, of those that people wrote about one in twenty is wrong.",
        "根动词及其宾语，同 Self-Instruct 的图：内圈是最常见的二十个动词，外圈是各自最常见的四个宾语。"
        "按规则和动词表提取，没有用句法分析器：模型写的指令几乎全对，人写的大约每二十条错一条。",
    ),
    "asked_lead_zh": Words(
        "Root verbs and their objects: the twenty commonest verbs within, their four commonest objects around them. "
        "Found by rules and word lists, without a parser or word segmenter: about one verb in twenty is wrong, and "
        "one pair in seven.",
        "根动词及其宾语：内圈是最常见的二十个动词，外圈是各自最常见的四个宾语。"
        "按规则和词表提取，没有用句法分析或分词：动词大约每二十个错一个，动宾组合大约每七个错一个。",
    ),
    "of_instructions": Words("of {count} instructions", "共 {count} 条指令"),
    "with_verb": Words("With a verb", "有动词"),
    "with_object": Words("With verb and object", "有动词和宾语"),
    "verbs": Words("Different verbs", "不同的动词"),
    "different_pairs": Words("Different pairs", "不同的动宾组合"),
    "verb": Words("Verb", "动词"),
    "times": Words("Times", "次数"),
    "objects": Words("Commonest objects", "最常见的宾语"),
    "repeats": Words("Repetition and vocabulary", "重复与词汇"),
    "repeats_lead": Words(
        "Rows like an earlier one: the same but for case, width and blanks, or with a Jaccard index of 0.8 or more of "
        "their sets of three words in a row (MinHash). distinct-1 and -2: different words and pairs of words for each "
        "word, over stretches of 10,000 words; a Chinese character counts as a word.",
        "与前面某一行重复的行：除大小写、全半角和空白外完全相同，"
        "或连续三个词的集合的 Jaccard 指数不低于 0.8（MinHash 估计）。"
        "distinct-1 和 distinct-2：每一万词中不同的词、不同的相邻词对所占比例；每个汉字算一个词。",
    ),
    "same_row": Words("The same row", "整行相同"),
    "same_prompt": Words("The same prompt", "提问相同"),
    "like_prompt": Words("A prompt much alike", "提问相似"),
    "rows_of": Words("{rows} rows", "{rows} 行"),
    "different": Words("Different words: {side}", "不同的词：{side}"),
    "tokenizers": Words("Tokenizers", "分词器"),
    "tokenizers_lead": Words(
        "Tokens for each run of letters (word), or for each character where no blanks part words. A piece of a "
        "character is a byte, or a few, that the vocabulary has no whole character for.",
        "每个词（连续的字母）对应的 token 数；不用空格分词的文字按字符计。"
        "“半个字”指词表里没有整个字、只能用一个或几个字节表示的 token。",
    ),
    "vocabulary": Words("Vocabulary", "词表大小"),
    "tokens": Words("Tokens", "token 数"),
    "bytes_per_token": Words("Bytes for a token", "每个 token 的字节数"),
    "parts": Words("Pieces of a character", "半个字的 token"),
    "unknown": Words("Unknown", "未知 token"),
    "used": Words("Vocabulary that occurs", "用到的词表"),
    "per_word": Words("Tokens for a word: {script}", "每词 token 数：{script}"),
    "per_character": Words("Tokens for a character: {script}", "每字 token 数：{script}"),
    "turns": Words("Turns and system prompts", "轮次与系统提示"),
    "turns_of": Words("{turns} turns", "{turns} 轮"),
    "more_turns": Words("{turns} turns and more", "{turns} 轮及以上"),
    "system": Words(
        "{rows} conversations have a system prompt ({different} different ones); {tools} have tools or calls of them.",
        "{rows} 段对话有系统提示（{different} 种）；{tools} 段带有工具或工具调用。",
    ),
    "read": Words("What was read", "读了什么"),
    "files": Words("Files", "文件"),
    "records": Words("Records", "记录"),
    "reasons": Words("Could not be read", "读不了的原因"),
}

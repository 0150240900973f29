"""The words of the report in English and Chinese, side by side, and numbers the way each language writes them."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup, escape


@dataclass(frozen=True, slots=True)
class Words:
    """One text in both languages; in HTML both are there and the style sheet shows one."""

    en: str
    zh: str

    def __html__(self) -> str:
        if self.en == self.zh:
            return str(escape(self.en))
        return Markup('<span class="en" lang="en">{}</span><span class="zh" lang="zh-CN">{}</span>').format(
            self.en, self.zh
        )

    def filled(self, **values: object) -> Words:
        """Placeholders `{name}` filled; a value may be Words itself."""
        en = {key: value.en if isinstance(value, Words) else value for key, value in values.items()}
        zh = {key: value.zh if isinstance(value, Words) else value for key, value in values.items()}
        return Words(self.en.format(**en), self.zh.format(**zh))


# What a run is judged by, under the names of `cli/child_run.measure_of`.
MEASURES = {
    "held-out loss": Words("held-out loss", "验证集损失"),
    "accuracy": Words("accuracy", "准确率"),
    "entity F1": Words("entity F1", "实体 F1"),
}

WORDS = {
    "title": Words("Training report", "训练报告"),
    "light": Words("Light", "浅色"),
    "tuned_from": Words("tuned from {base}", "由 {base} 微调而来"),
    "made_from": Words("trained from the shape of {base}", "按 {base} 的结构从零训练"),
    "machine_line": Words(
        "{processor}, {cores} cores, {memory}, {devices}", "{processor}，{cores} 核，{memory}，{devices}"
    ),
    "no_gpu": Words("no GPU", "无 GPU"),
    "tile_skill": Words("held-out skill accuracy", "技能准确率（未见过的题）"),
    "tile_accuracy": Words("accuracy on held-out rows", "验证集准确率"),
    "tile_f1": Words("entity F1 on held-out rows", "验证集实体 F1"),
    "tile_texts": Words("{texts} rows", "{texts} 行"),
    "class": Words("Class", "类别"),
    "precision": Words("Precision", "精确率"),
    "recall": Words("Recall", "召回率"),
    "f1": Words("F1", "F1 值"),
    "support": Words("In the data", "实际数量"),
    "score_it": Words("Score it on other rows", "用其他数据评分"),
    "tile_was": Words("was {before}", "原为 {before}"),
    "tile_kept": Words("plain questions still right", "常识题仍答对"),
    "tile_of": Words("{right} of {total}", "{total} 题中 {right} 题"),
    "tile_perplexity": Words("perplexity on general text", "通用文本困惑度"),
    "tile_from_to": Words("{name}: {before} → {after}", "{name}：{before} → {after}"),
    "tile_time": Words("training time", "训练用时"),
    "tile_loss": Words("training loss", "训练损失"),
    "samples": Words("Before and after", "训练前后对比"),
    "samples_lead": Words(
        "The same prompts, answered greedily by the base and by the tuned model.",
        "同样的问题，分别由基座模型和训练后的模型回答（贪心解码）。",
    ),
    "prompt": Words("Prompt", "问题"),
    "before": Words("Before", "训练前"),
    "after": Words("After", "训练后"),
    "no_answer": Words("(empty answer)", "（空回答）"),
    "loss": Words("Loss", "损失曲线"),
    "loss_train": Words("training, each step", "训练（每步）"),
    "loss_smooth": Words("training, smoothed", "训练（平滑）"),
    "loss_eval": Words("held-out", "验证集"),
    "step": Words("optimiser steps", "优化步数"),
    "broken": Words(
        "{count} values are not finite (NaN or infinity); they leave gaps in the curve.",
        "有 {count} 个值不是有限数（NaN 或无穷），曲线在这些位置断开。",
    ),
    "turned": Words(
        "From step {since} on the held-out loss rose ({lowest} to {now}) while the training loss fell: the rows were "
        "learnt by heart. load_best_model_at_end, fewer epochs or more data help.",
        "从第 {since} 步起，验证集损失上升（{lowest} → {now}），而训练损失仍在下降：模型开始死记训练数据。"
        "可以设置 load_best_model_at_end、减少训练轮数或增加数据。",
    ),
    "best_lost": Words(
        "The best evaluation was that of step {step} (loss {loss}); the last one is worse by {lost}. "
        "With load_best_model_at_end the best weights would have been kept.",
        "验证效果最好的是第 {step} 步（损失 {loss}），最后一次比它高 {lost}。"
        "设置 load_best_model_at_end 就能保留最好的权重。",
    ),
    "best_kept": Words(
        "The best evaluation was that of step {step} (loss {loss}); its weights were kept. The last one was worse by "
        "{lost}.",
        "验证效果最好的是第 {step} 步（损失 {loss}），保留的就是这一步的权重。最后一次比它高 {lost}。",
    ),
    "best_base": Words(
        "The base did better on the held-out rows than what was trained (loss {loss}; worse by {lost} at the end). "
        "A lower learning_rate or other data may help.",
        "在验证集上，训练后的模型不如基座（基座损失 {loss}，最后高出 {lost}）。可以降低 learning_rate 或更换数据。",
    ),
    "more_curves": Words("More curves", "更多曲线"),
    "learning_rate": Words("learning rate", "学习率"),
    "grad_norm": Words("gradient norm", "梯度范数"),
    "tokens_per_second": Words("useful tokens per second", "每秒有效 token 数"),
    "learned": Words("What it learned", "学会了什么"),
    "learned_lead": Words(
        "Accuracy on held-out prompts, with 95% intervals (Wilson).",
        "在未见过的题目上的准确率，附 95% 置信区间（Wilson）。",
    ),
    "prompts": Words("{total} prompts", "{total} 题"),
    "forgotten": Words("What it forgot", "忘掉了什么"),
    "forgotten_lead": Words(
        "General ability that the training data says nothing about.", "训练数据没有涉及的通用能力。"
    ),
    "general": Words("Short tasks, each with one right answer", "小题（每题只有一个正确答案）"),
    "kept": Words("Plain questions that the base answers rightly", "基座模型答对的常识题"),
    "kept_text": Words("{right} of {total} still right", "{total} 题中 {right} 题仍然答对"),
    "interval": Words("95% interval {low} to {high}", "95% 置信区间 {low} 至 {high}"),
    "perplexity": Words("Perplexity", "困惑度"),
    "text": Words("Held-out text", "留出文本"),
    "change": Words("Change", "变化"),
    "cost": Words("What it cost", "花了多少"),
    "time": Words("Training time", "训练用时"),
    "memory": Words("Peak memory", "内存峰值"),
    "useful": Words("Useful tokens", "有效 token"),
    "useful_hint": Words("tokens of the examples, each counted alone", "各样本单独计数的 token 总数"),
    "computed": Words("Computed tokens", "实际计算 token"),
    "computed_hint": Words("what went through the model", "真正送入模型的 token 数"),
    "speed": Words("Speed", "速度"),
    "per_second": Words(
        "{useful} useful tokens/s, {computed} computed", "每秒 {useful} 个有效 token，实际计算 {computed} 个"
    ),
    "money": Words("Estimated money for this run", "本次训练的费用估计"),
    "machine": Words("Machine", "机器"),
    "per_hour": Words("Per hour", "每小时"),
    "this_run": Words("This run", "本次"),
    "money_hint": Words(
        "This run's time at each price; on a faster machine it would take less.",
        "按本次用时乘以单价；更快的机器用时更短。",
    ),
    "sharing": Words("What was shared", "共享了多少计算"),
    "sharing_lead": Words(
        "A common prefix of several examples is computed once, exactly. Bars: tokens through the model.",
        "多个样本的公共前缀只计算一次，结果完全一致。条形为送入模型的 token 数。",
    ),
    "padded": Words("one padded row per example", "每个样本一行并填充"),
    "separate": Words("each example alone, no padding", "每个样本单独，无填充"),
    "tree": Words("token tree (this run)", "token 树（本次）"),
    "trained": Words("tokens that were trained", "参与训练的 token"),
    "saved": Words("{share} of the tokens did not have to be computed again.", "省去了 {share} 的重复计算。"),
    "recipe": Words("Recipe", "配方"),
    "manifest": Words("Made from", "训练依据"),
    "base": Words("Base", "基座模型"),
    "template": Words("Template", "对话模板"),
    "data": Words("Data", "数据"),
    "eval_data": Words("Held-out data", "验证数据"),
    "rows": Words("{rows} rows", "{rows} 行"),
    "rejected": Words("Rejected rows", "被拒绝的行"),
    "rejected_text": Words(
        "{count}, each with file, line and reason in rejected.jsonl", "{count} 行，文件、行号和原因见 rejected.jsonl"
    ),
    "none": Words("none", "无"),
    "seed": Words("Seed", "随机种子"),
    "code": Words("Code", "代码"),
    "modified": Words("with local changes", "含本地改动"),
    "dtype": Words("Compute type", "计算精度"),
    "hardware": Words("Machine", "机器"),
    "packages": Words("Packages", "软件包"),
    "starts": Words("Starts", "启动记录"),
    "start_text": Words("{time}, from step {step}", "{time}，从第 {step} 步开始"),
    "not_measured": Words("Not measured in this run.", "本次训练没有测量。"),
    "no_curve": Words("No step has been recorded yet.", "还没有记录任何训练步。"),
    "chat": Words("Talk to it", "与它对话"),
    "made_by": Words("Made by Camelid {version}.", "由 Camelid {version} 生成。"),
    "unreadable": Words(
        "{count} damaged lines of metrics.jsonl were left out.", "metrics.jsonl 中有 {count} 行损坏，已略去。"
    ),
}


def spoken_duration(seconds: float) -> Words:
    """48 s; 3 min 20 s; 2 h 5 min."""
    whole = max(0, round(seconds))
    if whole < 60:
        return Words(f"{whole} s", f"{whole} 秒")
    minutes, second = divmod(whole, 60)
    if minutes < 60:
        return Words(f"{minutes} min {second} s", f"{minutes} 分 {second} 秒")
    hours, minute = divmod(minutes, 60)
    return Words(f"{hours} h {minute} min", f"{hours} 小时 {minute} 分")


def spoken_count(value: float) -> Words:
    """12,345; 1.23 million; in Chinese by ten thousands (万) and hundred millions (亿)."""
    if value >= 1e9:
        en = f"{value / 1e9:.2f} billion"
    elif value >= 1e6:
        en = f"{value / 1e6:.2f} million"
    else:
        en = f"{value:,.0f}"
    if value >= 1e8:
        return Words(en, f"{value / 1e8:.2f} 亿")
    return Words(en, f"{value / 1e4:.1f} 万" if value >= 1e5 else f"{value:,.0f}")


def percent(value: float, *, signed: bool = False) -> str:
    """97%, +4.1%; one decimal where a whole number would hide the difference."""
    shown = f"{value * 100:+.1f}" if signed else f"{value * 100:.1f}"
    return shown.removesuffix(".0") + "%"


def size(count: float) -> str:
    """Bytes with a binary unit."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.2f} GiB"

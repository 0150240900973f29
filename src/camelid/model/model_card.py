"""The card of an exported model: what it was made from, under which licence, and how the export was checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from camelid.model.export_check import Comparison


@dataclass(frozen=True, slots=True)
class Facts:
    """What the card says. `manifest`: of the run that the model comes from, where it comes from one."""

    name: str
    base: str
    license: str | None
    form: str  # "Hugging Face directory, float32", "GGUF, q8_0" ...
    files: Sequence[str]
    checks: Sequence[Comparison]
    manifest: Mapping[str, Any] | None = None
    notes: Sequence[str] = field(default=())
    use: str = ""  # one command


def model_card(facts: Facts) -> str:
    """The text of README.md, English and Chinese, with the front matter that model hubs read."""
    front = ["---", "language: [zh, en]", "pipeline_tag: text-generation", "tags: [camelid]"]
    if facts.license:
        front.append(f"license: {_identifier(facts.license)}")
    checks = [f"- {'passed' if c.holds else 'FAILED'}: {c.name}: {c.detail}" for c in facts.checks]
    lines = [
        *front, "---", "", f"# {facts.name}", "",
        f"A chat model made with Camelid. Base: {facts.base}. Form: {facts.form}.",
        f"用 Camelid 做的对话模型。底座：{facts.base}。格式：{facts.form}。", "",
        "## Licence · 许可", "",
        f"The base is under: {facts.license or 'unknown; ask its maker'}. Your data may add its own terms.",
        f"底座的许可：{facts.license or '未知，请查看其发布页'}。训练数据也可能带有自己的条款。", "",
        "## Data · 数据", "", *_data(facts.manifest), "",
        "## How it was checked · 如何检验", "",
        "Every line compares these files, loaded in their own runtime, with the model in memory.",
        "以下每一行都把这些文件放进各自的运行环境加载，再与内存中的模型比较。", "",
        *checks, *[f"- note: {note}" for note in facts.notes], "",
        "## Files · 文件", "", *[f"- `{name}`" for name in facts.files],
    ]  # fmt: skip
    if facts.use:
        lines += ["", "## Use · 使用", "", "```sh", facts.use, "```"]
    return "\n".join(lines) + "\n"


def _identifier(license: str) -> str:
    """A hub's name for a licence."""
    known = {"Apache-2.0": "apache-2.0", "MIT": "mit", "CC-BY-SA-4.0": "cc-by-sa-4.0"}
    return "gemma" if "gemma" in license.lower() else known.get(license, "other")


def _data(manifest: Mapping[str, Any] | None) -> list[str]:
    if manifest is None:
        return [
            "This was not exported from a run of Camelid, so its data is not known here.",
            "它不是从 Camelid 的训练目录导出的，这里无从得知训练数据。",
        ]
    lines = ["| file · 文件 | rows · 行 | sha256 |", "|---|---|---|"]
    for entry in manifest.get("data", []):
        name = str(entry.get("file", "")).replace("\\", "/").rsplit("/", 1)[-1]
        lines.append(f"| `{name}` | {entry.get('rows', '')} | `{entry.get('sha256', '')}` |")
    start = manifest.get("start", {})
    code = start.get("code", {})
    template = manifest.get("template", {})
    lines += [
        "",
        f"Template · 模板: {template.get('name')} (sha256 `{template.get('sha256')}`). Seed · 随机种子: "
        f"{manifest.get('seed')}. Camelid {code.get('camelid')}, commit {code.get('commit') or 'unknown'}.",
    ]
    return lines

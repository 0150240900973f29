"""What this machine could do at best: its name, its cores, and the matrix rate that bounds any trainer on it.

    python benchmarks/machine.py [--config benchmarks/work/smollm2/hf/config.json] [--threads 2]

A trainer spends its floating-point operations in matrix products. So the bound of tokens/s is the rate at which this
machine multiplies the model's own matrices, forward (`x_TI @ w_OI.T`) and backward (`g_TO @ w_OI`), in one number type.
Shape letters: T tokens, I inputs, O outputs of a linear layer.
"""

import argparse
import json
import os
import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path

TOKENS_TRIED = (128, 256, 512, 1024, 2048)
DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class DecoderShape:
    """The sizes of a Llama- or Qwen3-like decoder that decide what a training step costs."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocabulary: int

    @classmethod
    def from_config(cls, config: dict) -> "DecoderShape":
        """From a Hugging Face `config.json`, already parsed."""
        heads = config["num_attention_heads"]
        return cls(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            heads=heads,
            kv_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or config["hidden_size"] // heads,
            ffn=config["intermediate_size"],
            vocabulary=config["vocab_size"],
        )

    def linears(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of the seven linear layers of one block: q, k, v, o, gate, up, down."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = [(self.hidden, q), (self.hidden, kv), (self.hidden, kv), (q, self.hidden)]
        return [*attention, (self.hidden, self.ffn), (self.hidden, self.ffn), (self.ffn, self.hidden)]


@dataclass(frozen=True, slots=True)
class StepCounts:
    """What one contestant did in one stretch of training."""

    useful: int  # tokens of the separate rows, without padding
    computed: int  # tokens that went through the blocks: padding counted, a shared prefix counted once
    head: int  # positions at which the language-model head ran
    pairs: int  # (query, key) pairs of causal attention within each row: sum of length * (length + 1) / 2


def train_flops(shape: DecoderShape, counts: StepCounts, lora_r: int) -> float:
    """Floating-point operations that one LoRA training step needs, recomputation not counted.

    A frozen weight: forward and the gradient of its input, 4 a token. A LoRA weight: its own gradient too, 6 a token.
    Attention: scores and values forward (4 * head_dim a pair and head), twice that backward. The frozen head: 4. The
    first block's q, k, v have no gradient of their input to make. Equals torch's FlopCounterMode on a Llama with PEFT.
    """
    linears = shape.linears()
    frozen = shape.layers * sum(inputs * outputs for inputs, outputs in linears)
    lora = shape.layers * lora_r * sum(inputs + outputs for inputs, outputs in linears)
    needless = 2 * sum(inputs * (outputs + lora_r) for inputs, outputs in linears[:3])
    attention = 12 * shape.layers * shape.heads * shape.head_dim * counts.pairs
    head = 4 * shape.hidden * shape.vocabulary * counts.head
    return float((4 * frozen + 6 * lora - needless) * counts.computed + attention + head)


def cpu_name() -> str:
    """The processor as the kernel names it."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def cpu_flags() -> list[str]:
    """Those instruction sets that decide which number type is fast."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return []
    flags = next((line for line in info.read_text().splitlines() if line.startswith("flags")), "").split()
    known = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_tile")
    return [name for name in known if name in flags]


def block_rate(shape: DecoderShape, dtype: str, tokens: int, seconds: float) -> float:
    """FLOP/s over the linear layers of one block, forward and input gradient, at `tokens` rows.

    Each product counts with its fastest run, so that another program's use of the cores hurts as little as possible.
    """
    import torch

    kind = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    flops, best_time = 0.0, 0.0
    linears = shape.linears()
    for inputs, outputs in linears:
        x_TI, g_TO = torch.randn(tokens, inputs, dtype=kind), torch.randn(tokens, outputs, dtype=kind)
        w_OI = torch.randn(outputs, inputs, dtype=kind)
        forward = backward = float("inf")
        deadline = time.perf_counter() + seconds / len(linears)
        while time.perf_counter() < deadline or forward == float("inf"):
            begin = time.perf_counter()
            torch.nn.functional.linear(x_TI, w_OI)
            middle = time.perf_counter()
            torch.matmul(g_TO, w_OI)
            end = time.perf_counter()
            forward, backward = min(forward, middle - begin), min(backward, end - middle)
        flops += 4.0 * tokens * inputs * outputs
        best_time += forward + backward
    return flops / best_time


def matrix_limit(shape: DecoderShape, dtype: str, seconds: float = 6.0) -> dict[str, float]:
    """Best FLOP/s of this machine at the model's shapes: {"flops": best, "tokens": where, "at_<T>": each tried}."""
    import torch

    torch.manual_seed(0)
    tried = {tokens: block_rate(shape, dtype, tokens, seconds / len(TOKENS_TRIED)) for tokens in TOKENS_TRIED}
    best = max(tried, key=lambda tokens: tried[tokens])
    return {"flops": tried[best], "tokens": best, **{f"at_{tokens}": rate for tokens, rate in tried.items()}}


def describe(shape: DecoderShape, threads: int, seconds: float = 6.0) -> dict:
    """Name, cores, instruction sets, versions and the limits in each number type, as one JSON-ready dict."""
    import torch

    torch.set_num_threads(threads)
    return {
        "cpu": cpu_name(),
        "flags": cpu_flags(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load_average": os.getloadavg()[0],
        "torch": torch.__version__,
        "shape": asdict(shape),
        "limit": {dtype: matrix_limit(shape, dtype, seconds) for dtype in DTYPES},
    }


def main() -> None:
    """Print the machine's limits as JSON."""
    parser = argparse.ArgumentParser(description="measure the matrix rate of this machine at a model's shapes")
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "work/smollm2/hf/config.json")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=6.0, help="time spent for each number type")
    arguments = parser.parse_args()
    shape = DecoderShape.from_config(json.loads(arguments.config.read_text()))
    print(json.dumps(describe(shape, arguments.threads, arguments.seconds), indent=1))


if __name__ == "__main__":
    main()

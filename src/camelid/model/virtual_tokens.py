"""Virtual tokens: the few learned vectors that prompt tuning, P-tuning and prefix tuning put before every text.

* `InputTokens`: input embeddings. Prompt tuning (Lester et al. 2021) learns them; P-tuning (Liu et al. 2021) the
  encoder that makes them.
* `LayerTokens`: every layer's keys and values. Prefix tuning (Li & Liang 2021) learns them through an MLP, P-tuning v2
  (Liu et al. 2021) as they are.
* `GatedTokens`: every layer's keys and values by its own projections, with a zero gate (LLaMA-Adapter, Zhang et al.
  2023).

They hang in the causal LM under the name `virtual_tokens`; model/layout.py lays them out before the text. The encoders
are PEFT's, and what is saved is in PEFT's format: the finished vectors, the encoder spent. Oracle: PEFT's own forward
(tests/model/test_virtual_tokens.py).

Shape legend: P virtual tokens, W width of the model, L layers, K key/value heads, D head size.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import torch
from peft import (
    AdaptionPromptConfig,
    PeftConfig,
    PeftType,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
)
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from camelid.errors import UserError
from camelid.model.resolve import ADAPTER_FILE
from camelid.model.virtual import Virtual, VirtualLayer

_NAME = "virtual_tokens"
_VALUES = "prompt_embeddings"  # PEFT's name of the finished vectors
_PROMPT, _GATE = "adaption_prompt", "adaption_gate"  # and of LLaMA-Adapter's
# by their exact kind: others that derive from these configurations mean something else by the same tensors
_OF_INPUT = (PeftType.PROMPT_TUNING, PeftType.P_TUNING)
VIRTUAL_KINDS = (*_OF_INPUT, PeftType.PREFIX_TUNING, PeftType.ADAPTION_PROMPT)


class VirtualTokens(nn.Module, ABC):
    """Learned vectors before every text. config: PEFT's, as it is saved; enabled: False answers as the base."""

    config: PeftConfig
    enabled: bool = True

    @abstractmethod
    def saved(self) -> dict[str, Tensor]:
        """The finished tensors by the names that PEFT gives them; in eval mode, for an encoder may have dropout."""

    def save(self, directory: Path, base: str) -> None:
        """Write a PEFT adapter directory for the base of that name."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.saved().items()}
        save_file(tensors, directory / ADAPTER_FILE, metadata={"format": "pt"})
        self.config.base_model_name_or_path, self.config.inference_mode = base, True
        self.config.save_pretrained(str(directory))


@final
class InputTokens(VirtualTokens):
    """Embeddings before those of the text: (P, W) `start`, where given, and what the encoder adds to it.

    encoder: makes (1, P, W) from the numbers 0 ... P - 1
    """

    start: Tensor | None

    def __init__(
        self, config: PromptTuningConfig | PromptEncoderConfig, encoder: nn.Module, start: Tensor | None = None
    ) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.register_buffer("start", start, persistent=False)

    def embeddings(self) -> Tensor:
        """(P, W)."""
        return _encoded(self.encoder, self.config.num_virtual_tokens, self.start)  # type: ignore[union-attr]

    def saved(self) -> dict[str, Tensor]:
        """The embeddings."""
        return {_VALUES: self.embeddings()}


class LearnedLayers(VirtualTokens):
    """Learned keys and values, by layer."""

    @abstractmethod
    def learned(self) -> Virtual:
        """Every layer's keys and values."""


@final
class LayerTokens(LearnedLayers):
    """Keys and values before those of the text, in every layer: `start`, where given, and what the encoder adds.

    encoder: makes (1, P, L * 2 * K * D) from the numbers 0 ... P - 1; start: (P, L * 2 * K * D)
    """

    start: Tensor | None

    def __init__(self, config: PrefixTuningConfig, encoder: nn.Module, start: Tensor | None = None) -> None:
        super().__init__()
        self.config, self.encoder = config, encoder
        self.register_buffer("start", start, persistent=False)

    def learned(self) -> Virtual:
        """Every layer's keys and values, in PEFT's order: token, layer, key then value, head."""
        config: Any = self.config
        heads, count = config.num_attention_heads, config.num_virtual_tokens
        flat = _encoded(self.encoder, count, self.start)
        each = flat.view(count, config.num_layers, 2, heads, config.token_dim // heads).permute(1, 2, 3, 0, 4)
        return Virtual([VirtualLayer(keys, values) for keys, values in each])

    def saved(self) -> dict[str, Tensor]:
        """All keys and values, (P, L * 2 * K * D)."""
        return {_VALUES: _encoded(self.encoder, self.config.num_virtual_tokens, self.start)}  # type: ignore[union-attr]


@final
class GatedTokens(LearnedLayers):
    """For every layer P vectors that its own k_proj and v_proj turn into keys and values, and a gate that starts at 0.

    attentions: the layers' attention modules by name; they stay the base's and are not registered here
    """

    def __init__(self, config: AdaptionPromptConfig, attentions: dict[str, Any]) -> None:
        super().__init__()
        self.config, self._attentions = config, attentions
        first = next(iter(attentions.values()))
        shape, device = (1, config.adapter_len, first.k_proj.in_features), _device_of(first)
        self.prompts = nn.ParameterList([torch.zeros(shape, device=device) for _ in attentions])
        self.gates = nn.ParameterList([torch.zeros(1, device=device) for _ in attentions])

    def learned(self) -> Virtual:
        """Every layer's keys and values, and its gate."""
        made = []
        for attention, prompt, gate in zip(self._attentions.values(), self.prompts, self.gates, strict=True):
            x = prompt[0].to(attention.k_proj.weight.dtype)
            keys, values = (
                project(x).view(len(x), -1, attention.head_dim).transpose(0, 1)
                for project in (attention.k_proj, attention.v_proj)
            )
            made.append(VirtualLayer(keys, values, gate[0]))
        return Virtual(made)

    def saved(self) -> dict[str, Tensor]:
        """Vectors and gates of each layer."""
        tensors = {}
        for name, prompt, gate in zip(self._attentions, self.prompts, self.gates, strict=True):
            tensors[f"base_model.model.{name}.{_PROMPT}"] = prompt
            tensors[f"base_model.model.{name}.{_GATE}"] = gate
        return tensors


def virtual_tokens_of(model: nn.Module) -> VirtualTokens | None:
    """The virtual tokens that a causal LM works with at the moment."""
    found = attached(model)
    return found if found is not None and found.enabled else None


def attached(model: nn.Module) -> VirtualTokens | None:
    """The virtual tokens that hang in a causal LM, switched off or not."""
    found = model._modules.get(_NAME)
    assert found is None or isinstance(found, VirtualTokens)
    return found


@contextmanager
def without_virtual_tokens(model: nn.Module) -> Iterator[None]:
    """The base alone."""
    tokens = virtual_tokens_of(model)
    if tokens is None:
        yield
        return
    tokens.enabled = False
    try:
        yield
    finally:
        tokens.enabled = True


def attach(model: nn.Module, tokens: VirtualTokens) -> None:
    """Hang virtual tokens into a causal LM, in the place of those that it has."""
    model.add_module(_NAME, tokens.to(_device_of(model)))


def token_shape(model: nn.Module) -> dict[str, Any]:
    """What PEFT's configurations say of a model's size: layers, key/value heads and their joint width."""
    config: Any = model.config
    config = config.get_text_config()
    described = config.to_dict()
    heads = described.get("num_key_value_heads") or config.num_attention_heads
    size = described.get("head_dim") or config.hidden_size // config.num_attention_heads
    return {"num_layers": config.num_hidden_layers, "num_attention_heads": heads, "token_dim": heads * size}


def attentions_of(model: nn.Module) -> dict[str, Any]:
    """A model's attention modules by name, in the order of the layers. Raises UserError where a gate cannot be put."""
    found: dict[str, Any] = {name: m for name, m in model.named_modules() if name.endswith(".self_attn")}
    projections = [attention._modules.get(name) for attention in found.values() for name in ("k_proj", "v_proj")]
    if not found or not all(isinstance(projection, nn.Linear) for projection in projections):
        raise UserError(
            f"{type(model).__name__} has no key and value projections of its own in each layer",
            where="prefix.zero_gate",
            mend="leave the gate out",
        )
    return found


def is_virtual(config: PeftConfig) -> bool:
    """Whether a saved adapter is of a kind that is laid out as virtual tokens here."""
    return config.peft_type in VIRTUAL_KINDS


def refuse_scale(scale: float, directory: Path) -> None:
    """Raise UserError for a scale other than 1 of virtual tokens: what they do is not proportional to anything."""
    if scale != 1:
        raise UserError("only LoRA adapters can be scaled, and these are virtual tokens", where=str(directory))


def load_virtual_tokens(model: nn.Module, directory: Path, config: PeftConfig | None = None) -> VirtualTokens:
    """Read the virtual tokens of a PEFT adapter directory for this causal LM; they are not put into it.

    Raises UserError for files that are damaged, of another kind or of another base.
    """
    config = config or PeftConfig.from_pretrained(str(directory))
    if not is_virtual(config):
        raise UserError(f"adapters of the kind {config.peft_type} are no virtual tokens", where=str(directory))
    try:
        tensors = load_file(directory / ADAPTER_FILE)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{ADAPTER_FILE} cannot be read ({error})", where=str(directory)) from error
    if isinstance(config, AdaptionPromptConfig):
        return _load_gated(model, config, tensors, directory)
    values, of_input = tensors.get(_VALUES), config.peft_type in _OF_INPUT
    if values is None:
        raise UserError(f"{ADAPTER_FILE} holds no {_VALUES}", where=str(directory))
    count = config.num_virtual_tokens  # type: ignore[union-attr]
    shape = token_shape(model)
    width = model.get_input_embeddings().weight.shape[1]  # type: ignore[operator]
    wanted = (count, width if of_input else shape["num_layers"] * 2 * shape["token_dim"])
    if tuple(values.shape) != wanted:
        raise UserError(
            f"the adapter does not fit the base: {_VALUES} is {tuple(values.shape)}, this base needs {wanted}",
            where=str(directory),
            mend="check base_model_name_or_path in its adapter_config.json",
        )
    encoder = nn.Embedding(count, wanted[1], _weight=values.float())
    if of_input:
        return InputTokens(config, encoder)  # type: ignore[arg-type]
    for name, value in shape.items():  # PEFT itself fills them in only when it loads
        setattr(config, name, value)
    return LayerTokens(config, encoder)  # type: ignore[arg-type]


def _load_gated(
    model: nn.Module, config: AdaptionPromptConfig, tensors: dict[str, Tensor], directory: Path
) -> GatedTokens:
    attentions = attentions_of(model)
    own = dict(list(attentions.items())[-config.adapter_layers :])
    tokens = GatedTokens(config, attentions)
    try:
        with torch.no_grad():
            for name, prompt, gate in zip(attentions, tokens.prompts, tokens.gates, strict=True):
                if name in own:  # PEFT may have put it on the last layers only: a gate of zero on the others
                    prompt.copy_(tensors[f"base_model.model.{name}.{_PROMPT}"])
                    gate.copy_(tensors[f"base_model.model.{name}.{_GATE}"])
    except (KeyError, RuntimeError) as error:
        raise UserError(f"the adapter does not fit the base: {error}", where=str(directory)) from error
    config.adapter_layers = len(attentions)
    return tokens


def _encoded(encoder: nn.Module, count: int, start: Tensor | None) -> Tensor:
    weight = next(encoder.parameters())
    made = encoder(torch.arange(count, device=weight.device)[None])[0]
    return made if start is None else start + made


def _device_of(module: nn.Module) -> torch.device:
    return next(module.parameters()).device

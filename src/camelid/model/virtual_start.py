"""Fresh virtual tokens by a recipe's settings, and a base's own keys and values, which are a good place to start.

Random keys and values disturb a trained model at first; those of real words do not, and learn better from little data
(Li & Liang 2021, section 7.4; for prompts Lester et al. 2021, section 3.2).

Shape legend: P virtual tokens, W width of the model, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import (
    AdaptionPromptConfig,
    PeftConfig,
    PeftType,
    PrefixTuningConfig,
    PromptEmbedding,
    PromptEncoder,
    PromptEncoderConfig,
    PromptTuningConfig,
)
from peft.tuners.prefix_tuning import PrefixEncoder
from torch import Tensor, nn
from transformers import AttentionInterface

from camelid.data.vocabulary import Vocabulary
from camelid.errors import UserError
from camelid.model.adapters import Trainable
from camelid.model.attend import TREE_ATTENTION
from camelid.model.layout import attention_of, ordinary_attention, why_not_tree
from camelid.model.virtual import Virtual, VirtualLayer, prefixed_attention
from camelid.model.virtual_tokens import (
    GatedTokens,
    InputTokens,
    LayerTokens,
    LearnedLayers,
    VirtualTokens,
    attach,
    attentions_of,
    load_virtual_tokens,
    token_shape,
    without_virtual_tokens,
)
from camelid.recipe_sections import PrefixSettings, PromptSettings

_RECORDING = "camelid_recording"
_TASK: Any = "CAUSAL_LM"
_BY_INPUT, _BY_LAYER = (PeftType.PROMPT_TUNING, PeftType.P_TUNING), (PeftType.PREFIX_TUNING, PeftType.ADAPTION_PROMPT)
_KINDS_OF = {"prompt": _BY_INPUT, "ptuning": _BY_INPUT, "prefix": _BY_LAYER, "ptuning2": _BY_LAYER}


def add_input_tokens(
    model: nn.Module, settings: PromptSettings, *, encoded: bool, vocabulary: Vocabulary, seed: int
) -> Trainable:
    """Prompt tuning, or P-tuning where the embeddings are `encoded`; the base is frozen."""
    width = model.get_input_embeddings().weight.shape[1]  # type: ignore[operator]
    shape = {
        **token_shape(model),
        "token_dim": width,
        "num_virtual_tokens": settings.num_virtual_tokens,
        "num_transformer_submodules": 1,
        "task_type": _TASK,
    }
    with _seeded(seed):
        if encoded:
            config: Any = PromptEncoderConfig(
                **shape,
                encoder_reparameterization_type=settings.encoder_reparameterization_type,
                encoder_hidden_size=settings.encoder_hidden_size or width,
                encoder_num_layers=settings.encoder_num_layers,
                encoder_dropout=settings.encoder_dropout,
            )
            encoder: Any = PromptEncoder(config)
        else:
            config = PromptTuningConfig(**shape, prompt_tuning_init="RANDOM")
            encoder = PromptEmbedding(config, None)
        start = None if settings.init == "random" else _embedded(model, _start(settings, vocabulary)).float()
        tokens = InputTokens(config, encoder, _begin(encoder, start, encoder.mlp_head[-1] if encoded else None))
    return _trainable(model, tokens)


def add_layer_tokens(
    model: nn.Module, settings: PrefixSettings, *, projection: bool, vocabulary: Vocabulary, seed: int
) -> Trainable:
    """Prefix tuning and P-tuning v2: learned keys and values; the base is frozen.

    projection: learn them through an MLP (Li & Liang 2021)
    Raises UserError for a base whose attention cannot take them.
    """
    if (reason := why_not_tree(model)) is not None:
        raise UserError(
            f"learned keys and values cannot be put into this base: {reason}",
            where="method",
            mend="method=prompt works with every base",
        )
    with _seeded(seed):
        if settings.zero_gate:
            tokens: VirtualTokens = _gated(model, settings.num_virtual_tokens)
        else:
            config = PrefixTuningConfig(
                **token_shape(model),
                num_virtual_tokens=settings.num_virtual_tokens,
                num_transformer_submodules=1,
                encoder_hidden_size=settings.encoder_hidden_size,
                prefix_projection=projection,
                task_type=_TASK,
            )
            encoder: Any = PrefixEncoder(config)
            start = None
            if settings.init != "random":
                start = _flat(recorded(model, _embedded(model, _start(settings, vocabulary)))).float()
            tokens = LayerTokens(config, encoder, _begin(encoder, start, encoder.transform[-1] if projection else None))
    return _trainable(model, tokens)


def continues(method: str, directory: Path) -> bool:
    """Whether this method goes on training the adapter in `directory`; otherwise that must be merged first."""
    kind = PeftConfig.from_pretrained(str(directory)).peft_type
    return method == "lora" or kind in _KINDS_OF.get(method, ())


def continue_virtual_tokens(model: nn.Module, directory: Path) -> Trainable:
    """Go on training saved virtual tokens: the finished vectors, since their encoder is not saved."""
    return _trainable(model, load_virtual_tokens(model, directory))


@torch.no_grad()
def recorded(model: nn.Module, embeddings: Tensor) -> Virtual:
    """The base's own keys and values of input embeddings (P, W) in the first positions, as learned ones are laid out.

    A prefix of these does to a text what those tokens before it do.
    """
    made: dict[int, VirtualLayer] = {}
    weight = model.get_input_embeddings().weight  # type: ignore[operator]
    was_training = model.training
    model.eval()
    try:
        with attention_of(model, _RECORDING), without_virtual_tokens(model):
            model.get_decoder()(  # type: ignore[operator]
                inputs_embeds=embeddings.to(weight.dtype)[None],
                position_ids=torch.arange(len(embeddings), device=weight.device)[None],
                made=made,
                use_cache=False,
            )
    finally:
        model.train(was_training)
    return Virtual([made[layer] for layer in sorted(made)])


def learned_layers(model: nn.Module, tokens: VirtualTokens) -> Virtual:
    """What virtual tokens are to every later one, whatever their kind: keys and values, for a model that answers."""
    with torch.no_grad():
        if isinstance(tokens, LearnedLayers):
            return tokens.learned()
        assert isinstance(tokens, InputTokens)
        return recorded(model, tokens.embeddings())


def _recording_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    made: dict[int, VirtualLayer],
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Ordinary attention of one row, which keeps the layer's keys and values."""
    layer: Any = module.layer_idx
    made[layer] = VirtualLayer(key[0].clone(), value[0].clone())
    return prefixed_attention(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register(_RECORDING, _recording_attention)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _trainable(model: nn.Module, tokens: VirtualTokens) -> Trainable:
    model.requires_grad_(False)
    attach(model, tokens.requires_grad_(True))
    if model.config._attn_implementation != TREE_ATTENTION:  # type: ignore[union-attr]
        model.set_attn_implementation(ordinary_attention(model))  # type: ignore[operator]
    return Trainable(model, virtual=tokens)


def _gated(model: nn.Module, count: int) -> GatedTokens:
    attentions = attentions_of(model)
    config = AdaptionPromptConfig(
        target_modules="self_attn", adapter_len=count, adapter_layers=len(attentions), task_type=_TASK
    )
    tokens = GatedTokens(config, attentions)
    with torch.no_grad():
        for prompt in tokens.prompts:
            prompt.normal_()
    return tokens


def _start(settings: PromptSettings | PrefixSettings, vocabulary: Vocabulary) -> Tensor:
    """(P,) int64: the tokens to start from."""
    count = settings.num_virtual_tokens
    if settings.init == "text":
        ids = vocabulary.backend.encode(settings.init_text or "", add_special_tokens=False).ids
        if not ids:
            raise UserError("init_text has no token", where=f"init_text={settings.init_text!r}")
        return torch.tensor([ids[i % len(ids)] for i in range(count)])
    ordinary = torch.tensor(sorted(set(range(vocabulary.size)) - vocabulary.control_ids))
    return ordinary[torch.randint(len(ordinary), (count,))]


def _embedded(model: nn.Module, ids: Tensor) -> Tensor:
    """(P, W) of ids (P,)."""
    embeddings: Any = model.get_input_embeddings()  # type: ignore[operator]
    with torch.no_grad():
        return embeddings(ids.to(embeddings.weight.device))


def _flat(virtual: Virtual) -> Tensor:
    """(P, L * 2 * K * D), in PEFT's order."""
    pairs = torch.stack([torch.stack((part.keys, part.values)) for part in virtual.layers])  # (L, 2, K, P, D)
    return pairs.permute(3, 0, 1, 2, 4).flatten(1)


def _begin(encoder: Any, start: Tensor | None, last: Any) -> Tensor | None:
    """Let an encoder begin at `start`: what is to be added to what it makes. last: its last layer, None for a table.

    A table holds the start itself. A network begins by making zeros, beside the start.
    """
    if start is None:
        return None
    with torch.no_grad():
        if last is None:
            encoder.embedding.weight.copy_(start)
            return None
        last.weight.zero_()
        last.bias.zero_()
    return start

"""Load a base: the model, its vocabulary, and where they came from; everything checked before use.

    loaded = load_model("smollm2", dtype="float32")

Only safetensors are read, never pickle or code of the model's; a config names one of transformers' own architectures.
Torch and transformers are imported here only when a model is really loaded: `resolve` needs neither.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from camelid.errors import UserError
from camelid.model.bars import no_progress_bars
from camelid.model.resolve import Kind, Source, read_json, resolve
from camelid.model.task_info import TaskInfo

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

    from camelid.data.vocabulary import Vocabulary

__all__ = [
    "Kind",
    "Loaded",
    "Source",
    "check_weights",
    "load_model",
    "load_vocabulary",
    "resolve",
    "source_vocabulary",
    "tokenizer_directory",
    "trained_to_answer",
]

# Larger than any model there is: beyond it a config is hostile or damaged, and building it would eat all memory.
_LIMITS = {
    "vocab_size": 4_000_000,
    "hidden_size": 65_536,
    "intermediate_size": 1_000_000,
    "num_hidden_layers": 1_024,
    "num_attention_heads": 4_096,
    "num_key_value_heads": 4_096,
    "head_dim": 8_192,
}
_HEADER_LIMIT = 100_000_000  # bytes, as the safetensors library has it
_HELD: WeakValueDictionary[tuple[Any, ...], Vocabulary] = WeakValueDictionary()  # by directory and state of its files


@dataclass(frozen=True, slots=True)
class Loaded:
    """`model`: a causal LM in eval mode (wrapped by PEFT where there is an adapter); `vocabulary`: its tokenizer."""

    model: PreTrainedModel
    vocabulary: Vocabulary
    source: Source


def load_model(
    name: str | Path | Source,
    *,
    dtype: str | torch.dtype = "auto",
    accept_license: str | None = None,
    adapter: str | Path | None = None,
    from_scratch: bool = False,
    seed: int = 0,
    trainable: bool = False,
    quantization: str = "none",
    device: str = "cpu",
    announce: Callable[[str], None] | None = None,
) -> Loaded:
    """Resolve `name`, check it, and load it on the CPU (on CUDA where bitsandbytes is to quantise it there).

    dtype: "auto" measures (model/precision.py), else "float32", "bfloat16" or a torch type.
    adapter: a PEFT adapter directory or a run directory, in place of one that `name` itself may bring.
    from_scratch: only config and vocabulary are taken; the weights are drawn from `seed`.
    trainable: whether the adapter's weights require gradients.
    quantization: "8bit" or "4bit" keeps the weights so (model/quantised_load.py), for the type of `device`.
    Raises `UserError` for every fault of the files.
    """
    say = announce or (lambda line: None)
    source = name if isinstance(name, Source) else resolve(name, accept_license=accept_license, announce=announce)
    refuse_classifier(source)
    config = check_config(source.directory)
    if not from_scratch:
        check_weights(source.directory)
    if adapter is not None:
        found = resolve(adapter, accept_license=accept_license, announce=announce).adapter_directory
        if found is None:
            raise UserError("this is no adapter (it has no adapter_config.json)", where=str(adapter))
        source = replace(source, adapter_directory=found)
    vocabulary = source_vocabulary(source)
    model = _build(source.directory, config, _dtype(dtype, say), seed if from_scratch else None, quantization, device)
    embeddings: Any = model.get_input_embeddings()
    check_vocabulary(int(embeddings.weight.shape[0]), vocabulary, source, say)
    if source.adapter_directory is not None:
        model = load_adapter(model, source.adapter_directory, trainable=trainable)
    return Loaded(model.eval(), vocabulary, source)


def refuse_classifier(source: Source) -> None:
    """Raise `UserError` for a model that tells classes apart: it writes no text."""
    for directory in (source.adapter_directory, source.directory):
        if directory is not None and TaskInfo.of_head(directory) is not None:
            raise UserError(
                "this model tells classes apart and writes no text", where=source.label, mend="use camelid eval"
            )


def load_vocabulary(directory: Path) -> Vocabulary:
    """The tokenizer of a Hugging Face directory, the same object while somebody holds it. Raises `UserError`.

    A run asks for it twice, beside its data and beside its weights, and Gemma's takes a second and 0.3 GB.
    """
    from camelid.data.vocabulary import Vocabulary

    files = sorted(file for kind in ("*.json", "*.jinja", "*/*.jinja") for file in directory.glob(kind))
    read = (directory.resolve(), *((file.name, (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files))
    vocabulary = _HELD.get(read)
    if vocabulary is None:
        _HELD[read] = vocabulary = Vocabulary.from_directory(directory)
    return vocabulary


def tokenizer_directory(source: Source) -> Path:
    """Where a source's tokenizer lies: beside its adapter if that was saved with one, else with the base."""
    adapter = source.adapter_directory
    return adapter if adapter is not None and (adapter / "tokenizer.json").is_file() else source.directory


def source_vocabulary(source: Source) -> Vocabulary:
    """The tokenizer of a source: an adapter's own, with the chat template it was trained in, where it brings one.

    Generation still stops at every token that ends the base's texts. Raises `UserError`.
    """
    directory = tokenizer_directory(source)
    own = load_vocabulary(directory)
    if directory == source.directory:
        return own
    return replace(own, eos_ids=tuple(dict.fromkeys((*own.eos_ids, *_configured_ends(source.directory)))))


def trained_to_answer(source: Source, *, with_adapter: bool = False) -> bool:
    """Whether a model answers (its tokenizer brings a chat template) or only continues text.

    with_adapter: with the template that its adapter was trained in, if that brought one; else the base alone
    """
    from camelid.data.vocabulary import chat_template_of

    return chat_template_of(tokenizer_directory(source) if with_adapter else source.directory) is not None


def _dtype(wanted: str | torch.dtype, say: Callable[[str], None]) -> torch.dtype:
    if not isinstance(wanted, str):
        return wanted
    from camelid.model.precision import compute_dtype

    dtype, line = compute_dtype(wanted)
    say(line)
    return dtype


def check_config(directory: Path) -> dict[str, Any]:
    """`config.json`, checked: it is input, and may be hostile. Raises `UserError`."""
    path = directory / "config.json"
    config = read_json(path)
    kind = config.get("model_type")
    if not isinstance(kind, str) or not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", kind):
        raise UserError("config.json names no model_type", where=str(path))
    for key, most in _LIMITS.items():
        value = config.get(key)
        if value is not None and (type(value) is not int or not 0 < value <= most):
            raise UserError(f"{key} is {value!r:.40}, expected a whole number up to {most:,}", where=str(path))
    return config


def check_weights(directory: Path) -> None:
    """Every safetensors file is whole, without reading a tensor; the index's files are there. Raises `UserError`."""
    index = directory / "model.safetensors.index.json"
    if index.is_file():
        mapping = read_json(index).get("weight_map")
        names = {str(name) for name in mapping.values()} if isinstance(mapping, dict) else set()
        if not names or any("/" in name or "\\" in name for name in names):
            raise UserError("the index names no weight files of this directory", where=str(index))
        files = [directory / name for name in sorted(names)]
    else:
        files = [directory / "model.safetensors"]
    for file in files:
        if file.is_file():
            _check_safetensors(file)
            continue
        pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in directory.glob(pattern))
        raise UserError(
            f"the weights {file.name} are missing",
            where=str(directory),
            mend=f"{pickled[0]} is a pickle, which is never loaded because it can run code: save the model again with "
            "safe_serialization=True"
            if pickled
            else "download or copy the model again",
        )


def safetensors_header(file: Path) -> tuple[int, dict[str, Any]]:
    """(where a file's tensors begin, the entry of each: dtype, shape, data_offsets).

    Raises ValueError, RecursionError or AttributeError for what is no header.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        header = stream.read(length) if 2 <= length <= min(_HEADER_LIMIT, size) else b""
    return 8 + length, {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}


def _check_safetensors(file: Path) -> None:
    size = file.stat().st_size
    try:
        begin, entries = safetensors_header(file)
        expected = begin + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError, IndexError):
        raise UserError("not a sound safetensors file", where=str(file), mend="download or copy it again") from None
    if size != expected:
        raise UserError(
            f"the weights are cut or damaged: expected {expected:,} bytes, found {size:,}",
            where=str(file),
            mend="download or copy the model again",
        )


def check_vocabulary(rows: int, vocabulary: Vocabulary, source: Source, say: Callable[[str], None]) -> None:
    """The vocabulary fits the model's `rows` of embeddings, and there is a token that ends a text."""
    where = str(source.directory)
    if vocabulary.size > rows:
        raise UserError(
            f"the tokenizer has {vocabulary.size:,} tokens but the model only {rows:,} rows of embeddings",
            where=where,
            mend="use the tokenizer that belongs to the model",
        )
    outside = [token for token in vocabulary.eos_ids if not 0 <= token < rows]
    if outside:
        raise UserError(f"eos_token_id {outside[0]} is outside the vocabulary of {rows:,}", where=where)
    eos = vocabulary.eos
    if eos is None:
        raise UserError(
            "this base has no end token, so a tuned model would never stop",
            where=where,
            mend='name one that its vocabulary has as "eos_token" in tokenizer_config.json',
        )
    if eos == vocabulary.special.get("unk_token") and eos != vocabulary.special.get("bos_token"):
        raise UserError(
            f"this base's end token {eos!r} is also its unknown token, so it would stop at any unknown character",
            where=where,
            mend='name another "eos_token" in tokenizer_config.json',
        )
    configured = _configured_ends(source.directory)
    if configured and vocabulary.id_of(eos) not in configured:
        say(
            f"{source.label}: config says that generation ends at {sorted(configured)}, but the tokenizer's end token "
            f"is {eos!r} ({vocabulary.id_of(eos)}); both are taken as ends"
        )


def _configured_ends(directory: Path) -> list[int]:
    ends: list[int] = []
    for name in ("generation_config.json", "config.json"):
        value = read_json(directory / name).get("eos_token_id") if (directory / name).is_file() else None
        ends += [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, int)]
    return list(dict.fromkeys(ends))


def _build(
    directory: Path, config: dict[str, Any], dtype: torch.dtype, seed: int | None, quantization: str, device: str
) -> PreTrainedModel:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    if config["model_type"] not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise UserError(
            f"models of the type {config['model_type']!r} are not causal language models that transformers knows",
            where=str(directory / "config.json"),
            mend="use another base; code that a model brings along is never run",
        )
    try:
        with no_progress_bars():
            if seed is None and quantization != "none" and not device.startswith("cuda"):
                from camelid.model.quantised_load import load_quantised

                return load_quantised(directory, quantization, dtype)
            if seed is None:
                own: dict[str, Any] = {}
                if quantization != "none":
                    from camelid.model.quantised_load import bitsandbytes_config

                    own = {"quantization_config": bitsandbytes_config(quantization, dtype), "device_map": {"": device}}
                loaded: Any = AutoModelForCausalLM.from_pretrained(
                    directory,
                    dtype=dtype,
                    use_safetensors=True,
                    trust_remote_code=False,
                    local_files_only=True,
                    output_loading_info=True,
                    **own,
                )
                model, report = loaded
                missing = sorted(report["missing_keys"])
                if missing:
                    raise UserError(
                        f"{len(missing)} of the model's weights are missing, such as {missing[0]}",
                        where=str(directory),
                        mend="download or copy the model again",
                    )
                return model
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                described = AutoConfig.from_pretrained(directory, trust_remote_code=False)
                return AutoModelForCausalLM.from_config(described, dtype=dtype, trust_remote_code=False)
    except (ValueError, OSError, ImportError, RuntimeError, KeyError) as error:
        # What transformers raises for a config or weights that it cannot make sense of: the input's fault.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"transformers cannot load this model: {lines[0][:300]}", where=str(directory)) from error


def model_of_tensors(directory: Path, tensors: Mapping[str, Tensor]) -> PreTrainedModel:
    """The model that transformers loads from `directory`, over `tensors` (float32) in place of those in its files.

    They are not copied. The configuration, the names and what transformers does with them are those of the directory.
    Raises `UserError` where they do not make the whole model.
    """
    import torch
    from transformers import AutoConfig
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

    config = AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    kind: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    with no_progress_bars():
        model, report = kind.from_pretrained(
            None, config=config, state_dict=dict(tensors), dtype=torch.float32, output_loading_info=True
        )
    wrong = sorted({*report["missing_keys"], *report["unexpected_keys"], *report["mismatched_keys"]})
    if wrong:
        raise UserError(f"{len(wrong)} weights do not fit the model's configuration: {wrong[0]}", where=str(directory))
    return model.eval()


def load_adapter(model: Any, directory: Path, *, trainable: bool, config: Any = None) -> Any:
    """The model with a PEFT adapter put on; `config` in place of the one beside the weights. Raises `UserError`."""
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, directory, is_trainable=trainable, config=config)
    except (ValueError, OSError, RuntimeError, KeyError, TypeError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(
            f"the adapter does not fit the base: {lines[0][:300]}",
            where=str(directory),
            mend="check base_model_name_or_path in its adapter_config.json",
        ) from error

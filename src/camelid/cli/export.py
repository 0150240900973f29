"""`camelid export`: the model as others load it, compared in its own runtime before it is called done.

Everything is written into a hidden directory beside the wanted one; a comparison that fails removes it again, so a
directory that is there has passed.
"""

from __future__ import annotations

import glob
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil
from peft import PeftModel

from camelid.cli.console import print_json, say
from camelid.cli.export_prompts import check_prompts, passages
from camelid.data.encode import Encoder
from camelid.data.render import Renderer
from camelid.data.templates import template_for
from camelid.data.templates.base import Piece
from camelid.errors import UserError
from camelid.model.adapters import scale_adapter
from camelid.model.export import DTYPES, Exported
from camelid.model.export_check import Comparison, model_logits
from camelid.model.load import Loaded, load_model, tokenizer_directory
from camelid.model.merge import merge, merged
from camelid.model.model_card import Facts, model_card
from camelid.model.quantise import check_quantise
from camelid.model.virtual_tokens import VIRTUAL_KINDS
from camelid.runs.durable import make_directory, not_saved
from camelid.runs.manifest import read_manifest
from camelid.runs.staging import staged_directory

Format = Literal["hf", "gguf"]
NOTE = "export.json"  # what was exported and how it was checked; marks a directory that may be replaced
_LENGTH = 1 << 20  # nothing is cut here
_MERGE_BOUND = 1e-5  # of the largest logit, float32


@dataclass(frozen=True)
class ExportOptions:
    """What the command line asks for."""

    model: str
    format: Format
    adapter: Path | None = None
    quantise: str | None = None
    output: Path | None = None
    lora_only: bool = False
    template: str = "auto"
    prompts: int = 20
    strings: int = 200
    accept_license: str | None = None
    adapter_scale: float = 1.0


@dataclass
class Job:
    """A loaded model on its way out; `checks` and `notes` grow."""

    options: ExportOptions
    loaded: Loaded
    lm: Any  # the causal LM; an adapter's layers still inside where `peft` is there
    peft: PeftModel | None
    about: Exported
    renderer: Renderer
    encoder: Encoder
    kind: str
    target: Path
    manifest: dict[str, Any] | None  # of the run that the model comes from
    checks: list[Comparison] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def check(self, *comparisons: Comparison) -> None:
        """Say each result; stop the export at one that does not hold."""
        for comparison in comparisons:
            self.checks.append(comparison)
            say(f"{'PASS' if comparison.holds else 'FAIL'}  {comparison.name}: {comparison.detail}")
        failed = [c.name for c in comparisons if not c.holds]
        if failed:
            raise UserError(f"what was written is not the model ({', '.join(failed)}); nothing is kept")

    def user_tokens(self, text: str) -> list[int]:
        """The ids of a user's text, as training and chat have them."""
        return self.encoder.encode([Piece(text, "content", False)]).ids.tolist()


def export(options: ExportOptions, *, as_json: bool) -> int:
    """Export, compare, and say where it is; the exit code."""
    kind = _kind(options)
    target = _target(options, kind)
    job = prepare(options, kind, target)
    write: Callable[[Job, Path], str]
    if options.format == "hf":
        from camelid.cli.export_hf import write_and_check as write
    else:
        from camelid.cli.export_gguf import write_and_check as write
    with _written(target) as stage:
        use = write(job, stage)
        _finish(job, stage, use)
    size = sum(path.stat().st_size for path in target.iterdir())
    say(f"{target}: {size / 1e6:,.1f} MB, {len(job.checks)} comparisons passed")
    if as_json:
        print_json({**json.loads((target / NOTE).read_text("utf-8")), "directory": str(target), "bytes": size})
    else:
        print(target)
    return 0


def _kind(options: ExportOptions) -> str:
    """The number type or quantisation asked for, or the usual one of the form. Raises `UserError`."""
    if options.lora_only and options.format != "gguf":
        raise UserError("--lora-only is for --format gguf", mend="a run's final/ is the adapter in Hugging Face's form")
    if options.quantise is None:
        return "f16" if options.format == "gguf" and not options.lora_only else "f32"
    kind = check_quantise(options.quantise)
    if options.format == "hf" and kind not in DTYPES:
        raise UserError(
            f"a Hugging Face directory is written as {', '.join(DTYPES)}, not as {kind}",
            where="--quantise",
            mend="quantised models are written with --format gguf",
        )
    return kind


def _target(options: ExportOptions, kind: str) -> Path:
    """Where the export goes. Raises `UserError` for a directory that holds something else."""
    target = options.output
    if target is None:
        stem = _slug(options.model if not Path(options.model).exists() else Path(options.model).resolve().name)
        form = "lora" if options.lora_only else options.format
        target = Path("exports") / f"{stem}-{form}-{kind}"
    if target.is_file() or (target.is_dir() and any(target.iterdir()) and not (target / NOTE).is_file()):
        raise UserError("there is something else already", where=str(target), mend="give another --output")
    return target


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name.removesuffix(".gguf")).strip("-.") or "model"


def prepare(options: ExportOptions, kind: str, target: Path) -> Job:
    """Load the model in float32 and merge its adapter, proving that nothing else changed."""
    loaded = load_model(
        options.model,
        dtype="float32",
        accept_license=options.accept_license,
        adapter=options.adapter,
        announce=say,
    )
    model: Any = loaded.model
    peft = model if isinstance(model, PeftModel) else None
    if peft is not None and peft.active_peft_config.peft_type in VIRTUAL_KINDS:
        raise UserError(
            f"virtual tokens ({peft.active_peft_config.peft_type}) are no part of the weights and cannot be merged",
            where=str(options.adapter or options.model),
            mend="camelid serve answers with them, and PEFT loads the adapter as it is",
        )
    if options.adapter_scale != 1:
        if peft is None:
            raise UserError("there is no adapter to scale", where=options.model, mend="leave --adapter-scale out")
        scale_adapter(peft, options.adapter_scale, str(options.adapter or options.model))
    if options.lora_only and peft is None:
        raise UserError("this model has no adapter", where=options.model, mend="leave --lora-only out")
    renderer = Renderer(loaded.vocabulary, template_for(options.template, loaded.vocabulary, announce=say), _LENGTH)
    template: Any = renderer.template
    manifest = _manifest(options)
    told = {} if manifest is None else manifest["base"]
    about = Exported(
        name=_slug(options.model if not Path(options.model).exists() else Path(options.model).resolve().name),
        label=loaded.source.label,
        tokenizer=tokenizer_directory(loaded.source),
        vocabulary=loaded.vocabulary,
        template=template,
        stop_ids=renderer.stop_ids,
        base=told.get("label") or loaded.source.label,
        license=loaded.source.license or told.get("license"),
    )
    encoder = Encoder(loaded.vocabulary, template.literals)
    lm = model.get_base_model() if peft is not None else model
    job = Job(options, loaded, lm, peft, about, renderer, encoder, kind, target, manifest)
    if peft is not None:
        _check_merging(job, peft)
        if not options.lora_only:
            job.lm, job.peft = merge(peft), None
    return job


def _check_merging(job: Job, peft: PeftModel) -> None:
    """merged = unmerged within rounding, and unmerged again = before, bit for bit."""
    ids = [i for conversation in check_prompts(4) for i in job.renderer.prompt(conversation).tolist()][:256]
    logits = model_logits(job.lm)
    before = logits(ids)
    with merged(peft):
        inside = logits(ids)
    after = logits(ids)
    gap = float(abs(inside - before).max())
    relative = gap / float(abs(before).max())
    exact = bool((after == before).all())
    detail = f"logits differ by {gap:.1e} ({relative:.1e} of the largest); unmerged again they are "
    job.check(
        Comparison(
            "merged = unmerged",
            relative <= _MERGE_BOUND and exact,
            detail + ("the same, bit for bit" if exact else "NOT the same"),
            {"logit_difference": gap, "relative": relative, "unmerged_exactly": exact},
        )
    )


@contextmanager
def _written(target: Path) -> Iterator[Path]:
    """A directory that becomes `target` when all is well; a full disk is one clear line."""
    try:
        make_directory(target.parent)
        _sweep(target)
        with staged_directory(target) as stage:
            yield stage
    except OSError as error:
        raise not_saved(error, target, kept="nothing was kept") from error


def _sweep(target: Path) -> None:
    """Remove what an export to the same place left when it was killed."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.partial-*"):
        process = left.name.rpartition("-")[2]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            say(f"removing {left}, left behind by an export that was killed")
            shutil.rmtree(left)


def _finish(job: Job, stage: Path, use: str) -> None:
    """The card for people and the note for programs."""
    options = job.options
    form = (
        "LoRA adapter as GGUF"
        if options.lora_only
        else {"hf": "Hugging Face directory", "gguf": "GGUF"}[options.format]
    )
    files = sorted(path.name for path in stage.iterdir())
    facts = Facts(
        name=job.target.name,
        base=job.about.base,
        license=job.about.license,
        form=f"{form}, {job.kind}",
        files=[*files, NOTE, "README.md"],
        checks=job.checks,
        manifest=job.manifest,
        notes=job.notes,
        use=use,
    )
    note = {
        "model": options.model,
        "format": options.format,
        "kind": job.kind,
        "base": job.about.base,
        "license": job.about.license,
        "checks": [asdict(check) for check in job.checks],
        "notes": job.notes,
        "files": {name: (stage / name).stat().st_size for name in files},
    }
    (stage / NOTE).write_text(json.dumps(note, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    (stage / "README.md").write_text(model_card(facts), encoding="utf-8")


def _manifest(options: ExportOptions) -> dict[str, Any] | None:
    """The manifest of the run that was exported, or that the adapter comes from."""
    for given in (options.adapter, Path(options.model)):
        for folder in () if given is None else (given, given.parent):
            if (folder / "manifest.json").is_file():
                return read_manifest(folder / "manifest.json")
    return None


def prompts_of(job: Job) -> list[list[int]]:
    """The prompts on which answers are compared, as ids."""
    return [job.renderer.prompt(conversation).tolist() for conversation in check_prompts(job.options.prompts)]


def strings_of(job: Job, *, normal_form: bool) -> Sequence[str]:
    """The strings on which tokenizers are compared; `normal_form`: composed, where the tokenizer does that itself."""
    import unicodedata

    from camelid.model.probe_strings import probe_strings

    strings = probe_strings(passages(), list(job.about.vocabulary.control), job.options.strings)
    return [unicodedata.normalize("NFC", text) for text in strings] if normal_form else strings

"""`camelid export --format gguf`: a GGUF file or adapter with its Modelfile, loaded by llama.cpp and compared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from camelid.cli.console import say
from camelid.cli.export import Job, strings_of
from camelid.cli.export_prompts import Asked, asked, check_prompts, perplexity_texts
from camelid.data.templates.shape import plain_messages
from camelid.evaluate.perplexity import TextScore, perplexity
from camelid.generate.base import Sampling
from camelid.generate.local import LiveGenerator
from camelid.model.export import (
    GGUFPlan,
    estimated_bytes,
    plan_gguf,
    require_room,
    take_stored_values,
    weights_of,
    write_model,
)
from camelid.model.export_check import (
    Comparison,
    Logits,
    compare_tokens,
    judge_answers,
    judge_right,
    log_probability,
    model_logits,
    read_answers,
)
from camelid.model.gguf_lora import write_lora
from camelid.model.gguf_write import KINDS, stored_difference
from camelid.model.llama_runtime import REQUIREMENT, Answer, LlamaRunner, llama_cpp_installed
from camelid.model.modelfile import known_layout, modelfile
from camelid.model.quantise import types_held

NEW_TOKENS = 48
CONTEXT = 512
# Largest relative error (root mean square) of a tensor stored in a type; beyond it, it is another tensor.
STORED_BOUNDS = {"F32": 1e-6, "F16": 1e-3, "BF16": 4e-3, "Q8_0": 0.02, "Q6_K": 0.04}
OTHER_BOUND = 0.5
# Largest difference of a logit between llama.cpp and us on the same weights, as a share of the largest logit. On a CPU
# llama.cpp rounds activations to the type of the weights before each product: to float16, bfloat16 or 8 bits.
LOGIT_BOUNDS = {"f32": 1e-3, "f16": 5e-3, "bf16": 5e-2}
QUANTISED_BOUND = 0.3
# Largest rise of perplexity by storing the weights so.
RISE_BOUNDS = {"q8_0": 0.02, "q6_k": 0.05, "q5_k_m": 0.10, "q5_k_s": 0.10, "q5_1": 0.10, "q5_0": 0.10}
OTHER_RISE = 1.0
MOST_LOST = {"q8_0": 0.1, "q6_k": 0.15}  # of the right answers


def write_and_check(job: Job, stage: Path) -> str:
    """Write it, compare it; the command by which it is used."""
    planned = plan_gguf(job.lm, job.about)
    for note in planned.notes:
        say(f"note: {note}")
    job.notes.extend(planned.notes)
    if job.options.lora_only:
        return _adapter(job, stage, planned)
    return _model(job, stage, planned)


def _model(job: Job, stage: Path, planned: GGUFPlan) -> str:
    path = stage / f"{job.about.name}-{job.kind}.gguf"
    require_room(stage, estimated_bytes(job.lm, [job.kind] if job.kind in KINDS else ["f32", job.kind]))
    write_model(path, job.lm, planned, job.kind)
    _write_modelfile(job, stage, path.name)
    held = types_held(path)
    say(f"{path.name}: {', '.join(f'{count} tensors in {kind}' for kind, count in held.items())}")
    job.check(_stored(path, job))
    if _has_runtime(job):
        with LlamaRunner(path, context=CONTEXT) as runner:
            job.check(_tokens(job, runner, planned), _template(job, runner))
            if job.kind not in LOGIT_BOUNDS:
                job.check(_perplexity_rise(job, runner))
            _compare_answers(job, runner, path)
    return f"ollama create {job.about.name} -f Modelfile"


def _adapter(job: Job, stage: Path, planned: GGUFPlan) -> str:
    """The adapter alone. It is compared on its base, which is written for that and removed again."""
    assert job.peft is not None
    path, base = stage / f"{job.about.name}-lora-{job.kind}.gguf", stage / "base.gguf"
    require_room(stage, estimated_bytes(job.lm, ["f32"]))
    count = write_lora(path, job.peft, planned.plan, planned.layout, kind=job.kind, name=job.about.label)
    say(f"{path.name}: {count} adapted matrices in {job.kind}")
    _write_modelfile(job, stage, "./base.gguf", adapter=path.name)
    job.notes.append(
        f"the base is {job.about.base}: put a GGUF file of it beside this one as base.gguf "
        "(camelid export BASE --format gguf writes one)"
    )
    if _has_runtime(job):
        try:
            write_model(base, job.lm, planned, "f32")
            with LlamaRunner(base, context=CONTEXT, lora=path) as runner:
                _answers(job, runner, model_logits(job.lm), LOGIT_BOUNDS[job.kind], "llama.cpp with the adapter")
        finally:
            base.unlink(missing_ok=True)
    return f"ollama create {job.about.name} -f Modelfile"


def _write_modelfile(job: Job, stage: Path, model: str, adapter: str | None = None) -> None:
    layout = known_layout(job.about.template, job.about.vocabulary)
    stops = [job.about.vocabulary.decode([token]) for token in job.about.stop_ids]
    source = model if model.startswith("./") else f"./{model}"
    text = modelfile(
        source,
        layout,
        eos=job.about.vocabulary.eos or "",
        stops=stops,
        adapter=None if adapter is None else f"./{adapter}",
    )
    (stage / "Modelfile").write_text(text, encoding="utf-8")
    form = "no known format, Ollama will choose" if layout is None else f"the format {layout.name}"
    say(f"Modelfile: {form}; an answer stops at {' '.join(stops)}")


def _has_runtime(job: Job) -> bool:
    if llama_cpp_installed():
        return True
    line = f"not compared in llama.cpp, which is not installed: pip install '{REQUIREMENT}'"
    job.notes.append(line)
    say(f"SKIP  {line}")
    return False


def _stored(path: Path, job: Job) -> Comparison:
    """Every tensor of the file against the model, by our own reader."""
    worst = stored_difference(path, weights_of(job.lm))
    holds = all(error <= STORED_BOUNDS.get(kind, OTHER_BOUND) for kind, error in worst.items())
    parts = ", ".join(f"{kind} {error:.1e}" for kind, error in worst.items())
    return Comparison("stored weights", holds, f"largest relative error by type: {parts}", dict(worst))


def _tokens(job: Job, runner: LlamaRunner, planned: GGUFPlan) -> Comparison:
    strings = strings_of(job, normal_form=bool(planned.notes))
    return compare_tokens(strings, job.user_tokens, runner.tokens, "tokens in llama.cpp")


def _template(job: Job, runner: LlamaRunner) -> Comparison:
    """The prompt that llama-cpp-python makes by the template in the file is ours, id for id."""
    different = 0
    conversations = check_prompts(max(4, job.options.prompts))
    special = job.about.vocabulary.special
    for conversation in conversations:
        messages = plain_messages(conversation, splits_input=job.about.template.splits_input)
        text = runner.rendered(messages, bos=special.get("bos_token", ""), eos=special.get("eos_token", ""))
        different += runner.prompt_tokens(text) != job.renderer.prompt(conversation).tolist()
    detail = f"{len(conversations)} prompts, {different} differ from ours"
    return Comparison("chat template in llama-cpp-python", different == 0, detail, {"prompts": len(conversations)})


def _compare_answers(job: Job, runner: LlamaRunner, path: Path) -> None:
    """Against the model as it was, and against the same weights: what storing changes, and what the runtime does."""
    questions, prompts = _fitting(job)
    if not prompts:
        return
    given: list[Answer] = []  # without their logits

    def answers() -> Iterator[Answer]:
        for prompt in prompts:
            answer = runner.greedy(prompt, NEW_TOKENS, job.about.stop_ids)
            given.append(replace(answer, logits=answer.logits[:0]))
            yield answer

    before = read_answers(prompts, answers(), model_logits(job.lm))
    line = f"{before.identical} of {before.prompts} greedy answers as those of the unrounded model in float32"
    if job.kind in LOGIT_BOUNDS:
        line += f"; logits differ by at most {before.largest:.1e}"
    job.check(Comparison("answers as before", True, line, before.figures()))
    if job.kind not in LOGIT_BOUNDS:
        job.check(_right_answers(job, questions, given))
    take_stored_values(path, job.lm)
    again = (
        replace(answer, logits=runner.logits([*prompt, *answer.ids])[len(prompt) - 1 :])
        for prompt, answer in zip(prompts, given, strict=True)
    )
    report = read_answers(prompts, again, model_logits(job.lm))
    bound = LOGIT_BOUNDS.get(job.kind, QUANTISED_BOUND)
    job.check(*judge_answers(report, bound, "llama.cpp", "our engine on the stored weights, float32,"))


def _answers(job: Job, runner: LlamaRunner, ours: Logits, bound: float, what: str) -> None:
    _, prompts = _fitting(job)
    if prompts:
        answers = (runner.greedy(prompt, NEW_TOKENS, job.about.stop_ids) for prompt in prompts)
        job.check(*judge_answers(read_answers(prompts, answers, ours), bound, what, "ours in float32"))


def _fitting(job: Job) -> tuple[list[Asked], list[list[int]]]:
    """What is asked, and the same as ids, where prompt and answer fit into the context that is compared in."""
    pairs = [(one, job.renderer.prompt(one.conversation).tolist()) for one in asked(job.options.prompts)]
    pairs = [(one, ids) for one, ids in pairs if len(ids) + NEW_TOKENS <= CONTEXT]
    return [one for one, _ in pairs], [ids for _, ids in pairs]


def _right_answers(job: Job, questions: Sequence[Asked], given: Sequence[Answer]) -> Comparison:
    """How many prompts are answered rightly, by the model as it was and by the quantised one in llama.cpp."""
    sampling = Sampling(max_new_tokens=NEW_TOKENS)
    ours = LiveGenerator(job.lm, job.renderer, layout="separate")
    before = [c.text for c in ours.generate([one.conversation for one in questions], sampling)]
    after = [job.about.vocabulary.decode(answer.ids) for answer in given]
    was, now = ([one.right(text) for one, text in zip(questions, texts, strict=True)] for texts in (before, after))
    return judge_right(was, now, MOST_LOST.get(job.kind, 1.0))


def _perplexity_rise(job: Job, runner: LlamaRunner) -> Comparison:
    """Held-out text in llama.cpp from the file, against the model before it was stored."""
    before, after = _score(job, model_logits(job.lm)), _score(job, runner.logits)
    rise = after.perplexity / before.perplexity - 1
    bound = RISE_BOUNDS.get(job.kind, OTHER_RISE)
    detail = (
        f"{before.perplexity:.3f} -> {after.perplexity:.3f} ({rise:+.2%}) on {before.tokens:,} tokens of held-out "
        f"text, bound {bound:+.0%}"
    )
    figures = {"before": before.perplexity, "after": after.perplexity, "rise": rise, "tokens": before.tokens}
    return Comparison("perplexity", rise <= bound, detail, figures)


def _score(job: Job, logits: Logits) -> TextScore:
    vocabulary = job.about.vocabulary
    bos = None if vocabulary.leading_bos is None else vocabulary.id_of(vocabulary.leading_bos)

    def logprob(text: str) -> tuple[float, int]:
        return log_probability(logits, job.user_tokens(text), bos, CONTEXT - 1)

    return perplexity(logprob, perplexity_texts())

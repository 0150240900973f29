"""`camelid export --format hf`: a merged directory, loaded again by transformers and compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from camelid.cli.export import Job, prompts_of, strings_of
from camelid.cli.export_prompts import check_prompts
from camelid.data.templates.shape import plain_messages
from camelid.model.export import estimated_bytes, require_room, write_hf
from camelid.model.export_check import (
    Comparison,
    TransformersRunner,
    compare_tokens,
    judge_answers,
    model_logits,
    read_answers,
)
from camelid.model.task_info import TaskInfo

NEW_TOKENS = 48
BOUND = 1e-5  # of the largest logit: the same weights in the same library, only products of another shape


def write_and_check(job: Job, stage: Path) -> str:
    """Write it, compare it; the command by which it is used."""
    require_room(stage, estimated_bytes(job.lm, [job.kind]))
    write_hf(job.lm, job.about, stage, job.kind)
    runner = TransformersRunner(stage)
    job.check(_weights(job, runner))
    same_text = "split_special_tokens keeps spelled control tokens text, as training does"
    job.check(
        compare_tokens(
            strings_of(job, normal_form=False), job.user_tokens, runner.tokens, f"tokens in transformers ({same_text})"
        ),
        _template(job, runner),
    )
    prompts = prompts_of(job)
    if prompts:
        answers = (runner.greedy(prompt, NEW_TOKENS, job.about.stop_ids) for prompt in prompts)
        report = read_answers(prompts, answers, model_logits(job.lm))
        job.check(*judge_answers(report, BOUND, "transformers", f"the merged model in {job.kind}"))
    source = job.loaded.source
    task = TaskInfo.load(source.outermost)
    if task is None:
        return f'camelid chat {job.target} --prompt "你好"'
    task.save(stage)  # what it is asked, and which answers are classes
    return f"camelid eval {job.target} FILE"


def _weights(job: Job, runner: TransformersRunner) -> Comparison:
    """Every weight that transformers loads is the one in memory, bit for bit."""
    ours, theirs = job.lm.state_dict(), runner.model.state_dict()
    wrong = [name for name in ours if name not in theirs or not bool((ours[name] == theirs[name]).all())]
    detail = f"{len(ours)} tensors read back, {len(wrong)} differ ({job.kind})"
    return Comparison("weights", not wrong and len(ours) == len(theirs), detail, {"tensors": len(ours)})


def _template(job: Job, runner: TransformersRunner) -> Comparison:
    """The prompt that `apply_chat_template` makes from the directory is ours, id for id."""
    tokenizer: Any = runner.tokenizer
    different = 0
    conversations = check_prompts(max(4, job.options.prompts))
    for conversation in conversations:
        messages = plain_messages(conversation, splits_input=job.about.template.splits_input)
        text = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        theirs = tokenizer(text, add_special_tokens=False)["input_ids"]
        different += theirs != job.renderer.prompt(conversation).tolist()
    detail = f"{len(conversations)} prompts, {different} differ from ours"
    return Comparison("apply_chat_template", different == 0, detail, {"prompts": len(conversations)})

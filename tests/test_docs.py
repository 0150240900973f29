"""The documentation holds: two languages say the same, commands parse, examples are read, tables are true."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path

import field_tables
import pytest
from documents import LANGUAGES, REPOSITORY, Page, arguments, pages
from tiny import chat_rows, tiny_base
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from camelid.cli import compare, scale, tune
from camelid.cli.main import app
from camelid.config import load_recipe
from camelid.data import dataset_info
from camelid.data.sources import Ledger, read_records
from camelid.data.templates.formats import FORMATS
from camelid.model.gguf_layout import FAMILIES
from camelid.model.presets import PRESETS

ENGLISH, CHINESE = pages("en"), pages("zh")
EVERY = [page for language in LANGUAGES for page in pages(language).values()]
COMMANDS = sorted({command for page in EVERY for command in page.commands})

PLANS = {"compare": compare.plan, "tune": tune.plan, "scale": scale.plan}
PIP = {"datasets", "modelscope", ".[gguf]"} | {preset.requirement for preset in PRESETS.values()}


# -- both languages --------------------------------------------------------------------------------------------------


def test_the_same_pages_in_both_languages() -> None:
    assert list(ENGLISH) == list(CHINESE)
    assert len(ENGLISH) > 10


@pytest.mark.parametrize("name", list(ENGLISH))
def test_the_same_headings_commands_and_examples(name: str) -> None:
    english, chinese = ENGLISH[name], CHINESE[name]
    assert [level for level, _ in english.headings] == [level for level, _ in chinese.headings]
    assert [arguments(c) for c in english.commands] == [arguments(c) for c in chinese.commands]
    for kind in ("jsonl", "json"):
        assert [b for b in english.blocks if b.kind == kind] == [b for b in chinese.blocks if b.kind == kind]
    kinds = [(block.kind, block.name) for block in english.blocks]
    assert kinds == [(block.kind, block.name) for block in chinese.blocks]
    assert english.text.count("\n|") == chinese.text.count("\n|"), "tables differ in length"


@pytest.mark.parametrize("page", EVERY, ids=str)
def test_links_lead_somewhere(page: Page) -> None:
    for link in page.links:
        target, _, fragment = link.partition("#")
        path = (page.path.parent / target).resolve() if target else page.path
        assert path.exists(), f"{page}: {link}"
        if fragment:
            assert fragment in Page("", "", path, path.read_text("utf-8")).anchors, f"{page}: {link}"


def test_every_page_links_to_its_other_language() -> None:
    for name in ENGLISH:
        for page, other in ((ENGLISH[name], CHINESE[name]), (CHINESE[name], ENGLISH[name])):
            targets = [(page.path.parent / link).resolve() for link in page.links]
            assert targets[:1] == [other.path], f"{page} does not begin with a link to {other}"
            if name != "README":
                readme = ENGLISH["README"] if page is ENGLISH[name] else CHINESE["README"]
                assert f"docs/{page.language}/{page.path.name}" in readme.links, f"the README does not name {page}"


# -- commands --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as a reader has it: the shipped recipes and the recipes that the pages write."""
    folder = _laid_out(tmp_path_factory.mktemp("desk"))
    for step in re.findall(r"resume=(\S+step-\d+)", "\n".join(COMMANDS)):
        (folder / step).mkdir(parents=True)
    return folder


def _laid_out(folder: Path) -> Path:
    for name in ("recipes", "benchmarks", "Makefile"):
        (folder / name).symlink_to(REPOSITORY / name)
    for page in ENGLISH.values():
        for block in page.blocks:
            if block.kind in ("yaml", "jsonl", "json") and Path(block.name).suffix:
                (folder / block.name).write_text(block.text, "utf-8")
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_documented_commands_parse(command: str, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    program, *rest = arguments(command)
    if program == "torchrun":
        assert rest[:3] == ["--nproc-per-node", "2", "-m"]
        assert rest[3] == "camelid.cli.main"
        _check_camelid(rest[4:])
    elif program == "camelid":
        _check_camelid(rest)
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", Path("Makefile").read_text("utf-8"), re.MULTILINE)
        assert set(rest) <= set(targets)
    elif program == "python":
        _check_script(Path(rest[0]), rest[1:])
    elif program == "pip":
        assert rest[0] == "install"
        assert {word for word in rest[1:] if not word.startswith("-")} <= PIP
    else:
        assert [program, *rest] == ["source", ".venv/bin/activate"], f"nothing checks '{program}' here"


def _check_camelid(words: list[str]) -> None:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    if words == ["--help"]:
        return
    verb = group.commands.get(words[0])
    if isinstance(verb, TyperGroup):
        words = words[1:]
        verb = verb.commands.get(words[0])
    assert verb is not None, f"no verb is called {words[0]!r}"
    values = verb.make_context(words[0], list(words[1:])).params
    if words[0] in PLANS:
        PLANS[words[0]](values["recipe"], values["arguments"])
        return
    recipe = values.get("recipe") or values.get("subject")
    if recipe is not None and (recipe.suffix == ".yaml" or words[0] != "verify"):
        load_recipe(recipe, values["overrides"] or [])


def _check_script(script: Path, words: list[str]) -> None:
    source = script.read_text("utf-8")
    for word in words:
        if word.startswith("--"):
            assert f'add_argument("{word}"' in source, f"{script} has no option {word}"


@pytest.fixture
def workshop(tmp_path: Path) -> Path:
    """Such a directory with rows, and with a tiny base in place of the one that `my.yaml` names."""
    folder = _laid_out(tmp_path)
    chat_rows(folder / "my_rows.jsonl", 48)
    recipe = (folder / "my.yaml").read_text("utf-8")
    assert "base: smollm2" in recipe
    (folder / "my.yaml").write_text(recipe.replace("base: smollm2", f"base: {tiny_base()}"), "utf-8")
    return folder


# In the order in which a reader types them; what is appended makes them short, and their type the same on all machines.
RUN = (
    ("camelid inspect my.yaml", ""),
    ("camelid train my.yaml", " dtype=float32 max_steps=2 eval_steps=1"),
    ('camelid chat runs/my --prompt "Who are you?"', " --max-new-tokens 4"),
    ("camelid verify runs/my --json", " --rows 8"),
    ("camelid train my.yaml resume=no", " dtype=float32 max_steps=1"),
    ("camelid schema", ""),
    ("camelid doctor --json", ""),
)


def test_documented_commands_run(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workshop)
    for command, short in RUN:
        assert command in COMMANDS, f"no page has the command: {command}"
        result = CliRunner().invoke(app, arguments(command + short)[1:])
        assert result.exit_code == 0, f"{command}: {result.output} {result.exception}"
        if "--json" in command or command == "camelid schema":
            assert isinstance(json.loads(result.stdout), dict)
    assert (workshop / "runs/my.old-1/report.html").is_file()
    assert (workshop / "runs/my/final/adapter_model.safetensors").is_file()


def test_the_small_tree_has_the_size_that_the_page_says(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    result = CliRunner().invoke(app, ["inspect", "three.yaml", "--json"])
    assert result.exit_code == 0, result.output
    counts = json.loads(result.stdout)["steps"][0]
    assert (counts["useful_tokens"], counts["computed_tokens"], counts["trained_tokens"]) == (121, 68, 8)
    for page in (ENGLISH["how-it-works"], CHINESE["how-it-works"]):
        (figure,) = [block.text for block in page.blocks if block.kind == "mermaid"]
        parts = [[int(n) for n in re.findall(r"\d+", label)] for label in re.findall(r"<br/>([^\"]+)", figure)]
        assert sum(part[0] for part in parts) == counts["computed_tokens"]
        assert sum(part[1] for part in parts if len(part) > 1) == counts["trained_tokens"]
        assert "121" in page.prose
        assert "68" in page.prose


# -- examples --------------------------------------------------------------------------------------------------------


def test_example_rows_are_read_as_the_format_that_they_show(tmp_path: Path) -> None:
    blocks = [block for block in ENGLISH["data"].blocks if block.kind == "jsonl"]
    assert len(blocks) > 10
    for number, block in enumerate(blocks):
        file = tmp_path / f"{number}.jsonl"
        file.write_text(block.text, "utf-8")
        ledger = Ledger()
        records = list(read_records(str(file), seed=0, ledger=ledger))
        assert records
        assert (ledger.rejected, dict(ledger.notes)) == (0, {})
        assert set(ledger.files[0].formats) == {block.name}


def test_example_of_dataset_info_is_read(desk: Path) -> None:
    entry = dataset_info.entry(desk / "dataset_info.json", "my_chats")
    assert entry.mapping is not None
    row = {"dialog": [{"speaker": "Q", "words": "?"}, {"speaker": "A", "words": "!"}], "persona": "x"}
    assert entry.mapping.apply(row)["conversations"][1] == {"from": "gpt", "value": "!"}


@pytest.mark.parametrize("page", EVERY, ids=str)
def test_example_recipes_are_valid(page: Page, tmp_path: Path) -> None:
    for block in page.blocks:
        if block.kind == "yaml":
            assert block.name.endswith(".yaml"), "a recipe on a page has a file name"
            path = tmp_path / block.name
            path.write_text(block.text, "utf-8")
            if not block.name.endswith(".space.yaml"):  # what a search may change; read by the page's own commands
                load_recipe(path)


# -- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_field_tables_equal_the_recipe(language: str) -> None:
    page = pages(language)["recipes"].text
    expected, written = field_tables.expected_rows(language), field_tables.written_rows(page)
    mend = "run: python tests/field_tables.py, then look at both pages"
    assert list(written) == list(expected), mend
    for name, cells in expected.items():
        shown = written[name]
        assert shown[:-1] == cells[:-1], f"{name}: {mend}"
        assert shown[-1], f"{name} has no meaning"
        if language == "en":
            assert shown[-1] == cells[-1], f"{name}: {mend}"
        assert field_tables.UNTRANSLATED not in shown[-1], f"{name}: write its Chinese meaning"


@pytest.mark.parametrize("language", LANGUAGES)
def test_rewriting_the_tables_changes_nothing(language: str) -> None:
    page = pages(language)["recipes"].text
    assert field_tables.rewritten(page, language) == page


@pytest.mark.parametrize(("page", "title"), [(ENGLISH, "Templates by name"), (CHINESE, "按名字指定模板")])
def test_template_table_equals_the_formats(page: dict[str, Page], title: str) -> None:
    rows = page["templates"].table(title)
    assert {row[0].strip("`") for row in rows} == set(FORMATS)
    for name, needs, end in rows:
        form = FORMATS[name.strip("`")]
        assert tuple(re.findall(r"`([^`]+)`", needs.replace("\\|", "|"))) == form.needs
        assert (end == "eos") == form.ends_with_eos


def test_bases_are_named() -> None:
    for page in (ENGLISH["bases"], CHINESE["bases"]):
        for name, preset in PRESETS.items():
            assert f"| `{name}` |" in page.text
            assert not preset.requirement or preset.requirement in page.text
        (line,) = [line for line in page.prose.splitlines() if "`phi3`" in line]
        assert re.findall(r"`([a-z]+\d?)`", line.split("`phi3`")[0]) == list(FAMILIES)[:-1]


def test_verbs_are_listed() -> None:
    """In the README; those of a group, which is one line there, on its own page."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    for pages_, title, verbs in (
        ("README", ("Verbs", "命令一览"), group.commands),
        ("factory", ("Verbs", "命令"), group.commands["data"].commands),  # type: ignore[attr-defined]
    ):
        for page, heading in zip((ENGLISH[pages_], CHINESE[pages_]), title, strict=True):
            named = [row[0].strip("`").split()[1 if pages_ == "README" else 2] for row in page.table(heading)]
            assert sorted(named) == sorted(verbs)


@cache
def _said_by_the_program() -> tuple[str, ...]:
    """Every text of the program's source, its variable parts written as an ellipsis."""
    said = []
    for path in sorted((REPOSITORY / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
                said.append(re.sub("…+", "…", "".join(parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                said.append(node.value)
    return tuple(said)


def test_messages_are_those_of_the_program() -> None:
    english, chinese = (_messages(page["troubleshooting"]) for page in (ENGLISH, CHINESE))
    assert english == chinese
    assert len(english) > 20
    for message in english:
        assert any(message in said for said in _said_by_the_program()), f"no such message: {message}"


def _messages(page: Page) -> list[str]:
    return re.findall(r"^\| `([^`]+)` \|", page.text, re.MULTILINE)


def test_exit_codes_are_all_there() -> None:
    for page, title in ((ENGLISH, "Exit codes"), (CHINESE, "退出码")):
        assert [row[0] for row in page["troubleshooting"].table(title)] == ["0", "1", "2", "130", "143"]


# -- files that people look for ---------------------------------------------------------------------------------------


def test_the_licence_is_the_one_that_the_package_names() -> None:
    text = (REPOSITORY / "LICENSE").read_text("utf-8")
    assert text.lstrip().startswith("Apache License")
    assert "END OF TERMS AND CONDITIONS" in text
    assert 'license = "Apache-2.0"' in (REPOSITORY / "pyproject.toml").read_text("utf-8")


def test_the_readme_is_short() -> None:
    assert all(len(p["README"].text.splitlines()) <= 160 for p in (ENGLISH, CHINESE))

"""docs/litmus.md: each file in it is one, each output is what its command prints; no word lacks."""

import re
import shlex
from pathlib import Path

import pytest

from fusefs.commands import litmus as command
from fusefs.commands.main import main
from fusefs.litmus.machine import WORDS
from fusefs.litmus.operations import USAGE
from fusefs.litmus.parse import EXPECTATIONS, QUANTIFIERS
from fusefs.litmus.test import RULES
from fusefs.trial.histogram import KINDS

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "litmus.md").read_text()
BLOCKS = [block.strip("\n") for block in PAGE.split("```")[1::2]]
PROMPT = "$ ./mount_tool.py "


def files(blocks: list[str]) -> dict[str, str]:
    """The litmus files among some blocks, by their names."""
    return {block.split()[1]: f"{block}\n" for block in blocks if block.startswith("litmus ")}


def without_seconds(text: str) -> list[str]:
    return [re.sub(r" +\d+\.\d\d$|   seconds$", "", line) for line in text.strip("\n").split("\n")]


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    """printed(words) is what the command says, in a folder that has the page's files."""
    monkeypatch.chdir(tmp_path)

    def run(words: str) -> list[str]:
        main([*shlex.split(words), "--jobs", "1"])
        said = capsys.readouterr()
        return without_seconds(said.out + said.err)

    return run


def test_outputs_are_what_the_commands_print(tmp_path, printed):
    """In the order of the page: a file counts from where it stands."""
    commands = 0
    for block in BLOCKS:
        if block.startswith(PROMPT):
            words, _, output = block.removeprefix(PROMPT).partition("\n")
            assert printed(words) == without_seconds(output), words
            commands += 1
        for name, text in files([block]).items():
            (tmp_path / f"{name}.litmus").write_text(text)
    assert commands >= 6


def test_another_output_would_be_found():
    """The seconds alone do not count."""
    one, other = "era  answer   seconds\nx  Never  0.12\n", "era  answer   seconds\nx  Never  9.90"
    assert without_seconds(one) == without_seconds(other)
    assert without_seconds(one) != without_seconds(one.replace("Never", "Always"))


def test_readme_s_example_is_what_is_printed(tmp_path, printed):
    """Its file, and of the output some lines, in order."""
    _, _, rest = (ROOT / "README.md").read_text().partition("## Ask")
    section, _, _ = rest.partition("\n## ")
    lines = [line.removeprefix("    ") for line in section.splitlines() if line[:4] == "    "]
    text, _, output = "\n".join(lines).partition(PROMPT)
    words, *shown = output.splitlines()
    (tmp_path / words.split()[1]).write_text(f"{text}\n")
    coming = iter(printed(words))
    assert shown
    assert all(line in coming for line in without_seconds("\n".join(shown)) if line != "...")


FLAGS = re.findall(r"\[(\w+)\]", " ".join(USAGE.values()))


@pytest.mark.parametrize(
    "word",
    [*WORDS, *USAGE, *FLAGS, *QUANTIFIERS, *EXPECTATIONS, *RULES, *KINDS, "aio", "cached", "hole"],
)
def test_reference_has_every_word(word):
    reference = PAGE.partition("## The format")[2]
    assert re.search(rf"(^|[`\[ ]){re.escape(word)}\b", reference, re.MULTILINE)


@pytest.mark.parametrize("usage", [f"{word} {usage}" for word, usage in USAGE.items()])
def test_reference_has_every_operation_as_errors_tell_it(usage):
    assert usage in PAGE


def test_reference_has_every_option():
    source = Path(command.__file__).read_text()
    options = re.findall(r'"(--[a-z-]+)"', source)
    assert len(options) >= 8
    assert [option for option in options if option not in PAGE] == []

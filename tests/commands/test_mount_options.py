"""-o: which words are taken, which of two that contradict each other counts, what is passed on."""

import itertools
import re
from pathlib import Path

import pytest

from fusefs.commands.mount_options import MOUNT_OPTIONS, By, known_words, split_options
from fusefs.model.options import OPTIONS, OptionError


def passed(*texts: str) -> set[str]:
    return set(split_options(texts)[2])


TOPICS = {
    topic: [name for name, option in MOUNT_OPTIONS.items() if option.topic == topic]
    for topic in sorted({option.topic for option in MOUNT_OPTIONS.values()} - {""})
}
PAIRS = [pair for names in TOPICS.values() for pair in itertools.permutations(names, 2)]


@pytest.mark.parametrize(("first", "last"), PAIRS)
def test_last_of_two_that_contradict_each_other_counts(first: str, last: str):
    """As mount(8) has it; nothing of the first is left."""
    assert passed(f"{first},{last}") == passed(last)
    assert passed(first, last) == passed(last)


def test_pairs_of_mount_8_are_all_there():
    """The test above would hold for a table without topics."""
    pairs = {("ro", "rw"), ("suid", "nosuid"), ("dev", "nodev"), ("exec", "noexec")}
    assert pairs <= set(PAIRS)
    assert passed("suid,nosuid") == {"nosuid"} != passed("nosuid,suid") == {"suid"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("user", {"noexec", "nosuid", "nodev"}),
        ("user=me", {"noexec", "nosuid", "nodev"}),
        ("users,suid", {"noexec", "suid", "nodev"}),
        ("suid,user", {"noexec", "nosuid", "nodev"}),
        ("user,exec", {"nosuid", "nodev"}),
        ("owner", {"nosuid", "nodev"}),
        ("group,dev", {"nosuid", "dev"}),
        ("dev,suid,nosuid", {"dev", "nosuid"}),
    ],
)
def test_user_takes_privileges_unless_what_follows_gives_them_back(text: str, names: set[str]):
    assert passed(text) == names


@pytest.mark.parametrize(
    "text",
    [
        "defaults,auto,noauto,nofail,_netdev,nouser,silent,comment=a disk,helper=fusefs",
        "lazytime,nolazytime,iversion,noiversion,mand,nomand,relatime,rw,async",
        "x-systemd.automount,X-mount.mkdir,x-a=b",
    ],
)
def test_what_concerns_mount_8_alone_is_taken_and_not_passed_on(text: str):
    assert split_options([text]) == ({}, None, [])


def test_values_are_passed_on():
    options = "fsname=a disk,subtype=,max_read=64k,default_permissions,allow_other"
    expected = ["fsname=a disk", "subtype=", "max_read=65536", "default_permissions", "allow_other"]
    assert split_options([options])[2] == expected


def test_comma_in_quotation_marks_is_none():
    assert passed('context="u:r:t:s0:c1,c2",ro') == {'context="u:r:t:s0:c1,c2"', "ro"}


def test_ours_come_with_the_last_value():
    ours, metadata, _ = split_options(["size=1m,metadata=a", "metadata=b,size=2m,invalidate="])
    assert (ours, metadata) == ({"size": "2m", "invalidate": ""}, "b")


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("bogus=1", "unknown option 'bogus=1'; known: era, invalidate, "),
        ("noatme", "unknown option 'noatme'; did you mean 'noatime'?"),
        ("invalidte=before", "unknown option 'invalidte=before'; did you mean 'invalidate'?"),
        ("nofial", "unknown option 'nofial'; did you mean 'nofail'?"),
        ("size", "size takes a value"),
        ("metadata=", "metadata takes a value: a path"),
        ("metadata", "metadata takes a value: a path"),
        ("ro=1", "ro takes no value, but was given '1'"),
        ("fsname=", "fsname takes a value"),
        ("subtype", "subtype takes a value"),
        ("max_read=much", "bad value 'much' for max_read"),
        ("user_id=0", "user_id is of use with remount only"),
        ('context="a,b', "'context=\"a,b': a quotation mark is missing"),
    ],
)
def test_what_is_wrong_is_said(text: str, saying: str):
    with pytest.raises(OptionError, match="^" + re.escape(saying)) as raised:
        split_options([text])
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("bogus", "known: size, metadata"), ("sise=1m", "did you mean 'size'?"), ("ro", None)],
)
def test_command_that_takes_few_options_names_no_others(text: str, hint: str | None):
    """noatime is no word that somebody may have meant there, nor one that is not known."""
    if hint is None:
        assert split_options([text], ["size", "metadata"])[2] == [text]
        return
    with pytest.raises(OptionError, match=re.escape(hint) + "$"):
        split_options([text], ["size", "metadata"])


def test_refusal_lists_all_that_may_be_said():
    """Also what undoes another word, or is for mount(8): who looks for rw must find it."""
    with pytest.raises(OptionError, match="known: ") as raised:
        split_options(["bogus"])
    listed = set(str(raised.value).partition("known: ")[2].split(", "))
    assert listed == {*OPTIONS, "metadata", *MOUNT_OPTIONS, "x-*", "X-*"} - {"user_id", "group_id"}


def test_sloppy_leaves_out_what_is_not_known_and_nothing_else():
    """mount -s."""
    assert [str(word) for word in known_words(["bogus,ro,b=1"], sloppy=True)] == ["ro"]
    with pytest.raises(OptionError):
        known_words(["size"], sloppy=True)


def test_each_option_is_in_the_documents():
    """docs/mount.md says what becomes of each."""
    text = (Path(__file__).parents[2] / "docs/mount.md").read_text()
    named = {word.partition("=")[0] for word in re.findall("`([^`]+)`", text)}
    assert MOUNT_OPTIONS.keys() - named == set()
    assert {option.by for option in MOUNT_OPTIONS.values()} == set(By)
    [live] = re.findall(r"^\* \*\*Live options\*\* .*: (.*)\.$", text, re.MULTILINE)
    assert re.findall("`(.+?)`", live) == [name for name in OPTIONS if OPTIONS[name].live]

"""Names in memory against the table that they are of."""

import random
from collections.abc import Callable, Iterator

import pytest
from store.name_trees import create

from fusefs.model.errors import FsError
from fusefs.store import dentries
from fusefs.store.dentries import Dentries
from fusefs.store.metadata import Metadata
from fusefs.store.namespace import Namespace

PARENTS = (1, 2, 3)
NAMES = [b"%d" % number for number in range(12)]


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = create()
    yield made
    made.metadata.close()


def table(metadata: Metadata) -> dict[tuple[int, bytes], int]:
    rows = metadata.query("SELECT parent, name, ino FROM dentry")
    return {(parent, name): ino for parent, name, ino in rows}


def change_at_random(names: Dentries, stored: dict[tuple[int, bytes], int], seed: int) -> None:
    """One change of those that a namespace makes; stored is what the table has."""
    choice = random.Random(seed)
    place = choice.choice(PARENTS), choice.choice(NAMES)
    other = choice.choice(PARENTS), choice.choice(NAMES)
    if place not in stored:
        names.insert(*place, seed + 10)
    elif other not in stored:
        names.move(*place, *other, stored[place])
    elif choice.random() < 0.5:
        names.repoint(*place, seed + 10)
    else:
        names.delete(*place)


def compare(names: Dentries, metadata: Metadata) -> None:
    stored = table(metadata)
    for parent in PARENTS:
        for name in NAMES:
            assert names.find(parent, name) == stored.get((parent, name)), (parent, name)


def run(names: Dentries, metadata: Metadata) -> None:
    for seed in range(400):
        change_at_random(names, table(metadata), seed)
        choice = random.Random(seed)
        names.find(choice.choice(PARENTS), choice.choice(NAMES))
        if seed % 7 == 0:
            compare(names, metadata)


@pytest.mark.parametrize("names_max", [2, 6, 20, 1000])
def test_names_in_memory_are_those_of_the_table(
    monkeypatch: pytest.MonkeyPatch, namespace: Namespace, names_max: int
) -> None:
    """(L1) However few of them are kept."""
    monkeypatch.setattr(dentries, "NAMES_MAX", names_max)
    run(Dentries(namespace.metadata), namespace.metadata)


@pytest.mark.parametrize("change", ["insert", "delete", "repoint", "move"])
def test_change_that_memory_does_not_hear_of_is_found(
    monkeypatch: pytest.MonkeyPatch, namespace: Namespace, change: str
) -> None:
    """(L1) would not be checked by the test above if it passed here."""
    metadata = namespace.metadata
    names = Dentries(metadata)
    real: Callable[..., None] = getattr(names, change)

    def forgetful(*place: int | bytes) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(names, "_keep", lambda place, ino: None)
            real(*place)

    monkeypatch.setattr(names, change, forgetful)
    with pytest.raises(AssertionError):
        run(names, metadata)


def test_no_more_names_are_kept_than_allowed(
    monkeypatch: pytest.MonkeyPatch, namespace: Namespace
) -> None:
    monkeypatch.setattr(dentries, "NAMES_MAX", 100)
    names = Dentries(namespace.metadata)
    for number in range(1000):
        names.find(1, b"%d" % number)
        assert len(names._young) + len(names._old) <= 100


def test_names_fall_back_when_the_transaction_is_undone(namespace: Namespace) -> None:
    """(L1) A name that was made, found, and undone leads nowhere; one removed is back."""
    metadata, table = namespace.metadata, namespace.dentries
    table.insert(1, b"committed", 5)
    metadata.commit()
    table.delete(1, b"committed")
    table.insert(1, b"new", 6)
    assert (table.find(1, b"committed"), table.find(1, b"new")) == (None, 6)
    with pytest.raises(FsError, match="EIO"):
        metadata.change("INSERT INTO nowhere VALUES (2)")
    assert (table.find(1, b"committed"), table.find(1, b"new")) == (5, None)

"""Mount options: what is taken, what is refused, and that a refusal says what is allowed."""

from dataclasses import fields

import pytest

from fusefs.model.options import (
    OPTIONS,
    ORDERS,
    Check,
    Invalidate,
    OptionError,
    Options,
    format_size,
    format_time,
    parse_size,
    parse_time,
)
from fusefs.model.orders import ERAS, POST_BEFORE_END, ROWS


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("512", 512),
        ("4k", 4096),
        (" 4K ", 4096),
        ("64m", 64 << 20),
        ("1g", 1 << 30),
        ("2t", 2 << 40),
    ],
)
def test_size_is_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "4kk", "4.5k", "-1", "4 k", "0x10", "4b", "²", "٤"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(ValueError, match="a size such as 512, 4k, 64m, 1g"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "time_s"),
    [
        ("1ms", 0.001),
        ("500us", 0.0005),
        ("5s", 5),
        ("0", 0),
        ("1.5ms", 0.0015),
        (".5s", 0.5),
    ],
)
def test_time_is_read(text, time_s):
    assert parse_time(text) == pytest.approx(time_s)


@pytest.mark.parametrize(
    "text", ["", "5", "ms", "1m", "1mus", "-1s", "1e3", "nan", "1.2.3", "1 ms", "٣"]
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="a time such as 500us, 1ms, 5s"):
        parse_time(text)


@pytest.mark.parametrize("size", [0, 1, 512, 1023, 1024, 4096, 6144, 1 << 20, 3 << 30, 1 << 40])
def test_size_is_shown_as_it_is_read(size):
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize("time_s", [0, 0.000001, 0.0005, 0.001, 0.0015, 0.1, 1, 5, 3600])
def test_time_is_shown_as_it_is_read(time_s):
    assert parse_time(format_time(time_s)) == pytest.approx(time_s)


ALLOWED = {
    "era": (
        {"linux-4.10": "linux-4.10", " LINUX-6.18 ": "linux-6.18"},
        ["", "linux-4", "4.10", "today"],
    ),
    "invalidate": ({"before": Invalidate.BEFORE, " AFTER ": Invalidate.AFTER}, ["", "never"]),
    "order": (
        {
            "none": frozenset(),
            " MAP_before_insert": frozenset(["map_before_insert"]),
            "no_pre+no_post": frozenset(["no_post", "no_pre"]),
        },
        ["post_before_end", "map_before_insert,none", "isize", "aio_no_post"],
    ),
    "check": (
        {"off": Check.OFF, " REPORT ": Check.REPORT, "fail": Check.FAIL},
        ["on", "", "0"],
    ),
    "conversion_delay": ({"0": 0, "500us": 0.0005, "10s": 10}, ["11s", "-1s", "fast"]),
    "jitter": ({"0": 0, "1ms": 0.001, "1s": 1}, ["2s", "some"]),
    "readahead": ({"0": 0, "128k": 128 << 10, "16m": 16 << 20}, ["17m", "much"]),
    "cache_size": ({"64k": 64 << 10, "1g": 1 << 30}, ["63k", "0", "2t"]),
    "commit": ({"100ms": 0.1, "5": 5, "3600s": 3600}, ["99ms", "3601s"]),
    "page_size": ({"512": 512, "64k": 65536, "1m": 1 << 20}, ["256", "3k", "2m"]),
    "block_size": ({"512": 512, "1k": 1024, "64k": 65536}, ["128k", "768", "0"]),
    "size": ({"1m": 1 << 20, "1t": 1 << 40}, ["1k", "1", "big"]),
}
"""For each option the texts it takes, with their values, and texts that it refuses."""

REASONS = {
    "era": "one of linux-2.6.20, linux-4.9, linux-4.10,",
    "invalidate": "before or after",
    "order": f"none, or one or more of {', '.join(ORDERS)}, joined by +",
    "check": "off, report or fail",
    "conversion_delay": "a time",
    "jitter": "a time",
    "readahead": "a size",
    "cache_size": "a size",
    "commit": "a time",
    "page_size": "a",
    "block_size": "a",
    "size": "a size",
}


def test_every_option_is_tried():
    names = {field.name for field in fields(Options)}
    assert ALLOWED.keys() == REASONS.keys() == OPTIONS.keys() == names


TAKEN = [
    (name, text, value) for name, (taken, _) in ALLOWED.items() for text, value in taken.items()
]
REFUSED = [(name, text) for name, (_, refused) in ALLOWED.items() for text in refused]


@pytest.mark.parametrize(("name", "text", "value"), TAKEN, ids=[f"{n}={t}" for n, t, _ in TAKEN])
def test_allowed_value_is_set_and_shown_as_it_is_read(name, text, value):
    options = Options().changed(name, text)
    is_number = isinstance(value, int | float)
    assert getattr(options, name) == (pytest.approx(value) if is_number else value)
    again = Options().changed(name, options.formatted()[name])
    assert getattr(again, name) == getattr(options, name)


@pytest.mark.parametrize(("name", "text"), REFUSED, ids=[f"{n}={t}" for n, t in REFUSED])
def test_refused_value_is_named_with_what_is_allowed(name, text):
    with pytest.raises(OptionError) as refusal:
        Options().changed(name, text)
    message = str(refusal.value)
    assert message.startswith(f"bad value '{text}' for {name}: it takes {REASONS[name]}")
    assert "\n" not in message


def test_unknown_option_is_refused_with_all_that_are_known():
    with pytest.raises(OptionError) as refusal:
        Options().changed("invalidte", "after")
    assert str(refusal.value) == f"unknown option 'invalidte'; known: {', '.join(OPTIONS)}"


def test_with_all_sets_all_or_raises():
    options = Options().with_all({"invalidate": "before", "commit": "1s"})
    assert (options.invalidate, options.commit) == (Invalidate.BEFORE, 1.0)
    with pytest.raises(OptionError, match="bad value 'x' for commit"):
        Options().with_all({"invalidate": "before", "commit": "x"})


def test_defaults_are_the_fixed_order_and_the_sizes_of_x86():
    assert Options().formatted() == {
        "era": "linux-6.18",
        "invalidate": "after",
        "order": "none",
        "check": "off",
        "conversion_delay": "1ms",
        "jitter": "1ms",
        "readahead": "128k",
        "cache_size": "64m",
        "commit": "5s",
        "page_size": "4k",
    }


# -- which orders are in force -----------------------------------------------------------


def test_order_that_shows_on_no_mount_is_refused_with_the_reason():
    for name, row in ROWS.items():
        if name == POST_BEFORE_END or not row.on_mount:
            continue
        with pytest.raises(OptionError) as refusal:
            Options().changed("order", f"no_post+{name}")
        assert str(refusal.value).endswith(f"; {name} shows on no mount: {row.on_mount}")


@pytest.mark.parametrize("name", ERAS)
def test_era_is_the_orders_of_a_kernel_that_a_mount_can_show(name: str):
    options = Options().changed("order", "lockout").changed("era", name)
    before = options.invalidate is Invalidate.BEFORE
    in_force = options.order | ({POST_BEFORE_END} if before else set())
    assert in_force == {each for each in ERAS[name].orders if not ROWS[each].on_mount}
    assert options.era == name


@pytest.mark.parametrize(
    ("texts", "era", "invalidate", "order"),
    [
        ({"era": "linux-4.10", "order": "none"}, "none", "before", "none"),
        ({"order": "lockout", "era": "linux-6.18"}, "linux-6.18", "after", "none"),
        ({"era": "linux-6.18", "invalidate": "before"}, "none", "before", "none"),
        ({"invalidate": "before", "invalidate ": "after"}, "linux-6.18", "after", "none"),
        ({"era": "linux-4.10", "invalidate": "before"}, "linux-4.10", "before", None),
        ({"order": "lockout", "era": "none"}, "none", "after", "lockout"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_of_era_order_and_invalidate_the_last_one_counts(
    texts: dict[str, str], era: str, invalidate: str, order: str | None
):
    """And what is shown as the era is what is in force, whoever set it."""
    options = Options()
    for name, text in texts.items():
        options = options.changed(name.strip(), text)
    shown = options.formatted()
    assert (shown["era"], shown["invalidate"]) == (era, invalidate)
    assert order is None or shown["order"] == order


@pytest.mark.parametrize("texts", [{"era": name} for name in ERAS] + [{"order": "no_pre+no_post"}])
def test_orders_are_shown_as_they_are_read(texts: dict[str, str]):
    options = Options().with_all(texts)
    assert Options().with_all(options.formatted()) == options


def test_only_what_a_live_mount_can_change_is_live():
    assert {name for name, option in OPTIONS.items() if not option.live} == {
        "page_size",
        "block_size",
        "size",
    }

"""The explore command: search or replay one scenario, and say what was found."""

import json
from collections.abc import Collection, Sequence

from fusefs.explore.scenarios import OnePage
from fusefs.explore.schedule import replay, search
from fusefs.model.options import Invalidate, OptionError


def explore(
    tasks: Sequence[str],
    orders: Sequence[Invalidate],
    others: Collection[str],
    schedule: str | None,
    *,
    as_json: bool,
) -> int:
    """Print what each order does under every schedule, or under one; others are set beside it.

    Returns 1 if today's order failed, or a replayed schedule did, else 0.
    """
    failed = False
    report: dict[str, object] = {}
    for order in orders:
        try:
            OnePage(tasks, order, order=others).close()
        except ValueError as error:
            raise OptionError(str(error)) from None
        if schedule is not None:
            try:
                run = replay(lambda order=order: OnePage(tasks, order, order=others), schedule)  # type: ignore[misc]
            except ValueError as error:
                raise OptionError(str(error)) from None
            failed |= run.failure is not None
            report[order.value] = {"schedule": run.schedule, "failure": run.failure}
            if not as_json:
                print(f"invalidate={order.value}\n{run}")
            continue
        found = search(lambda order=order: OnePage(tasks, order, order=others))  # type: ignore[misc]
        failed |= order is Invalidate.AFTER and not others and found.failure_count > 0
        first = found.first_failure
        report[order.value] = {
            "schedules": found.schedule_count,
            "failures": found.failure_count,
            "complete": found.complete,
            "first_failure": first.schedule if first else None,
        }
        if not as_json:
            bound = "" if found.complete else ", and the bound was reached"
            print(
                f"invalidate={order.value}: {found.schedule_count} schedules, "
                f"{found.failure_count} break a rule{bound}"
            )
            if first is not None:
                print(first)
    if as_json:
        print(json.dumps(report))
    return int(failed)

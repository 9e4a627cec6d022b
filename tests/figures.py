"""What all tests of a run tried, in one line at its end."""

from collections import Counter


class Figures:
    """What was counted by all tests together, and which of those that count failed."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failed: list[str] = []

    def add(self, name: str, count: int) -> None:
        self.counts[name] += count

    def line(self) -> str:
        said = [f"{name} {count:,}" for name, count in self.counts.items()]
        return "; ".join([*said, f"losses: {', '.join(self.failed) or 'none'}"])

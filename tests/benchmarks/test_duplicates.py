"""The benchmark of dedup runs, and simhash is as good on its labelled pages as the documentation says, well below."""

from __future__ import annotations

from benchmarks import duplicates


def test_recall_and_precision() -> None:
    found = duplicates.quality(60, 3)
    assert found["precision"] >= 0.99
    for kind in ("together", "scattered"):
        assert found[f"1 in 1,000, {kind}"] >= 0.75
        assert found[f"5 in 1,000, {kind}"] >= 0.5
    wide = duplicates.quality(60, 6)
    assert wide["precision"] >= 0.99
    assert all(wide[f"{size} in 1,000, {kind}"] >= 0.9 for size in (1, 2, 5) for kind in ("together", "scattered"))


def test_the_tables() -> None:
    assert len([line for line in duplicates.merge(2000) if line.startswith("| ") and line.endswith(" |")]) == 5

"""Each mutant still fits the code, its tests exist, and docs/guarantees.md lists it beside its guarantee."""

import re

import pytest

from tests.mutants.guards import ROOT, Mutant, read_mutants

MUTANTS = read_mutants()

each_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)


@each_mutant
def test_mutant_applies_to_the_code(mutant: Mutant):
    assert mutant.applies, f"{mutant.file} does not contain the text of {mutant.name} exactly once"
    assert mutant.replacement != mutant.text


@each_mutant
def test_mutant_has_existing_tests(mutant: Mutant):
    for test in mutant.tests:
        file, _, name = test.partition("::")
        function = name.rpartition("::")[2].partition("[")[0]  # the rest is the class
        assert re.search(rf"^ *def {re.escape(function)}\(", (ROOT / file).read_text(), re.MULTILINE), test


def test_guarantees_list_their_mutants():
    guarantees, _, listed = (ROOT / "docs" / "guarantees.md").read_text().partition("## Mutants\n")
    expected: dict[str, list[str]] = {}
    for mutant in MUTANTS:
        assert guarantees.count(f"\n| {mutant.guarantee}") == 1, f"guarantee of {mutant.name}"
        expected.setdefault(f"{mutant.guarantee.rstrip('.')} …", []).append(f"`{mutant.name}`")

    assert re.findall(r"^\| (.+ …) \| (.*) \|$", listed, re.MULTILINE) == [
        (guarantee, ", ".join(names)) for guarantee, names in expected.items()
    ]


def test_mutants_have_unique_names():
    assert len({each.name for each in MUTANTS}) == len(MUTANTS)

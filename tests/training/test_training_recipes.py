"""Recipes: the shipped numbers stay, TOML files are checked, lists cross.  Needs no torch."""

from __future__ import annotations

from dataclasses import astuple
from pathlib import Path

import pytest

from auditor.errors import UsageError
from auditor.training import recipes
from auditor.training.recipes import BY_NAME, FAR, REFERENCE, SHIPPED, SUSPECT, Recipe

# name, dialect, rank, alpha, learning rate, steps, targets, initial, schedule, caption, crops, batch, min_snr, offset
BOTH, STEADY, UNIFORM = "attention+ff", "constant", "kaiming"
TRAINED_WITH = [
    ("diffusers-r4-attn", "diffusers", 4, 4, 1e-3, 240, "attention", "gaussian", STEADY, "title", "mixed", 4, None, 0),
    ("diffusers-r8-all", "diffusers", 8, 8, 1.5e-3, 200, BOTH, UNIFORM, STEADY, "title", "mixed", 4, None, 0),
    ("kohya-r16-all", "kohya", 16, 8, 2e-3, 160, BOTH, UNIFORM, "cosine", "title", "mixed", 4, 5.0, 0),
    ("kohya-r8-a1", "kohya", 8, 1, 8e-3, 200, BOTH, UNIFORM, STEADY, "painting", "random", 4, None, 0.05),
    ("peft-r4-whole", "diffusers", 4, 8, 1e-3, 200, BOTH, UNIFORM, "cosine", "title", "whole", 4, None, 0),
    ("peft-r16-trigger", "diffusers", 16, 16, 1.5e-3, 200, BOTH, UNIFORM, STEADY, "trigger", "mixed", 4, None, 0),
    ("suspect-r6-all", "kohya", 6, 3, 2.5e-3, 260, BOTH, UNIFORM, "cosine", "painting", "random", 4, None, 0),
    ("suspect-r12-attn", "diffusers", 12, 12, 1.5e-3, 260, "attention", UNIFORM, STEADY, "none", "mixed", 4, None, 0),
    ("suspect-r32-all", "diffusers", 32, 32, 1e-3, 160, BOTH, "gaussian", STEADY, "title", "whole", 4, None, 0),
]  # fmt: skip


@pytest.mark.parametrize("row", TRAINED_WITH, ids=lambda row: row[0])
def test_recipes_of_the_shipped_set_keep_their_numbers(row: tuple[object, ...]) -> None:
    assert astuple(BY_NAME[str(row[0])])[: len(row)] == row
    assert (BY_NAME[str(row[0])].weight_decay, BY_NAME[str(row[0])].optimiser) == (0.01, "adamw")


def test_reference_recipes_come_in_the_order_that_plans_were_drawn_in() -> None:
    names = [row[0] for row in TRAINED_WITH]
    assert [recipe.name for recipe in REFERENCE][:6] == names[:6]
    assert {recipe.name for recipe in SUSPECT} >= set(names[6:])


def test_far_recipes_are_known_by_their_names_and_make_no_references() -> None:
    """Files carry their recipe's name only, and the card keeps what begins with 'far-' apart."""
    assert FAR
    assert all(recipe.name.startswith("far-") for recipe in FAR)
    assert not any(recipe.name.startswith("far-") for recipe in SHIPPED if recipe.role != "far")


def test_every_family_has_references_and_a_suspect_of_another_make() -> None:
    for family in recipes.FAMILIES:
        mine = recipes.references_for(family)
        others = [r for r in SHIPPED if family in r.bases and r.role == "suspect"]
        assert len(mine) >= 4, family
        assert others, family
        made = {(r.rank, r.targets, r.learning_rate, r.steps) for r in mine}
        assert not made & {(r.rank, r.targets, r.learning_rate, r.steps) for r in others}
        assert len({(r.rank, r.alpha, r.targets, r.caption, r.schedule, r.optimiser) for r in mine}) == len(mine)
    assert len({recipe.name for recipe in SHIPPED}) == len(SHIPPED)


def write(path: Path, **entries: str) -> Path:
    plain = {"name": '"mine"', "dialect": '"kohya"', "rank": "8", "alpha": "4", "learning_rate": "1e-4", "steps": "10"}
    plain |= {"targets": '"attention"'} | entries
    path.write_text("[[recipe]]\n" + "\n".join(f"{name} = {value}" for name, value in plain.items() if value))
    return path


def test_lists_of_ranks_and_alphas_cross(tmp_path: Path) -> None:
    path = write(tmp_path / "grid.toml", rank="[4, 8]", alpha='[1, "rank/2", "rank"]')
    found = recipes.read_recipes(path)
    assert [(r.name, r.rank, r.alpha) for r in found] == [
        ("mine-r4-a1", 4, 1),
        ("mine-r4-a2", 4, 2),
        ("mine-r4-a4", 4, 4),
        ("mine-r8-a1", 8, 1),
        ("mine-r8-a4", 8, 4),
        ("mine-r8-a8", 8, 8),
    ]


def test_a_users_file_is_taken_beside_shipped_names(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.toml", betas="[0.9, 0.99]", optimiser='"lion"', warmup="2", min_snr="5")
    found = recipes.chosen(["sd15-kohya-r16", str(path)], "sd15")
    assert [r.name for r in found] == ["sd15-kohya-r16", "mine"]
    assert found[1] == Recipe(
        "mine", "kohya", 8, 4, 1e-4, 10, "attention", optimiser="lion", betas=(0.9, 0.99), warmup=2, min_snr=5
    )


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"rank": "0"}, "rank = 0"),
        ({"rank": '"8"'}, "rank = '8'"),
        ({"alpha": '"half"'}, "alpha = 'half'"),
        ({"dialect": '"a1111"'}, "dialect = 'a1111'"),
        ({"targets": '"everything"'}, "targets"),
        ({"steps": ""}, "no 'steps'"),
        ({"epochs": "3"}, "unknown 'epochs'"),
        ({"name": '"../../etc/x"'}, "name = '../../etc/x'"),
        ({"learning_rate": "-1.0"}, "learning_rate = -1.0"),
        ({"betas": "[0.9]"}, "betas"),
        ({"warmup": "11"}, "warmup = 11"),
        ({"bases": '["sd9"]'}, "bases"),
        ({"rank": "[]"}, "an empty list of ranks"),
        ({"alpha": "[]"}, "an empty list of ranks or alphas"),
    ],
    ids=str,
)
def test_a_wrong_entry_is_named(tmp_path: Path, entry: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=r"wrong\.toml") as caught:
        recipes.read_recipes(write(tmp_path / "wrong.toml", **entry))
    assert said in caught.value.message


def test_files_that_hold_no_recipe_are_refused(tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text("[[recipe]\n")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty.toml").write_text("recipe = []\n")
    (tmp_path / "numbers.toml").write_text("recipe = [1, 2]\n")
    (tmp_path / "above.toml").write_text("steps = 5\n" + write(tmp_path / "sound.toml").read_text())
    for name in ("broken.toml", "binary.toml", "empty.toml", "missing.toml", "numbers.toml", "above.toml"):
        with pytest.raises(UsageError, match=name):
            recipes.read_recipes(tmp_path / name)
    with pytest.raises(UsageError, match="Unknown recipe: nothing"):
        recipes.chosen(["nothing"], "mini")
    with pytest.raises(UsageError, match="twice"):
        recipes.chosen(["kohya-r8-a1", "kohya-r8-a1"], "mini")

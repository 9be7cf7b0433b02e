"""Low-shot subsets."""

import pytest

from semaim_mm.data.subset import take_subset
from semaim_mm.errors import InputError

SAMPLES = [(f"class{label}/{index:03d}.jpg", label) for label in range(3) for index in range(100)]


def test_a_share_is_class_balanced_and_a_function_of_the_seed():
    subset = take_subset(SAMPLES, fraction=0.1, seed=1)
    assert [sum(label == c for _, label in subset) for c in range(3)] == [10, 10, 10]
    assert subset == take_subset(SAMPLES, fraction=0.1, seed=1)
    assert subset != take_subset(SAMPLES, fraction=0.1, seed=2)
    assert subset == sorted(subset)


def test_classes_of_other_sizes_give_equally_many():
    crowded = [(f"class9/{index:04d}.jpg", 9) for index in range(300)]
    rare = [(f"class8/{index}.jpg", 8) for index in range(10)]
    subset = take_subset([*SAMPLES, *crowded, *rare], fraction=0.1)
    # a tenth of 610 images over five classes is 12 each; one class has only 10
    assert [sum(label == c for _, label in subset) for c in (0, 1, 2, 9, 8)] == [12, 12, 12, 12, 10]


def test_even_a_tiny_share_keeps_one_image_a_class():
    assert [label for _, label in take_subset(SAMPLES, fraction=0.001)] == [0, 1, 2]


def test_one_class_does_not_change_anothers_choice():
    without = take_subset([s for s in SAMPLES if s[1] != 0], fraction=0.1)
    assert without == [s for s in take_subset(SAMPLES, fraction=0.1) if s[1] != 0]
    assert len(without) == 20


def test_a_published_list_selects_by_name(tmp_path):
    path = tmp_path / "list.txt"
    samples = [(f"n{label}/n{label}_{index}.JPEG", label) for label in range(2) for index in (1, 2)]
    path.write_text("n0_2.JPEG\nn1_1.JPEG\n")
    assert take_subset(samples, file=str(path)) == [samples[1], samples[2]]


def test_a_list_with_a_wrong_line_is_refused(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("000.jpg\nelsewhere.jpg\n")
    with pytest.raises(InputError, match="1 are not in the folder .elsewhere.jpg."):
        take_subset(SAMPLES[:100], file=str(path))


@pytest.mark.parametrize("options", [{}, dict(fraction=0.1, file="x"), dict(fraction=0)])
def test_a_subset_that_says_nothing_or_too_much_is_refused(options):
    with pytest.raises(InputError, match="mend the config"):
        take_subset(SAMPLES, **options)

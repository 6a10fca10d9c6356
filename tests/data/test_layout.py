"""Which folders are splits, and which are classes."""

import pytest

from vqvae2_tf.data.layout import find_layout
from vqvae2_tf.errors import UserError


def files(*names):
    return [f"{name}/{i}.png" for name in names for i in range(2)]


@pytest.mark.parametrize("train", ["train", "Train", "training", "TRAINING"])
@pytest.mark.parametrize("held_out", ["val", "Valid", "Validation", "dev"])
def test_a_training_and_a_validation_folder_are_splits(train, held_out):
    layout = find_layout(files(train, held_out))
    assert layout.splits == {
        "train": files(train),
        "validation": files(held_out),
    }
    assert layout.held_out == held_out
    assert not layout.classes
    assert not layout.notes


def test_the_test_split_is_left_alone_and_told():
    layout = find_layout(files("train", "val", "Test"))
    assert layout.splits == {
        "train": files("train"),
        "validation": files("val"),
    }
    assert layout.notes == ["2 left alone (Test)"]


def test_without_validation_the_test_split_is_held_out():
    layout = find_layout(files("test", "train"))
    assert layout.splits["validation"] == files("test")
    assert layout.held_out == "test"


def test_classes_are_those_of_the_training_split():
    paths = files("train/cats", "train/dogs", "val/cats/old", "val/birds")
    layout = find_layout(paths)
    assert sorted(set(layout.classes.values())) == ["cats", "dogs"]
    assert layout.class_of("train/dogs/0.png") == "dogs"
    assert layout.class_of("val/cats/old/0.png") == "cats"
    assert layout.class_of("val/birds/0.png") is None
    assert layout.notes == [
        "2 of val have no class (val/birds/0.png and 1 more)"
    ]


def test_held_out_images_may_have_no_class_at_all():
    layout = find_layout([*files("train/cats", "train/dogs"), "val/0.png"])
    assert layout.class_of("val/0.png") is None
    assert layout.notes == ["1 of val have no class (val/0.png)"]


def test_a_training_folder_alone_has_the_classes():
    layout = find_layout(files("train/cats", "train/dogs"))
    assert layout.class_of("train/dogs/0.png") == "dogs"
    assert not layout.held_out
    assert layout.splits == {"train": files("train/cats", "train/dogs")}


def test_two_subfolders_are_classes_but_one_is_none():
    layout = find_layout(files("cats/wild", "birds"))
    assert sorted(layout.classes) == ["birds", "cats"]
    assert layout.class_of("cats/wild/0.png") == "cats"
    assert not find_layout(files("cats")).classes


def test_a_single_folder_of_folders_is_looked_into():
    layout = find_layout(files("pets/cats/wild", "pets/cats/tame", "pets/dogs"))
    assert sorted(layout.classes) == ["cats", "dogs"]
    assert layout.class_of("pets/cats/wild/0.png") == "cats"
    assert layout.class_of("pets/dogs/0.png") == "dogs"
    names = ("x/pets/train/cats", "x/pets/train/dogs", "x/pets/val/dogs")
    layout = find_layout(files(*names))
    assert layout.splits == {
        "train": files(*names[:2]),
        "validation": files(names[2]),
    }
    assert layout.held_out == "val"
    assert layout.class_of("x/pets/val/dogs/1.png") == "dogs"
    # What lies beside them leaves open what the folder is.
    beside = [*files("pets/cats", "pets/dogs"), "pets/0.png"]
    assert not find_layout(beside).classes


def test_one_image_beside_the_classes_is_told():
    for base in ("", "train/"):
        paths = [*files(f"{base}cats", f"{base}dogs"), f"{base}0.png"]
        layout = find_layout(paths)
        assert not layout.classes
        assert layout.notes == [
            f"no classes, as {base}0.png lies beside their folders"
        ]


def test_one_image_beside_the_only_split_is_told():
    layout = find_layout([*files("train/cats", "train/dogs"), "x.png"])
    assert not layout.classes
    assert layout.notes[0] == "no classes, as x.png lies beside train"


@pytest.mark.parametrize(
    "names, message",
    [
        (["train", "val", "cats"], "train and val .* cats lies beside them"),
        (["train", "val", "valid"], "val and valid .* the same split"),
        (["train", "Train"], "train and Train .* the same split"),
        (["training", "train"], "the same split"),
        (["val", "test"], "val and test, but no folder named train"),
    ],
)
def test_unclear_splits_are_refused(names, message):
    with pytest.raises(UserError, match=message):
        find_layout(files(*names))


def test_an_image_beside_the_splits_is_refused():
    with pytest.raises(UserError, match=r"0\.png lies beside them"):
        find_layout([*files("train", "val"), "0.png"])


@pytest.mark.parametrize(
    ("names", "alike"),
    [
        (["train_set", "test_set"], "test_set, train_set"),
        (["a/train", "a/test", "b/train"], "test, train"),
        (["images/train", "labels"], "train"),
        (["bus", "Train"], "Train"),
        (["valley", "trainers", "testudo"], None),
    ],
)
def test_folders_that_look_like_splits_are_told(names, alike):
    layout = find_layout(files(*names))
    assert not layout.held_out
    told = [n for n in layout.notes if n.startswith("not taken for splits: ")]
    assert told == ([f"not taken for splits: {alike}"] if alike else [])

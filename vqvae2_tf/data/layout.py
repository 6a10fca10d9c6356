"""Which of a folder's subfolders are splits, and which are classes."""

import collections
import dataclasses
import re
from collections.abc import Sequence

from vqvae2_tf.errors import UserError
from vqvae2_tf.errors import shorten

# Usual names of the splits, in lower case.
_ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    "eval": "validation",
    **dict.fromkeys(("test", "testing"), "test"),
}
_LOOKS_LIKE_A_SPLIT = re.compile(
    r"(train(ing)?|val(id(ation)?)?|test(ing)?)(set|data|[^a-z].*)?"
)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Splits and classes of a folder's images.

    Args:
        splits: Paths of the images of `train`, and of `validation` if a folder
            is held out.
        held_out: Name of the folder that is held out; "" without one.
        classes: The classes' names by their folders, `train/cats`; empty
            without classes.
        notes: What else a user should know, a few words each.
        wrapper: Path of a folder that holds all of this, with a slash; else "".
    """

    splits: dict[str, list[str]]
    held_out: str
    classes: dict[str, str]
    notes: list[str]
    wrapper: str = ""

    def class_of(self, path: str) -> str | None:
        """The class of an image; None if it has none."""
        path = path.removeprefix(self.wrapper)
        first, second = [*path.split("/", 2)[:-1], "", ""][:2]
        name = self.classes.get(f"{first}/{second}")
        return name or self.classes.get(first)


def find_layout(paths: Sequence[str]) -> Layout:
    """Finds splits and classes in the paths of images.

    Two or three subfolders of the splits' usual names, in any case, and nothing
    beside them, are splits: `validation` (`test` without one) is held out, and
    `test` is left alone. Two or more subfolders (of `train` if it is there)
    that hold all the images there are classes. A single folder of folders, as
    archives have it, is looked into.

    Args:
        paths: Paths of images, relative to the folder.

    Raises:
        UserError: If it is not clear which folders are splits.
    """
    wrapper = find_wrapper(paths)
    inner = _find([path.removeprefix(wrapper) for path in paths])
    splits = {
        split: [wrapper + path for path in own]
        for split, own in inner.splits.items()
    }
    return dataclasses.replace(inner, splits=splits, wrapper=wrapper)


def find_wrapper(paths: Sequence[str]) -> str:
    """The single folder, in single folders, that holds folders of all images.

    Args:
        paths: Paths of images.

    Returns:
        Its path with a slash; "" if there is none. A split is none.
    """
    wrapper = ""
    while True:
        tops = {path.partition("/")[0] for path in paths}
        if len(tops) != 1 or any(path.count("/") < 2 for path in paths):
            return wrapper
        (name,) = tops
        if name.lower() in _ROLES:
            return wrapper
        wrapper += f"{name}/"
        paths = [path.removeprefix(f"{name}/") for path in paths]


def _find(paths):
    """The layout of folders that no other folder wraps."""
    tops = _by_folder(paths, "")
    roles = {_ROLES[n.lower()]: n for n in tops if n.lower() in _ROLES}
    others = [n or tops[""][0] for n in tops if n not in roles.values()]
    same = [n for n in others if n.lower() in _ROLES]
    if same:
        raise UserError(
            f"{same[0]} and {roles[_ROLES[same[0].lower()]]} seem to be the "
            "same split; put their images into one folder."
        )
    if len(roles) > 1 and others:
        raise UserError(
            f"{' and '.join(roles.values())} seem to be splits, but "
            f"{shorten(others)} lies beside them; move it elsewhere, or rename "
            "the folders."
        )
    if len(roles) > 1 and "train" not in roles:
        raise UserError(
            f"found {' and '.join(roles.values())}, but no folder named train."
        )
    notes = []
    is_split = "train" in roles and not others
    base = f"{roles['train']}/" if is_split else ""
    groups = _by_folder(tops[roles["train"]] if is_split else paths, base)
    names = sorted(set(groups) - {""})
    if "train" in roles and others and "" in tops:
        # One folder of a split, and not alone.
        notes.append(f"no classes, as {tops[''][0]} lies beside train")
    elif len(names) > 1 and "" in groups:
        beside = shorten(groups[""], 1)
        notes.append(f"no classes, as {beside} lies beside their folders")
    if len(names) < 2 or "" in groups:
        names = []
    alike = sorted(
        {
            folder
            for path in paths
            for folder in path.split("/")[is_split:-1]
            if _LOOKS_LIKE_A_SPLIT.fullmatch(folder.lower())
        }
    )
    if alike:
        notes.append(f"not taken for splits: {shorten(alike)}")
    if len(roles) < 2:
        classes = {f"{base}{name}": name for name in names}
        return Layout({"train": list(paths)}, "", classes, notes)
    held_out = roles.get("validation") or roles["test"]
    if "validation" in roles and "test" in roles:
        count = len(tops[roles["test"]])
        notes.append(f"{count:,} left alone ({roles['test']})")
    splits = {"train": tops[roles["train"]], "validation": tops[held_out]}
    bases = (base, f"{held_out}/")
    classes = {f"{base}{name}": name for base in bases for name in names}
    layout = Layout(splits, held_out, classes, notes)
    without = [p for p in splits["validation"] if not layout.class_of(p)]
    if classes and without:
        shown = shorten(without, 1)
        notes.append(f"{len(without):,} of {held_out} have no class ({shown})")
    return layout


def _by_folder(paths, base):
    """Paths by the folder in `base` that they are in, "" if in none."""
    groups = collections.defaultdict(list)
    for path in paths:
        name, slash, _ = path.removeprefix(base).partition("/")
        groups[name if slash else ""].append(path)
    return groups

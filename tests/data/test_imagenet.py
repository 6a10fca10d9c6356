"""TFDS's imagenet2012 out of archives of the true form."""

import io
import tarfile

import numpy as np
import pytest
from PIL import Image

from vqvae2_tf.data.batches import evaluation_batches
from vqvae2_tf.data.batches import image_examples
from vqvae2_tf.data.source import open_source
from vqvae2_tf.errors import UserError


def jpeg(seed):
    draws = np.random.default_rng(seed).integers(256, size=(2, 3, 3))
    image = Image.fromarray(draws.astype("uint8")).resize((60, 40))
    file = io.BytesIO()
    image.save(file, format="JPEG")
    return file.getvalue()


def tar(members):
    """An archive as bytes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return file.getvalue()


def write_archives(folder):
    folder.mkdir(parents=True)
    train = {
        f"{wnid}.tar": tar({f"{wnid}_{i}.JPEG": jpeg(i) for i in range(3)})
        for wnid in ("n01440764", "n01443537")
    }
    validation = {
        f"ILSVRC2012_val_0000000{i}.JPEG": jpeg(10 + i) for i in (1, 2)
    }
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar(train))
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar(validation))


def test_archives_become_batches(tmp_path):
    write_archives(tmp_path / "downloads" / "manual")
    source = open_source("imagenet2012", str(tmp_path))
    source.prepare()
    assert source.num_examples("train") == 6
    assert source.num_examples("validation") == 2
    assert len(source.class_names) == 1000
    examples = image_examples(source, "train", (32, 32), 3)
    (batch,) = evaluation_batches(examples, 6)
    assert batch["image"].shape == (6, 32, 32, 3)
    names = [source.class_names[label] for label in batch["label"]]
    assert sorted(names) == 3 * ["n01440764"] + 3 * ["n01443537"]


@pytest.mark.parametrize("name", ["train", "val"])
def test_a_missing_archive_is_named(name, tmp_path):
    manual = tmp_path / "downloads" / "manual"
    write_archives(manual)
    (manual / f"ILSVRC2012_img_{name}.tar").unlink()
    with pytest.raises(UserError, match=f"lacks ILSVRC2012_img_{name}.tar;"):
        open_source("imagenet2012", str(tmp_path)).prepare()


def test_missing_archives_are_reported_in_one_sentence(tmp_path):
    with pytest.raises(UserError, match=r"train\.tar and .*val\.tar") as caught:
        open_source("imagenet2012", str(tmp_path)).prepare()
    assert "\n" not in str(caught.value)
    assert str(tmp_path / "downloads" / "manual") in str(caught.value)

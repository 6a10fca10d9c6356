"""Data sets by their names."""

import numpy as np
import pytest

from vqvae2_tf.data.source import open_source
from vqvae2_tf.errors import UserError


def test_the_packages_own_data_set_needs_no_download(tmp_path):
    source = open_source("emoji64", str(tmp_path))
    assert not source.builder.is_prepared()
    source.prepare()
    assert source.builder.is_prepared()
    assert source.num_examples("train") == 1677
    assert source.num_examples("validation") == 193
    assert len(source.class_names) == 9
    labels = [example["label"] for example in source.examples("train")]
    assert (np.bincount(labels, minlength=9) > 0).all()


def test_an_unknown_data_set_is_reported_with_the_nearest_name():
    with pytest.raises(UserError, match="emoji64"):
        open_source("emogi64")

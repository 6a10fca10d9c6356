"""The notebooks as they are stored, and run from top to bottom."""

import base64
import io
import json
import os
import pathlib
import re
import shutil
import sys
import venv

import nbclient
import nbformat
import numpy as np
import pytest
from PIL import Image

from tests.small_run import PRECISION
from tests.small_run import save_images

ROOT = pathlib.Path(__file__).parents[2]
FOLDER = ROOT / "colab"
NAMES = ("quickstart", "tpu_training")
# What a notebook's first cell and the README name, as it is not public yet.
REPOSITORY = "github.com/OWNER/vqvae2_tf"
SMOKE = f"--flagfile=smoke.flags --precision={PRECISION}"


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("name", NAMES)
def test_stored_with_one_image_and_nothing_else(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert notebook.nbformat == 4
    assert notebook.metadata.kernelspec.name == "python3"
    cells = code_cells(notebook)
    assert all(cell.execution_count is None for cell in cells)
    (output,) = [output for cell in cells for output in cell.outputs]
    assert output.get("execution_count") is None
    assert set(output.data) == {"image/png", "text/plain"}
    size = (FOLDER / f"{name}.ipynb").stat().st_size
    assert 10_000 < size < 250_000
    text = "".join(cell.source for cell in notebook.cells)
    assert not re.search(r"/(home|root|tmp|work|Users)/", text)
    assert all(len(cell.source.splitlines()) <= 12 for cell in cells)


def test_readme_opens_all_notebooks_of_the_same_repository():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)
    for name in NAMES:
        address = f"{REPOSITORY.removeprefix('github.com/')}/blob/main/colab"
        assert (
            f"https://colab.research.google.com/github/{address}/{name}.ipynb"
            in readme
        )
        sources = [cell.source for cell in read(name).cells]
        assert sum(source.count(REPOSITORY) for source in sources) == 1


@pytest.mark.parametrize("name", NAMES)
def test_what_the_text_names_exists(name):
    text = "\n".join(cell.source for cell in read(name).cells)
    for link in re.findall(r"\]\((\.\./[^)]*)\)", text):
        assert (FOLDER / link).is_file()
    flagfiles = set(re.findall(r"--flagfile=(\w+)\.flags", text))
    for choices in re.findall(r"CONFIGURATION = .*@param (\[.*\])", text):
        flagfiles |= set(json.loads(choices))
    assert flagfiles
    for flagfile in flagfiles:
        assert (ROOT / "experiments" / f"{flagfile}.flags").is_file()


def with_settings(notebook, settings):
    """The notebook with other values in its first cell, and not on Colab."""
    notebook.cells = [
        cell
        for cell in notebook.cells
        if "colab" not in cell.metadata.get("tags", ())
    ]
    cell = code_cells(notebook)[0]
    for name, value in settings.items():
        line = re.compile(rf"^{name} = .*$", re.MULTILINE)
        assert len(line.findall(cell.source)) == 1
        cell.source = line.sub(f"{name} = {value!r}", cell.source)
    return notebook


def environment(folder, **variables):
    """The environment of a kernel whose Python has all but this package.

    The notebook installs that, as a user's does, so that nothing is taken from
    the checkout that would not be installed.
    """
    venv.create(folder / "venv", symlinks=True)
    (packages,) = folder.glob("venv/lib/python*/site-packages")
    visible = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "visible.pth").write_text("\n".join(visible))
    python = folder / "venv" / "bin" / "python"
    arguments = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel = {
        "argv": [str(python), *arguments],
        "display_name": "Python 3",
        "language": "python",
    }
    (folder / "kernels" / "python3").mkdir(parents=True)
    path = folder / "kernels" / "python3" / "kernel.json"
    path.write_text(json.dumps(kernel))
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return {
        **kept,
        "PATH": os.pathsep.join([str(python.parent), os.environ["PATH"]]),
        # With setuptools as it is here, from no network. pip takes 0 for yes.
        "PIP_NO_BUILD_ISOLATION": "0",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        # jaxlib looks for TPUs where libtpu is.
        "JAX_PLATFORMS": "cpu",
        **variables,
    }


def execute(name, folder, monkeypatch, settings, **variables):
    """Runs a notebook in a folder. Returns the text and the images it shows."""
    # Builds write beside setup.py.
    checkout = folder / "checkout"
    for part in ("vqvae2_tf", "experiments"):
        shutil.copytree(ROOT / part, checkout / part)
    for part in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / part, checkout)
    notebook = with_settings(
        read(name), {"REPOSITORY": str(checkout), **settings}
    )
    monkeypatch.setenv("JUPYTER_PATH", str(folder))
    client = nbclient.NotebookClient(
        notebook, timeout=1800, resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=environment(folder, **variables))
    outputs = [out for cell in code_cells(notebook) for out in cell.outputs]
    text = "".join(out.get("text", "") for out in outputs)
    assert "error:" not in text, text
    images = [out.data for out in outputs if "data" in out]
    return text, [data["image/png"] for data in images if "image/png" in data]


@pytest.mark.large
@pytest.mark.parametrize(
    ("images", "classes"), [("emoji", ""), ("own", ""), ("own", "dark,2")]
)
def test_quickstart(images, classes, tmp_path, monkeypatch):
    settings = {"FLAGS": f"{SMOKE} --data_dir='{tmp_path / 'tfds'}'"}
    if images != "emoji":
        save_images(tmp_path / images, size=(64, 64), count=8)
        settings |= {"IMAGES": str(tmp_path / images), "CLASSES": classes}
    if not classes:
        # Of one folder without classes.
        for path in list((tmp_path / images).glob("*/*.png")):
            path.rename(tmp_path / images / f"{path.parent.name} {path.name}")
    text, shown = execute("quickstart", tmp_path, monkeypatch, settings)
    found = {"emoji": "99 classes", "own": "3 classes" if classes else ""}
    assert found[images] in text
    assert "parameters" in text
    # Augmentation, reconstructions, samples, those of a class, the SavedModel.
    assert len(shown) == 5
    (row,) = [
        data for data in map(decoded, shown) if data.shape == (64, 8 * 64, 3)
    ]
    assert row.std() > 0
    drawn = list((tmp_path / "samples" / "images").rglob("*.png"))
    assert len(drawn) == 8 * (2 if classes else 1)
    shutil.unpack_archive(tmp_path / "run.zip", tmp_path / "unpacked")
    model = tmp_path / "unpacked" / "saved_models" / "generator"
    assert (model / "saved_model.pb").is_file()


def decoded(png):
    """Pixels of a notebook's image."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))))


@pytest.mark.large
@pytest.mark.parametrize("devices", [1, 8])
def test_tpu_training_on_one_and_on_eight_devices(
    devices, tmp_path, monkeypatch
):
    settings = {
        "DATA_DIR": str(tmp_path / "data"),
        "RUNS": str(tmp_path / "runs"),
        "FLAGS": SMOKE,
    }
    text, shown = execute(
        "tpu_training",
        tmp_path,
        monkeypatch,
        settings,
        XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}",
    )
    assert text.count("CpuDevice(id=") == devices
    assert len(shown) == 2
    # All is done at the last cell, which is the training again.
    *_, last = text.split(" to train on")
    assert last.count("already finished") == 3
    assert "done in" in last
    metrics = json.loads((tmp_path / "runs/emoji/metrics.json").read_text())
    assert metrics["mse"] > 0

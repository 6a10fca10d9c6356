"""SavedModels in a process that has neither Keras nor this package."""

import json
import pathlib
import shutil
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import SMALL_PRIOR
from tests.helpers import SMALL_TRANSFORMER
from tests.helpers import array
from tests.helpers import build
from tests.helpers import codes_of
from tests.helpers import conditions
from tests.helpers import normal
from vqvae2_tf.autoencoders import MSVQVAE
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.errors import UserError
from vqvae2_tf.export import load
from vqvae2_tf.export import write
from vqvae2_tf.level import Level
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.priors import Transformer
from vqvae2_tf.sampling import sample_levels

IMAGE_SIZE = (8, 12)
LABELS, SEED = [2, 0, 1], 5
DEFAULTS = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "guidance": 1.0,
    "guidance_schedule": 0,
}
NEW_DEFAULTS = {
    "temperature": [0.5, 0.25],
    "guidance_schedule": ["linear", "constant"],
}
# What is drawn with: one number, or one a level.
OPTIONS = {
    "shared": {"temperature": 0.7},
    "levels": {"temperature": [0.7, 0.2]},
    "truncated": {
        "temperature": 0.7,
        "top_k": [1, 6],
        "top_p": [1.0, 0.4],
    },
    "guided": {
        "temperature": 0.7,
        "guidance": [4.0, 8.0],
        "guidance_schedule": [1, 0],
    },
}

LOADER = """
import json
import sys
for name in ("keras", "tf_keras", "vqvae2_tf"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
all_options = json.loads(sys.argv[2])
images = np.load(f"{folder}/images.npy")
autoencoder = tf.saved_model.load(f"{folder}/autoencoder")
generator = tf.saved_model.load(f"{folder}/generator")

def tensors(options):
    return {"temperature": tf.constant(options["temperature"]),
            "top_k": tf.constant(options["top_k"]),
            "top_p": tf.constant(options["top_p"]),
            "guidance": tf.constant(options["guidance"]),
            "guidance_schedule": tf.constant(options["guidance_schedule"])}

labels, seed = tf.constant([2, 0, 1]), tf.constant(5)
codes = autoencoder.encode(images)
results = {
    **{f"codes_{name}": value.numpy() for name, value in codes.items()},
    "decoded": autoencoder.decode(codes["top"], codes["bottom"]).numpy(),
    "signature": autoencoder.signatures["decode"](**codes)["images"].numpy(),
    "served": autoencoder.signatures["serving_default"](
        images=tf.constant(images))["images"].numpy(),
    "reconstructed": autoencoder.reconstruct(images).numpy(),
    "one": autoencoder.reconstruct(images[:1]).numpy(),
    "top_only": autoencoder.decode(
        codes["top"], -np.ones_like(codes["bottom"])).numpy(),
    "bottom_codebook": autoencoder.codebooks()["bottom"].numpy(),
    "class_names": [name.decode() for name in generator.class_names().numpy()],
}
for name, values in generator.default_options().items():
    results[f"default_{name}"] = values.numpy()
texts = {"levels": autoencoder.levels(), "generators_levels":
         generator.levels(), "options": generator.options()}
for name, text in texts.items():
    results[name] = text.numpy().decode()
for name, options in all_options.items():
    results[f"sampled_{name}"] = generator.sample(
        labels, seed, tensors(options)).numpy()
shared = tensors(all_options["shared"])
results["sampled_one"] = generator.sample(labels[:1], seed, shared).numpy()
# The third and the first of the samples, by their numbers.
codes = generator.sample_codes(
    tf.constant([1, 2]), seed, tf.constant([2, 0]), shared)
results["sampled_numbers"] = generator.decode(
    codes["top"], codes["bottom"]).numpy()
encoded = autoencoder.signatures["encode"](images=tf.constant(images))
for name, value in encoded.items():
    results[f"encoded_{name}"] = value.numpy()
results["sampled_signature"] = generator.signatures["serving_default"](
    labels=labels, seed=seed, **shared)["images"].numpy()

# As TF Serving and saved_model_cli call them.
def serve(name, inputs):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(
            session, ["serve"], f"{folder}/{name}")
        signature = meta.signature_def["serving_default"]
        assert signature.inputs.keys() == inputs.keys()
        return session.run(
            signature.outputs["images"].name,
            {signature.inputs[k].name: inputs[k] for k in inputs})

results["session"] = serve("autoencoder", {"images": images})
results["sampled_session"] = serve("generator", {
    "labels": [2, 0, 1], "seed": 5, **all_options["shared"]})
np.savez(f"{folder}/results.npz", **results)
"""


@pytest.fixture(scope="module")
def networks():
    """An autoencoder and its priors, of other weights than the first ones."""
    keras.utils.set_random_seed(0)
    model = VQVAE2(
        strides=(2, 2),
        hidden_units=4,
        residual_units=2,
        num_codes=6,
        code_dim=3,
    )
    model(images(), training=True)
    top, bottom = model.levels(IMAGE_SIZE)
    priors = [
        PixelSNAIL(
            top,
            **{**SMALL_PRIOR, "layers": 1},
            num_classes=3,
            label_dropout=0.1,
        ),
        PixelSNAIL(
            bottom,
            [top],
            **{**SMALL_PRIOR, "attention_every": 0},
            num_classes=3,
            label_dropout=0.1,
        ),
    ]
    for prior in priors:
        build(prior, codes_of(prior.level, 1), **conditions(prior))
    return model, priors


def images():
    return np.tanh(normal(5, *IMAGE_SIZE, 3))


@pytest.fixture(scope="module")
def exported(networks, tmp_path_factory):
    """A folder of both SavedModels, and how often a level was drawn."""
    model, priors = networks
    path = tmp_path_factory.mktemp("saved_models")
    write.export_autoencoder(model, IMAGE_SIZE, str(path / "autoencoder"))
    draw = PixelSNAIL.draw
    with mock.patch.object(PixelSNAIL, "draw", autospec=True) as drawn:
        drawn.side_effect = draw
        write.export_generator(
            model, priors, str(path / "generator"), ["ant", "bee", "cow"]
        )
    return path, drawn.call_count


@pytest.fixture(scope="module")
def folder(exported):
    return exported[0]


@pytest.fixture(scope="module")
def loaded(folder):
    return {
        name: tf.saved_model.load(str(folder / name))
        for name in ("autoencoder", "generator")
    }


@pytest.fixture(scope="module")
def results(folder):
    """What `LOADER` got from them."""
    np.save(folder / "images.npy", images())
    options = {name: {**DEFAULTS, **some} for name, some in OPTIONS.items()}
    arguments = [str(folder), json.dumps(options)]
    subprocess.run(
        [sys.executable, "-c", LOADER, *arguments], cwd="/", check=True
    )
    return np.load(folder / "results.npz")


@pytest.fixture(scope="module")
def outputs(networks):
    return networks[0](images())


@pytest.fixture(scope="module")
def sampled(networks):
    """`{"<options>": codes of `LABELS`}`, drawn without a SavedModel."""

    def one_a_level(some):
        spread = {k: np.broadcast_to(v, 2).tolist() for k, v in some.items()}
        return [{k: v[i] for k, v in spread.items()} for i in range(2)]

    return {
        name: [
            array(codes)
            for codes in tf.function(sample_levels)(
                networks[1],
                labels=LABELS,
                options=one_a_level(some),
                seed=SEED,
            )
        ]
        for name, some in OPTIONS.items()
    }


def test_images_are_encoded(results, outputs):
    for name, codes in zip(["top", "bottom"], outputs["codes"], strict=True):
        np.testing.assert_array_equal(results[f"codes_{name}"], codes)
        np.testing.assert_array_equal(results[f"encoded_{name}"], codes)


@pytest.mark.parametrize(
    "name", ["decoded", "signature", "reconstructed", "served", "session"]
)
def test_images_are_reconstructed(results, outputs, name):
    restored = np.clip(array(outputs["reconstruction"]), -1, 1)
    np.testing.assert_allclose(results[name], restored, atol=1e-6)
    np.testing.assert_allclose(results["one"], restored[:1], atol=1e-6)


def test_a_level_is_left_out(results, outputs, networks):
    unknown = -np.ones_like(outputs["codes"][1])
    top_only = array(networks[0].decode([outputs["codes"][0], unknown]))
    np.testing.assert_allclose(
        results["top_only"], np.clip(top_only, -1, 1), atol=1e-6
    )


def test_codebooks_are_the_quantizers(results, networks):
    np.testing.assert_array_equal(
        results["bottom_codebook"], array(networks[0].quantizers[1].codebook)
    )


def test_levels_and_classes_are_described(results, networks):
    for name in ("levels", "generators_levels"):
        levels = [Level.of(level) for level in json.loads(str(results[name]))]
        assert levels == networks[0].levels(IMAGE_SIZE)
    assert list(results["class_names"]) == ["ant", "bee", "cow"]


def test_options_are_described(results, networks):
    options = json.loads(str(results["options"]))
    flags = networks[1][0].SAMPLING_FLAGS
    assert [option["name"] for option in options] == list(DEFAULTS)
    for option, flag in zip(options, flags, strict=True):
        # The default is each prior's own.
        assert option.pop("default") == [flag.default] * 2
        values = results[f"default_{flag.name}"]
        assert values.tolist() == flag.to_numbers([flag.default] * 2)
        assert option.pop("choices") == list(flag.choices)
        assert option == {name: getattr(flag, name) for name in option}
        assert set(option) >= {"minimum", "maximum", "help"}


@pytest.mark.parametrize("name", OPTIONS)
def test_images_are_sampled(results, networks, sampled, name):
    expected = np.clip(array(networks[0].decode(sampled[name])), -1, 1)
    np.testing.assert_allclose(results[f"sampled_{name}"], expected, atol=1e-6)


def test_a_sample_is_fixed_by_its_number(results):
    sampled = results["sampled_shared"]
    np.testing.assert_allclose(results["sampled_one"], sampled[:1], atol=1e-6)
    np.testing.assert_allclose(
        results["sampled_numbers"], sampled[[2, 0]], atol=1e-6
    )


@pytest.mark.parametrize("name", ["signature", "session"])
def test_a_signature_samples_as_the_function(results, name):
    np.testing.assert_allclose(
        results[f"sampled_{name}"], results["sampled_shared"], atol=1e-6
    )


def test_signatures_are_named_and_traced_with_the_functions(loaded, exported):
    inputs = {
        name: {
            key: set(signature.structured_input_signature[1])
            for key, signature in model.signatures.items()
        }
        for name, model in loaded.items()
    }
    levels, options = {"top", "bottom"}, set(DEFAULTS)
    assert inputs == {
        "autoencoder": {
            "serving_default": {"images"},
            "encode": {"images"},
            "decode": levels,
        },
        "generator": {
            "serving_default": {"labels", "seed", *options},
            "decode": levels,
        },
    }
    # Each level once, for two functions and a signature.
    assert exported[1] == 2


def arguments(name, changes):
    """Arguments of an endpoint, one of them changed."""

    def changed(name, array):
        if name not in changes:
            return array
        value = changes[name]
        if value == []:
            return array[:0]
        array = array.copy()
        array.flat[1] = value
        return array

    if name in ("encode", "reconstruct"):
        return [changed("images", images())]
    if name == "decode":
        sizes = {"top": (2, 3), "bottom": (4, 6)}
        zeros = {k: np.zeros((5, *v), "int32") for k, v in sizes.items()}
        return [changed(k, v) for k, v in zeros.items()]
    labels = changed("labels", np.array([0, 1, 2], "int32"))
    options = {k: changes.get(k, v) for k, v in DEFAULTS.items()}
    ids = [np.arange(len(labels), dtype="int32")] * (name == "sample_codes")
    return [labels, np.int32(0), *ids, options]


def in_python(networks, name, args):
    """What the networks themselves do."""
    model, priors = networks
    if name in ("encode", "reconstruct"):
        return model.encode(*args)
    if name == "decode":
        return model.decode(args)
    labels, _, *_, options = args
    options = [
        {k: np.broadcast_to(v, 2).tolist()[i] for k, v in options.items()}
        for i in range(2)
    ]
    return sample_levels(priors, labels, options)


@pytest.mark.parametrize(
    ("names", "changes", "received"),
    [
        (["encode", "reconstruct"], {"images": 1.5}, "1.5"),
        (["encode", "reconstruct"], {"images": -255.0}, "-255"),
        (["encode", "reconstruct"], {"images": np.nan}, "nan"),
        (["encode", "reconstruct"], {"images": []}, "none"),
        (["decode"], {"top": 6}, "6"),
        (["decode"], {"bottom": -2}, "-2"),
        (["decode"], {"top": []}, "none"),
        (["sample", "sample_codes"], {"labels": -1}, "-1"),
        (["sample", "sample_codes"], {"labels": 99}, "99"),
        (["sample", "sample_codes"], {"labels": []}, "none"),
        (["sample", "sample_codes"], {"temperature": 0.0}, "0"),
        (["sample", "sample_codes"], {"temperature": np.nan}, "nan"),
        (["sample", "sample_codes"], {"top_k": -1}, "-1"),
        (["sample", "sample_codes"], {"top_p": [1.0, 1.25]}, "1.25"),
        (["sample", "sample_codes"], {"guidance_schedule": 3}, "3"),
    ],
)
def test_a_wrong_argument_is_refused_in_one_sentence(
    networks, loaded, names, changes, received
):
    (argument,) = changes
    for name in names:
        args = arguments(name, changes)
        with pytest.raises(ValueError) as error:
            in_python(networks, name, args)
        sentence, value = str(error.value).split(" Received: ")
        assert sentence.startswith(f"`{argument}`: expected ")
        assert value.removesuffix(".0") == received
        models = [m for m in loaded.values() if hasattr(m, name)]
        for model in models:
            *tensors, last = args
            if isinstance(last, dict):
                own = {"top_k": "int32", "guidance_schedule": "int32"}
                last = {
                    k: tf.constant(v, own.get(k, "float32"))
                    for k, v in last.items()
                }
            with pytest.raises(tf.errors.InvalidArgumentError) as error:
                getattr(model, name)(*tensors, last)
            message = str(error.value)
            assert f"{sentence} Received:" in message
            after = message.split(f"{sentence} Received:")[1]
            assert received in after.splitlines()[0]


def test_a_wrong_number_of_values_is_refused(loaded):
    labels, seed, options = arguments("sample", {"top_k": [1, 2, 3]})
    options = {k: tf.constant(v) for k, v in options.items()}
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match="`top_k`: expected one value, or one for each of top, bottom.",
    ):
        loaded["generator"].sample(labels, seed, options)


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ([3], {}, "`labels`: .* Received: 3"),
        ([], {}, "`labels`: expected a batch"),
        ([0], {"top_p": [1.0, 1.5]}, "`top_p`: .* Received: 1.5"),
        (
            [0],
            {"guidance_schedule": ["linear", "none"]},
            "`guidance_schedule`: expected one of constant, .* Received: none",
        ),
    ],
)
def test_a_loaded_generator_refuses_the_same(folder, labels, options, message):
    loaded = load.Generator(str(folder / "generator"))
    ids = np.arange(len(labels))
    with pytest.raises(ValueError, match=message):
        loaded.sample_codes(labels, 0, ids, {**DEFAULTS, **options})


def test_nothing_else_is_written(results, folder):
    left = {path.name for path in folder.iterdir()}
    assert left == {"autoencoder", "generator", "images.npy", "results.npz"}


def test_an_autoencoder_is_loaded(folder, networks, outputs):
    model = networks[0]
    path = load.find("autoencoder", None, str(folder / "autoencoder"))
    loaded = load.Autoencoder(path)
    assert tuple(loaded.image_size) == IMAGE_SIZE
    assert loaded.channels == 3
    assert list(loaded.levels.values()) == model.levels(IMAGE_SIZE)
    assert list(loaded.levels) == list(loaded.codebooks) == ["top", "bottom"]
    for name, codebook in model.codebooks().items():
        np.testing.assert_array_equal(loaded.codebooks[name], codebook)
    codes = loaded.encode(images())
    for found, expected in zip(codes.values(), outputs["codes"], strict=True):
        np.testing.assert_array_equal(found, expected)
    restored = np.clip(array(outputs["reconstruction"]), -1, 1)
    np.testing.assert_allclose(loaded.decode(codes), restored, atol=1e-6)


@pytest.mark.large
def test_a_generator_is_loaded(folder, networks, sampled):
    loaded = load.Generator(str(folder / "generator"))
    for found, flag in zip(
        loaded.sampling_flags, networks[1][0].SAMPLING_FLAGS, strict=True
    ):
        assert (found.name, found.kind) == (flag.name, flag.kind)
        assert found.default == [flag.default] * 2
        assert (found.minimum, found.maximum) == (flag.minimum, flag.maximum)
        assert list(found.choices) == list(flag.choices)
    assert loaded.class_names == ["ant", "bee", "cow"]
    # A choice by its name or by its number.
    guided = {**OPTIONS["guided"], "guidance_schedule": ["linear", "constant"]}
    for name, some in (("truncated", OPTIONS["truncated"]), ("guided", guided)):
        codes = loaded.sample_codes(
            LABELS, SEED, [0, 1, 2], {**DEFAULTS, **some}
        )
        assert list(codes) == list(loaded.levels) == ["top", "bottom"]
        np.testing.assert_equal(
            [*codes.values()], [array(x) for x in sampled[name]]
        )


@pytest.mark.large
def test_transformers_are_exported(networks, tmp_path):
    model, (top, bottom) = networks
    own = {**SMALL_TRANSFORMER, "num_classes": 3, "label_dropout": 0.1}
    priors = [
        Transformer(prior.level, prior.coarser, **own)
        for prior in (top, bottom)
    ]
    for prior in priors:
        build(prior, codes_of(prior.level, 1), **conditions(prior))
    path = str(tmp_path / "generator")
    defaults = {"guidance": [4.0, 1.0]}
    write.export_generator(model, priors, path, ["a", "b", "c"], defaults)
    loaded = load.Generator(path)
    guided = loaded.options_of({})
    found = loaded.sample_codes(LABELS, SEED, [0, 1, 2], guided)
    options = [{"guidance": 4.0}, {}]
    expected = tf.function(sample_levels)(priors, LABELS, options, seed=SEED)
    np.testing.assert_equal([*found.values()], [array(x) for x in expected])


@pytest.mark.large
def test_known_codes_are_kept_and_condition_the_others(folder, networks):
    loaded = load.Generator(str(folder / "generator"))
    top, bottom = (codes_of(p.level, 3, seed=7) for p in networks[1])
    ids, options = np.arange(3), {**DEFAULTS, "temperature": 0.7}
    options["guidance"] = [4.0, 8.0]
    partial = np.where(np.arange(6) < 3, bottom, -1)
    known = {"top": top, "bottom": partial}
    codes = loaded.sample_codes(LABELS, SEED, ids, options, known)
    expected = tf.function(sample_levels)(
        networks[1],
        labels=LABELS,
        options=[{"temperature": 0.7, "guidance": x} for x in (4.0, 8.0)],
        seed=SEED,
        known=[top, bottom],
        known_mask=[None, partial[0] >= 0],
    )
    for found, maps in zip(codes.values(), expected, strict=True):
        np.testing.assert_array_equal(found, maps)
    np.testing.assert_array_equal(codes["top"], top)
    # With nothing known they are samples like any.
    free = loaded.sample_codes(LABELS, SEED, ids, options, {})
    plain = loaded.sample_codes(LABELS, SEED, ids, options)
    for found, maps in zip(free.values(), plain.values(), strict=True):
        np.testing.assert_array_equal(found, maps)
    with pytest.raises(ValueError, match="expected .* Received: 6"):
        loaded.sample_codes(LABELS, SEED, ids, options, {"top": 0 * top + 6})


def test_an_earlier_generator_cannot_keep_codes(folder):
    loaded = load.Generator(str(folder / "generator"))
    del loaded._model.complete_codes
    with pytest.raises(
        UserError, match="no complete_codes, .* earlier version"
    ):
        loaded.sample_codes([0], 0, [0], DEFAULTS, {})


@pytest.mark.parametrize("name", ["runs [1]", "a*?b", "a\\b", "[x/y]"])
def test_a_path_with_wildcards_is_loaded(folder, networks, tmp_path, name):
    copy = shutil.copytree(folder / "autoencoder", tmp_path / name / "model")
    paths = (folder / "autoencoder", copy)
    first, second = (load.Autoencoder(str(path)) for path in paths)
    assert second.fingerprint == first.fingerprint
    images = np.tanh(normal(1, *first.image_size, first.channels))
    for level, codes in first.encode(images).items():
        np.testing.assert_array_equal(second.encode(images)[level], codes)


def test_another_export_has_its_own_defaults_and_the_same_fingerprint(
    networks, folder, tmp_path
):
    model, priors = networks
    weights = {id(v) for x in (model, *priors) for v in x.weights}
    seeds = [v for x in (model, *priors) for v in x.variables]
    seeds = [v for v in seeds if id(v) not in weights]
    assert seeds
    before = [array(seed) for seed in seeds]
    try:
        for seed in seeds:
            seed.assign(array(seed) + 1)
        path = str(tmp_path / "again")
        write.export_generator(model, priors, path, (), NEW_DEFAULTS)
    finally:
        for seed, value in zip(seeds, before, strict=True):
            seed.assign(value)
    first, again = (
        load.Generator(str(path))
        for path in (folder / "generator", tmp_path / "again")
    )
    assert again.fingerprint == first.fingerprint
    own = first.options_of({})
    assert again.options_of({}) == {**own, **NEW_DEFAULTS}
    numbers = tf.saved_model.load(path).default_options()
    assert numbers["temperature"].numpy().tolist() == [0.5, 0.25]
    assert numbers["guidance_schedule"].numpy().tolist() == [1, 0]


def test_another_saved_model_is_refused(folder):
    path = str(folder / "autoencoder")
    with pytest.raises(UserError, match="no sample_codes and no options"):
        load.Generator(path)


def test_a_damaged_saved_model_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"nonsense")
    path = load.find("generator", None, str(tmp_path))
    with pytest.raises(UserError, match="cannot be loaded"):
        load.Generator(path)


@pytest.mark.parametrize("arguments", [(None, None), ("run", "model")])
def test_one_place_to_load_from_is_needed(arguments):
    with pytest.raises(UserError, match="either --run_dir or --saved_model"):
        load.find("generator", *arguments)


def test_a_missing_saved_model_is_named(tmp_path):
    path = pathlib.Path(tmp_path, "saved_models", "generator")
    with pytest.raises(UserError, match=f"no SavedModel in {path}"):
        load.find("generator", str(tmp_path), None)


LOADER_OF_MS_VQVAE = """
import sys
for name in ("keras", "tf_keras", "vqvae2_tf"):
    sys.modules[name] = None
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
images = np.load(f"{folder}/images.npy")
model = tf.saved_model.load(f"{folder}/model")
top, bottom = [x.numpy() for x in map(model.encode(images).get,
                                      ("top", "bottom"))]
results = {"whole": model.reconstruct(images), "decoded":
           model.decode(top, bottom), "top": model.decode(top, 0 * bottom - 1),
           "bottom": model.decode(0 * top - 1, bottom)}
np.savez(f"{folder}/results.npz", **results)
"""


@pytest.mark.large
def test_an_ms_vqvae_is_loaded_alone(tmp_path):
    keras.utils.set_random_seed(0)
    model = MSVQVAE((2, 2), 4, 2, 1, 4.0, num_codes=6, code_dim=3)
    model(images(), training=True)
    write.export_autoencoder(model, IMAGE_SIZE, str(tmp_path / "model"))
    np.save(tmp_path / "images.npy", images())
    program = [sys.executable, "-c", LOADER_OF_MS_VQVAE, str(tmp_path)]
    subprocess.run(program, cwd="/", check=True)
    results = np.load(tmp_path / "results.npz")
    top, bottom = map(array, model(images())["contributions"])
    for name, expected in (
        *(("whole", top + bottom), ("decoded", top + bottom)),
        *(("top", top), ("bottom", bottom)),
    ):
        expected = np.clip(expected, -1, 1)
        np.testing.assert_allclose(results[name], expected, atol=1e-5)

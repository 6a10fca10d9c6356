"""The configuration that a command line gives, and its errors."""

import importlib
import pathlib
import re
import sys

import pytest

from tests.small_run import call
from tests.small_run import parse
from vqvae2_tf.commands import cli
from vqvae2_tf.commands import train
from vqvae2_tf.errors import UserError
from vqvae2_tf.flags import expand_flagfiles
from vqvae2_tf.runs import configuration
from vqvae2_tf.runs import folder
from vqvae2_tf.runs import networks
from vqvae2_tf.runs.pipeline import Run
from vqvae2_tf.training import precision

EXPERIMENTS = pathlib.Path(cli.experiments())

TOY_PRIOR = """
from vqvae2_tf.flags import Flag
from vqvae2_tf.priors.base import Prior


class Toy(Prior):
    FLAGS = (
        Flag("dropout", 0.5, "Dropout rate.", 0.0, 0.9),
        Flag("slope", 1.0, "Slope of the toy."),
    )
    SAMPLING_FLAGS = (Flag("rounds", 3, "Rounds.", 1),)

    def __init__(
        self, level, coarser=(), num_classes=0, dropout=0.5, slope=1.0, **kwargs
    ):
        super().__init__(level, coarser, num_classes, **kwargs)
        if slope < 0:
            raise ValueError("`slope` must not fall. Received: %s" % slope)


Model = Toy
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Name of a prior's module in the working directory."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "toy.py").write_text(TOY_PRIOR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "mine.toy"
    for name in ("mine", "mine.toy"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


def of_flagfiles(*names):
    """The configuration that flagfiles give, one after another."""
    arguments = [f"--flagfile={name}" for name in names]
    return configuration.parse(expand_flagfiles(arguments, [EXPERIMENTS]))


SHARED = sorted(EXPERIMENTS.glob("*_shared.flags"))
WHOLE = sorted(set(EXPERIMENTS.glob("*.flags")) - set(SHARED))


def test_shared_flagfiles_are_included_by_others():
    texts = [path.read_text() for path in WHOLE + SHARED]
    for path in SHARED:
        assert path.read_text().startswith("# ")
        line = f"\n--flagfile={path.name}\n"
        assert any(line in text for text in texts), path


def of_a_family(path):
    """A flagfile, to be tested with the slow ones if it has near relatives."""
    is_one = re.search("--flagfile=.*_(shared|vqvae2).flags", path.read_text())
    is_one = is_one or path.stem in ("celeba_hq", "imagenet")
    marks = [pytest.mark.large] * bool(is_one)
    return pytest.param(path, marks=marks, id=path.name)


@pytest.mark.parametrize("path", [of_a_family(path) for path in WHOLE])
def test_every_flagfile_parses_and_builds(path):
    base = ["emoji.flags"] if path.name == "smoke.flags" else []
    config = of_flagfiles(*base, path.name)
    assert path.read_text().startswith("# ")
    # A level's flagfile has the networks of the whole one.
    if config.stage == "all":
        counts = networks.parameter_counts(config, num_classes=9)
        assert len(counts) == 1 + len(config.levels)
        assert min(counts.values()) > 1000


def test_paper_flagfiles_have_the_papers_sizes():
    ffhq, imagenet = of_flagfiles("ffhq.flags"), of_flagfiles("imagenet.flags")
    sizes = [[level.size for level in c.levels] for c in (ffhq, imagenet)]
    assert sizes == [[(32, 32), (64, 64), (128, 128)], [(32, 32), (64, 64)]]
    assert ffhq.level_names == ["top", "middle", "bottom"]
    for config in (ffhq, imagenet):
        assert config.dead_code_restart_steps == 0
        assert (config.num_codes, config.code_dim) == (512, 64)
        assert config.learning_rate == 2e-4


# Tables 1 and 2 of the supplement: hidden units, residual units, layers,
# attention layers, dropout, output stack, conditioning blocks, batch, steps,
# and c of the learning rate's formula.
PAPER_PRIORS = {
    "imagenet_top": (512, 2048, 20, 4, 0.1, 20, None, 1024, 1_600_000, 0.18),
    "imagenet_bottom": (512, 1024, 20, 0, 0.1, 0, 20, 512, 754_000, 0.18),
    "ffhq_top": (512, 2048, 20, 4, 0.5, 0, None, 1024, 237_000, 0.324),
    "ffhq_middle": (512, 1024, 20, 1, 0.3, 0, 8, 512, 57_400, 0.324),
    "ffhq_bottom": (512, 1024, 10, 0, 0.25, 0, 8, 256, 270_000, 0.18),
}


@pytest.mark.parametrize("name", PAPER_PRIORS)
def test_prior_flagfiles_have_the_tables_numbers(name):
    config = of_flagfiles(f"{name}.flags")
    whole = of_flagfiles(f"{name.partition('_')[0]}.flags")
    assert (config.stage, whole.stage) == ("prior", "all")
    level = config.level_names.index(config.level)
    assert name.endswith(config.level)
    every = config.prior_attention_every[level]
    numbers = (
        config.prior_hidden_units[level],
        config.prior_residual_units[level],
        config.prior_layers[level],
        config.prior_layers[level] // every if every else 0,
        config.prior_dropout[level],
        config.prior_output_layers[level],
        config.prior_conditioning_blocks[level] if level else None,
        config.prior_batch_size[level],
        config.prior_steps[level],
        config.prior_learning_rate[level],
    )
    assert numbers == PAPER_PRIORS[name]
    assert config.prior_kernel_size[level] == 5
    assert config.prior_polyak_decay[level] == 0.9999
    assert config.prior_schedule == "paper"
    # The same run, so that the priors of one folder go together.
    assert config.replace(stage="all", level=None) == whole


# Tables 5 to 9 of the HR-VQVAE paper's appendix: image size, channels, batch,
# training steps, hidden units, code dimension; HR-VQVAE's grid and codes;
# VQ-VAE-2's coarsest map and codes; the priors' hidden units.
APPENDIX = {
    "ffhq_256": (256, 3, 32, 875_000, 128, 32, 32, 8, 8, 512, 128),
    "imagenet_128": (128, 3, 64, 8_007_293, 128, 32, 32, 8, 8, 512, 128),
    "cifar10": (32, 3, 128, 390_234, 64, 16, 16, 8, 4, 512, 64),
    "mnist": (32, 1, 128, 468_281, 64, 8, 16, 4, 4, 64, 64),
}
# Their priors: residual units, dropout and batch, coarsest first.
APPENDIX_PRIORS = {
    "ffhq_256_hr_vqvae": ([64] * 3, [0.15] * 3, [32] * 3),
    "ffhq_256": ([64] * 3, [0.5, 0.3, 0.25], [128, 64, 32]),
    "imagenet_128_hr_vqvae": ([64] * 3, [0.15] * 3, [128] * 3),
    "imagenet_128": ([128] * 3, [0.5, 0.3, 0.25], [256, 128, 64]),
    "cifar10_hr_vqvae": ([64] * 3, [0.1] * 3, [512] * 3),
    "cifar10": ([64] * 3, [0.5, 0.3, 0.25], [512] * 3),
    "mnist_hr_vqvae": ([64] * 3, [0.1] * 3, [512] * 3),
    "mnist": ([64] * 3, [0.5, 0.3, 0.25], [512] * 3),
}


# Of the pixels' bits to those of the codes, in the appendix.
APPENDIX_COMPRESSION = {"ffhq_256_hr_vqvae": 171, "ffhq_256": 130}


@pytest.mark.parametrize(
    "name",
    [
        "ffhq_256_hr_vqvae",
        "ffhq_256",
        *(
            pytest.param(name, marks=pytest.mark.large)
            for name in list(APPENDIX_PRIORS)[2:]
        ),
    ],
)
def test_flagfiles_have_the_numbers_of_the_hr_vqvae_papers_tables(name):
    config = of_flagfiles(f"{name}.flags")
    numbers = APPENDIX[name.removesuffix("_hr_vqvae")]
    assert numbers[:6] == (
        config.image_size[0],
        config.channels,
        config.batch_size,
        config.steps,
        config.hidden_units,
        config.code_dim,
    )
    assert (config.residual_units, config.polyak_decay) == (64, 0.9)
    assert config.learning_rate == 3e-3
    found = [(level.height, level.num_codes) for level in config.levels]
    if "hr_vqvae" in name:
        assert config.autoencoder == "hr_vqvae"
        assert found == [numbers[6:8]] * 3
        assert config.commitment_cost == [0.25, 0.25, 0.5]
    else:
        size, num_codes = numbers[8:10]
        assert found == [(size * 2**i, num_codes) for i in range(3)]
        assert config.commitment_cost == 0.25
    assert APPENDIX_PRIORS[name] == (
        config.prior_residual_units,
        config.prior_dropout,
        config.prior_batch_size,
    )
    if name in APPENDIX_COMPRESSION:
        ratio = 256 * 256 * 3 * 8 / sum(level.bits for level in config.levels)
        assert round(ratio) == APPENDIX_COMPRESSION[name]
    assert config.prior_hidden_units == [numbers[10]] * 3
    assert set(config.prior_kernel_size) == {5}
    assert set(config.prior_heads) == {8}
    assert set(config.prior_polyak_decay) == {0.99}
    layers = zip(config.prior_layers, config.prior_attention_every, strict=True)
    attention = [count // every if every else 0 for count, every in layers]
    assert attention == ([4] * 3 if "hr_vqvae" in name else [4, 1, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--image_size=30", "--strides .* divide .* 30x30"),
        ("--image_size=16,16,3", "--image_size.*16,16,3"),
        ("--image_size=big", "--image_size.*'big'"),
        ("--strides=6,2", "--strides.* powers of two.*6"),
        ("--strides=", "--strides"),
        ("--channels=2", "--channels.*1, 3"),
        ("--augment=twirl", "--augment.*'twirl'"),
        ("--code_augment=shift,twirl", "--code_augment.*twirl"),
        ("--channels=1 --augment=hue", "--augment=hue needs --channels=3"),
        ("--augment=shift --image_size=4", "--augment=shift.*--image_size"),
        ("--prior_layers=1,2,3", "--prior_layers.*top, bottom.*1,2,3"),
        ("--prior_layers=,", "--prior_layers"),
        ("--prior_dropout=1.5", "--prior_dropout.*'1.5'"),
        ("--prior_kernel_size=4", "top prior: --prior_kernel_size.*odd"),
        ("--prior_heads=3", "top prior: .*heads.* must divide .*heads=3"),
        (
            "--prior_attention_every=0,3",
            "bottom prior: --prior_attention_every .* --prior_layers",
        ),
        (
            "--guidance=1,2 --prior_label_dropout=0.1,0",
            "bottom prior: --guidance .* --prior_label_dropout above 0",
        ),
        ("--temperature=0", "--temperature.*0.001"),
        ("--top_k=1.5", "--top_k.*whole number"),
        ("--dataset=", "--dataset must be given"),
        ("--dataset=folder:", "--dataset=folder: names no folder"),
        ("--run_dir=", "--run_dir must be given"),
        ("--learning_rate=nan", "--learning_rate.*finite"),
        ("--learning_rate=-1", "--learning_rate.*at least 0"),
        ("--commitment_cost=inf", "--commitment_cost.*finite"),
        ("--prior_learning_rate=inf", "--prior_learning_rate"),
        ("--steps=0", "--steps.*at least 1.*'0'"),
        ("--strategy=many", "--strategy.*mirrored.*'many'"),
        ("--overwrite=maybe", "overwrite.*maybe"),
        ("--overwrite false", "flags only.*false"),
        ("--depth=3", "depth"),
        ("--level=top", "--level needs --stage=prior"),
        ("--codes_dir=x", "--codes_dir needs --stage=prior"),
        ("--stage=prior", "--level.*top, bottom. Received: None"),
        ("--stage=codes --overwrite", "--overwrite.*--stage=all"),
        (
            "--prior_batch_size=4,6 --prior_accumulation_steps=2,4",
            "--prior_accumulation_steps: expected a divisor of "
            "--prior_batch_size=6. Received: 4",
        ),
        (
            "--batch_size=4 --prior_batch_size=6 --readers=4",
            "--readers: expected a divisor of --prior_batch_size=6. "
            "Received: 4",
        ),
        ("--warm_up_steps=1", "--warm_up_steps needs --schedule=cosine"),
        (
            "--schedule=cosine --warm_up_steps=4",
            "--warm_up_steps: expected fewer than --steps=4. Received: 4",
        ),
        (
            "--prior_schedule=cosine --prior_warm_up_steps=0,9",
            "--prior_warm_up_steps: .* fewer than --prior_steps=4",
        ),
        ("--autoencoder=ae", "--autoencoder=ae: expected one of .*vqvae2"),
        ("--prior=no.such", "--prior=no.such: expected .*, a class of Prior"),
        ("--prior=./toy.py", "--prior=./toy.py: expected one of .*pixelsnail"),
        (f"--prior={','.join(3 * ['pixelsnail'])}", "--prior.* top, bottom"),
        (
            "--prior=json.decoder",
            "--prior=json.decoder.*Model, a class of Prior",
        ),
    ],
)
def test_bad_values_are_reported_with_their_flag(arguments, message):
    with pytest.raises(UserError, match=message) as caught:
        parse(*arguments.split())
    assert "\n" not in str(caught.value)


def test_an_augmenter_that_is_not_installed_is_reported(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="--augmenter=keras_cv needs.*install"):
        parse("--augmenter=keras_cv")
    assert parse().augmenter == "tf_image"


def test_a_folder_is_the_same_however_it_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    datasets = {
        parse(f"--dataset=folder:{path}").dataset
        for path in ("images", "./images/", tmp_path / "images")
    }
    assert datasets == {f"folder:{tmp_path / 'images'}"}
    remote = "folder:gs://bucket/images"
    assert parse(f"--dataset={remote}").dataset == remote


def test_one_value_is_that_of_all_levels():
    config = parse("--prior_layers=2", "--prior_steps=3,5", "--top_k=0,2")
    assert config.prior_layers == [2, 2]
    assert config.prior_steps == [3, 5]
    assert config.prior == ["pixelsnail", "pixelsnail"]
    assert config.top_k == [0, 2]


def test_codes_are_augmented_as_images_by_default():
    def augment(*flags):
        arguments = ["--dataset=emoji64", "--run_dir=x", *flags]
        return configuration.parse(arguments).code_augment

    assert augment("--augment=flip,crop") == ["flip", "crop"]
    assert augment("--augment=flip", "--code_augment=") == []
    assert augment("--code_augment=shift") == ["shift"]
    assert augment() == []


def test_a_configuration_is_frozen():
    config = parse()
    with pytest.raises(AttributeError, match="frozen"):
        config.steps = 5
    assert config.replace(steps=5).steps == 5
    assert config.steps == 4


def test_each_level_may_have_its_own_prior(toy):
    # Written apart, as the first of two parses has to find them too.
    config = parse("--seed", "3", "--prior", f"pixelsnail,{toy}")
    assert config.prior == ["pixelsnail", toy]
    # Each prior's own defaults, where one flag is of both.
    assert config.prior_dropout == [0.1, 0.5]
    assert config.prior_slope == [1.0, 1.0]
    assert parse(
        f"--prior={toy},pixelsnail", "--prior_dropout=0.2"
    ).prior_dropout == [0.2, 0.2]
    # A level whose prior lacks an option has the other's default.
    assert config.rounds == [3, 3]
    assert config.top_p == [1.0, 1.0]
    message = "bottom prior: --prior_slope must not fall. Received: -2.0"
    with pytest.raises(UserError, match=message):
        parse(f"--prior=pixelsnail,{toy}", "--prior_slope=-2")


def test_flags_of_networks_that_were_not_chosen_are_refused(toy):
    for flag in ("prior_heads", "top_k"):
        message = f"--{flag} .* --prior=pixelsnail.*, which was not chosen"
        with pytest.raises(UserError, match=message):
            configuration.parse(
                [
                    "--dataset=emoji64",
                    "--run_dir=x",
                    f"--prior={toy}",
                    f"--{flag}=2",
                ]
            )
    with pytest.raises(UserError, match="prior_slope"):
        parse("--prior_slope=2")


@pytest.mark.parametrize(
    ("processor", "expected"),
    [("avx2 amx_bf16", "bfloat16"), ("avx2 avx512f", "float32")],
)
def test_auto_is_the_precision_of_this_processor(
    small_run, tmp_path, monkeypatch, processor, expected
):
    monkeypatch.setattr(precision, "_cpu_flags", processor.split)
    runs = []
    monkeypatch.setattr(Run, "run", lambda run: runs.append(run))
    arguments = small_run.arguments(tmp_path / "run")
    assert call(train, *arguments, "--precision=auto") is None
    config = folder.read_config(str(tmp_path / "run"))
    assert config.precision == runs[0].config.precision == expected

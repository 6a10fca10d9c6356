"""Networks as the flags ask for them."""

import keras
import pytest

from tests.small_run import parse
from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.errors import UserError
from vqvae2_tf.priors import MaskGIT
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.runs import configuration
from vqvae2_tf.runs import networks


def test_networks_are_found_by_a_short_name_or_a_full_path():
    for name in ("vqvae2", "vqvae2_tf.autoencoders.vqvae2"):
        assert networks.find("autoencoder", name) is VQVAE2
    assert networks.find("prior", "pixelsnail") is PixelSNAIL


def test_every_flag_is_the_argument_of_its_name():
    config = parse(
        "--dead_code_restart_steps=7",
        "--ema_decay=0.5",
        "--seed=3",
        "--prior_dropout=0.2,0.4",
        "--prior_rematerialize",
    )
    autoencoder = networks.make_autoencoder(config, "mixed_bfloat16")
    arguments = autoencoder.get_config()
    assert arguments["channels"] == 3
    for flag in VQVAE2.FLAGS:
        assert arguments[flag.name] == getattr(config, flag.name)
    assert arguments["seed"] == 3
    assert autoencoder.compute_dtype == "bfloat16"
    for index, level in enumerate(config.levels):
        prior = networks.make_prior(config, index, num_classes=5)
        arguments = prior.get_config()
        assert prior.level == level
        assert prior.coarser == config.levels[:index]
        assert arguments["num_classes"] == 5
        assert arguments["dropout"] == (0.2, 0.4)[index]
        assert arguments["rematerialize"]
        assert arguments["kernel_size"] == 5
        assert prior.built


def test_the_parts_of_a_batch_are_those_of_the_level():
    config = parse("--prior_accumulation_steps=1,2")
    autoencoder = networks.make_autoencoder(config)
    plan = networks.training_plan(config, autoencoder)
    assert plan.accumulation_steps == 1
    for index in range(2):
        prior = networks.make_prior(config, index, num_classes=0)
        plan = networks.training_plan(config, prior, index)
        assert plan.accumulation_steps == index + 1


def test_each_level_has_the_defaults_of_its_own_prior():
    config = configuration.parse(
        [
            *("--dataset=emoji64", "--run_dir=x", "--prior=pixelsnail,maskgit"),
            *("--prior_layers=3", "--prior_heads=2,4", "--decoding_steps=5,6"),
            *("--image_size=64", "--strides=4,2", "--prior_attention_every=0"),
        ]
    )
    top, bottom = (
        networks.without_weights(
            lambda i=i: networks.make_prior(config, i, 2, build=False)
        )
        for i in range(2)
    )
    assert (type(top), type(bottom)) == (PixelSNAIL, MaskGIT)
    assert (top.hidden_units, bottom.hidden_units) == (512, 256)
    for prior, heads in ((top, 2), (bottom, 4)):
        arguments = prior.get_config()
        assert (arguments["layers"], arguments["heads"]) == (3, heads)
    assert config.decoding_steps == [5, 6]
    assert config.choice_temperature == [4.5, 4.5]


def test_parameters_are_counted_without_making_them():
    config = parse()
    counts = networks.parameter_counts(config, num_classes=2)
    made = [networks.make_autoencoder(config)]
    made += [networks.make_prior(config, i, 2) for i in range(2)]
    names = ["autoencoder", "top prior", "bottom prior"]
    assert counts == dict(
        zip(names, (network.count_params() for network in made), strict=True)
    )


def test_networks_that_are_only_counted_leave_no_work_behind(monkeypatch):
    drawn = []
    draw = keras.initializers.VarianceScaling.__call__

    def draw_and_note(self, shape, dtype=None):
        drawn.append(tuple(shape))
        return draw(self, shape, dtype)

    monkeypatch.setattr(
        keras.initializers.VarianceScaling, "__call__", draw_and_note
    )
    config = parse()
    networks.make_autoencoder(config)
    alone = drawn.copy()
    networks.parameter_counts(config, num_classes=2)
    drawn.clear()
    networks.make_autoencoder(config)
    assert drawn == alone


def test_learning_rates_are_of_the_chosen_schedule():
    config = parse("--learning_rate=0.5", "--prior_learning_rate=0.2,0.4")
    prior = networks.make_prior(config, 1, 0)

    def rate(index=None, step=0, **changes):
        plan = networks.training_plan(config.replace(**changes), prior, index)
        optimizer = plan.make_optimizer()
        schedule = optimizer._learning_rate
        return float(schedule(step) if callable(schedule) else schedule)

    assert rate() == 0.5
    assert rate(step=1, schedule="cosine", steps=50) == pytest.approx(0.5)
    warming = {"schedule": "cosine", "steps": 50, "warm_up_steps": 10}
    assert rate(step=5, **warming) == pytest.approx(0.25)
    prior_steps = [9, 50]
    assert rate(1, prior_schedule="constant") == pytest.approx(0.4)
    cosine = rate(1, 1, prior_schedule="cosine", prior_steps=prior_steps)
    assert cosine == pytest.approx(0.4)
    warming = {"prior_schedule": "cosine", "prior_warm_up_steps": [1, 4]}
    assert rate(1, 1, **warming) == pytest.approx(0.1)
    # Four hidden units; the first step of 16,000 of warming up.
    expected = 0.4 * 4**-0.5 * 16_000**-1.5
    assert rate(1, prior_schedule="paper") == pytest.approx(expected)
    plan = networks.training_plan(config, prior, 1)
    assert (plan.steps, plan.batch_size, plan.steps_per_call) == (4, 4, 2)


def test_adam_has_the_papers_numbers_and_those_of_the_flags():
    config = parse("--prior_adam_beta_1=0.8", "--prior_adam_beta_2=0.5,0.75")
    prior = networks.make_prior(config, 1, 0)
    for index, betas in (
        (None, (0.9, 0.999)),
        (0, (0.8, 0.5)),
        (1, (0.8, 0.75)),
    ):
        adam = networks.training_plan(config, prior, index).make_optimizer()
        assert (adam.beta_1, adam.beta_2) == betas
        assert adam.epsilon == 1e-8
    config = config.replace(adam_beta_1=0.7, adam_beta_2=0.9)
    adam = networks.training_plan(config, prior).make_optimizer()
    assert (adam.beta_1, adam.beta_2) == (0.7, 0.9)


def test_a_damaged_network_is_told(tmp_path):
    path = tmp_path / "model.keras"
    path.write_bytes(b"PK half of one")
    with pytest.raises(UserError) as end:
        networks.load_model(str(path), "remove it")
    assert str(end.value) == (
        f"{path} cannot be loaded; remove it. It is damaged."
    )

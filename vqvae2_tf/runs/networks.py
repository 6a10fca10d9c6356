"""The networks of a configuration."""

import types

import keras

from vqvae2_tf.autoencoders import VQVAE2
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.training.schedules import PriorSchedule
from vqvae2_tf.training.schedules import cosine_schedule


def make_autoencoder(
    config: types.SimpleNamespace, dtype: str = "float32"
) -> VQVAE2:
    """The built `VQVAE2` of a configuration.

    Args:
        config: From `config.resolve`.
        dtype: Keras dtype policy.
    """
    model = VQVAE2(
        strides=config.strides,
        hidden_units=config.hidden_units,
        residual_units=config.residual_units,
        num_residual_layers=config.residual_layers,
        num_codes=config.num_codes,
        code_dim=config.code_dim,
        channels=config.channels,
        commitment_cost=config.commitment_cost,
        ema_decay=config.ema_decay,
        restart_after=config.restart_after,
        level_dropout=config.level_dropout,
        level_dropout_steps=config.level_dropout_steps,
        seed=config.seed,
        dtype=dtype,
    )
    model.build((None, *config.image_size, config.channels))
    return model


def make_prior(
    config: types.SimpleNamespace,
    level: int,
    num_classes: int,
    dtype: str = "float32",
) -> PixelSNAIL:
    """The built `PixelSNAIL` of one level of a configuration.

    Args:
        config: From `config.resolve`.
        level: 0 for the top.
        num_classes: Number of labels; 0 without classes.
        dtype: Keras dtype policy.
    """
    model = PixelSNAIL(
        map_size=config.map_sizes[level],
        num_codes=config.num_codes,
        hidden_units=config.prior_hidden_units[level],
        residual_units=config.prior_residual_units[level],
        num_layers=config.prior_layers[level],
        attention_every=config.prior_attention_every[level],
        num_heads=config.prior_heads[level],
        kernel_size=config.prior_kernel_size[level],
        second_kernel_size=config.prior_second_kernel_size[level],
        dropout=config.prior_dropout[level],
        num_output_layers=config.prior_output_layers[level],
        num_classes=num_classes,
        coarser_map_sizes=config.map_sizes[:level],
        num_conditioning_blocks=config.prior_conditioning_blocks[level],
        conditioning_units=config.prior_conditioning_units[level],
        rematerialize=config.prior_rematerialize,
        dtype=dtype,
    )
    model.build((None, *config.map_sizes[level]))
    return model


def learning_rate(config: types.SimpleNamespace):
    """Stage 1's learning rate, a float or a schedule."""
    if config.schedule == "cosine":
        return cosine_schedule(config.learning_rate, config.steps)
    return config.learning_rate


def prior_learning_rate(config: types.SimpleNamespace, level: int):
    """A prior's learning rate, a float or a schedule."""
    rate = config.prior_learning_rate[level]
    if config.prior_schedule == "paper":
        return PriorSchedule(rate, config.prior_hidden_units[level])
    if config.prior_schedule == "cosine":
        return cosine_schedule(rate, config.prior_steps[level])
    return rate


def parameter_counts(
    config: types.SimpleNamespace, num_classes: int
) -> dict[str, int]:
    """Parameters of each network, without making its weights.

    Returns:
        dict of a network's name to the number of its weights, codebooks and
        batch statistics included.
    """
    with keras.StatelessScope(initialize_variables=False):
        counts = {"autoencoder": make_autoencoder(config).count_params()}
        for level, name in enumerate(config.level_names):
            prior = make_prior(config, level, num_classes)
            counts[f"{name} prior"] = prior.count_params()
    return counts

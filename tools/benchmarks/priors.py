"""The priors that are timed."""

# The priors that `prior` and `sampling` time: a small and a middling one.
PRIORS = (
    {
        "map_size": (16, 16),
        "hidden_units": 64,
        "residual_units": 64,
        "num_layers": 8,
        "attention_every": 2,
    },
    {
        "map_size": (32, 32),
        "hidden_units": 128,
        "residual_units": 128,
        "num_layers": 16,
        "attention_every": 4,
    },
)
# The middling one without attention: a position's time should not grow.
SCALING_PRIORS = tuple(
    {**PRIORS[1], "map_size": (size, size), "attention_every": 0}
    for size in (8, 16, 32, 64)
)
# Table 1 of the paper's supplement: the priors of ImageNet at 256x256.
PAPER_PRIORS = (
    {
        "map_size": (32, 32),
        "hidden_units": 512,
        "residual_units": 2048,
        "num_layers": 20,
        "attention_every": 5,
        "num_output_layers": 20,
        "num_classes": 1000,
    },
    {
        "map_size": (64, 64),
        "hidden_units": 512,
        "residual_units": 1024,
        "num_layers": 20,
        "attention_every": 0,
        "num_classes": 1000,
        "coarser_map_sizes": ((32, 32),),
        "num_conditioning_blocks": 20,
        "conditioning_units": 1024,
    },
)

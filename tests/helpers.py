"""What the tests share: gradients, compilation and NumPy convolutions."""

import contextlib
import inspect
from unittest import mock

import keras
import numpy as np

from vqvae2_tf.layers import UpsamplingConv
from vqvae2_tf.level import Level
from vqvae2_tf.priors import MaskGIT
from vqvae2_tf.priors import PixelSNAIL
from vqvae2_tf.priors import Transformer

BACKEND = keras.backend.backend()


def normal(*shape, seed=0):
    """Standard normal float32 array."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def integers(high, *shape, seed=0):
    """int32 array, uniform in [0, high)."""
    return (
        np.random.default_rng(seed).integers(high, size=shape).astype("int32")
    )


def array(tensor):
    """NumPy array of a tensor."""
    return keras.ops.convert_to_numpy(tensor)


def arrays(variables):
    """NumPy copies of variables."""
    return [array(v).copy() for v in variables]


def one_shard(make_dataset):
    """`open_part` of `Examples` that are the datasets of a function."""
    return lambda shard, first, count: make_dataset().skip(first).take(count)


@contextlib.contextmanager
def zero_initializers():
    """Kernels and embeddings start at zero: for values that do not matter.

    JAX compiles the true initializers anew for each shape.
    """

    def zeros(initializer, shape, dtype=None):
        return keras.ops.zeros(shape, dtype)

    with (
        mock.patch.object(
            keras.initializers.VarianceScaling, "__call__", zeros
        ),
        mock.patch.object(keras.initializers.RandomUniform, "__call__", zeros),
    ):
        yield


def build(layer, *inputs, seed=0, scale=0.3, **kwargs):
    """Builds a layer for its call arguments, with random weights and biases.

    Scales of norms are around 1, so that what is behind them counts. A
    quantizer keeps its initial moving averages.
    """
    with zero_initializers():
        if isinstance(layer, keras.Model):
            layer.build(inputs[0].shape)
        else:
            layer.build(
                *(x.shape for x in inputs),
                **{f"{name}_shape": x.shape for name, x in kwargs.items()},
            )
    rng = np.random.default_rng(seed)
    for variable in layer.weights:
        value = scale * rng.normal(size=variable.shape)
        if variable.name == "moving_variance":
            value = 0.5 + value**2
        if variable.name == "scale":
            value = 1 + value
        if variable.trainable or variable.name.startswith("moving"):
            variable.assign(value.astype("float32"))
    return layer


SMALL_PRIOR = {
    "hidden_units": 8,
    "residual_units": 6,
    "layers": 2,
    "attention_every": 1,
    "heads": 2,
    "kernel_size": 3,
    "conditioning_blocks": 2,
    "conditioning_units": 8,
}


SMALL_TRANSFORMER = {
    "hidden_units": 8,
    "residual_units": 6,
    "layers": 2,
    "heads": 2,
}


def make_levels(sizes, num_codes):
    """`Level`s of these sizes, coarsest first; `num_codes` may be one each."""
    counts = np.broadcast_to(num_codes, (len(sizes),))
    return [
        Level(f"level_{i}", *size, int(count))
        for i, (size, count) in enumerate(zip(sizes, counts, strict=True))
    ]


def make_prior(sizes=((4, 6),), num_codes=5, network=PixelSNAIL, **arguments):
    """A small prior of the last level, with random weights."""
    *coarser, level = make_levels(sizes, num_codes)
    small = SMALL_TRANSFORMER if network is Transformer else SMALL_PRIOR
    prior = network(level, coarser, **{**small, **arguments})
    return build(prior, codes_of(level, 1), **conditions(prior))


def make_maskgit(sizes=((4, 6),), num_codes=5, **arguments):
    """A small `MaskGIT` of the last level, with random weights."""
    *coarser, level = make_levels(sizes, num_codes)
    prior = MaskGIT(level, coarser, **{**SMALL_TRANSFORMER, **arguments})
    return build(prior, codes_of(level, 1), scale=1.0)


def codes_of(level, count, seed=0):
    """Random code maps of a level."""
    return integers(level.num_codes, count, *level.size, seed=seed)


def conditions(prior, count=1, seed=0):
    """Labels and coarser codes that a prior asks for."""
    found = {}
    if prior.num_classes:
        found["labels"] = integers(prior.num_classes, count, seed=seed)
    if prior.coarser:
        found["coarser"] = [
            codes_of(level, count, seed + i)
            for i, level in enumerate(prior.coarser)
        ]
    return found


def run(function, *args):
    """Calls a function that leaves no variable changed.

    JAX compiles each operation of an eager call, which takes longer than to
    compile them together.
    """
    if BACKEND == "jax":
        import jax

        def pure(*args):
            with keras.StatelessScope():
                return function(*args)

        return jax.jit(pure)(*args)
    return function(*args)


def gradient(function, x):
    """Gradient of a scalar function at `x`; drops updates of variables."""
    if BACKEND == "jax":
        import jax

        def pure(x):
            with keras.StatelessScope():
                return function(x)

        return array(jax.jit(jax.grad(pure))(x))
    import tensorflow as tf

    x = tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return array(
        tape.gradient(y, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    )


def weight_gradients(function, variables):
    """Gradients of `function()` with respect to variables."""
    return arrays(compiled_gradients(function, variables)())


def compiled_gradients(function, variables):
    """A function that gives `weight_gradients`, compiled once."""
    variables = list(variables)
    if BACKEND == "jax":
        import jax

        def pure(values):
            pairs = zip(variables, values, strict=True)
            with keras.StatelessScope(state_mapping=list(pairs)):
                return function()

        gradients = jax.jit(jax.grad(pure))
        return lambda: gradients([v.value for v in variables])
    import tensorflow as tf

    @tf.function
    def gradients():
        values = [v.value for v in variables]
        with tf.GradientTape() as tape:
            tape.watch(values)
            y = function()
        return tape.gradient(
            y, values, unconnected_gradients=tf.UnconnectedGradients.ZERO
        )

    return gradients


def compiled(function, layer):
    """`function`, compiled; it may update the variables of `layer`."""
    if BACKEND == "jax":
        import jax

        variables = layer.variables

        @jax.jit
        def pure(values, *args):
            pairs = zip(variables, values, strict=True)
            with keras.StatelessScope(state_mapping=list(pairs)) as scope:
                outputs = function(*args)
            return outputs, [scope.get_current_value(v) for v in variables]

        def run(*args):
            outputs, values = pure([v.value for v in variables], *args)
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
            return outputs

        return run
    import tensorflow as tf

    graph = tf.function(function)

    def run(*args):
        return graph(*keras.tree.map_structure(tf.convert_to_tensor, args))

    return run


def save_and_load(model, arguments, images, path):
    """A saved and loaded model, which is checked to be the same.

    Args:
        model: Made with `arguments`, which are all but its class' `kwargs`.
        arguments: dict.
        images: Its input.
        path: Folder for the file.
    """
    parameters = inspect.signature(type(model)).parameters
    assert set(parameters) - {"kwargs"} == set(arguments)
    model.save(path / "model.keras")
    with zero_initializers():
        loaded = keras.saving.load_model(path / "model.keras")
    for old, new in zip(model.weights, loaded.weights, strict=True):
        np.testing.assert_array_equal(array(old), array(new))
    assert_close(run(loaded, images), run(model, images), 1e-6, 1e-6)
    return loaded


def assert_close(actual, expected, rtol=1e-5, atol=1e-5):
    """Compares structures of tensors or arrays."""
    keras.tree.assert_same_structure(actual, expected)
    for a, e in zip(
        keras.tree.flatten(actual), keras.tree.flatten(expected), strict=True
    ):
        a = array(keras.ops.cast(a, "float32"))
        e = array(keras.ops.cast(e, "float32"))
        np.testing.assert_allclose(a, e, rtol=rtol, atol=atol)


def jacobian_pattern(function, x):
    """Which positions of a map a function's output depends on.

    Args:
        function: `[B, H, W, C]` to `[B, H, W, F]`, each example on its own.
        x: `[H, W, C]`.

    Returns:
        `[H * W, H * W]` bool, output positions by input positions: where the
        gradient is not exactly zero.
    """
    height, width, _ = x.shape
    positions = height * width
    # Example p asks for the gradient of the output at position p.
    asked = np.eye(positions, dtype="float32").reshape(
        positions, height, width, 1
    )

    def total(x):
        y = function(x)
        return keras.ops.sum(y * asked * normal(y.shape[-1], seed=1))

    tiled = np.repeat(x[None], positions, axis=0)
    found = gradient(total, tiled).reshape(positions, positions, -1)
    assert np.all(np.isfinite(found))
    return np.any(found != 0, axis=-1)


def causal_pattern(height, width, kernel_size, strict=False):
    """`jacobian_pattern` that a causal convolution must have."""
    r = kernel_size // 2
    pattern = np.zeros((height, width, height, width), bool)
    for i, j, k, m in np.ndindex(pattern.shape):
        above = i - r <= k < i and abs(j - m) <= r
        left = k == i and j - r <= m < j
        here = (k, m) == (i, j) and not strict
        pattern[i, j, k, m] = above or left or here
    return pattern.reshape(height * width, height * width)


def conv2d(x, conv, stride=1):
    """NumPy convolution with a Keras layer's weights, padding "same"."""
    kernel, bias = arrays(conv.weights)
    return dense_conv2d(x, kernel, stride) + bias


def dense_conv2d(x, kernel, stride=1):
    """NumPy convolution with a kernel `[h, w, in, out]`, padding "same"."""
    height, width, channels, filters = kernel.shape
    rows, columns = -(-x.shape[1] // stride), -(-x.shape[2] // stride)
    row_pad = max((rows - 1) * stride + height - x.shape[1], 0)
    column_pad = max((columns - 1) * stride + width - x.shape[2], 0)
    x = np.pad(
        x,
        [
            (0, 0),
            (row_pad // 2, row_pad - row_pad // 2),
            (column_pad // 2, column_pad - column_pad // 2),
            (0, 0),
        ],
    )
    y = np.zeros((len(x), rows, columns, filters))
    for a, b in np.ndindex(height, width):
        window = x[:, a:, b:][:, ::stride, ::stride][:, :rows, :columns]
        y += window @ kernel[a, b]
    return y


def upsampling_kernel(conv):
    """The filter of an `UpsamplingConv`, with three tenths of the dots."""
    kernel = array(conv.kernel)
    dots = {
        phase: kernel[phase[0] :: 2, phase[1] :: 2].mean((0, 1))
        for phase in np.ndindex(2, 2)
    }
    even = sum(dots.values()) / 4
    for (i, j), mean in dots.items():
        kernel[i::2, j::2] -= 0.7 * (mean - even)
    return kernel


def conv2d_transpose(x, conv):
    """NumPy transposed convolution of stride 2 with a Keras layer's weights."""
    kernel, bias = arrays(conv.weights)
    if isinstance(conv, UpsamplingConv):
        kernel = upsampling_kernel(conv)
    size, _, filters, _ = kernel.shape
    batch, rows, columns, _ = x.shape
    y = np.zeros((batch, 2 * rows + size - 2, 2 * columns + size - 2, filters))
    for a, b in np.ndindex(size, size):
        y[:, a : a + 2 * rows : 2, b : b + 2 * columns : 2] += (
            x @ kernel[a, b].T
        )
    crop = (size - 2) // 2
    return y[:, crop : crop + 2 * rows, crop : crop + 2 * columns] + bias


def relu(x):
    """NumPy ReLU."""
    return np.maximum(x, 0)


def elu(x):
    """NumPy ELU."""
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def sigmoid(x):
    """NumPy logistic function."""
    return 1 / (1 + np.exp(-x))


def softmax(x):
    """NumPy softmax over the last axis."""
    shares = np.exp(x - x.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def check_compiled(layer, *inputs, **kwargs):
    """A compiled layer's outputs equal those of an eager call."""
    build(layer, *inputs, **kwargs)
    expected = layer(*inputs, **kwargs)
    function = compiled(lambda *args: layer(*args, **kwargs), layer)
    assert_close(function(*inputs), expected)


def check_bfloat16(make, *inputs, tolerance=0.05, **kwargs):
    """A layer under mixed_bfloat16 is close to the one in float32.

    Args:
        make: Function of `dtype` that returns the layer.
        *inputs: What the layer is called on.
        tolerance: Largest error, as a share of the largest output.
        **kwargs: Further call arguments.
    """
    layer, low = (
        build(make(dtype=dtype), *inputs, **kwargs)
        for dtype in ("float32", "mixed_bfloat16")
    )
    assert all(v.dtype == "float32" for v in low.weights)
    low.set_weights(layer.get_weights())
    expected, actual = (
        run(lambda *args, one=one: one(*args, **kwargs), *inputs)
        for one in (layer, low)
    )
    assert keras.backend.standardize_dtype(actual.dtype) == "bfloat16"
    expected = array(expected)
    actual = array(keras.ops.cast(actual, "float32"))
    assert np.max(np.abs(actual - expected)) < tolerance * np.max(
        np.abs(expected)
    )
    assert not np.array_equal(actual, expected)

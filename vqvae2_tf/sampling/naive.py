"""Ancestral sampling by one full forward pass a position."""

from keras import ops

from vqvae2_tf.sampling.code_buffer import CodeBuffer


def draw(
    prior, noise, labels=None, coarser=(), known=None, known_mask=None, **kwargs
):
    """Draws code maps, one full forward pass a position (algorithm 2).

    The reference that faster samplers are compared with, code for code; takes
    and returns what `incremental.draw` does.
    """
    level = prior.level
    buffer = CodeBuffer(level, noise.batch_size, known, known_mask)
    positions = ops.arange(level.num_positions, dtype="int32")
    numbers = prior.head.random_numbers(noise, positions)

    def step(position, codes):
        parameters = prior(buffer.maps(codes), labels=labels, coarser=coarser)
        shape = (*ops.shape(numbers)[:2], *parameters.shape[3:])
        parameters = ops.reshape(parameters, shape)
        here = [ops.take(x, position, axis=1) for x in (parameters, numbers)]
        drawn = prior.head.draw(*here, **kwargs)
        drawn = buffer.keep_known(drawn, position)
        return buffer.write(codes, drawn, position)

    codes = ops.fori_loop(0, level.num_positions, step, buffer.empty())
    return buffer.maps(codes)

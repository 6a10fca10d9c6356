"""Ancestral sampling that computes nothing twice."""

from keras import ops

from vqvae2_tf.layers.row_buffer import read_columns
from vqvae2_tf.sampling.code_buffer import CodeBuffer


def draw(
    prior, noise, labels=None, coarser=(), known=None, known_mask=None, **kwargs
):
    """Draws code maps; each position costs what it adds to the one before.

    The prior keeps what it has computed: it advances by one row, which
    prepares what the rows above contribute to the whole row, and by one
    position, which gives the distribution there. The codes are those of
    `naive.draw`, but for ties within rounding.

    Args:
        prior: `priors.RasterPrior`.
        noise: `Noise`.
        labels: `[B]` int32, if the prior has classes.
        coarser: List of the coarser levels' maps, coarsest first.
        known: `[B, H, W]` codes of which some are kept, or None.
        known_mask: `[B, H, W]` bool, where they are kept.
        **kwargs: Options of `prior.head.draw`.

    Returns:
        Codes `[B, *level.shape]`.
    """
    height, width = prior.level.size
    buffer = CodeBuffer(prior.level, noise.batch_size, known, known_mask)

    def next_row(row, carry):
        state, codes = carry
        state = prior.next_row(state, row)
        # For the whole row at once: a position's own is small work.
        positions = row * width + ops.arange(width, dtype="int32")
        row_numbers = prior.head.random_numbers(noise, positions)

        def next_position(column, carry):
            state, codes = carry
            parameters, state = prior.step(state, row, column)
            numbers = read_columns(row_numbers, column)
            chosen = prior.head.draw(parameters, numbers, **kwargs)
            position = row * width + column
            chosen = buffer.keep_known(chosen, position)
            state = prior.write(state, chosen, column)
            return state, buffer.write(codes, chosen, position)

        return ops.fori_loop(0, width, next_position, (state, codes))

    state = prior.initial_state(noise.batch_size, labels, coarser)
    codes = buffer.empty()
    _, codes = ops.fori_loop(0, height, next_row, (state, codes))
    return buffer.maps(codes)

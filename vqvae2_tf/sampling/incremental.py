"""Ancestral sampling that computes nothing twice."""

from keras import ops

from vqvae2_tf.layers.row_buffer import read_columns


def sample_incremental(
    prior, noise, choose, batch_size, labels=None, coarser=()
):
    """Samples code maps; each position costs what it adds to the one before.

    The prior keeps what it has computed: it is moved on by one row, which
    prepares what the rows above say to the whole row, and by one position,
    which gives the logits there. The codes are those of `sample_naive`, but
    for ties within rounding.

    Args:
        prior: Has `map_size`, `initial_state`, `next_row`, `step` and `write`
            as `PixelSNAIL` has.
        noise: As in `sample_naive`.
        choose: As in `sample_naive`.
        batch_size: B.
        labels: As in `sample_naive`.
        coarser: As in `sample_naive`.

    Returns:
        Codes `[B, H, W]` int32.
    """
    height, width = prior.map_size

    def next_row(row, carry):
        state, codes = carry
        state = prior.next_row(state, row)
        # Of the whole row at once: a position's own is small work.
        row_noise = noise(row * width + ops.arange(width, dtype="int32"))

        def next_position(column, carry):
            state, codes = carry
            logits, state = prior.step(state, row, column)
            position = row * width + column
            chosen = choose(logits, read_columns(row_noise, column), position)
            state = prior.write(state, chosen, column)
            codes = ops.slice_update(codes, (0, position), chosen[:, None])
            return state, codes

        return ops.fori_loop(0, width, next_position, (state, codes))

    state = prior.initial_state(batch_size, labels, coarser)
    codes = ops.zeros((batch_size, height * width), dtype="int32")
    _, codes = ops.fori_loop(0, height, next_row, (state, codes))
    return ops.reshape(codes, (batch_size, height, width))

"""Names and sizes of the levels, coarsest first."""

from collections.abc import Sequence


def level_names(num_levels: int) -> list[str]:
    """Names of the levels, coarsest first.

    Args:
        num_levels: Number of levels, 1 or more.

    Returns:
        `["top"]`, `["top", "bottom"]`, `["top", "middle", "bottom"]`, and with
        more levels `middle_1`, `middle_2`, ... from coarse to fine.
    """
    middles = [f"middle_{i + 1}" for i in range(num_levels - 2)]
    if num_levels == 3:
        middles = ["middle"]
    return ["top", *middles, "bottom"] if num_levels > 1 else ["top"]


def latent_map_sizes(
    image_size: tuple[int, int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Heights and widths of the code maps, coarsest first.

    Args:
        image_size: `(height, width)` in pixels.
        strides: Factors from the pixels to the bottom map, from there to the
            next coarser one, and so on.

    Returns:
        List of `(height, width)`.

    Raises:
        ValueError: If the strides do not divide the size.
    """
    sizes = []
    height, width = image_size
    for stride in strides:
        if height % stride or width % stride:
            raise ValueError(
                f"strides {tuple(strides)} must divide the picture's size. "
                f"Received: {image_size[0]}x{image_size[1]} pixels, and a map "
                f"of {height}x{width} at stride {stride}"
            )
        height, width = height // stride, width // stride
        sizes.append((height, width))
    return sizes[::-1]

"""How large a picture may be so that it comes in time."""

AT_FIRST = 5e-5
"""Seconds for a ray, before any was measured: slower than most, so that nobody waits."""


class Pace:
    """The time that a ray takes, measured from picture to picture.

    Args:
        slower: how far a measurement is believed that says it takes longer, in [0, 1]. At once
            unless given: a late answer is felt, and a picture coarser than it need be hardly.
        faster: the same of one that says it takes less.
    """

    def __init__(self, slower: float = 1.0, faster: float = 0.3) -> None:
        self.seconds_per_ray = AT_FIRST
        self._slower, self._faster = slower, faster

    def measured(self, num_rays: int, seconds: float) -> None:
        """Take note of a picture."""
        more = seconds / num_rays - self.seconds_per_ray
        self.seconds_per_ray += more * (self._slower if more > 0 else self._faster)

    def largest(self, full_hw: tuple[int, int], seconds: float) -> tuple[int, int]:
        """The size, of the shape of the full one and no larger, that comes in so many seconds.

        In steps of the square root of 2, so that it does not change with every measurement.
        """
        size_hw, halvings = full_hw, 0
        while size_hw[0] * size_hw[1] * self.seconds_per_ray > seconds and max(size_hw) > _LEAST:
            halvings += 1
            size_hw = _scaled(full_hw, 2 ** (-halvings / 2))
        return size_hw


_LEAST = 16
"""The longer side of the coarsest picture."""


def larger(size_hw: tuple[int, int], full_hw: tuple[int, int]) -> tuple[int, int] | None:
    """The next size on the way to the full one, three times as large; None if this is as large
    already.

    All those before the last take an eighth of its time.
    """
    scale = 3 * max(size_hw) / max(full_hw)
    if scale >= 3:
        return None
    return full_hw if scale > 0.6 else _scaled(full_hw, scale)


def _scaled(size_hw: tuple[int, int], scale: float) -> tuple[int, int]:
    height, width = (max(1, round(side * scale)) for side in size_hw)
    return height, width

"""What may be wrong with a JSON file, for hypothesis to search through."""

import copy
import json

from hypothesis import strategies

numbers = (
    strategies.integers() | strategies.floats() | strategies.sampled_from([10**400, -1e300, 0, 1])
)
values = strategies.recursive(
    strategies.none() | strategies.booleans() | numbers | strategies.text(max_size=4),
    lambda inner: (
        strategies.lists(inner, max_size=4)
        | strategies.dictionaries(strategies.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@strategies.composite
def damaged(draw, right):
    """The JSON of ``right``, in which a value somewhere is dropped or replaced."""
    transforms = copy.deepcopy(right)
    for _ in range(draw(strategies.integers(1, 2))):
        place = transforms
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(strategies.sampled_from(keys))
            if isinstance(place[key], dict | list) and draw(strategies.integers(0, 4)):
                place = place[key]
                continue
            if draw(strategies.integers(0, 3)):
                place[key] = draw(numbers | values)
            else:
                del place[key]
            break
    return json.dumps(transforms)


def files(right):
    """Contents of a file that should hold the JSON of ``right``, as bytes."""
    texts = (
        damaged(right)
        | values.map(json.dumps)
        | strategies.integers(0, 200).map(lambda end: json.dumps(right)[:end])
        | strategies.text(max_size=20)
    )
    encoded = texts.map(lambda text: text.encode("utf-8", "surrogatepass"))
    return encoded | strategies.binary(max_size=20)

"""Motion decoded cell by cell in plain numbers, written from FORMAT.md 6.7 and from nothing else."""

from __future__ import annotations

from math import floor

LIMIT = 2047


def clip(value, low, high):
    return min(max(value, low), high)


def halved(one, other):
    """Both distances, halved until they are below 2^15."""
    while max(one, other) >= 2**15:
        one, other = max(1, one // 2), max(1, other // 2)
    return one, other


def timed(level, sign, ticks, span):
    """A field {(row, column): (x, y)} at another distance in time."""
    ticks, span = halved(ticks, span)
    return {
        cell: tuple(clip((2 * v * sign * ticks + span) // (2 * span), -LIMIT, LIMIT) for v in vector)
        for cell, vector in level.items()
    }


def doubled(field, rows, columns):
    """The parents at the next level, rows x columns of them."""
    return {(row, column): field[row // 2, column // 2] for row in range(rows) for column in range(columns)}


def planes_of(parent, parent_map, predicted, predicted_map, field, coded, is_second):
    """What the prior is given, {cell: list of 10 or 14 numbers}."""
    planes = {}
    for (row, column), own in parent.items():
        left = parent.get((row, column - 1), own)
        upper = parent.get((row - 1, column), own)
        last = predicted[row, column]
        numbers = [own[axis] - left[axis] for axis in (0, 1)]
        numbers += [own[axis] - upper[axis] for axis in (0, 1)]
        numbers += [clip(last[axis] - own[axis], -32, 32) for axis in (0, 1)]
        numbers += [*own, parent_map[row, column], predicted_map[row, column]]
        if is_second:
            if (row + column) % 2 == 0:
                moved = field[row, column]
                numbers += [moved[axis] - own[axis] for axis in (0, 1)]
                numbers += [coded[row, column], 1]
            else:
                numbers += [0, 0, 0, 0]
        planes[row, column] = [clip(number, -LIMIT, LIMIT) for number in numbers]
    return planes


def decode_motion(predicted, predicted_maps, precision, prior, read):
    """One motion: for each level a field {cell: (x, y)} and a map {cell: 0 or 1}.

    predicted  three fields, and predicted_maps three maps
    prior      (level, is_second, planes) -> {cell: (a, mx, my, bx, by)}
    read       a list of table rows -> as many symbols
    """
    fields, maps = [], []
    for level in range(3):
        cells = sorted(predicted[level])
        if level == 0:
            parent, parent_map = predicted[0], dict.fromkeys(cells, 0)
        else:
            rows, columns = (max(cell[axis] for cell in cells) + 1 for axis in (0, 1))
            parent = doubled(fields[-1], rows, columns)
            parent_map = {(row, column): maps[-1][row // 2, column // 2] for row, column in cells}
        field, coded = dict(parent), dict.fromkeys(cells, 0)
        for colour in (0, 1):
            planes = planes_of(
                parent, parent_map, predicted[level], predicted_maps[level], field, coded, colour == 1
            )
            heads = prior(level, colour == 1, planes)
            mine = [cell for cell in cells if sum(cell) % 2 == colour]
            flags = read([64 + clip(((heads[cell][0] + 2) >> 2) + 32, 0, 63) for cell in mine])
            chosen = [cell for cell, flag in zip(mine, flags, strict=True) if flag]
            order = [(cell, axis) for axis in (0, 1) for cell in chosen]
            rows_of = [
                max(clip((heads[c][3 + axis] + 110) >> 2, 0, 63) - 6 * precision, 0) for c, axis in order
            ]
            found = dict(zip(order, read(rows_of), strict=True))
            for cell in chosen:
                field[cell] = tuple(
                    clip(
                        parent[cell][axis]
                        + (found[cell, axis] + floor(heads[cell][1 + axis] / 2**precision + 0.5))
                        * 2**precision,
                        -LIMIT,
                        LIMIT,
                    )
                    for axis in (0, 1)
                )
                coded[cell] = 1
        fields.append(field)
        maps.append(coded)
    return fields, maps

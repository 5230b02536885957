"""The same beside a causal network in integers, whose distribution is one more input, compiled."""

from __future__ import annotations

from latentpress.autoregressive.engine.coder import weigh
from latentpress.autoregressive.engine.compiling import compiled
from latentpress.autoregressive.engine.kernels import begin_position, component_logits, end_position
from latentpress.counted.grids.kernels import find_place, share, take

__all__ = ["code_beside"]


@compiled
def code_beside(
    start, stop, program, lanes, order, local_map, labels, x, room, form, task, choice, streams, prior,
    learned, local, scratch,
):  # fmt: skip
    """As `kernels.code`; `program` to `room` are the network's, see `latentpress.autoregressive.engine`."""
    for position in range(start, stop):
        begin_position(program, lanes, order, local_map, labels, x, room)
        find_place(position, task.extents, scratch.place)
        for component in range(task.ranks.shape[2]):
            size = program.alphabets[component]
            component_logits(program, lanes, order, component, x, room)
            for lane in range(len(order)):
                weigh(room.sums[lane * size : (lane + 1) * size], room.weights)
                share(room.weights, component, form, scratch)
                symbol = take(
                    position, component, lane, form, task, choice, streams, prior, learned, local, scratch
                )
                lanes.components[lane, component] = symbol
        end_position(program, lanes, order)

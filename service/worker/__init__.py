"""Work on nodes, which operations ask for. Nothing here answers a request or imports Flask.

- `loop`: the threads of one worker, which claim operations, renew leases and probe nodes
- `slots`: how those threads are shared out
- `job`: one claimed operation: its lease, its steps, its end
- `steps`: what is done for each kind of operation
- `carry_out`: how an operation ends, or when it is tried again, whatever its node does
- `bulk`: how the items of a bulk operation are done, in turns
- `interruptions`: what stops an operation half-way although nothing failed
- `observation`: what is written down of a container that was seen
- `watching`: which nodes a worker follows; `watch`: how it does; `heard`: what it heard of them
- `reconcile`: what is done after a probe, where a node differs from the documents
"""

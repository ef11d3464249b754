"""Values and pure rules: documents, states, ports, quantities, addresses, what a key may do.

Nothing here reads a clock, a file or a socket, and nothing imports more than ``errors``.
"""

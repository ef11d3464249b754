"""The wire contract, in and out.

What comes in is loaded by a `Request`, which ignores unknown fields, because real clients send
some. What goes out is documented here and shaped in `service/contract/wire.py`; a test proves that
the two agree.
"""

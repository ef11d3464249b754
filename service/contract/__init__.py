"""The wire contract, in and out.

What comes in is loaded by a `Request` as what the use case takes. Unknown fields are ignored,
because real clients send some. What goes out is shaped by an `Answer`, whose fields are declared
once: what is documented, where the value comes from, and a sample. Nothing here knows Flask.
"""

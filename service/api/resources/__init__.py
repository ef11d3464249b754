"""The endpoints beyond the reference: resources with addresses of their own, and the web's codes.

A module for each noun. The reference's endpoints lie beside this folder; both call the same use
cases. Bodies are strict here: an unknown field is a 400.
"""

"""Work on nodes: the loop that claims operations, and the steps that carry one out.

Nothing here answers a request, and no worker imports Flask.
"""

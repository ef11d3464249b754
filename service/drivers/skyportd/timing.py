"""How long the daemon is waited for."""

LIST_TIMEOUT_S = 10.0

FOLLOW_EVERY_S = 1.0
"""How often the daemon is asked for its list, to see what began and ended: 2 ms of its time."""

INSTALL_TIMEOUT_S = 900.0
"""How long a creation may take, with the image's pull and the install scripts."""

APPEAR_TIMEOUT_S = 15.0
"""How long the daemon may know nothing of what it was told to create."""

STEADY_S = 1.0
"""How long a program must run to count as started."""

GLITCH_S = 2.0
"""How long the daemon's state file may be unreadable while it is being written."""

SETTLE_TIMEOUT_S = 5.0
"""How long a removal waits for a creation under way to notice that its container is gone."""

CHECKPOINT_EVERY_S = 1.0
MIN_STOP_S = 1.0
POLL_S = 0.25
MAX_POLL_S = 2.0

"""Long runs that look for what happens once in a hundred times."""

"""Everything that runs in Ray's processes and knows Ray; nothing here decides what should run."""

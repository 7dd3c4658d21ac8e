"""Code that runs in Ray's processes and knows Ray; nothing here decides which parts run."""

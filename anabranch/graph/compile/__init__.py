"""The compiler: passes from a spec to a plan, a module for each; nothing is loaded or run."""

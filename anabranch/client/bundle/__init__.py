"""Bundles on the side of who deploys: what a folder's bundle holds, its checks, and its packing."""

"""The edge: an HAProxy of our own before the routers' sockets, kept up to date without reloads."""

"""Keys and access rules as the store keeps them, and the access table that follows from them."""

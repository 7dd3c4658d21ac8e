"""The door for plain JSON and HTML forms: named values in and out, without tensors."""

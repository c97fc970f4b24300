"""The public face of Paidonce: what the author of a handler imports, and the command line."""

"""What happens when each step of the product is struck, before and after it? One strike after the other."""

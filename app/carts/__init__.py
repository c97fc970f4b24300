"""Carts: what a customer is about to pay, in Valkey, for a while."""

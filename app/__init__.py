"""The payment API: what runs inside a request, and what it shares with the workers."""

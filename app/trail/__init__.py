"""The whole path of one payment, as it can be read back."""

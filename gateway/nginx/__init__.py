"""How does NGINX do a gateway's duties? With Lua in its access phase."""

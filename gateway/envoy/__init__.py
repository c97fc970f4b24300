"""How does the plan become Envoy's configuration? Its own filters, and Lua for what they do not look at."""

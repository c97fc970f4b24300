"""Where in a connection's bytes are the events of its protocol? One module for each protocol that we use."""

"""Does it matter which replica gets a request? A demonstration, with a server that remembers beside ours."""

"""Images per second through an encoder to vectors, ours beside what one would write oneself."""

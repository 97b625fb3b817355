"""Point-in-time features of users and videos: histories, counters, outcomes, and the state that carries them."""

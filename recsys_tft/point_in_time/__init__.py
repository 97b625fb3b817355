"""What was known of users and videos at a moment: histories, counters, outcomes, and the state that carries them."""

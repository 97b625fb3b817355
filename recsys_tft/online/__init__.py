"""What is known of users and videos, kept up to date event by event."""

"""Online state of users and videos, updated with each event."""

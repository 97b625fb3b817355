"""The four stages at serving time: candidates, filtering, ranking, ordering."""

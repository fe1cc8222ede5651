"""Reading outboxes directly (protocol D1-D8): the half that is the same for every database."""

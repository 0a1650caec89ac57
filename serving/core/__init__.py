"""What the rooms of the service share: messages, refusals, events, deadlines. It knows none of them."""

"""One job from start to end: plan, convert, verify, publish."""

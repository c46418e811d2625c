"""What `memfarm demo` does: train on a real place, compare with hand-written policies, write a report."""

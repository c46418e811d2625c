"""Programs to read, run and copy from; installed as `memfarm.examples`."""

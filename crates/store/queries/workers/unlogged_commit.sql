-- The transaction need not wait for the disk: what a crash takes back here, the pause after it makes good.
set local synchronous_commit = off

//! A failure hands over the fixed command: the one table from what went wrong to what to type next.

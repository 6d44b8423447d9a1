-- What an attempt does before its script starts, in one sentence for people; null once the script runs.

alter table attempts add column preparing text;

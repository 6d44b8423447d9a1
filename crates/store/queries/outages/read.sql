-- Reads when heartbeats could last be accepted, and when they last could not.
select last_beat_at, last_gap_end from api_outage

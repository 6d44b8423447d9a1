-- Exactly which container image an attempt runs in: the registry's digest, else the engine's id. Null without one.

alter table attempts add column image text;
